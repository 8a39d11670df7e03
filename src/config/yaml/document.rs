//! The text of litestream.yml before it is parsed: its encoding, its documents, and the anchors in
//! it.
//!
//! What serde does not tell: it hands out aliases already resolved, and it refuses a second
//! document without saying where it begins. Pure; nothing here quotes the text.

/// The text, if it is UTF-8. The error completes "FILE: ".
pub fn decode(bytes: Vec<u8>) -> Result<String, String> {
    let encoding = match bytes.as_slice() {
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => Some("UTF-32"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => Some("UTF-16"),
        // Without a mark at the start; a configuration begins with ASCII.
        [0, first, ..] | [first, 0, ..] if *first != 0 => Some("UTF-16"),
        _ => None,
    };
    if let Some(encoding) = encoding {
        return Err(format!("the text is {encoding}; save it as UTF-8"));
    }
    if bytes.starts_with(b"SQLite format 3") {
        return Err("this is a SQLite database, not a configuration file".into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("line {line} is not UTF-8 text; save the file as UTF-8")
    })
}

/// The text without the mark at its start, and without documents at its end that hold nothing.
pub fn first(text: &str) -> &str {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut end, mut at) = (text.len(), text.len());
    for line in text.split_inclusive('\n').rev() {
        at -= line.len();
        if is_separator(line) {
            end = at;
        } else if !is_blank(line) {
            break;
        }
    }
    &text[..end]
}

/// Whether there is nothing in it to parse.
pub fn is_empty(text: &str) -> bool {
    text.lines().all(|line| is_blank(line) || is_separator(line))
}

/// The line in which a second document begins.
pub fn second(text: &str) -> Option<usize> {
    let mut has_content = false;
    for (index, line) in text.lines().enumerate() {
        if has_content && is_separator(line) {
            return Some(index + 1);
        }
        // `%YAML 1.2` belongs to the document that follows; a separator begins one, even if nothing
        // is in it.
        has_content |= !is_blank(line) && !line.starts_with('%');
    }
    None
}

/// Whether the value of a key at the top level holds an anchor (`defaults: &name`), itself or
/// anywhere inside.
pub fn holds_anchor(text: &str, key: &str) -> bool {
    let mut inside = false;
    for line in text.lines() {
        let begins_key = !line.starts_with([' ', '\t', '-', '#']) && !line.trim().is_empty();
        let value = match (begins_key, value_of(line, key)) {
            (true, Some(value)) => {
                inside = true;
                value
            }
            (true, None) => {
                inside = false;
                continue;
            }
            (false, _) => line,
        };
        if inside && has_anchor(value) {
            return true;
        }
    }
    false
}

/// What follows `key:` if the line begins with that.
fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let after = ["\"", "'", ""].into_iter().find_map(|quote| {
        line.strip_prefix(quote)?.strip_prefix(key)?.strip_prefix(quote)?.trim_start().strip_prefix(':')
    })?;
    (after.is_empty() || after.starts_with([' ', '\t'])).then_some(after)
}

/// Whether a `&name` stands where a value begins.
fn has_anchor(line: &str) -> bool {
    let code = line.find(" #").map_or(line, |at| &line[..at]);
    let code = if code.trim_start().starts_with('#') { "" } else { code };
    code.match_indices('&').any(|(at, _)| {
        let before = &code[..at];
        let begins = before.is_empty() || before.ends_with([' ', '\t', '[', '{', ',']);
        let follows = matches!(before.trim_end().chars().last(), None | Some(':' | '-' | '[' | '{' | ',' | '?'));
        begins && follows && code[at + 1..].starts_with(|c: char| !c.is_whitespace())
    })
}

fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// `---` or `...`, with a comment or a value behind it.
fn is_separator(line: &str) -> bool {
    let is = |marker| line.strip_prefix(marker).is_some_and(|rest: &str| rest.trim().is_empty() || is_comment(rest));
    is("---") || is("...")
}

fn is_comment(rest: &str) -> bool {
    rest.starts_with([' ', '\t']) && rest.trim_start().starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf8_is_named() {
        let utf16 = |text: &str, order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
        for bytes in [
            utf16("\u{feff}dbs:\n", u16::to_le_bytes),
            utf16("\u{feff}dbs:\n", u16::to_be_bytes),
            utf16("dbs:\n", u16::to_le_bytes),
            utf16("# é\ndbs:\n", u16::to_be_bytes),
        ] {
            assert_eq!(decode(bytes), Err("the text is UTF-16; save it as UTF-8".into()));
        }
        assert!(decode(vec![0xFF, 0xFE, 0, 0, b'd', 0, 0, 0]).expect_err("UTF-32").contains("UTF-32"));
        let latin1 = b"dbs:\n  - path: /data/k\xfcche.db\n".to_vec();
        assert_eq!(decode(latin1), Err("line 2 is not UTF-8 text; save the file as UTF-8".into()));
        assert!(decode(b"SQLite format 3\0\x10\0".to_vec()).expect_err("a database").contains("SQLite database"));
        assert_eq!(decode("exec: küche\n".into()), Ok("exec: küche\n".into()));
        assert_eq!(decode(Vec::new()), Ok(String::new()));
    }

    #[test]
    fn a_second_document_is_found_by_its_line() {
        assert_eq!(second("a: 1\n---\nb: 2\n"), Some(2));
        assert_eq!(second("%YAML 1.2\n---\n# x\na: 1\n\n--- # two\nb: 2\n"), Some(6));
        assert_eq!(second("a: 1\n...\n---\nb: 2\n"), Some(2));
        assert_eq!(second("---\n---\nb: 2\n"), Some(2), "the first one is empty");
        assert_eq!(second("# x\n---\na: 1\nb: |\n  ---\n"), None, "an indented line is a value");
        assert_eq!(first("a: 1\n---\n# nothing\n...\n"), "a: 1\n");
        assert_eq!(first("\u{feff}a: 1"), "a: 1");
    }

    #[test]
    fn anchors_are_found_below_their_key() {
        let text = "defaults: &d\n  region: r\nlists:\n- &one {path: /a}\n# &comment\nplain:\n  exec: a & b &\n  note: x &y\n  \
                    more: z # &c\n\"quoted\": {a: [&deep 1]}\nnext:\n  &alone\n  region: r\n";
        for key in ["defaults", "lists", "quoted", "next"] {
            assert!(holds_anchor(text, key), "{key}");
        }
        for key in ["plain", "default", "region", "nothing"] {
            assert!(!holds_anchor(text, key), "{key}");
        }
    }
}
