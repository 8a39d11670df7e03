//! Where a replica lies: a directory, or a place in a bucket with everything needed to reach it.
//!
//! A plain description. It opens nothing, and no secret in it ever reaches a log: `Debug` is written by hand.

use std::fmt;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one per database, for the life of the process")]
pub enum Target {
    /// Absolute path of a directory.
    File {
        path: PathBuf,
    },
    S3(S3Target),
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

/// A prefix of a bucket that speaks S3.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Target {
    /// A bucket's name, or the ARN of an access point.
    pub bucket: String,
    /// Put verbatim before `/0000/…`. Litestream's own: `.` for a URL without a path, empty for `bucket:` without `path:`.
    pub prefix: String,
    /// `None`: to be looked up when there is no endpoint.
    pub region: Option<String>,
    /// With scheme; `None` is AWS.
    pub endpoint: Option<String>,
    /// `None`: left to the AWS chain (environment, profile, instance role).
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub session_token: Option<String>,
    pub force_path_style: bool,
    pub skip_verify: bool,
    pub sign_payload: bool,
    pub require_content_md5: bool,
    pub storage_class: Option<String>,
    /// Bytes per part of a multipart upload.
    pub part_size: Option<u64>,
    /// Parts in flight.
    pub concurrency: Option<usize>,
    pub sse_customer_algorithm: Option<String>,
    /// Base64, as S3 wants it.
    pub sse_customer_key: Option<String>,
    pub sse_kms_key_id: Option<String>,
}

impl S3Target {
    pub fn new(bucket: impl Into<String>, prefix: impl Into<String>) -> S3Target {
        S3Target {
            bucket: bucket.into(),
            prefix: prefix.into(),
            region: None,
            endpoint: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            force_path_style: false,
            skip_verify: false,
            sign_payload: true,
            require_content_md5: true,
            storage_class: None,
            part_size: None,
            concurrency: None,
            sse_customer_algorithm: None,
            sse_customer_key: None,
            sse_kms_key_id: None,
        }
    }
}

impl fmt::Debug for S3Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "redacted");
        f.debug_struct("S3Target")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .field("access_key_id", &hidden(&self.access_key_id))
            .field("secret_access_key", &hidden(&self.secret_access_key))
            .field("session_token", &hidden(&self.session_token))
            .field("force_path_style", &self.force_path_style)
            .field("skip_verify", &self.skip_verify)
            .field("sign_payload", &self.sign_payload)
            .field("require_content_md5", &self.require_content_md5)
            .field("storage_class", &self.storage_class)
            .field("part_size", &self.part_size)
            .field("concurrency", &self.concurrency)
            .field("sse_customer_algorithm", &self.sse_customer_algorithm)
            .field("sse_customer_key", &hidden(&self.sse_customer_key))
            .field("sse_kms_key_id", &self.sse_kms_key_id)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let target = S3Target {
            access_key_id: Some("AKIDSECRET1".into()),
            secret_access_key: Some("SECRET2".into()),
            session_token: Some("SECRET3".into()),
            sse_customer_key: Some("SECRET4".into()),
            ..S3Target::new("bucket", "path")
        };
        let shown = format!("{:?}", Target::S3(target));
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(shown.contains("bucket") && shown.contains("redacted"), "{shown}");
    }
}
