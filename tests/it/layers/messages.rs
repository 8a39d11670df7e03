//! The form of what people read: every log line from `info` on, and the text of every error.
//!
//! Both are clauses that stand in a line with others: they begin with a small letter (or a name), and do not end with a full stop. A value is
//! shown by its `Display`; the debug form is for durations, and for text that needs its quotes.

use super::shape::sources;

/// Columns of a message without what is filled in.
const LONGEST: usize = 360;

/// Names of values whose debug form is meant for people.
const QUOTED: &[&str] = &["name", "sent", "text"];
/// In a mistake of ours: for whoever mends it.
const INTERNAL: &[&str] = &["order"];
const DURATIONS: &[&str] = &["each", "limit", "pause", "within"];

const BEGINNINGS: &[&str] = &["tracing::info!(", "tracing::warn!(", "tracing::error!(", "#[error("];

/// The first literal behind `beginning`, as it is printed, if there is one before the statement ends.
fn literal(rest: &str) -> Option<String> {
    let begin = rest.find('"').filter(|at| !rest[..*at].contains(';') && !rest[..*at].contains("\n\n"))?;
    let mut text = String::new();
    let mut letters = rest[begin + 1..].chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Some(text),
            // A line that goes on: what it is indented by is not printed.
            '\\' if letters.peek() == Some(&'\n') => while letters.next_if(|next| next.is_whitespace()).is_some() {},
            '\\' => text.extend(letters.next()),
            letter => text.push(letter),
        }
    }
    None
}

/// The messages of a file, with their lines. What the tests in it say is said to us.
fn messages(source: &str) -> Vec<(usize, String)> {
    let end = source.find("#[cfg(test)]\nmod tests {").unwrap_or(source.len());
    let source = &source[..end];
    let found = BEGINNINGS.iter().flat_map(|beginning| source.match_indices(beginning));
    let found = found.filter_map(|(at, beginning)| {
        let text = literal(&source[at + beginning.len()..])?;
        Some((source[..at].matches('\n').count() + 1, text))
    });
    found.collect()
}

/// Such constants are durations. A value without a name is none.
fn is_of_a_constant(letter: char) -> bool {
    letter.is_ascii_uppercase() || letter == '_'
}

/// What is wrong with a message.
fn wrong(text: &str) -> Option<String> {
    let debug = text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).filter(|value| value.ends_with('?'));
    let mut values = debug.map(|value| value.split_once(':').unwrap_or_default());
    let is_meant = |(name, form): &(&str, &str)| match *form {
        "?" => {
            [QUOTED, DURATIONS, INTERNAL].iter().any(|known| known.contains(name))
                || !name.is_empty() && name.chars().all(is_of_a_constant)
        }
        // Only a duration has decimals.
        form => form.starts_with('.'),
    };
    if let Some((name, _)) = values.find(|value| !is_meant(value)) {
        return Some(format!("the debug form of {name:?}"));
    }
    if text.ends_with(['.', '!', ' ']) {
        return Some("its end".into());
    }
    if text.len() > LONGEST {
        return Some(format!("{} columns", text.len()));
    }
    let word: String = text.chars().take_while(|letter| letter.is_alphanumeric()).collect();
    let is_sentence = word.starts_with(char::is_uppercase) && word.chars().skip(1).all(char::is_lowercase);
    if is_sentence && word != "Litestream" {
        return Some(format!("it begins with {word}"));
    }
    let vague = text.split(|letter: char| !letter.is_alphabetic()).find(|word| super::shape::VAGUE.contains(word));
    vague.map(|word| format!("the word {word}"))
}

#[test]
fn messages_have_one_form() {
    let mut count = 0;
    let mut bad = Vec::new();
    let is_ours = |name: &str| {
        name.starts_with("src/") && !["/tests", "/sim/", "/testing"].iter().any(|part| name.contains(part))
    };
    for (name, source) in sources().iter().filter(|(name, _)| is_ours(name)) {
        for (line, text) in messages(source) {
            count += 1;
            bad.extend(wrong(&text).map(|why| format!("{name}:{line}: {why}: {text}")));
        }
    }
    assert!(count > 300, "only {count} messages were found");
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn messages_are_found_and_judged() {
    let source = "fn f() {\n    tracing::warn!(db = %db, \"cannot \\\n        read {path}\");\n}\n#[error(transparent)]\n\n#[error(\"no\")]\n\
                  #[cfg(test)]\nmod tests {\n    tracing::warn!(\"x.\");\n}\n";
    assert_eq!(
        messages(source),
        [(2, "cannot read {path}".into()), (7, "no".into())].map(|(line, text): (_, String)| (line, text))
    );
    for good in [
        "cannot read {path}: {source}",
        "TXID {txid} is there",
        "no answer within {limit:?}",
        "{LIMIT:?} are over, {:.1?} left",
        "Litestream wrote {}",
    ] {
        assert_eq!(wrong(good), None, "{good}");
    }
    let long = "x".repeat(LONGEST + 1);
    for bad in [
        "cannot read {path:?}",
        "cannot {:?}",
        "it is over.",
        "Cannot read",
        "somebody was here",
        "so much {error:#?}",
        &long,
    ] {
        assert!(wrong(bad).is_some(), "{bad}");
    }
}
