//! What is in the objects of a claim: JSON, and only what others decide by, or what a person who
//! looks into the bucket wants to know.
//!
//! A claim of a later version may have more fields, which are skipped. What cannot be read is an
//! error and never "no claim": an application that was started because of it would be the second.

use serde::{Deserialize, Serialize};

/// `claims/<epoch>.json`: who wants to write here. Created once, and never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// As the configuration names this node; else the host.
    pub node: String,
    /// The same for every process of one container: a restart is recognised by it.
    pub instance: String,
    /// This process, and no other one: a claim whose answer was lost is recognised by it.
    pub process: String,
    pub hostname: String,
    /// Where others reach the proxy of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where the nodes of its cluster reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_url: Option<String>,
    /// The holder writes a beat three times in this time, in milliseconds.
    pub ttl_ms: u64,
    /// The newest claim that its maker had seen, as in its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// For people.
    pub why: String,
}

/// `claims/<epoch>.beat`: what its holder is about. It shows life by the number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// One more with every beat.
    pub count: u64,
    #[serde(flatten)]
    pub state: BeatState,
    /// The holder has created the next TXID of every database: no earlier holder can add anything.
    #[serde(default)]
    pub sealed: bool,
    /// The next beat comes within this time, in milliseconds.
    pub every_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum BeatState {
    /// For earlier holders to release.
    Waiting,
    /// Its application runs, or is about to.
    Held,
    /// It has seen a later claim: its application is being stopped.
    Draining,
    /// Its application has stopped, and everything is uploaded. Never taken back.
    Released {
        /// The instance that is to go on, if it is a certain one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// Its process was told to end: if it is started again, that is meant.
        #[serde(default)]
        told_to_end: bool,
    },
}

impl Beat {
    pub fn is_released(&self) -> bool {
        matches!(self.state, BeatState::Released { .. })
    }
}

/// Why an object says nothing.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name} cannot be read ({why}): a newer version may have written it, so update this one; or make sure that no other node runs, \
     and delete everything below claims/"
)]
pub struct Unreadable {
    name: String,
    why: String,
}

pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers are JSON")
}

/// `name` is for the error.
pub fn decode<'a, T: Deserialize<'a>>(name: &str, bytes: &'a [u8]) -> Result<T, Unreadable> {
    let unreadable = |error: serde_json::Error| {
        let what = if bytes.is_empty() { "it is empty" } else { "it is not what was expected" };
        let why = format!("{what} at line {} column {}", error.line(), error.column());
        Unreadable { name: name.to_owned(), why }
    };
    serde_json::from_slice(bytes).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim {
            node: "web".into(),
            instance: "i-1".into(),
            process: "00000000000000ff".into(),
            hostname: "3f2a".into(),
            url: None,
            cluster_url: None,
            ttl_ms: 15_000,
            parent: Some("0000000000000001".into()),
            why: "deploy".into(),
        }
    }

    #[test]
    fn a_claim_has_exactly_these_bytes() {
        let first = Claim { parent: None, ..claim() };
        let text = r#"{"node":"web","instance":"i-1","process":"00000000000000ff","hostname":"3f2a","ttl_ms":15000,"why":"deploy"}"#;
        assert_eq!(String::from_utf8(encode(&first)).expect("text"), text);
        assert_eq!(decode::<Claim>("x", text.as_bytes()).expect("valid"), first);
        let cluster_url = Some("http://a:2".into());
        let with_url = Claim { url: Some("https://a:1".into()), cluster_url, ..claim() };
        let text = String::from_utf8(encode(&with_url)).expect("text");
        assert!(
            text.contains(
                r#""url":"https://a:1","cluster_url":"http://a:2","ttl_ms":15000,"parent":"0000000000000001""#
            ),
            "{text}"
        );
        assert_eq!(decode::<Claim>("x", text.as_bytes()).expect("valid"), with_url);
    }

    #[test]
    fn beats_have_exactly_these_bytes() {
        let beat = |state, sealed| Beat { count: 7, state, sealed, every_ms: 5000 };
        let released = |to: Option<&str>, told_to_end| BeatState::Released { to: to.map(Into::into), told_to_end };
        let cases = [
            (beat(BeatState::Waiting, false), r#"{"count":7,"state":"waiting","sealed":false,"every_ms":5000}"#),
            (beat(BeatState::Held, true), r#"{"count":7,"state":"held","sealed":true,"every_ms":5000}"#),
            (beat(BeatState::Draining, true), r#"{"count":7,"state":"draining","sealed":true,"every_ms":5000}"#),
            (
                beat(released(Some("i-2"), false), true),
                r#"{"count":7,"state":"released","to":"i-2","told_to_end":false,"sealed":true,"every_ms":5000}"#,
            ),
            (
                beat(released(None, true), true),
                r#"{"count":7,"state":"released","told_to_end":true,"sealed":true,"every_ms":5000}"#,
            ),
        ];
        for (beat, text) in cases {
            assert_eq!(String::from_utf8(encode(&beat)).expect("text"), text);
            assert_eq!(decode::<Beat>("x", text.as_bytes()).expect("valid"), beat);
        }
    }

    #[test]
    fn fields_of_later_versions_are_skipped() {
        let mut text = String::from_utf8(encode(&claim())).expect("text");
        text.insert_str(1, r#""zone":{"a":[1,2]},"#);
        assert_eq!(decode::<Claim>("x", text.as_bytes()).expect("valid"), claim());
        let text = r#"{"position":"7","count":1,"state":"held","every_ms":1}"#;
        let beat: Beat = decode("x", text.as_bytes()).expect("valid");
        assert_eq!(beat, Beat { count: 1, state: BeatState::Held, sealed: false, every_ms: 1 });
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_says_what_to_do() {
        for bytes in [&b""[..], b"{", b"null", b"\xff\xfe", b"{\"node\":\"x\"}", br#"{"count":1,"state":"asleep"}"#] {
            let error = decode::<Claim>("claims/0000000000000001.json", bytes).expect_err("no claim");
            let text = error.to_string();
            assert!(text.starts_with("claims/0000000000000001.json cannot be read"), "{text}");
            assert!(text.contains("update") && text.contains("delete"), "{text}");
            assert!(decode::<Beat>("x", bytes).is_err());
        }
    }
}
