//! What an S3 store needs to know: the bucket, the way to it, and how to speak to that provider.
//!
//! Plain values, already resolved: nothing here reads a file or the environment. Every secret is a
//! [`Secret`], which no `Debug` shows. What cannot work is refused before the first request:
//! configuration shows the user [`Settings::problem`], and [`Settings::validate`] holds everybody
//! to it.

use std::fmt;

use super::super::{Result, StoreError};
use super::endpoint::is_plain_and_public;
use super::value::{is_label, is_text, is_text_without_space, is_visible, refused};

const DEFAULT_PART_SIZE: u64 = 5 << 20;
pub(super) const DEFAULT_CONCURRENCY: usize = 5;
/// S3's limits for a part that is not the last one.
const PART_SIZE_MIN: u64 = 5 << 20;
const PART_SIZE_MAX: u64 = 5 << 30;
/// Length of an SSE-C key.
const CUSTOMER_KEY_LEN: usize = 32;

/// A value that must never appear in a log, an error or a debug print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// What signs the requests. `Debug` shows none of it: whoever reads a log need not learn whose key
/// this is.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub session_token: Option<Secret>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Encryption on the server: with a key of ours (SSE-C), or with a key of KMS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sse {
    /// `AES256`; the default when a customer key is given.
    pub customer_algorithm: Option<String>,
    /// 32 bytes in base64.
    pub customer_key: Option<Secret>,
    pub kms_key_id: Option<String>,
}

impl Sse {
    /// The only algorithm that S3 knows for keys of ours.
    pub const ALGORITHM: &str = "AES256";
}

/// `Debug` shows everything but the secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bucket name, or the ARN of an access point.
    pub bucket: String,
    /// Verbatim: an object's key is `prefix + "/" + name`, also for `""`, `"."` and
    /// `"/lead/slash/"`, as Litestream's are.
    pub prefix: String,
    /// `None`: from the provider's host, the environment, or by asking S3.
    pub region: Option<String>,
    /// `None`: AWS. Without a scheme it means https, or http for a private address.
    pub endpoint: Option<String>,
    /// The endpoint was written without its scheme.
    pub scheme_is_assumed: bool,
    /// `None`: AWS's chain (environment, profile, web identity, container, instance).
    pub credentials: Option<Credentials>,
    pub force_path_style: bool,
    /// Accepts any TLS certificate.
    pub skip_verify: bool,
    /// `false`: `UNSIGNED-PAYLOAD` for bodies.
    pub sign_payload: bool,
    /// Send Content-MD5 with batch deletes; some providers refuse them without, Tigris refuses them
    /// with it.
    pub require_content_md5: bool,
    pub storage_class: Option<String>,
    /// Bodies of at least this size are uploaded in parts of this size, very large ones in larger
    /// parts.
    pub part_size: u64,
    /// Parts in flight per upload.
    pub concurrency: usize,
    pub sse: Sse,
}

/// What stands in front of a name that is joined to a prefix as a path: cleaned, with a slash at
/// its end unless it is empty.
pub(super) fn path_root(prefix: &str) -> String {
    let rooted = prefix.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for segment in prefix.split('/') {
        match segment {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => drop(kept.pop()),
            ".." if rooted => {}
            segment => kept.push(segment),
        }
    }
    let mut root = String::from(if rooted { "/" } else { "" });
    for segment in kept {
        root.push_str(segment);
        root.push('/');
    }
    root
}

/// A key in the form that servers with a file system under them keep: no slash in front, no empty,
/// `.` or `..` segments. A slash at its end stays.
pub(super) fn kept_form(key: &str) -> String {
    let path = path_root(&format!("/{key}"));
    let path = path.trim_start_matches('/');
    if key.ends_with('/') { path.to_owned() } else { path.trim_end_matches('/').to_owned() }
}

impl Settings {
    /// Litestream's defaults.
    pub fn new(bucket: impl Into<String>, prefix: impl Into<String>) -> Settings {
        Settings {
            bucket: bucket.into(),
            prefix: prefix.into(),
            region: None,
            endpoint: None,
            scheme_is_assumed: false,
            credentials: None,
            force_path_style: false,
            skip_verify: false,
            sign_payload: true,
            require_content_md5: true,
            storage_class: None,
            part_size: DEFAULT_PART_SIZE,
            concurrency: DEFAULT_CONCURRENCY,
            sse: Sse::default(),
        }
    }

    /// What a client is made of: everything but what each request says for itself.
    pub(super) fn of_client(&self) -> Settings {
        Settings {
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            scheme_is_assumed: self.scheme_is_assumed,
            credentials: self.credentials.clone(),
            force_path_style: self.force_path_style,
            skip_verify: self.skip_verify,
            ..Settings::new(self.bucket.clone(), "")
        }
    }

    /// `s3://bucket/prefix`
    pub fn address(&self) -> String {
        match self.prefix.as_str() {
            "" => format!("s3://{}", self.bucket),
            prefix => format!("s3://{}/{prefix}", self.bucket),
        }
    }

    /// Refuses what no request could repair.
    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |what| Err(StoreError::Permanent { detail: format!("{}: {what}", self.address()) });
        self.problem().map_or(Ok(()), refuse)
    }

    /// What no request could repair, as a sentence without a place. Configuration asks the same, so
    /// that what it accepts is accepted here.
    pub fn problem(&self) -> Option<String> {
        if self.bucket.is_empty() {
            return Some("no bucket given".into());
        }
        if !(PART_SIZE_MIN..=PART_SIZE_MAX).contains(&self.part_size) {
            return Some(format!("part-size {} is outside S3's limits (5 MiB to 5 GiB)", self.part_size));
        }
        if self.concurrency == 0 {
            return Some("`concurrency` must be greater than zero".into());
        }
        self.value_problem().or_else(|| self.encryption_problem().map(str::to_owned))
    }

    /// The first value that no request could carry.
    fn value_problem(&self) -> Option<String> {
        let sse = &self.sse;
        let optional = |value: &Option<String>, name, allowed| value.as_deref().and_then(|v| refused(name, v, allowed));
        refused("bucket", &self.bucket, is_text_without_space)
            .or_else(|| refused("path", &self.prefix, is_text))
            .or_else(|| optional(&self.region, "region", is_label))
            .or_else(|| optional(&self.endpoint, "endpoint", is_visible))
            .or_else(|| optional(&self.storage_class, "storage-class", is_visible))
            .or_else(|| optional(&sse.kms_key_id, "sse-kms-key-id", is_visible))
            .or_else(|| self.credentials.as_ref().and_then(Credentials::problem))
    }

    fn encryption_problem(&self) -> Option<&'static str> {
        let Sse { customer_algorithm: algorithm, customer_key: key, kms_key_id } = &self.sse;
        match (key, algorithm.as_deref()) {
            (None, None) => None,
            (None, Some(_)) => Some("`sse-customer-algorithm` needs `sse-customer-key`"),
            (Some(_), _) if kms_key_id.is_some() => {
                Some("`sse-customer-key` and `sse-kms-key-id` exclude each other; remove one")
            }
            (Some(_), Some(algorithm)) if algorithm != Sse::ALGORITHM => {
                Some("`sse-customer-algorithm` must be AES256")
            }
            (Some(_), _) if self.customer_key_bytes().is_none() => {
                Some("`sse-customer-key` must be 32 bytes in base64 (openssl rand -base64 32)")
            }
            (Some(_), _) if self.endpoint.as_deref().is_some_and(is_plain_and_public) => {
                Some("`sse-customer-key` would be sent unencrypted; use an https:// endpoint")
            }
            (Some(_), _) => None,
        }
    }

    /// The raw SSE-C key; `None` when there is none or it is malformed.
    pub(super) fn customer_key_bytes(&self) -> Option<Vec<u8>> {
        let decoded = aws_smithy_types::base64::decode(self.sse.customer_key.as_ref()?.expose()).ok()?;
        (decoded.len() == CUSTOMER_KEY_LEN).then_some(decoded)
    }
}

impl Credentials {
    /// The first value that no request could carry, as a sentence without a place.
    pub(super) fn problem(&self) -> Option<String> {
        let token = self.session_token.as_ref().map_or("", Secret::expose);
        refused("access-key-id", &self.access_key_id, is_visible)
            // It is never sent. Servers of one's own take any text as a secret, but a line break is
            // a mistake.
            .or_else(|| refused("secret-access-key", self.secret_access_key.expose(), is_text))
            .or_else(|| refused("session-token", token, is_visible))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_joined_as_go_joins_paths() {
        for (prefix, root) in [
            ("", ""),
            (".", ""),
            ("/", "/"),
            ("app", "app/"),
            ("a/b", "a/b/"),
            ("/lead/slash/", "/lead/slash/"),
            ("a//b/./c/", "a/b/c/"),
            ("a/../b", "b/"),
            ("../a", "../a/"),
            ("/../a", "/a/"),
        ] {
            assert_eq!(path_root(prefix), root, "{prefix:?}");
        }
    }

    #[test]
    fn no_secret_is_ever_printed() {
        let mut settings = Settings::new("bucket", "path");
        settings.credentials = Some(Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new("hush-secret"),
            session_token: Some(Secret::new("hush-token")),
        });
        settings.sse.customer_key = Some(Secret::new("hush-key"));
        let shown = format!("{settings:?} {settings:#?} {:?}", settings.validate());
        assert!(shown.contains("bucket") && shown.contains("redacted"), "{shown}");
        assert!(!shown.contains("hush") && !shown.contains("AKIDEXAMPLE"), "{shown}");
    }

    #[test]
    fn impossible_settings_are_refused_with_their_name() {
        let refusal = |change: fn(&mut Settings)| {
            let mut settings = Settings::new("bucket", "path");
            change(&mut settings);
            settings.validate().err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(refusal(|_| {}), "");
        assert!(refusal(|s| s.bucket.clear()).contains("no bucket"));
        assert!(refusal(|s| s.part_size = 1024).contains("part-size 1024"));
        assert!(refusal(|s| s.concurrency = 0).contains("concurrency"));
        assert!(refusal(|s| s.sse.customer_key = Some(Secret::new("c2hvcnQ="))).contains("32 bytes"));
        assert!(refusal(|s| s.sse.customer_algorithm = Some("AES256".into())).contains("sse-customer-key"));
        assert_eq!(refusal(|s| s.sse.customer_key = Some(key())), "");
        for loose in ["A".repeat(43), format!("{}B=", "A".repeat(42)), format!("{}= ", "A".repeat(43))] {
            let mut settings = Settings::new("bucket", "path");
            settings.sse.customer_key = Some(Secret::new(&loose));
            assert!(settings.problem().is_some_and(|problem| problem.contains("32 bytes")), "{loose:?}");
        }
    }

    fn key() -> Secret {
        Secret::new(format!("{}=", "A".repeat(43)))
    }

    #[test]
    fn a_customer_key_travels_encrypted_or_not_far() {
        for (endpoint, refused) in [
            ("http://s3.example.com", true),
            ("HTTP://s3.example.com", true),
            ("http://8.8.8.8:9000", true),
            ("http://169.254.1.1:9000", true),
            ("http://localhost@s3.example.com", true),
            ("https://s3.example.com", false),
            ("http://127.0.0.1:9000", false),
            ("http://minio.local:9000", false),
        ] {
            let mut settings = Settings::new("bucket", "path");
            settings.endpoint = Some(endpoint.into());
            settings.sse.customer_key = Some(key());
            let problem = settings.problem().unwrap_or_default();
            assert_eq!(problem.contains("unencrypted"), refused, "{endpoint}: {problem}");
        }
        let mut settings = Settings::new("bucket", "path");
        settings.sse = Sse { customer_key: Some(key()), customer_algorithm: Some("AES128".into()), kms_key_id: None };
        assert!(settings.problem().is_some_and(|problem| problem.contains("must be AES256")));
    }

    #[test]
    fn what_is_wrong_inside_is_refused_by_name_and_never_shown() {
        type Change = fn(&mut Settings, String);
        let fields: [(&str, Change); 9] = [
            ("bucket", |s, v| s.bucket = v),
            ("path", |s, v| s.prefix = v),
            ("region", |s, v| s.region = Some(v)),
            ("endpoint", |s, v| s.endpoint = Some(v)),
            ("storage-class", |s, v| s.storage_class = Some(v)),
            ("sse-kms-key-id", |s, v| s.sse.kms_key_id = Some(v)),
            ("access-key-id", |s, v| s.credentials = Some(keys(v, "s".into(), None))),
            ("secret-access-key", |s, v| s.credentials = Some(keys("i".into(), v, None))),
            ("session-token", |s, v| s.credentials = Some(keys("i".into(), "s".into(), Some(v)))),
        ];
        for (name, change) in fields {
            for bad in ["hun\nter", "hun\rter", "hun\0ter", "hun\u{7f}ter"] {
                let mut settings = Settings::new("bucket", "path");
                change(&mut settings, bad.into());
                let told = settings.problem().unwrap_or_default();
                assert!(told.starts_with(&format!("`{name}` contains")) && !told.contains("hun"), "{name}: {told}");
            }
            let mut settings = Settings::new("bucket", "path");
            change(&mut settings, "plain-1".into());
            assert_eq!(settings.problem(), None, "{name}");
        }
        let mut settings = Settings::new("bucket", "sp ace/ü");
        settings.credentials = Some(keys("id".into(), "pass phrase ü".into(), None));
        assert_eq!(settings.problem(), None, "such paths and secrets work");
        for region in ["eu west-1", "eu/west", "ü"] {
            assert!(super::super::value::region_problem(region).is_some(), "{region}");
        }
    }

    fn keys(id: String, secret: String, token: Option<String>) -> Credentials {
        Credentials { access_key_id: id, secret_access_key: Secret::new(secret), session_token: token.map(Secret::new) }
    }
}
