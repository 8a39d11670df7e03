//! What an S3 store needs to know: the bucket, the way to it, and how to speak to that provider.
//!
//! Plain values, already resolved: nothing here reads a file or the environment. Every secret is a
//! [`Secret`], which no `Debug` shows. What cannot work is refused before the first request:
//! configuration shows the user [`Settings::problem`], and [`Settings::validate`] holds everybody
//! to it.

use std::fmt;
use std::net::IpAddr;

use super::super::{Result, StoreError};
use super::value;

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
    pub(super) fn address(&self) -> String {
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
        value::problem(self).or_else(|| self.encryption_problem().map(str::to_owned))
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

/// Gives an endpoint without a scheme one: plain HTTP for this machine and private networks, else
/// HTTPS.
pub fn endpoint_url(endpoint: &str) -> String {
    let bare = endpoint.trim_end_matches('/');
    if endpoint.contains("://") {
        return bare.to_owned();
    }
    let scheme = if is_private(endpoint) { "http" } else { "https" };
    format!("{scheme}://{bare}")
}

/// Whether what is sent to this endpoint could be read on its way by anybody.
fn is_plain_and_public(endpoint: &str) -> bool {
    let scheme = endpoint.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http")) && !is_private(endpoint)
}

/// Host of an endpoint given with or without scheme, port and path; without the brackets of an IPv6
/// address.
pub(super) fn host_of(endpoint: &str) -> &str {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    }
}

/// Whether an endpoint is on this machine or in a private network.
fn is_private(endpoint: &str) -> bool {
    let host = host_of(endpoint).to_ascii_lowercase();
    match host.parse() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost") || host.ends_with(".local"),
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
    fn endpoints_get_the_scheme_people_mean() {
        for (given, url) in [
            ("https://s3.example.com/", "https://s3.example.com"),
            ("http://10.0.0.1:9000", "http://10.0.0.1:9000"),
            ("s3.example.com", "https://s3.example.com"),
            ("minio:9000", "https://minio:9000"),
            ("localhost:9000", "http://localhost:9000"),
            ("127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("192.168.1.5", "http://192.168.1.5"),
            ("[::1]:9000", "http://[::1]:9000"),
            ("8.8.8.8:9000", "https://8.8.8.8:9000"),
            ("169.254.1.1:9000", "https://169.254.1.1:9000"),
            ("MINIO.local:9000", "http://MINIO.local:9000"),
            ("https://", "https:"),
        ] {
            assert_eq!(endpoint_url(given), url);
        }
        assert_eq!(host_of("https://[fd00::1]:9000/x"), "fd00::1");
        assert_eq!(host_of("http://user@host:1/p"), "host");
    }
}
