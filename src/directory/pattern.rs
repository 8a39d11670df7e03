//! Which names are meant: the patterns of Go's `filepath.Match`, which Litestream uses, applied to
//! one name.
//!
//! ```text
//!   *  any characters    ?  one character    [a-z]  [^a-z]  one of these, none of these    \x  x itself
//! ```
//!
//! A dot at the beginning of a name is like any other character.

use std::ffi::OsStr;
use std::iter::Peekable;
use std::str::Chars;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Exactly(char),
    Class { is_negated: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    /// The error completes "the pattern".
    pub fn parse(text: &str) -> Result<Pattern, String> {
        if text.is_empty() {
            return Err("is empty; write for example *.db".into());
        }
        if text.contains('/') {
            let why = "contains a slash, but is compared with names and not with paths";
            return Err(format!("{text:?} {why}; set `recursive: true` to look into directories below"));
        }
        let malformed = || format!("{text:?} is malformed: it ends inside of [ ] or after a backslash");
        let (mut tokens, mut rest) = (Vec::new(), text.chars().peekable());
        while let Some(c) = rest.next() {
            tokens.push(match c {
                '*' => Token::Any,
                '?' => Token::One,
                '[' => class(&mut rest).ok_or_else(malformed)?,
                '\\' => Token::Exactly(rest.next().ok_or_else(malformed)?),
                c => Token::Exactly(c),
            });
        }
        tokens.dedup_by(|a, b| (&*a, &*b) == (&Token::Any, &Token::Any));
        Ok(Pattern { text: text.to_owned(), tokens })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn matches(&self, name: &OsStr) -> bool {
        let name: Vec<char> = name.to_string_lossy().chars().collect();
        let (mut token, mut at) = (0, 0);
        // Where to go on when what follows the last star does not fit.
        let mut retry: Option<(usize, usize)> = None;
        while at < name.len() || token < self.tokens.len() {
            let fits = match (self.tokens.get(token), name.get(at)) {
                (Some(Token::Any), _) => {
                    retry = Some((token, at + 1));
                    token += 1;
                    continue;
                }
                (Some(single), Some(c)) => single.is(*c),
                _ => false,
            };
            match retry {
                _ if fits => (token, at) = (token + 1, at + 1),
                Some((star, next)) if next <= name.len() => (token, at) = (star, next),
                _ => return false,
            }
        }
        true
    }
}

impl Token {
    fn is(&self, c: char) -> bool {
        match self {
            Token::Any | Token::One => true,
            Token::Exactly(wanted) => *wanted == c,
            Token::Class { is_negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *is_negated
            }
        }
    }
}

/// After the bracket that opens it.
fn class(rest: &mut Peekable<Chars<'_>>) -> Option<Token> {
    let is_negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
            return Some(Token::Class { is_negated, ranges });
        }
        let low = member(rest)?;
        let high = if rest.next_if_eq(&'-').is_some() { member(rest)? } else { low };
        ranges.push((low, high));
    }
}

fn member(rest: &mut Peekable<Chars<'_>>) -> Option<char> {
    match rest.next()? {
        '-' | ']' => None,
        '\\' => rest.next(),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}")).matches(OsStr::new(name))
    }

    #[test]
    fn names_match_as_in_go() {
        for (pattern, yes, no) in [
            ("*", &["a.db", ".hidden", "\u{fc}"][..], &[][..]),
            ("*.db", &["a.db", ".db", ".a.db", "a.db.db", "\u{fc}.db"], &["a.dbx", "a.sqlite", "db", "A.DB"]),
            ("*.sqlite*", &["a.sqlite", "a.sqlite3", ".sqlite"], &["a.db"]),
            ("app.db", &["app.db"], &["app.db2", "xapp.db", "App.db"]),
            ("a?c", &["abc", "a\u{fc}c", "a?c"], &["ac", "abbc"]),
            ("t[0-9][^x].db", &["t1y.db", "t9..db"], &["t1x.db", "tay.db", "t1.db"]),
            ("[!a]", &["!", "a"], &["b"]),
            (r"\*.db", &["*.db"], &["a.db"]),
            (r"[\]a-]x", &[], &[]),
            ("a*b*c", &["abc", "aXbYc", "abbcbc"], &["ab", "abcd", "acb"]),
            ("*a", &["a", "aa", "ba"], &["ab", ""]),
            ("**.db", &["x.db"], &["x"]),
        ] {
            let Ok(parsed) = Pattern::parse(pattern) else {
                assert!(yes.is_empty(), "{pattern}");
                continue;
            };
            assert_eq!(parsed.as_str(), pattern);
            yes.iter().for_each(|name| assert!(matches(pattern, name), "{pattern} {name}"));
            no.iter().for_each(|name| assert!(!matches(pattern, name), "{pattern} {name}"));
        }
        assert!(Pattern::parse("*.db").expect("valid").matches(OsStr::from_bytes(b"\xff\xfe.db")), "no text");
    }

    #[test]
    fn what_go_calls_malformed_is_refused() {
        for malformed in ["", "[", "[a", "[]", "[]a]", "[a-]", "[-a]", "a[^", "a\\", "[a-", "x/*.db"] {
            let why = Pattern::parse(malformed).expect_err(malformed);
            assert!(!why.is_empty());
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = "a*".repeat(60) + "b";
        assert!(!matches(&pattern, &"a".repeat(4000)));
    }
}
