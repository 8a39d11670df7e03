//! Values that reach a header or a URL: keys, regions, names. Pure.
//!
//! They come from files, secrets and `base64` pipes, and bring newlines, spaces and byte order
//! marks along. What surrounds a value is trimmed where no value can contain it; what is wrong
//! inside is refused, because the SDK would panic on it. No sentence shows a value.

use super::settings::{Credentials, Secret, Settings};

/// A value without what surrounds it and cannot be a part of it; `None` when nothing is left.
pub fn trimmed(value: &str) -> Option<&str> {
    const INVISIBLE: [char; 5] = ['\u{feff}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}'];
    let value = value.trim_matches(|c: char| c.is_whitespace() || c.is_control() || INVISIBLE.contains(&c));
    (!value.is_empty()).then_some(value)
}

/// The first value that no request could carry, as a sentence without a place.
pub(super) fn problem(settings: &Settings) -> Option<String> {
    let sse = &settings.sse;
    let optional = |value: &Option<String>, name, allowed| value.as_deref().and_then(|v| refused(name, v, allowed));
    refused("bucket", &settings.bucket, is_text_without_space)
        .or_else(|| refused("path", &settings.prefix, is_text))
        .or_else(|| optional(&settings.region, "region", is_label))
        .or_else(|| optional(&settings.endpoint, "endpoint", is_visible))
        .or_else(|| optional(&settings.storage_class, "storage-class", is_visible))
        .or_else(|| optional(&sse.kms_key_id, "sse-kms-key-id", is_visible))
        .or_else(|| settings.credentials.as_ref().and_then(credentials_problem))
}

pub(super) fn credentials_problem(credentials: &Credentials) -> Option<String> {
    let token = credentials.session_token.as_ref().map_or("", Secret::expose);
    refused("access-key-id", &credentials.access_key_id, is_visible)
        // It is never sent. Servers of one's own take any text as a secret, but a line break is a
        // mistake.
        .or_else(|| refused("secret-access-key", credentials.secret_access_key.expose(), is_text))
        .or_else(|| refused("session-token", token, is_visible))
}

/// What a region may not contain: it becomes a part of a header and, on AWS, of a host name.
pub(super) fn region_problem(region: &str) -> Option<String> {
    refused("region", region, is_label)
}

pub(super) fn endpoint_problem(endpoint: &str) -> Option<String> {
    refused("endpoint", endpoint, is_visible)
}

fn refused(name: &str, value: &str, allowed: fn(char) -> bool) -> Option<String> {
    let wrong = match value.chars().find(|c| !allowed(*c))? {
        '\n' | '\r' => "a line break",
        c if c.is_whitespace() => "a space",
        c if c.is_control() => "a control character",
        c if !c.is_ascii() => "a character that is not ASCII",
        _ => "a character that it cannot contain",
    };
    Some(format!("`{name}` contains {wrong}; check how it was copied"))
}

fn is_visible(c: char) -> bool {
    c.is_ascii_graphic()
}

fn is_label(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')
}

fn is_text(c: char) -> bool {
    !c.is_control()
}

fn is_text_without_space(c: char) -> bool {
    !c.is_control() && !c.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_surrounds_a_value_goes() {
        for raw in ["key\n", "key\r\n", " key", "\tkey\t", "\u{feff}key", "key\u{a0}", "\0key\u{200b}\n"] {
            assert_eq!(trimmed(raw), Some("key"), "{raw:?}");
        }
        assert_eq!(trimmed("a b"), Some("a b"));
        assert_eq!(trimmed(" \r\n"), None);
    }

    #[test]
    fn what_is_wrong_inside_is_refused_by_name_and_never_shown() {
        type Change = fn(&mut Settings, String);
        let fields: [(&str, Change); 9] = [
            ("bucket", |s, v| s.bucket = v),
            ("path", |s, v| s.prefix = v),
            ("region", |s, v| s.region = Some(v)),
            ("endpoint", |s, v| s.endpoint = Some(v)),
            ("storage-class", |s, v| s.storage_class = Some(v)),
            ("sse-kms-key-id", |s, v| s.sse.kms_key_id = Some(v)),
            ("access-key-id", |s, v| s.credentials = Some(keys(v, "s".into(), None))),
            ("secret-access-key", |s, v| s.credentials = Some(keys("i".into(), v, None))),
            ("session-token", |s, v| s.credentials = Some(keys("i".into(), "s".into(), Some(v)))),
        ];
        for (name, change) in fields {
            for bad in ["hun\nter", "hun\rter", "hun\0ter", "hun\u{7f}ter"] {
                let mut settings = Settings::new("bucket", "path");
                change(&mut settings, bad.into());
                let told = problem(&settings).unwrap_or_default();
                assert!(told.starts_with(&format!("`{name}` contains")) && !told.contains("hun"), "{name}: {told}");
            }
            let mut settings = Settings::new("bucket", "path");
            change(&mut settings, "plain-1".into());
            assert_eq!(problem(&settings), None, "{name}");
        }
        let mut settings = Settings::new("bucket", "sp ace/ü");
        settings.credentials = Some(keys("id".into(), "pass phrase ü".into(), None));
        assert_eq!(problem(&settings), None, "such paths and secrets work");
        for region in ["eu west-1", "eu/west", "ü"] {
            assert!(region_problem(region).is_some(), "{region}");
        }
    }

    fn keys(id: String, secret: String, token: Option<String>) -> Credentials {
        Credentials { access_key_id: id, secret_access_key: Secret::new(secret), session_token: token.map(Secret::new) }
    }
}
