//! Values that reach a header or a URL: keys, regions, names. Pure.
//!
//! They come from files, secrets and `base64` pipes, and bring newlines, spaces and byte order
//! marks along. What surrounds a value is trimmed where no value can contain it; what is wrong
//! inside is refused, because the SDK would panic on it. No sentence shows a value.

/// A value without what surrounds it and cannot be a part of it; `None` when nothing is left.
pub fn trimmed(value: &str) -> Option<&str> {
    const INVISIBLE: [char; 5] = ['\u{feff}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}'];
    let value = value.trim_matches(|c: char| c.is_whitespace() || c.is_control() || INVISIBLE.contains(&c));
    (!value.is_empty()).then_some(value)
}

/// What a region may not contain: it becomes a part of a header and, on AWS, of a host name.
pub(super) fn region_problem(region: &str) -> Option<String> {
    refused("region", region, is_label)
}

pub(super) fn endpoint_problem(endpoint: &str) -> Option<String> {
    refused("endpoint", endpoint, is_visible)
}

/// Why no request can carry this value, as a sentence without a place.
pub(super) fn refused(name: &str, value: &str, allowed: fn(char) -> bool) -> Option<String> {
    let wrong = match value.chars().find(|c| !allowed(*c))? {
        '\n' | '\r' => "a line break",
        c if c.is_whitespace() => "a space",
        c if c.is_control() => "a control character",
        c if !c.is_ascii() => "a character that is not ASCII",
        _ => "a character that it cannot contain",
    };
    Some(format!("`{name}` contains {wrong}; check how it was copied"))
}

pub(super) fn is_visible(c: char) -> bool {
    c.is_ascii_graphic()
}

pub(super) fn is_label(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')
}

pub(super) fn is_text(c: char) -> bool {
    !c.is_control()
}

pub(super) fn is_text_without_space(c: char) -> bool {
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
}
