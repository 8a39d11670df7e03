//! The address of a server to which requests are passed on. Pure.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Http1,
    /// HTTP/2 from the first byte on, without TLS.
    H2c,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub speech: Speech,
    /// A name, or an address without brackets.
    host: String,
    port: u16,
}

impl Endpoint {
    /// Reads `localhost:8080`, `:8080`, `8080`, `http://127.0.0.1:8080` and `h2c://…`.
    pub fn parse(text: &str) -> Result<Endpoint, String> {
        let bad = |why: &str| format!("{text:?} {why}; write for example localhost:8080, or h2c://localhost:8080");
        let (speech, rest) = match text.split_once("://") {
            None => (Speech::Http1, text),
            Some(("http", rest)) => (Speech::Http1, rest),
            Some(("h2c", rest)) => (Speech::H2c, rest),
            Some(("https", _)) => return Err(bad("is spoken to without TLS: it is on this machine")),
            Some(_) => return Err(bad("has another scheme than http:// or h2c://")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port),
            None if rest.bytes().all(|b| b.is_ascii_digit()) => ("", rest),
            None => return Err(bad("has no port")),
        };
        let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|port| is_number && *port != 0);
        let port = port.ok_or_else(|| bad("has no port"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match (host, bare) {
            ("", _) => "localhost",
            (_, Some(address)) if address.parse::<Ipv6Addr>().is_ok() => address,
            (name, None)
                if !name.contains(['/', ':', '@', '[', ']', '?', '#']) && !name.contains(char::is_whitespace) =>
            {
                name
            }
            _ => return Err(bad("is not an address of a server")),
        };
        Ok(Endpoint { speech, host: host.to_owned(), port })
    }

    /// Where it is, if no resolver need be asked for that; the first one that answers.
    pub fn addresses(&self) -> Option<Vec<SocketAddr>> {
        if self.host == "localhost" {
            let both = [(Ipv4Addr::LOCALHOST, self.port).into(), (Ipv6Addr::LOCALHOST, self.port).into()];
            return Some(both.into());
        }
        self.host.parse().ok().map(|ip| vec![SocketAddr::new(ip, self.port)])
    }

    /// For a resolver.
    pub fn name(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_as_people_write_it() {
        for (text, speech, shown) in [
            ("localhost:8080", Speech::Http1, "localhost:8080"),
            (":8080", Speech::Http1, "localhost:8080"),
            ("8080", Speech::Http1, "localhost:8080"),
            ("http://127.0.0.1:8080/", Speech::Http1, "127.0.0.1:8080"),
            ("h2c://[::1]:50051", Speech::H2c, "[::1]:50051"),
            ("app.internal:80", Speech::Http1, "app.internal:80"),
        ] {
            let endpoint = Endpoint::parse(text).expect(text);
            assert_eq!((endpoint.speech, endpoint.to_string().as_str()), (speech, shown), "{text}");
        }
        for bad in
            ["", "localhost", "localhost:", "localhost:0", "x:http", "https://x:1", "ftp://x:1", "x:1/y", "::1:80"]
        {
            let why = Endpoint::parse(bad).expect_err(bad);
            assert!(why.contains("write for example localhost:8080"), "{why}");
        }
    }

    #[test]
    fn this_machine_needs_no_resolver() {
        let addresses = |text: &str| Endpoint::parse(text).expect(text).addresses();
        assert_eq!(addresses(":80").map(|found| found.len()), Some(2));
        assert_eq!(addresses("[::1]:80"), Some(vec!["[::1]:80".parse().expect("valid")]));
        assert_eq!(addresses("app:80"), None);
    }
}
