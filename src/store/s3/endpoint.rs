//! The address of a server: its scheme, its host, and whether the way to it is private. Pure.

use std::net::IpAddr;

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
pub(super) fn is_plain_and_public(endpoint: &str) -> bool {
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
