//! Environment variables in the raw text of litestream.yml, as Go's `os.Expand` replaces them
//! before anything is parsed.
//!
//! `$NAME` and `${NAME}`; a name without a value becomes nothing, and is reported, because it
//! usually makes an empty URL or key (`unset.rs` judges each place). Beyond Litestream:
//! `${NAME:-default}`, and LiteFS's `${NAME == "text"}`, which becomes true or false. Pure: the
//! environment is a function.

/// Stands for a name without a value in a text that is only read to find out where that name
/// stands. Private use characters: YAML reads them as letters, and no real configuration contains
/// these two side by side.
pub const MARK: &str = "\u{e00f}\u{f8f0}";

/// The text after expansion, and the names that had no value, each once, in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Expanded {
    pub text: String,
    pub missing: Vec<Missing>,
}

/// A name that was replaced by nothing and has no default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub name: String,
    /// Set, to an empty text.
    pub is_set: bool,
}

/// What follows a dollar sign.
enum Token<'a> {
    Name {
        name: &'a str,
        len: usize,
    },
    /// `${}` or an unclosed `${`: Go swallows it.
    Malformed {
        len: usize,
    },
    /// A dollar sign that means itself.
    Literal,
}

pub fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Expanded {
    replace(text, env, None)
}

/// The text with [`MARK`] in each place where `name`, which has no value, stands.
pub fn mark(text: &str, env: &dyn Fn(&str) -> Option<String>, name: &str) -> String {
    replace(text, env, Some(name)).text
}

fn replace(text: &str, env: &dyn Fn(&str) -> Option<String>, marked: Option<&str>) -> Expanded {
    let mut expanded = Expanded { text: String::with_capacity(text.len()), missing: Vec::new() };
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.text.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let len = match token(after) {
            Token::Name { name, len } => {
                let commented = in_comment(&expanded.text);
                match value(name, env) {
                    Ok(value) => expanded.text.push_str(&value),
                    Err(missing) => {
                        if marked == Some(missing.name.as_str()) {
                            expanded.text.push_str(MARK);
                        }
                        if !commented && !expanded.missing.contains(&missing) {
                            expanded.missing.push(missing);
                        }
                    }
                }
                len
            }
            Token::Malformed { len } => len,
            Token::Literal => {
                expanded.text.push('$');
                0
            }
        };
        rest = &after[len..];
    }
    expanded.text.push_str(rest);
    expanded
}

/// The value of `NAME` or `NAME:-default`, or what a comparison is.
fn value(expression: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Missing> {
    if let Some(is_so) = comparison(expression, env) {
        return Ok(is_so.to_string());
    }
    let (name, default) = match expression.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (expression, None),
    };
    match (env(name), default) {
        (Some(value), _) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (value, None) => Err(Missing { name: name.to_owned(), is_set: value.is_some() }),
    }
}

/// LiteFS's `NAME == OTHER`, `NAME != "text"`. A name without a value is an empty text there.
fn comparison(expression: &str, env: &dyn Fn(&str) -> Option<String>) -> Option<bool> {
    let (left, equal, right) = match (expression.split_once("=="), expression.split_once("!=")) {
        (Some((left, right)), _) => (left.trim(), true, right.trim()),
        (_, Some((left, right))) => (left.trim(), false, right.trim()),
        _ => return None,
    };
    let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let text_in = |quote: char| right.strip_prefix(quote)?.strip_suffix(quote);
    let other = match text_in('"').or_else(|| text_in('\'')) {
        Some(text) => text.to_owned(),
        None if is_name(right) => env(right).unwrap_or_default(),
        None => return None,
    };
    is_name(left).then(|| (env(left).unwrap_or_default() == other) == equal)
}

fn token(after: &str) -> Token<'_> {
    let Some(first) = after.chars().next() else { return Token::Literal };
    if first == '{' {
        return match after.find('}') {
            Some(1) => Token::Malformed { len: 2 },
            Some(end) => Token::Name { name: &after[1..end], len: end + 1 },
            None => Token::Malformed { len: 1 },
        };
    }
    // The shell's one-character parameters; Go looks them up like any other name and finds nothing.
    if "*#$@!?-0123456789".contains(first) {
        return Token::Name { name: &after[..1], len: 1 };
    }
    match after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len()) {
        0 => Token::Literal,
        len => Token::Name { name: &after[..len], len },
    }
}

/// Whether the end of `text` lies in a YAML comment: good enough to keep warnings about examples in
/// comments away.
fn in_comment(text: &str) -> bool {
    let line = &text[text.rfind('\n').map_or(0, |at| at + 1)..];
    line.trim_start().starts_with('#') || line.contains(" #")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "BUCKET" => Some("b1".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn text(input: &str) -> String {
        expand(input, &env).text
    }

    #[test]
    fn litefs_comparisons_are_true_or_false() {
        let env = |name: &str| match name {
            "REGION" | "PRIMARY" => Some("ams".to_owned()),
            "OTHER" => Some("ord".to_owned()),
            _ => None,
        };
        for (text, expected) in [
            ("${REGION == PRIMARY}", "true"),
            ("${REGION==OTHER}", "false"),
            ("${REGION != \"ord\"}", "true"),
            ("${ REGION == 'ams' }", "true"),
            ("${MISSING == ''}", "true"),
            ("${MISSING != OTHER}", "true"),
        ] {
            let expanded = expand(text, &env);
            assert_eq!((expanded.text.as_str(), expanded.missing.len()), (expected, 0), "{text}");
        }
        assert_eq!(expand("${REGION == a b}", &env).missing.len(), 1, "that is none");
        assert_eq!(expand("${REGION:-a==b}", &env).text, "ams");
    }

    #[test]
    fn names_are_replaced_as_go_does() {
        assert_eq!(text("s3://$BUCKET/x ${BUCKET}"), "s3://b1/x b1");
        assert_eq!(text("$BUCKET.$BUCKET-x"), "b1.b1-x");
        assert_eq!(text("a$NOPE b${NOPE}c"), "a bc");
        assert_eq!(text("a$$b"), "ab", "the shell's $$ is a name without a value");
        assert_eq!(text("a$ b$.c$"), "a$ b$.c$");
        assert_eq!(text("a${}b${BUCKET"), "abBUCKET", "malformed braces are swallowed");
        assert_eq!(text("$2b$10$x"), "b0");
        assert_eq!(text("é$BUCKETé"), "éb1é");
    }

    #[test]
    fn defaults_fill_in_for_unset_and_empty() {
        assert_eq!(text("${NOPE:-d} ${EMPTY:-e} ${BUCKET:-f} ${NOPE:-}"), "d e b1 ");
        assert!(expand("${NOPE:-d} ${EMPTY:-}", &env).missing.is_empty());
    }

    #[test]
    fn names_without_a_value_are_reported_once_and_not_from_comments() {
        let input = "# ${IN_COMMENT}\nurl: ${A}/$B/${A}  # or $C\nx: ${EMPTY}\n";
        let missing = |name: &str, is_set| Missing { name: name.into(), is_set };
        assert_eq!(expand(input, &env).missing, [missing("A", false), missing("B", false), missing("EMPTY", true)]);
    }

    #[test]
    fn one_name_without_a_value_can_be_marked() {
        let input = "a: ${A}/$B/${A}\nb: x$EMPTY ${A:-d} $BUCKET\n";
        assert_eq!(mark(input, &env, "A"), format!("a: {MARK}//{MARK}\nb: x d b1\n"));
        assert_eq!(mark(input, &env, "EMPTY"), format!("a: //\nb: x{MARK} d b1\n"));
        assert_eq!(mark(input, &env, "BUCKET"), expand(input, &env).text, "it has a value");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_text_breaks_the_expansion(input in "([${}:#A-Cé -]|BUCKET|\n){0,30}") {
            let expanded = expand(&input, &env);
            if !input.contains('$') {
                proptest::prop_assert_eq!(expanded.text, input);
            }
        }
    }
}
