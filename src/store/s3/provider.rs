//! Which S3-compatible service stands behind an endpoint or in a URL's host, and what it needs. A
//! pure table by host name.
//!
//! The only place that knows a provider by name. Configuration asks [`split_host`] what a URL's
//! host says and [`defaults`] for what the user left open; the client asks [`region_of`]. An
//! unknown host gets what works nearly everywhere: path-style addresses, signed payloads,
//! Content-MD5 on batch deletes.

use std::net::Ipv4Addr;

use super::endpoint::host_of;
use super::settings::DEFAULT_CONCURRENCY;

/// Region for endpoints that do not name one.
pub const DEFAULT_REGION: &str = "us-east-1";

/// What an endpoint needs where the user said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    pub force_path_style: bool,
    pub sign_payload: bool,
    pub require_content_md5: bool,
    pub concurrency: usize,
}

/// How a known provider differs.
struct Provider {
    /// Domains; the first is the one that bucket and region stand before in a URL.
    hosts: &'static [&'static str],
    in_url: InUrl,
    bucket_in: BucketIn,
    region: Region,
    concurrency: usize,
    content_md5: bool,
    /// Reads must be asked to be consistent.
    consistency_header: bool,
}

/// What stands before a provider's domain in the host of a replica's URL.
enum InUrl {
    /// `BUCKET.s3[.REGION].DOMAIN`, and no endpoint: the SDK knows it.
    Aws,
    /// `BUCKET.[SERVICE.]REGION.DOMAIN`
    Regional { service: &'static str },
    /// `BUCKET.ENDPOINT`
    Global { endpoints: &'static [&'static str] },
    /// `[BUCKET.]ACCOUNT[.JURISDICTION].DOMAIN`
    Account { jurisdictions: &'static [&'static str] },
    /// Litestream does not know such URLs: the host is a bucket's name.
    Never,
}

/// Where a request names its bucket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BucketIn {
    /// The provider gave the other way up.
    Host,
    /// The other way does not work.
    Path,
    /// Both work: a bucket in a URL's host stays there; beside an endpoint of its own it goes into
    /// the path.
    Either,
}

enum Region {
    /// The label just before the suffix.
    InHost,
    Fixed(&'static str),
    Unknown,
}

const fn provider(hosts: &'static [&'static str], in_url: InUrl, bucket_in: BucketIn, region: Region) -> Provider {
    Provider {
        hosts,
        in_url,
        bucket_in,
        region,
        concurrency: DEFAULT_CONCURRENCY,
        content_md5: true,
        consistency_header: false,
    }
}

const REGIONAL: InUrl = InUrl::Regional { service: "" };
const REGIONAL_S3: InUrl = InUrl::Regional { service: "s3" };

/// Matched by host suffix, first match wins. Both of Litestream's generations are merged: hosts
/// that only one of them knows (Linode in 0.3), and hosts that neither does but people write (R2,
/// Tigris, Hetzner), mean what they say.
const PROVIDERS: &[Provider] = &[
    provider(&["vpce.amazonaws.com"], InUrl::Never, BucketIn::Host, Region::Unknown),
    provider(&["amazonaws.com", "amazonaws.com.cn"], InUrl::Aws, BucketIn::Host, Region::InHost),
    Provider {
        content_md5: false,
        consistency_header: true,
        ..provider(
            &["tigris.dev", "t3.storage.dev"],
            InUrl::Global { endpoints: &["fly.storage.tigris.dev", "t3.storage.dev"] },
            BucketIn::Host,
            Region::Fixed("auto"),
        )
    },
    Provider {
        concurrency: 2,
        ..provider(
            &["r2.cloudflarestorage.com"],
            InUrl::Account { jurisdictions: &["eu", "fedramp"] },
            BucketIn::Either,
            Region::Fixed("auto"),
        )
    },
    provider(&["backblazeb2.com"], REGIONAL_S3, BucketIn::Path, Region::InHost),
    provider(
        &["filebase.com"],
        InUrl::Global { endpoints: &["s3.filebase.com"] },
        BucketIn::Path,
        Region::Fixed("us-east-1"),
    ),
    provider(&["digitaloceanspaces.com"], REGIONAL, BucketIn::Either, Region::InHost),
    provider(&["your-objectstorage.com"], REGIONAL, BucketIn::Either, Region::InHost),
    provider(&["scw.cloud"], REGIONAL_S3, BucketIn::Either, Region::InHost),
    provider(&["linodeobjects.com"], REGIONAL, BucketIn::Path, Region::InHost),
    provider(&["vultrobjects.com"], InUrl::Never, BucketIn::Either, Region::InHost),
    provider(&["wasabisys.com"], InUrl::Never, BucketIn::Either, Region::InHost),
    provider(&["storage.googleapis.com"], InUrl::Never, BucketIn::Either, Region::Fixed("auto")),
    provider(&["supabase.co", "supabase.com"], InUrl::Never, BucketIn::Path, Region::Unknown),
];

/// What this endpoint needs where the user said nothing.
pub fn defaults(endpoint: &str) -> Defaults {
    let known = find(endpoint);
    Defaults {
        force_path_style: known.is_none_or(|p| p.bucket_in != BucketIn::Host),
        sign_payload: true,
        require_content_md5: known.is_none_or(|p| p.content_md5),
        concurrency: known.map_or(DEFAULT_CONCURRENCY, |p| p.concurrency),
    }
}

/// Whether this endpoint is AWS's own, where a key stays as it is spelled: `a//b` and `/a/b` are
/// two others than `a/b`.
pub(super) fn is_aws(endpoint: &str) -> bool {
    find(endpoint).is_some_and(|p| p.hosts.iter().any(|host| host.contains("amazonaws.com")))
}

/// The region that the provider's host name tells.
pub(super) fn region_of(endpoint: &str) -> Option<String> {
    let provider = find(endpoint)?;
    match provider.region {
        Region::Fixed(region) => Some(region.to_owned()),
        Region::Unknown => None,
        Region::InHost => {
            let host = host_of(endpoint).to_ascii_lowercase();
            let suffix = provider.hosts.iter().find(|suffix| has_suffix(&host, suffix))?;
            let label = host.strip_suffix(suffix)?.strip_suffix('.')?.rsplit('.').next()?;
            // `s3.amazonaws.com` and `s3.wasabisys.com` name no region; some old hosts join the two
            // as `s3-region`.
            let region = label.strip_prefix("s3-").unwrap_or(label);
            (!region.is_empty() && region != "s3" && region != "s3-accelerate").then(|| region.to_owned())
        }
    }
}

/// Whether reads must be asked to be consistent (Tigris: `X-Tigris-Consistent`).
pub(super) fn wants_consistency_header(endpoint: &str) -> bool {
    find(endpoint).is_some_and(|p| p.consistency_header)
}

fn find(endpoint: &str) -> Option<&'static Provider> {
    let host = host_of(endpoint).to_ascii_lowercase();
    PROVIDERS.iter().find(|p| p.hosts.iter().any(|suffix| has_suffix(&host, suffix)))
}

fn has_suffix(host: &str, suffix: &str) -> bool {
    before(host, suffix).is_some()
}

/// What stands before `.suffix`; empty when `name` is the suffix itself.
fn before<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let front = name.strip_suffix(suffix)?;
    if front.is_empty() { Some(front) } else { front.strip_suffix('.') }
}

/// What the host of a replica's URL says. `None` means that it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostParts {
    /// Empty where the host is only a server's.
    pub bucket: String,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    pub force_path_style: Option<bool>,
}

/// Bucket, region and endpoint from a URL's host, if it is one of a provider we know; else the host
/// is the bucket, on AWS.
pub fn split_host(host: &str) -> HostParts {
    let (name, port) = host.rsplit_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    if let Some(known) = PROVIDERS.iter().find_map(|provider| provider.split(name, port)) {
        return known;
    }
    match port {
        // BUCKET.HOST:PORT, a server of one's own. An address alone names no bucket.
        Some(port) => {
            let (bucket, server) = match name.split_once('.') {
                Some((bucket, server)) if name.parse::<Ipv4Addr>().is_err() => (bucket, server),
                _ => ("", name),
            };
            HostParts::at(bucket, DEFAULT_REGION, format!("http://{server}:{port}"), true)
        }
        None => match before(name, "localhost") {
            Some(bucket) => HostParts::at(bucket, DEFAULT_REGION, "http://localhost".into(), true),
            None => HostParts { bucket: host.to_owned(), ..HostParts::default() },
        },
    }
}

impl HostParts {
    fn at(bucket: &str, region: &str, endpoint: String, path_style: bool) -> HostParts {
        HostParts {
            bucket: bucket.to_owned(),
            region: Some(region.to_owned()),
            endpoint: Some(endpoint),
            // A certificate for *.HOST does not cover a bucket with a dot in its name.
            force_path_style: Some(path_style || bucket.contains('.')),
        }
    }
}

impl Provider {
    /// The parts of a URL's host, if it is one of this provider's.
    fn split(&self, name: &str, port: Option<&str>) -> Option<HostParts> {
        let domain = self.hosts[0];
        let at = |bucket: &str, region: &str, host: &str| {
            let endpoint = port.map_or_else(|| format!("https://{host}"), |port| format!("https://{host}:{port}"));
            HostParts::at(bucket, region, endpoint, self.bucket_in == BucketIn::Path)
        };
        let fixed = match self.region {
            Region::Fixed(region) => region,
            Region::InHost | Region::Unknown => DEFAULT_REGION,
        };
        match self.in_url {
            InUrl::Never => None,
            InUrl::Aws => split_aws(name.strip_suffix(domain)?.strip_suffix('.')?),
            InUrl::Global { endpoints } => {
                endpoints.iter().find_map(|host| before(name, host).map(|bucket| at(bucket, fixed, host)))
            }
            InUrl::Account { jurisdictions } => {
                let rest = name.strip_suffix(domain)?.strip_suffix('.')?;
                let within = jurisdictions.iter().find_map(|j| rest.strip_suffix(j)?.strip_suffix('.')).unwrap_or(rest);
                let (bucket, account) = within.rfind('.').map_or(("", rest), |dot| (&rest[..dot], &rest[dot + 1..]));
                Some(at(bucket, fixed, &format!("{account}.{domain}")))
            }
            InUrl::Regional { service } => {
                let rest = name.strip_suffix(domain)?.strip_suffix('.')?;
                let (front, region) = rest.rsplit_once('.').unwrap_or(("", rest));
                Some(match service {
                    "" => at(front, region, &format!("{region}.{domain}")),
                    _ => at(before(front, service)?, region, &format!("{service}.{region}.{domain}")),
                })
            }
        }
    }
}

/// `BUCKET.s3` or `BUCKET.s3.REGION`.
fn split_aws(rest: &str) -> Option<HostParts> {
    let (bucket, region) = match rest.strip_suffix(".s3") {
        Some(bucket) => (bucket, None),
        None => rest.rsplit_once(".s3.").filter(|(_, region)| !region.contains('.')).map(|(b, r)| (b, Some(r)))?,
    };
    Some(HostParts { bucket: bucket.to_owned(), region: region.map(str::to_owned), ..HostParts::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_providers_by_their_hosts() {
        let cases = [
            ("https://s3.eu-central-1.amazonaws.com", Some("eu-central-1"), false, 5, true),
            ("https://bucket.vpce-1a-2b.s3.us-east-1.vpce.amazonaws.com", None, false, 5, true),
            ("s3.amazonaws.com", None, false, 5, true),
            ("https://fly.storage.tigris.dev", Some("auto"), false, 5, false),
            ("https://t3.storage.dev", Some("auto"), false, 5, false),
            ("https://abc123.r2.cloudflarestorage.com", Some("auto"), true, 2, true),
            ("https://abc123.eu.r2.cloudflarestorage.com", Some("auto"), true, 2, true),
            ("s3.us-west-004.backblazeb2.com", Some("us-west-004"), true, 5, true),
            ("https://s3.filebase.com", Some("us-east-1"), true, 5, true),
            ("https://nyc3.digitaloceanspaces.com", Some("nyc3"), true, 5, true),
            ("fsn1.your-objectstorage.com", Some("fsn1"), true, 5, true),
            ("https://s3.fr-par.scw.cloud", Some("fr-par"), true, 5, true),
            ("https://s3.wasabisys.com", None, true, 5, true),
            ("https://xyz.supabase.co/storage/v1/s3", None, true, 5, true),
            ("http://127.0.0.1:9000", None, true, 5, true),
            ("http://minio:9000", None, true, 5, true),
        ];
        for (endpoint, region, path_style, concurrency, content_md5) in cases {
            let found = defaults(endpoint);
            assert_eq!(region_of(endpoint).as_deref(), region, "{endpoint}");
            assert_eq!(found.force_path_style, path_style, "{endpoint}");
            assert_eq!(found.concurrency, concurrency, "{endpoint}");
            assert_eq!(found.require_content_md5, content_md5, "{endpoint}");
            assert!(found.sign_payload, "{endpoint}");
        }
    }

    #[test]
    fn a_suffix_is_whole_labels() {
        assert_eq!(defaults("https://notbackblazeb2.com"), defaults("https://example.com"));
        assert!(wants_consistency_header("https://FLY.storage.tigris.dev"));
        assert!(!wants_consistency_header("https://tigris.dev.example.com"));
    }
}
