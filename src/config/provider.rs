//! The providers of S3 that are known by their hosts: where the bucket and region stand, and what each needs.
//!
//! Pure, and the only place that knows a provider by name. Both of Litestream's generations are merged: hosts that only one of
//! them knows (Linode in 0.3), and hosts that neither does but people write (R2, Tigris, Hetzner), mean what they say.

use super::url::S3Location;

/// Region for endpoints that do not name one.
pub const DEFAULT_REGION: &str = "us-east-1";

/// Providers whose hosts are `BUCKET.[SERVICE.]REGION.DOMAIN`, and whether the bucket goes into the path.
const REGIONAL: [(&str, &str, bool); 5] = [
    ("", ".digitaloceanspaces.com", false),
    ("s3", ".backblazeb2.com", true),
    ("s3", ".scw.cloud", false),
    ("", ".linodeobjects.com", true),
    ("", ".your-objectstorage.com", false),
];

/// Providers whose hosts are `BUCKET.DOMAIN`, their region, and whether the bucket goes into the path.
const GLOBAL: [(&str, &str, bool); 3] = [
    ("s3.filebase.com", DEFAULT_REGION, true),
    ("fly.storage.tigris.dev", "auto", false),
    ("t3.storage.dev", "auto", false),
];

/// Bucket, region and endpoint from a URL's host, if it is one of a provider we know; else the host is the bucket, on AWS.
pub fn parse_host(host: &str) -> S3Location {
    let (name, port) = host.rsplit_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let https = |host: String| port.map_or_else(|| format!("https://{host}"), |port| format!("https://{host}:{port}"));
    if let Some(known) =
        aws(name).or_else(|| global(name, https)).or_else(|| r2(name, https)).or_else(|| regional(name, https))
    {
        return known;
    }
    match port {
        // BUCKET.HOST:PORT, a server of one's own. An address alone names no bucket.
        Some(port) => {
            let (bucket, server) = match name.split_once('.') {
                Some((bucket, server)) if name.parse::<std::net::Ipv4Addr>().is_err() => (bucket, server),
                _ => ("", name),
            };
            at(bucket, DEFAULT_REGION, format!("http://{server}:{port}"), true)
        }
        None => match before(name, "localhost") {
            Some(bucket) => at(bucket, DEFAULT_REGION, "http://localhost".into(), true),
            None => S3Location { bucket: host.to_owned(), ..S3Location::default() },
        },
    }
}

fn aws(name: &str) -> Option<S3Location> {
    let rest = name.strip_suffix(".amazonaws.com")?;
    let (bucket, region) = match rest.strip_suffix(".s3") {
        Some(bucket) => (bucket, None),
        None => rest.rsplit_once(".s3.").filter(|(_, region)| !region.contains('.')).map(|(b, r)| (b, Some(r)))?,
    };
    Some(S3Location { bucket: bucket.to_owned(), region: region.map(str::to_owned), ..S3Location::default() })
}

fn global(name: &str, https: impl Fn(String) -> String) -> Option<S3Location> {
    GLOBAL.into_iter().find_map(|(domain, region, path_style)| {
        before(name, domain).map(|bucket| at(bucket, region, https(domain.to_owned()), path_style))
    })
}

/// Cloudflare's `[BUCKET.]ACCOUNT[.JURISDICTION].r2.cloudflarestorage.com`.
fn r2(name: &str, https: impl Fn(String) -> String) -> Option<S3Location> {
    let rest = name.strip_suffix(".r2.cloudflarestorage.com")?;
    let without_jurisdiction = rest.strip_suffix(".eu").or_else(|| rest.strip_suffix(".fedramp")).unwrap_or(rest);
    let (bucket, account) = match without_jurisdiction.rfind('.') {
        Some(dot) => (&rest[..dot], &rest[dot + 1..]),
        None => ("", rest),
    };
    Some(at(bucket, "auto", https(format!("{account}.r2.cloudflarestorage.com")), false))
}

fn regional(name: &str, https: impl Fn(String) -> String) -> Option<S3Location> {
    REGIONAL.into_iter().find_map(|(service, domain, path_style)| {
        let rest = name.strip_suffix(domain)?;
        let (front, region) = rest.rsplit_once('.').unwrap_or(("", rest));
        let bucket = if service.is_empty() { front } else { before(front, service)? };
        let host = if service.is_empty() { format!("{region}{domain}") } else { format!("{service}.{region}{domain}") };
        Some(at(bucket, region, https(host), path_style))
    })
}

/// What stands before `.suffix`; empty when `name` is the suffix itself.
fn before<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let front = name.strip_suffix(suffix)?;
    if front.is_empty() { Some(front) } else { front.strip_suffix('.') }
}

fn at(bucket: &str, region: &str, endpoint: String, path_style: bool) -> S3Location {
    S3Location {
        bucket: bucket.to_owned(),
        region: Some(region.to_owned()),
        endpoint: Some(endpoint),
        // A certificate for *.HOST does not cover a bucket with a dot in its name.
        force_path_style: Some(path_style || bucket.contains('.')),
        ..S3Location::default()
    }
}

/// Gives an endpoint without a scheme one: plain HTTP for this machine and private networks, else HTTPS.
pub fn with_scheme(endpoint: &str) -> String {
    if endpoint.starts_with("http://") || endpoint.starts_with("https://") {
        endpoint.to_owned()
    } else if is_private(endpoint) {
        format!("http://{endpoint}")
    } else {
        format!("https://{endpoint}")
    }
}

/// Whether an endpoint lies on this machine or in a private network.
pub fn is_private(endpoint: &str) -> bool {
    let host = host_of(endpoint);
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    match name.parse::<std::net::Ipv4Addr>() {
        Ok(address) => address.is_loopback() || address.is_private(),
        Err(_) => name == "localhost" || name == "[::1]" || name.ends_with(".local") || name.ends_with(".localhost"),
    }
}

/// Host and port of an endpoint, in lower case.
fn host_of(endpoint: &str) -> String {
    let endpoint = endpoint.trim().to_ascii_lowercase();
    let bare = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
    bare.split('/').next().unwrap_or(bare).to_owned()
}

/// What Litestream assumes of a provider unless it is told otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderDefaults {
    pub path_style: bool,
    pub no_content_md5: bool,
    pub concurrency: Option<usize>,
}

pub fn provider_defaults(endpoint: &str) -> ProviderDefaults {
    let host = host_of(endpoint);
    let tigris = host == "fly.storage.tigris.dev" || host == "t3.storage.dev";
    let r2 = host.ends_with(".r2.cloudflarestorage.com");
    let path_only = [".backblazeb2.com", ".supabase.co"].iter().any(|domain| host.ends_with(domain));
    let hosted = [
        ".amazonaws.com",
        ".digitaloceanspaces.com",
        ".backblazeb2.com",
        ".filebase.com",
        ".scw.cloud",
        ".r2.cloudflarestorage.com",
        "tigris.dev",
        "t3.storage.dev",
        ".supabase.co",
    ];
    let own_server = host.contains(':') && !hosted.iter().any(|domain| host.contains(domain));
    ProviderDefaults {
        path_style: path_only || own_server || host == "s3.filebase.com",
        no_content_md5: tigris,
        concurrency: r2.then_some(2),
    }
}

#[cfg(test)]
mod tests {
    use super::super::url::{Location, parse};
    use super::*;

    /// (url, bucket, region, endpoint, path style)
    type Case = (&'static str, &'static str, &'static str, &'static str, Option<bool>);

    #[test]
    fn hosts_of_providers() {
        let cases: &[Case] = &[
            ("s3://b/p", "b", "", "", None),
            ("s3://my.dotted.bucket/p", "my.dotted.bucket", "", "", None),
            ("s3://b.s3.amazonaws.com/p", "b", "", "", None),
            ("s3://my.b.s3.eu-west-1.amazonaws.com/p", "my.b", "eu-west-1", "", None),
            ("s3://b.nyc3.digitaloceanspaces.com/p", "b", "nyc3", "https://nyc3.digitaloceanspaces.com", Some(false)),
            (
                "s3://my.b.ams3.digitaloceanspaces.com/p",
                "my.b",
                "ams3",
                "https://ams3.digitaloceanspaces.com",
                Some(true),
            ),
            (
                "s3://b.nyc3.digitaloceanspaces.com:443/p",
                "b",
                "nyc3",
                "https://nyc3.digitaloceanspaces.com:443",
                Some(false),
            ),
            (
                "s3://b.s3.eu-central-003.backblazeb2.com/p",
                "b",
                "eu-central-003",
                "https://s3.eu-central-003.backblazeb2.com",
                Some(true),
            ),
            ("s3://b.s3.fr-par.scw.cloud/p", "b", "fr-par", "https://s3.fr-par.scw.cloud", Some(false)),
            ("s3://b.s3.filebase.com/p", "b", "us-east-1", "https://s3.filebase.com", Some(true)),
            (
                "s3://b.us-east-1.linodeobjects.com/p",
                "b",
                "us-east-1",
                "https://us-east-1.linodeobjects.com",
                Some(true),
            ),
            ("s3://b.fsn1.your-objectstorage.com/p", "b", "fsn1", "https://fsn1.your-objectstorage.com", Some(false)),
            ("s3://b.acc.r2.cloudflarestorage.com/p", "b", "auto", "https://acc.r2.cloudflarestorage.com", Some(false)),
            (
                "s3://b.acc.eu.r2.cloudflarestorage.com/p",
                "b",
                "auto",
                "https://acc.eu.r2.cloudflarestorage.com",
                Some(false),
            ),
            ("s3://b.fly.storage.tigris.dev/p", "b", "auto", "https://fly.storage.tigris.dev", Some(false)),
            ("s3://b.localhost:9000/p", "b", "us-east-1", "http://localhost:9000", Some(true)),
            ("s3://b.localhost/p", "b", "us-east-1", "http://localhost", Some(true)),
            ("s3://b.minio:9000/p", "b", "us-east-1", "http://minio:9000", Some(true)),
            ("s3://b.127.0.0.1:9000/p", "b", "us-east-1", "http://127.0.0.1:9000", Some(true)),
            ("s3://b.minio.example.com:9000/p", "b", "us-east-1", "http://minio.example.com:9000", Some(true)),
        ];
        for (text, bucket, region, endpoint, path_style) in cases {
            let Ok(Location::S3(location)) = parse(text) else { panic!("{text} is not on S3") };
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            assert_eq!(location.bucket, *bucket, "{text}");
            assert_eq!(location.region, some(region), "{text}");
            assert_eq!(location.endpoint, some(endpoint), "{text}");
            assert_eq!(location.force_path_style, *path_style, "{text}");
            assert_eq!(location.prefix, "p", "{text}");
        }
    }

    #[test]
    fn provider_defaults_are_litestreams() {
        let path_style = |endpoint: &str| provider_defaults(endpoint).path_style;
        assert!(path_style("https://s3.eu-central-003.backblazeb2.com") && path_style("http://127.0.0.1:9000"));
        assert!(path_style("https://x.supabase.co/storage/v1/s3") && path_style("https://s3.filebase.com"));
        assert!(!path_style("https://nyc3.digitaloceanspaces.com") && !path_style("https://s3.example.com"));
        assert!(provider_defaults("https://fly.storage.tigris.dev").no_content_md5);
        assert_eq!(provider_defaults("https://a.r2.cloudflarestorage.com").concurrency, Some(2));
    }
}
