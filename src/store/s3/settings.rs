//! What an S3 store needs to know: the bucket, the way to it, and how to speak to that provider.
//!
//! Plain values, already resolved: nothing here reads a file or the environment. Every secret is a [`Secret`], which no
//! `Debug` shows. What cannot work is refused by [`Settings::validate`], before the first request.

use std::fmt;
use std::net::IpAddr;

use super::super::{Result, StoreError};

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub session_token: Option<Secret>,
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

/// `Debug` shows everything but the secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bucket name, or the ARN of an access point.
    pub bucket: String,
    /// Verbatim: an object's key is `prefix + "/" + name`, also for `""`, `"."` and `"/lead/slash/"`, as Litestream's are.
    pub prefix: String,
    /// `None`: from the provider's host, the environment, or by asking S3.
    pub region: Option<String>,
    /// `None`: AWS. Without a scheme it means https, or http for a private address.
    pub endpoint: Option<String>,
    /// `None`: AWS's chain (environment, profile, web identity, container, instance).
    pub credentials: Option<Credentials>,
    pub force_path_style: bool,
    /// Accepts any TLS certificate.
    pub skip_verify: bool,
    /// `false`: `UNSIGNED-PAYLOAD` for bodies.
    pub sign_payload: bool,
    /// Send Content-MD5 with batch deletes; some providers refuse them without, Tigris refuses them with it.
    pub require_content_md5: bool,
    pub storage_class: Option<String>,
    /// Bodies of at least this size are uploaded in parts of this size.
    pub part_size: u64,
    /// Parts in flight per upload.
    pub concurrency: usize,
    pub sse: Sse,
}

/// What stands in front of a name that is joined to a prefix as a path: cleaned, with a slash at its end unless it is empty.
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

impl Settings {
    /// Litestream's defaults.
    pub fn new(bucket: impl Into<String>, prefix: impl Into<String>) -> Settings {
        Settings {
            bucket: bucket.into(),
            prefix: prefix.into(),
            region: None,
            endpoint: None,
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

    /// `s3://bucket/prefix`
    pub(super) fn address(&self) -> String {
        match self.prefix.as_str() {
            "" => format!("s3://{}", self.bucket),
            prefix => format!("s3://{}/{prefix}", self.bucket),
        }
    }

    /// Refuses what no request could repair.
    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |what: String| Err(StoreError::Permanent { detail: format!("{}: {what}", self.address()) });
        if self.bucket.is_empty() {
            return refuse("no bucket given".into());
        }
        if !(PART_SIZE_MIN..=PART_SIZE_MAX).contains(&self.part_size) {
            return refuse(format!("part-size {} is outside S3's limits (5 MiB to 5 GiB)", self.part_size));
        }
        if self.concurrency == 0 {
            return refuse("concurrency must be at least 1".into());
        }
        if self.sse.customer_key.is_some() && self.sse.kms_key_id.is_some() {
            return refuse("sse-customer-key and sse-kms-key-id exclude each other".into());
        }
        if self.sse.customer_algorithm.is_some() && self.sse.customer_key.is_none() {
            return refuse("sse-customer-algorithm needs sse-customer-key".into());
        }
        if self.sse.customer_key.is_some() && self.customer_key_bytes().is_none() {
            return refuse("sse-customer-key must be 32 bytes in base64".into());
        }
        Ok(())
    }

    /// The raw SSE-C key; `None` when there is none or it is malformed.
    pub(super) fn customer_key_bytes(&self) -> Option<Vec<u8>> {
        let decoded = aws_smithy_types::base64::decode(self.sse.customer_key.as_ref()?.expose()).ok()?;
        (decoded.len() == CUSTOMER_KEY_LEN).then_some(decoded)
    }
}

/// Gives a scheme-less endpoint its scheme.
pub(super) fn endpoint_url(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.contains("://") {
        return endpoint.to_owned();
    }
    let scheme = if is_private(host_of(endpoint)) { "http" } else { "https" };
    format!("{scheme}://{endpoint}")
}

/// Host of an endpoint given with or without scheme, port and path; without the brackets of an IPv6 address.
pub(super) fn host_of(endpoint: &str) -> &str {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    }
}

fn is_private(host: &str) -> bool {
    match host.parse() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
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
        assert!(shown.contains("AKIDEXAMPLE") && shown.contains("redacted"), "{shown}");
        assert!(!shown.contains("hush"), "{shown}");
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
        assert_eq!(refusal(|s| s.sse.customer_key = Some(Secret::new(format!("{}=", "A".repeat(43))))), "");
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
        ] {
            assert_eq!(endpoint_url(given), url);
        }
        assert_eq!(host_of("https://[fd00::1]:9000/x"), "fd00::1");
        assert_eq!(host_of("http://user@host:1/p"), "host");
    }
}
