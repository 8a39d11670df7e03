//! Texts in HTML. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write};

/// A text in HTML, also as the value of an attribute in double quotes.
pub struct Text<'a>(pub &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;"),
                '<' => f.write_str("&lt;"),
                '>' => f.write_str("&gt;"),
                '"' => f.write_str("&quot;"),
                '\'' => f.write_str("&#39;"),
                // A command is copied with them.
                '\n' | '\t' => f.write_char(c),
                // Also what changes the direction of the text after it.
                c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                    f.write_char('\u{fffd}')
                }
                c => f.write_char(c),
            }?;
        }
        Ok(())
    }
}

/// A sentence of ours, in which a command stands in backquotes.
pub struct Prose<'a>(pub &'a str);

impl Display for Prose<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let parts: Vec<&str> = self.0.split('`').collect();
        for (at, part) in parts.iter().enumerate() {
            match at % 2 {
                1 if at + 1 < parts.len() => write!(f, "<code>{}</code>", Text(part))?,
                // The last backquote has no other.
                1 => write!(f, "`{}", Text(part))?,
                _ => write!(f, "{}", Text(part))?,
            }
        }
        Ok(())
    }
}

/// The text at a place of the document or of a database, which the script keeps up to date.
pub struct Live<'a>(pub &'a str, pub &'a BTreeMap<String, String>);

impl Display for Live<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = self.1.get(self.0).map_or("", String::as_str);
        write!(f, "<span data-k=\"{}\">{}</span>", self.0, Text(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_a_text() {
        assert_eq!(Text("<a href='x'>&\"").to_string(), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
        assert_eq!(Text("a\nb\0\u{202e}c").to_string(), "a\nb\u{fffd}\u{fffd}c");
        assert_eq!(Prose("run `a <b` or `c").to_string(), "run <code>a &lt;b</code> or `c");
        let shown = BTreeMap::from([("lag".to_owned(), "<1 s".to_owned())]);
        assert_eq!(Live("lag", &shown).to_string(), "<span data-k=\"lag\">&lt;1 s</span>");
        assert_eq!(Live("none", &shown).to_string(), "<span data-k=\"none\"></span>");
    }
}
