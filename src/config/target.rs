//! Where a replica lies: a directory, or a place in a bucket with everything needed to reach it.
//!
//! A plain description. It opens nothing, and no secret in it ever reaches a log: the settings of a bucket see to that.

use std::path::PathBuf;

use crate::store::s3::Settings;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Absolute path of a directory.
    File {
        path: PathBuf,
    },
    S3(Box<Settings>),
}

impl Target {
    /// Whether two replicas would write over each other.
    pub fn is_same_place(&self, other: &Target) -> bool {
        match (self, other) {
            (Target::File { path: a }, Target::File { path: b }) => a == b,
            (Target::S3(a), Target::S3(b)) => {
                (&a.bucket, &a.prefix, &a.endpoint) == (&b.bucket, &b.prefix, &b.endpoint)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::s3::{Credentials, Secret};

    #[test]
    fn debug_shows_no_secret() {
        let mut settings = Settings::new("bucket", "path");
        settings.credentials = Some(Credentials {
            access_key_id: "AKIDSECRET1".into(),
            secret_access_key: Secret::new("SECRET2"),
            session_token: Some(Secret::new("SECRET3")),
        });
        settings.sse.customer_key = Some(Secret::new("SECRET4"));
        let shown = format!("{:?}", Target::S3(Box::new(settings)));
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(shown.contains("bucket") && shown.contains("redacted"), "{shown}");
    }
}
