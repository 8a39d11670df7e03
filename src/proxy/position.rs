//! What a client has written already: the TXID of each database. It carries that from node to node.
//!
//! After a write the response has it, as a cookie for browsers and as a header for others. A read
//! that brings it back is answered by a node that has so much, too.
//!
//! ```text
//!   millstream-position: 000000000000002a                       one database, as LiteFS's `__txid`
//!   millstream-position: 000000000000002a.0000000000000007      several, in the order of the configuration
//! ```

use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use hyper::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use tokio::time::Instant;

use super::headers::X_FORWARDED_PROTO;
use crate::fleet::FleetHandle;
use crate::ltx::Txid;

const NAME: &str = "millstream-position";
const HEADER: HeaderName = HeaderName::from_static(NAME);
/// LiteFS's, of a single database.
const LITEFS: &str = "__txid";
/// As LiteFS's. After so long every node has it, or the client is told by the primary.
const COOKIE_TIME: Duration = Duration::from_secs(300);
/// A position has no more databases than this: what comes from a client is bounded.
const DATABASES: usize = 64;

/// `None`: nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientPosition(Vec<Option<Txid>>);

impl ClientPosition {
    pub fn parse(text: &str) -> Option<ClientPosition> {
        let txid = |part: &str| match part.len() == 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => u64::from_str_radix(part, 16).ok().map(Txid::new),
            false => None,
        };
        let all: Option<Vec<_>> = text.split('.').take(DATABASES + 1).map(txid).collect();
        all.filter(|all| all.len() <= DATABASES).map(ClientPosition)
    }

    /// Whether whoever is at this position sees everything that one at the other does. Databases
    /// that are not known here are not waited for.
    pub fn includes(&self, other: &ClientPosition) -> bool {
        self.0.iter().zip(&other.0).all(|(own, other)| own >= other)
    }
}

impl FromIterator<Option<Txid>> for ClientPosition {
    fn from_iter<I: IntoIterator<Item = Option<Txid>>>(all: I) -> ClientPosition {
        ClientPosition(all.into_iter().collect())
    }
}

impl fmt::Display for ClientPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, txid) in self.0.iter().enumerate() {
            let point = if index == 0 { "" } else { "." };
            write!(f, "{point}{:016x}", txid.map_or(0, Txid::get))?;
        }
        Ok(())
    }
}

/// What a request brings. A header counts more than a cookie, and ours more than LiteFS's.
pub fn brought(headers: &HeaderMap) -> Option<ClientPosition> {
    let by_header = headers.get(HEADER).and_then(|value| ClientPosition::parse(value.to_str().ok()?.trim()));
    by_header.or_else(|| cookie(headers, NAME)).or_else(|| cookie(headers, LITEFS))
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<ClientPosition> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).and_then(|(_, value)| ClientPosition::parse(value.trim()))
}

/// Whether the client speaks TLS with whoever is in front of us.
pub fn is_secure(headers: &HeaderMap) -> bool {
    headers.get(X_FORWARDED_PROTO).is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// Tells the client. Where the way to it is secure the cookie is for such ways only.
pub fn tell(headers: &mut HeaderMap, position: &ClientPosition, is_secure: bool) {
    let text = position.to_string();
    let (secure, age) = (if is_secure { "; Secure" } else { "" }, COOKIE_TIME.as_secs());
    let cookie = format!("{NAME}={text}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
    if let (Ok(value), Ok(cookie)) = (HeaderValue::from_str(&text), HeaderValue::from_str(&cookie)) {
        headers.insert(HEADER, value);
        headers.append(SET_COOKIE, cookie);
    }
}

/// Knows in which TXIDs everything is, or will be, that is committed now.
pub trait Positioned: Send + Sync + 'static {
    fn position(&self, by: Instant) -> BoxFuture<'static, Result<ClientPosition, String>>;
}

impl Positioned for FleetHandle {
    fn position(&self, by: Instant) -> BoxFuture<'static, Result<ClientPosition, String>> {
        let fleet = self.clone();
        async move { position_of_all(&fleet, by).await }.boxed()
    }
}

async fn position_of_all(fleet: &FleetHandle, by: Instant) -> Result<ClientPosition, String> {
    let views = fleet.databases().await.map_err(|error| error.to_string())?;
    let each = views.into_iter().map(|view| async move {
        let asked = fleet.position(view.id, by).await.map_err(|error| error.to_string())?;
        asked.await.map_err(|error| error.to_string())
    });
    join_all(each).await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> ClientPosition {
        ClientPosition::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn the_text_is_litefss_for_one_database_and_a_list_for_several() {
        for text in ["000000000000002a", "000000000000002a.0000000000000000.ffffffffffffffff"] {
            assert_eq!(position(text).to_string(), text);
        }
        let many = vec!["0000000000000001"; DATABASES + 1].join(".");
        for text in ["", "2a", "000000000000002A0", "00000000000000zz", "+00000000000002a", "000000000000002a.", &many]
        {
            assert_eq!(ClientPosition::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn one_position_includes_another_if_it_does_in_every_database() {
        for (own, other, includes) in [
            ("0000000000000002", "0000000000000002", true),
            ("0000000000000002", "0000000000000003", false),
            ("0000000000000000", "0000000000000001", false),
            ("0000000000000002.0000000000000001", "0000000000000001.0000000000000002", false),
            ("0000000000000002.0000000000000002", "0000000000000001.0000000000000002", true),
            ("0000000000000002", "0000000000000001.0000000000000002", true),
        ] {
            assert_eq!(position(own).includes(&position(other)), includes, "{own} {other}");
        }
    }

    #[test]
    fn a_client_brings_it_as_header_or_cookie() {
        let (ours, theirs) = ("000000000000002a", "000000000000002b");
        let with = |pairs: &[(HeaderName, String)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, HeaderValue::from_str(value).expect("valid"));
            }
            brought(&headers).map(|position| position.to_string())
        };
        let cookies = format!("a=b; {LITEFS}={theirs}; {NAME}={ours}");
        assert_eq!(with(&[(COOKIE, cookies)]).as_deref(), Some(ours));
        assert_eq!(with(&[(COOKIE, format!("{LITEFS}={theirs}"))]).as_deref(), Some(theirs));
        assert_eq!(with(&[(HEADER, theirs.into()), (COOKIE, format!("{NAME}={ours}"))]).as_deref(), Some(theirs));
        assert_eq!(with(&[(HEADER, "nonsense".into())]), None, "as if there were none");
    }

    #[test]
    fn a_client_is_told_by_header_and_cookie() {
        for (is_secure, end) in [(false, "SameSite=Lax"), (true, "; Secure")] {
            let mut headers = HeaderMap::new();
            headers.append(SET_COOKIE, HeaderValue::from_static("a=b"));
            tell(&mut headers, &position("000000000000002a"), is_secure);
            assert_eq!(headers[HEADER], "000000000000002a");
            let cookies: Vec<_> =
                headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().expect("text")).collect();
            assert!(cookies[0] == "a=b" && cookies[1].starts_with("millstream-position=000000000000002a; Path=/; "));
            assert!(cookies[1].ends_with(end), "{cookies:?}");
        }
    }
}
