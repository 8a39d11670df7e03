//! The proxies of `HTTP_PROXY` and `HTTPS_PROXY`, and which connections go to their server without.
//! Pure.
//!
//! As Go and curl decide: never through a proxy to this machine, nor to what `NO_PROXY` names, in
//! all the forms that either of them reads. The metadata services that give credentials are never
//! behind a proxy either.

use std::net::IpAddr;

/// The proxy of the environment is none that we can use.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the proxy that {variable} names cannot be used: {why}")]
pub(super) struct BadProxy {
    pub variable: &'static str,
    pub why: &'static str,
}

/// The rules of one `NO_PROXY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bypass(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    hosts: Hosts,
    /// `None`: any.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    Network {
        address: IpAddr,
        bits: u8,
    },
    /// This name and those below it, or only those below it.
    Domain {
        name: String,
        below_only: bool,
    },
}

/// The value of the environment that counts: the first that is not empty.
pub(super) fn no_proxy(env: impl Fn(&str) -> Option<String>) -> String {
    ["NO_PROXY", "no_proxy"].into_iter().filter_map(env).find(|value| !value.trim().is_empty()).unwrap_or_default()
}

/// A proxy of the environment. Its address may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    pub variable: &'static str,
    pub url: String,
}

/// The proxies that the environment names, by the scheme of what is asked for.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Proxies {
    pub http: Option<Proxy>,
    pub https: Option<Proxy>,
}

impl Proxies {
    /// Of a scheme's variables, and then of those for all, the first that is not empty counts.
    pub fn of(env: impl Fn(&str) -> Option<String>) -> Proxies {
        let first = |variables: [&'static str; 4]| {
            variables.into_iter().find_map(|variable| {
                let value = env(variable)?;
                let value = Some(value.trim()).filter(|value| !value.is_empty())?;
                let scheme = if value.contains("://") { "" } else { "http://" };
                Some(Proxy { variable, url: format!("{scheme}{value}") })
            })
        };
        // Of a CGI program this variable is a header of whoever asks it something.
        let upper = if env("REQUEST_METHOD").is_some() { "http_proxy" } else { "HTTP_PROXY" };
        Proxies {
            http: first([upper, "http_proxy", "ALL_PROXY", "all_proxy"]),
            https: first(["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }
}

impl Bypass {
    /// Entries stand between commas or spaces: `*`, an address, a network (`10.0.0.0/8`), a domain
    /// (`example.com`, `.example.com`, `*.example.com`), each but a network also with a port.
    pub fn parse(text: &str) -> Bypass {
        Bypass(text.split(|c: char| c == ',' || c.is_whitespace()).filter_map(rule).collect())
    }

    /// Whether a connection to this host of a URL goes directly.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let is_local = match address {
            Some(address) => address.is_loopback() || is_metadata(address),
            None => host == "localhost" || host.ends_with(".localhost"),
        };
        is_local || self.0.iter().any(|rule| rule.port.is_none_or(|p| p == port) && rule.hosts.cover(&host, address))
    }
}

fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[..2] == [0xfd00, 0xec2],
    }
}

fn rule(entry: &str) -> Option<Rule> {
    let entry = entry.to_ascii_lowercase();
    if let Some(hosts) = network(&entry) {
        return Some(Rule { hosts, port: None });
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (entry.as_str(), None),
    };
    if let Some(hosts) = network(host) {
        return Some(Rule { hosts, port });
    }
    let host = host.trim_end_matches('.');
    let hosts = match (host, host.strip_prefix("*.")) {
        ("" | ".", _) => return None,
        ("*", _) => Hosts::All,
        (_, Some(name)) => Hosts::Domain { name: name.to_owned(), below_only: true },
        // curl takes the name itself too, Go only what is below: who writes it hardly wants a proxy
        // for the name.
        (name, None) => Hosts::Domain { name: name.trim_start_matches('.').to_owned(), below_only: false },
    };
    Some(Rule { hosts, port })
}

/// `10.1.2.3`, `10.0.0.0/8`, `::1`, `[::1]`
fn network(text: &str) -> Option<Hosts> {
    let text = text.strip_prefix('[').map_or(text, |rest| rest.trim_end_matches(']'));
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(all), |bits| bits.parse().ok().filter(|bits| *bits <= all))?;
    Some(Hosts::Network { address, bits })
}

impl Hosts {
    fn cover(&self, host: &str, address: Option<IpAddr>) -> bool {
        match self {
            Hosts::All => true,
            Hosts::Network { address: network, bits } => address.is_some_and(|a| is_within(a, *network, *bits)),
            Hosts::Domain { name, below_only } => match host.strip_suffix(name.as_str()) {
                Some("") => !below_only,
                Some(front) => address.is_none() && front.ends_with('.'),
                None => false,
            },
        }
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let shift = 32 - u32::from(bits);
            (u32::from(a) ^ u32::from(n)).checked_shr(shift).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let shift = 128 - u32::from(bits);
            (u128::from(a) ^ u128::from(n)).checked_shr(shift).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_metadata_services_are_never_behind_a_proxy() {
        let none = Bypass::default();
        for host in ["localhost", "LOCALHOST.", "s3.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "::ffff:127.0.0.1"] {
            assert!(none.covers(host, 9000), "{host}");
        }
        assert!(
            none.covers("169.254.169.254", 80)
                && none.covers("169.254.170.2", 80)
                && none.covers("[fd00:ec2::254]", 80)
        );
        for host in ["10.0.0.1", "localhost.example.com", "notlocalhost", "s3.amazonaws.com", "[fd00::1]", "128.0.0.1"]
        {
            assert!(!none.covers(host, 443), "{host}");
        }
    }

    #[test]
    fn no_proxy_in_all_its_forms() {
        for (rules, host, port, covered) in [
            ("*", "s3.example.com", 443, true),
            ("example.com", "example.com", 443, true),
            ("example.com", "S3.Example.Com", 443, true),
            ("example.com", "notexample.com", 443, false),
            ("example.com", "example.com.evil.org", 443, false),
            (".example.com", "s3.example.com", 443, true),
            (".example.com", "example.com", 443, true),
            ("*.example.com", "a.b.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("example.com.", "s3.example.com", 443, true),
            ("minio:9000", "minio", 9000, true),
            ("minio:9000", "minio", 9001, false),
            ("a.org, b.org\n,minio", "minio", 9000, true),
            ("a.org b.org minio", "b.org", 443, true),
            ("10.0.0.5", "10.0.0.5", 9000, true),
            ("10.0.0.5:9000", "10.0.0.5", 443, false),
            ("10.0.0.5:9000", "10.0.0.5", 9000, true),
            ("10.0.0.0/8", "10.200.3.4", 9000, true),
            ("10.0.0.0/8", "11.0.0.1", 9000, false),
            ("0.0.0.0/0", "11.0.0.1", 9000, true),
            ("10.0.0.0/33", "10.0.0.1", 9000, false),
            ("fd00::/8", "[fd12::1]", 9000, true),
            ("fd12::1", "[fd12::1]", 9000, true),
            ("[fd12::1]:9000", "[fd12::1]", 9000, true),
            ("[fd12::1]:9000", "[fd12::1]", 443, false),
            ("::/0", "[2001:db8::1]", 443, true),
            ("0.1", "10.0.0.1", 443, false),
            (",,", "minio", 9000, false),
            ("minio:port", "minio", 9000, false),
        ] {
            assert_eq!(Bypass::parse(rules).covers(host, port), covered, "{rules:?} {host}:{port}");
        }
    }

    #[test]
    fn the_first_variable_that_says_something_counts() {
        let proxies = |set: &'static [(&str, &str)]| {
            let env = move |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            let proxies = Proxies::of(env);
            assert_eq!(proxies.is_empty(), proxies == Proxies::default());
            let shown = |proxy: Option<Proxy>| proxy.map_or_else(String::new, |p| format!("{} {}", p.variable, p.url));
            (shown(proxies.http), shown(proxies.https))
        };
        let pair = |http: &str, https: &str| (http.to_owned(), https.to_owned());
        assert_eq!(proxies(&[]), pair("", ""));
        assert_eq!(proxies(&[("HTTP_PROXY", ""), ("https_proxy", " ")]), pair("", ""));
        assert_eq!(proxies(&[("HTTP_PROXY", ""), ("http_proxy", "p:1")]), pair("http_proxy http://p:1", ""));
        assert_eq!(proxies(&[("HTTPS_PROXY", " "), ("https_proxy", "https://p\n")]), pair("", "https_proxy https://p"));
        assert_eq!(proxies(&[("HTTP_PROXY", "a"), ("http_proxy", "b")]), pair("HTTP_PROXY http://a", ""));
        assert_eq!(
            proxies(&[("all_proxy", "socks5://s"), ("HTTPS_PROXY", "b")]),
            pair("all_proxy socks5://s", "HTTPS_PROXY http://b")
        );
        assert_eq!(proxies(&[("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "evil")]), pair("", ""));
        let env = |name: &str| match name {
            "NO_PROXY" => Some(" ".to_owned()),
            "no_proxy" => Some("minio".to_owned()),
            _ => None,
        };
        assert_eq!(no_proxy(env), "minio");
    }
}
