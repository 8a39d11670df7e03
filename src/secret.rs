//! What nodes prove themselves to each other with. It is shown nowhere.

use std::fmt;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// Carries it from node to node, and to no application.
const HEADER: HeaderName = HeaderName::from_static("millstream-secret");
/// Shorter ones can be guessed.
pub const SHORTEST: usize = 16;

#[derive(Clone, PartialEq, Eq)]
pub struct Secret(HeaderValue);

impl Secret {
    pub fn parse(text: &str) -> Result<Secret, String> {
        if text.len() < SHORTEST {
            return Err(format!("it is shorter than {SHORTEST} characters"));
        }
        let mut value = HeaderValue::from_str(text).map_err(|_| "it has characters that a header cannot have")?;
        value.set_sensitive(true);
        Ok(Secret(value))
    }

    pub fn put(&self, headers: &mut HeaderMap) {
        headers.insert(HEADER, self.0.clone());
    }

    fn is(&self, other: &HeaderValue) -> bool {
        is_same(self.0.as_bytes(), other.as_bytes())
    }
}

/// Takes as long for any text of its length.
pub fn is_same(own: &[u8], other: &[u8]) -> bool {
    own.len() == other.len() && own.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// Takes the header out, and says whether another node has put it there.
pub fn take(headers: &mut HeaderMap, secret: Option<&Secret>) -> bool {
    let found = headers.remove(HEADER);
    secret.zip(found).is_some_and(|(secret, found)| secret.is(&found))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_one_counts_and_it_never_goes_on() {
        let [own, other] = ["0123456789abcdef", "0123456789abcdeX"].map(|text| Secret::parse(text).expect("valid"));
        for (sent, known, counts) in [
            (Some(&own), Some(&own), true),
            (Some(&other), Some(&own), false),
            (None, Some(&own), false),
            (Some(&own), None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(sent) = sent {
                sent.put(&mut headers);
            }
            assert_eq!(take(&mut headers, known), counts);
            assert!(headers.is_empty());
        }
        assert!(Secret::parse("short").is_err() && !format!("{own:?}").contains("0123"));
    }
}
