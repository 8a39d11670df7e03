//! What a proxy changes in the heads of requests and responses. Pure.
//!
//! Headers that concern one connection are taken out in both directions, and those that say where a
//! request came from are added. Everything else is the application's.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, StatusCode, Uri, Version, http};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Of one connection, besides those that `Connection` names.
const OF_A_CONNECTION: [HeaderName; 8] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE];

/// Why a request is no request to an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// `CONNECT`.
    Tunnel,
    NoHost,
}

/// The protocol that a request wants to change to; not HTTP/2, which has rules of its own and is
/// spoken from the first byte on here.
pub fn upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    if version != Version::HTTP_11 || !has_token(headers, &CONNECTION, "upgrade") {
        return None;
    }
    let wanted = headers.get(UPGRADE)?;
    let is_h2c = |token: &str| token.trim().eq_ignore_ascii_case("h2c");
    (!wanted.to_str().ok()?.split(',').any(is_h2c)).then(|| wanted.clone())
}

/// Makes the head of a request that came from `from` one for a server.
pub fn to_server(head: &mut http::request::Parts, from: SocketAddr) -> Result<(), Malformed> {
    if head.method == Method::CONNECT {
        return Err(Malformed::Tunnel);
    }
    let host = host(head).ok_or(Malformed::NoHost)?;
    let upgrade = upgrade(head.version, &head.headers);
    let takes_trailers = has_token(&head.headers, &TE, "trailers");
    if head.headers.contains_key(TRANSFER_ENCODING) {
        // The length by chunks is the one that counts (RFC 9112, 6.3).
        head.headers.remove(CONTENT_LENGTH);
    }
    remove_those_of_a_connection(&mut head.headers);
    // It is answered here, when the body is wanted.
    head.headers.remove(EXPECT);
    if let Some(protocol) = upgrade {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, protocol);
    }
    if takes_trailers {
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    tell_origin(&mut head.headers, from.ip(), &host);
    head.headers.insert(HOST, host);
    head.uri = origin_form(&head.uri);
    head.version = Version::HTTP_11;
    Ok(())
}

/// Makes the head of a server's response one for a client.
pub fn to_client(head: &mut http::response::Parts) {
    let upgrade = match head.status {
        StatusCode::SWITCHING_PROTOCOLS => head.headers.get(UPGRADE).cloned(),
        _ => None,
    };
    if head.headers.contains_key(TRANSFER_ENCODING) {
        head.headers.remove(CONTENT_LENGTH);
    }
    remove_those_of_a_connection(&mut head.headers);
    if let Some(protocol) = upgrade {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, protocol);
    }
    head.version = Version::HTTP_11;
}

/// About how much memory a head takes.
pub fn weight<B>(request: &Request<B>) -> usize {
    let uri = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum::<usize>() + uri
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|found| found.trim().eq_ignore_ascii_case(token))
}

fn remove_those_of_a_connection(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let named: Vec<HeaderName> =
            values.flat_map(|value| value.split(',')).filter_map(|token| token.trim().parse().ok()).collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in OF_A_CONNECTION {
        headers.remove(name);
    }
}

/// The host that was asked for. A request names one, and only one.
fn host(head: &http::request::Parts) -> Option<HeaderValue> {
    let mut named = head.headers.get_all(HOST).iter();
    let first = named.next();
    if named.next().is_some() {
        return None;
    }
    match head.uri.authority() {
        // An absolute URI and `:authority` count more than a header (RFC 9112, 3.2.2).
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None if head.version < Version::HTTP_11 => Some(first.cloned().unwrap_or(HeaderValue::from_static(""))),
        None => first.cloned(),
    }
}

/// Without scheme and host.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned();
    path.map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// HTTP/2 may split them; in HTTP/1.1 there is one header (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if parts.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// What is in front of us is the platform's, as a rule: what it says of host and scheme stays, and
/// the address that it was reached from is added to the list.
fn tell_origin(headers: &mut HeaderMap, from: IpAddr, host: &HeaderValue) {
    let from = from.to_canonical();
    let mut list = String::with_capacity(40);
    for value in headers.get_all(&X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()) {
        list.push_str(value);
        list.push_str(", ");
    }
    let _ = write!(list, "{from}");
    if let Ok(list) = HeaderValue::from_str(&list) {
        headers.insert(X_FORWARDED_FOR, list);
    }
    if !headers.contains_key(&X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !headers.contains_key(&X_FORWARDED_HOST) && !host.is_empty() {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    // Who goes by the standard one gets it continued.
    if let Some(before) = headers.get(FORWARDED).and_then(|value| value.to_str().ok()) {
        let node = if from.is_ipv6() { format!("\"[{from}]\"") } else { from.to_string() };
        if let Ok(list) = HeaderValue::from_str(&format!("{before}, for={node}")) {
            headers.insert(FORWARDED, list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, uri: &str, version: Version, headers: &[(&str, &str)]) -> http::request::Parts {
        let mut request = Request::builder().method(method).uri(uri).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("valid").into_parts().0
    }

    fn sent(uri: &str, version: Version, headers: &[(&str, &str)]) -> (String, Vec<String>) {
        let mut head = head("GET", uri, version, headers);
        to_server(&mut head, "203.0.113.7:1".parse().expect("valid")).expect("well-formed");
        let mut lines: Vec<String> =
            head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
        lines.sort();
        (head.uri.to_string(), lines)
    }

    const ADDED: [&str; 3] = ["x-forwarded-for: 203.0.113.7", "x-forwarded-host: x", "x-forwarded-proto: http"];

    #[test]
    fn what_concerns_the_connection_stays_behind() {
        let headers = [
            ("host", "x"),
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "secret"),
            ("te", "gzip, trailers"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ];
        let (uri, lines) = sent("/a?b", Version::HTTP_11, &headers);
        assert_eq!(uri, "/a?b");
        assert_eq!(lines, [&["accept: */*", "host: x", "te: trailers"][..], &ADDED].concat());
    }

    #[test]
    fn chunks_win_over_a_length() {
        let headers = [("host", "x"), ("transfer-encoding", "chunked"), ("content-length", "5")];
        assert_eq!(sent("/", Version::HTTP_11, &headers).1, [&["host: x"][..], &ADDED].concat());
    }

    #[test]
    fn an_upgrade_is_kept_and_h2c_is_not() {
        let upgrade = |protocol| [("host", "x"), ("connection", "keep-alive, Upgrade"), ("upgrade", protocol)];
        let (_, lines) = sent("/", Version::HTTP_11, &upgrade("websocket"));
        assert!(
            lines.contains(&"upgrade: websocket".into()) && lines.contains(&"connection: upgrade".into()),
            "{lines:?}"
        );
        for (version, protocol) in
            [(Version::HTTP_11, "h2c"), (Version::HTTP_11, "foo, H2C"), (Version::HTTP_10, "websocket")]
        {
            let (_, lines) = sent("/", version, &upgrade(protocol));
            assert_eq!(lines, [&["host: x"][..], &ADDED].concat(), "{protocol}");
        }
        let (_, lines) = sent("/", Version::HTTP_11, &[("host", "x"), ("upgrade", "websocket")]);
        assert_eq!(lines, [&["host: x"][..], &ADDED].concat(), "not asked for");
    }

    #[test]
    fn where_it_came_from_is_told_and_continued() {
        let headers = [
            ("host", "x"),
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            ("forwarded", "for=198.51.100.1;proto=https"),
        ];
        let lines = sent("/", Version::HTTP_11, &headers).1;
        assert_eq!(
            lines,
            [
                "forwarded: for=198.51.100.1;proto=https, for=203.0.113.7",
                "host: x",
                "x-forwarded-for: 198.51.100.1, 10.0.0.1, 203.0.113.7",
                "x-forwarded-host: shop.example",
                "x-forwarded-proto: https",
            ]
        );
    }

    #[test]
    fn http_2_becomes_http_1() {
        let headers = [("cookie", "a=1"), ("cookie", "b=2")];
        let (uri, lines) = sent("http://x/a", Version::HTTP_2, &headers);
        assert_eq!(uri, "/a");
        assert_eq!(lines, [&["cookie: a=1; b=2", "host: x"][..], &ADDED].concat());
    }

    #[test]
    fn a_request_names_one_host() {
        let result = |method: &str, uri: &str, version, headers: &[(&str, &str)]| {
            to_server(&mut head(method, uri, version, headers), "[::1]:1".parse().expect("valid"))
        };
        assert_eq!(result("GET", "/", Version::HTTP_11, &[]), Err(Malformed::NoHost));
        assert_eq!(result("GET", "/", Version::HTTP_11, &[("host", "a"), ("host", "b")]), Err(Malformed::NoHost));
        assert_eq!(result("GET", "/", Version::HTTP_10, &[]), Ok(()));
        assert_eq!(result("GET", "http://y/", Version::HTTP_11, &[("host", "x")]), Ok(()));
        assert_eq!(result("CONNECT", "x:443", Version::HTTP_11, &[("host", "x")]), Err(Malformed::Tunnel));
        assert_eq!(sent("http://y/", Version::HTTP_11, &[("host", "x")]).1[0], "host: y");
    }

    #[test]
    fn responses_lose_what_concerns_the_connection() {
        let mut response =
            http::Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "chat");
        response = response.header("keep-alive", "timeout=5").header("set-cookie", "a=1");
        let mut head = response.body(()).expect("valid").into_parts().0;
        to_client(&mut head);
        assert!(head.headers.contains_key(UPGRADE) && head.headers.contains_key("set-cookie"));
        assert!(!head.headers.contains_key(&KEEP_ALIVE));
        head.status = StatusCode::OK;
        to_client(&mut head);
        assert!(!head.headers.contains_key(UPGRADE) && !head.headers.contains_key(CONNECTION));
    }
}
