//! Which S3-compatible service stands behind an endpoint, and what it needs. A pure table by host name.
//!
//! Configuration asks [`defaults`] for everything the user left open; the client asks [`region_of`]. An unknown host gets
//! what works nearly everywhere: path-style addresses, signed payloads, Content-MD5 on batch deletes.

use super::settings::{DEFAULT_CONCURRENCY, host_of};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    pub region: Option<String>,
    pub force_path_style: bool,
    pub sign_payload: bool,
    pub require_content_md5: bool,
    pub concurrency: usize,
}

/// How a known provider differs.
struct Provider {
    hosts: &'static [&'static str],
    path_style: bool,
    region: Region,
    concurrency: usize,
    content_md5: bool,
}

enum Region {
    /// The label just before the suffix.
    InHost,
    Fixed(&'static str),
    Unknown,
}

const fn provider(hosts: &'static [&'static str], path_style: bool, region: Region) -> Provider {
    Provider { hosts, path_style, region, concurrency: DEFAULT_CONCURRENCY, content_md5: true }
}

/// Matched by host suffix, first match wins. Path-style addresses work everywhere (and with dots in the bucket's name),
/// except where the provider gave them up.
const PROVIDERS: &[Provider] = &[
    provider(&["vpce.amazonaws.com"], false, Region::Unknown),
    provider(&["amazonaws.com", "amazonaws.com.cn"], false, Region::InHost),
    Provider {
        content_md5: false,
        ..provider(&["storage.tigris.dev", "tigris.dev", "t3.storage.dev"], false, Region::Fixed("auto"))
    },
    Provider { concurrency: 2, ..provider(&["r2.cloudflarestorage.com"], true, Region::Fixed("auto")) },
    provider(&["backblazeb2.com"], true, Region::InHost),
    provider(&["filebase.com"], true, Region::Fixed("us-east-1")),
    provider(&["digitaloceanspaces.com"], true, Region::InHost),
    provider(&["your-objectstorage.com"], true, Region::InHost),
    provider(&["scw.cloud"], true, Region::InHost),
    provider(&["linodeobjects.com"], true, Region::InHost),
    provider(&["vultrobjects.com"], true, Region::InHost),
    provider(&["wasabisys.com"], true, Region::InHost),
    provider(&["storage.googleapis.com"], true, Region::Fixed("auto")),
    provider(&["supabase.co", "supabase.com"], true, Region::Unknown),
];

/// What this endpoint needs where the user said nothing.
pub fn defaults(endpoint: &str) -> Defaults {
    let known = find(endpoint);
    Defaults {
        region: region_of(endpoint),
        force_path_style: known.is_none_or(|p| p.path_style),
        sign_payload: true,
        require_content_md5: known.is_none_or(|p| p.content_md5),
        concurrency: known.map_or(DEFAULT_CONCURRENCY, |p| p.concurrency),
    }
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
            // `s3.amazonaws.com` and `s3.wasabisys.com` name no region; some old hosts join the two as `s3-region`.
            let region = label.strip_prefix("s3-").unwrap_or(label);
            (!region.is_empty() && region != "s3" && region != "s3-accelerate").then(|| region.to_owned())
        }
    }
}

/// Whether reads must be asked to be consistent (Tigris: `X-Tigris-Consistent`).
pub(super) fn wants_consistency_header(endpoint: &str) -> bool {
    let host = host_of(endpoint).to_ascii_lowercase();
    has_suffix(&host, "tigris.dev") || has_suffix(&host, "t3.storage.dev")
}

fn find(endpoint: &str) -> Option<&'static Provider> {
    let host = host_of(endpoint).to_ascii_lowercase();
    PROVIDERS.iter().find(|p| p.hosts.iter().any(|suffix| has_suffix(&host, suffix)))
}

fn has_suffix(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
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
            assert_eq!(found.region.as_deref(), region, "{endpoint}");
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
