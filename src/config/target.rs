//! The place of a replica: a directory, or a prefix in a bucket with everything needed to reach it.
//!
//! A plain description that opens nothing. No secret in it reaches a log: `Debug` of the settings
//! hides them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::store::s3::Settings;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Absolute path of a directory.
    File {
        path: PathBuf,
    },
    S3(Arc<Settings>),
}

impl Target {
    /// Litestream's name for the kind of store.
    pub fn kind(&self) -> &'static str {
        match self {
            Target::File { .. } => "file",
            Target::S3(_) => "s3",
        }
    }

    /// Whether two replicas would write over each other.
    pub fn is_same_place(&self, other: &Target) -> bool {
        match (self, other) {
            (Target::File { path: a }, Target::File { path: b }) => a == b,
            (Target::S3(a), Target::S3(b)) => is_same_bucket(a, b) && a.prefix == b.prefix,
            _ => false,
        }
    }

    /// The relative path of a replica that is below this one.
    pub fn path_below(&self, other: &Target) -> Option<String> {
        match (self, other) {
            (Target::File { path: a }, Target::File { path: b }) => {
                b.strip_prefix(a).ok()?.to_str().filter(|path| !path.is_empty()).map(str::to_owned)
            }
            (Target::S3(a), Target::S3(b)) if is_same_bucket(a, b) => {
                let segments = |prefix: &str| -> Vec<String> {
                    prefix.split('/').filter(|s| !matches!(*s, "" | ".")).map(str::to_owned).collect()
                };
                let below = segments(&b.prefix);
                let below = below.strip_prefix(segments(&a.prefix).as_slice())?;
                (!below.is_empty()).then(|| below.join("/"))
            }
            _ => None,
        }
    }
}

/// One server can be written in several ways.
fn is_same_bucket(a: &Settings, b: &Settings) -> bool {
    let server = |settings: &Settings| {
        settings.endpoint.as_deref().map(|endpoint| endpoint.trim_end_matches('/').to_ascii_lowercase())
    };
    a.bucket == b.bucket && server(a) == server(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::s3::{Credentials, Secret};

    #[test]
    fn a_replica_below_another_is_found() {
        let file = |path: &str| Target::File { path: path.into() };
        let s3 = |prefix: &str| Target::S3(Arc::new(Settings::new("bucket", prefix)));
        for (outer, inner, below) in [
            (file("/backup"), file("/backup/a/b"), Some("a/b")),
            (file("/backup"), file("/backup"), None),
            (file("/backup"), file("/backup2/a"), None),
            (file("/backup/a"), file("/backup"), None),
            (s3(""), s3("a/b"), Some("a/b")),
            (s3("/a/"), s3("a//b/"), Some("b")),
            (s3("a"), s3("ab"), None),
            (s3("a"), s3("a"), None),
            (file("/a"), s3("a/b"), None),
        ] {
            assert_eq!(outer.path_below(&inner).as_deref(), below, "{outer:?} {inner:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut settings = Settings::new("bucket", "path");
        settings.credentials = Some(Credentials {
            access_key_id: "AKIDSECRET1".into(),
            secret_access_key: Secret::new("SECRET2"),
            session_token: Some(Secret::new("SECRET3")),
        });
        settings.sse.customer_key = Some(Secret::new("SECRET4"));
        let shown = format!("{:?}", Target::S3(Arc::new(settings)));
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(shown.contains("bucket") && shown.contains("redacted"), "{shown}");
    }
}
