//! Who is answered. LiteFS's own API knows no secret, so its clients on this machine are answered
//! without one; other machines have to know it.

use std::fmt;
use std::net::IpAddr;

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, ORIGIN};

use super::body::Refusal;
use crate::secret::{SHORTEST, is_same};

/// What other machines have to know; it is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    pub fn parse(text: &str) -> Result<Token, String> {
        match text.len() {
            length if length < SHORTEST => Err(format!("it is shorter than {SHORTEST} characters")),
            _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err("it has characters that a header cannot have".into())
            }
            _ => Ok(Token(text.into())),
        }
    }

    fn is(&self, other: &str) -> bool {
        is_same(self.0.as_bytes(), other.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// `Err`: what it is answered instead.
pub fn permit(token: Option<&Token>, from: IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
    // A page in a browser of this machine must not order anything.
    if headers.contains_key(ORIGIN) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "this is no place for web pages"));
    }
    if from.to_canonical().is_loopback() {
        return Ok(());
    }
    let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match token.zip(sent) {
        Some((token, sent)) if token.is(sent) => Ok(()),
        _ => Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "other machines have to send `Authorization: Bearer` and `litefs.secret`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_need_the_secret_and_web_pages_get_nothing() {
        let token = Token::parse("0123456789abcdef").expect("valid");
        let near: IpAddr = "127.0.0.1".parse().expect("valid");
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().expect("valid");
        let far: IpAddr = "10.0.0.7".parse().expect("valid");
        let permitted = |token: Option<&Token>, from: IpAddr, header: Option<(_, &'static str)>| {
            let mut headers = HeaderMap::new();
            headers.extend(header.map(|(name, value)| (name, value.parse().expect("valid"))));
            permit(token, from, &headers).is_ok()
        };
        let sent = |text| Some((AUTHORIZATION, text));
        for from in [near, mapped] {
            assert!(permitted(None, from, None) && permitted(Some(&token), from, None));
            assert!(!permitted(None, from, Some((ORIGIN, "http://evil.example"))));
        }
        assert!(permitted(Some(&token), far, sent("Bearer 0123456789abcdef")));
        assert!(!permitted(Some(&token), far, sent("Bearer 0123456789abcdeX")));
        assert!(!permitted(Some(&token), far, sent("0123456789abcdef")));
        assert!(!permitted(Some(&token), far, None) && !permitted(None, far, sent("Bearer 0123456789abcdef")));
        assert!(Token::parse("short").is_err() && Token::parse("0123456789 abcdef").is_err());
        assert!(!format!("{token:?}").contains("0123"));
    }
}
