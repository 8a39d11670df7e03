//! The shape of the sources: how long a file may be, and a function, how wide a comment, and which
//! words stand in neither.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines that a file may have.
const LONGEST: usize = 400;

/// Lines that a function may have.
const LONGEST_FUNCTION: usize = 60;

/// Columns of a comment.
const WIDEST: usize = 100;

/// Words of our own for which SQLite, Litestream or LiteFS have one.
const PRIVATE: &[&str] =
    &["bell", "canvas", "chores", "descent", "keeper", "kinship", "nursery", "revival", "traveller", "ward"];

/// Words that say who is meant in no comment.
pub const VAGUE: &[&str] = &["nobody", "somebody"];

/// Every source file below `src` and `tests`, by its path from the package on.
pub fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = ["src", "tests"].map(|name| root.join(name)).into();
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("list the sources").filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("below the package").display().to_string();
                found.push((name, fs::read_to_string(&path).expect("read a source file")));
            }
        }
    }
    found.sort();
    assert!(found.len() > 100, "the sources were not found");
    found
}

/// The room of a file of `src`.
fn room(name: &str) -> Option<&str> {
    let path = name.strip_prefix("src/")?;
    Some(path.split('/').next()?.trim_end_matches(".rs"))
}

fn is_too_long(text: &str) -> bool {
    text.lines().count() > LONGEST
}

/// The functions that are too long, by the lines that they begin at. The sources are formatted: a
/// function ends at a brace that stands as far to the right as its `fn`.
fn long_functions(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_head = |line: &str| {
        let words = line.trim_start();
        !words.starts_with("//") && (words.starts_with("fn ") || words.contains(" fn ")) && !words.contains(['"', ';'])
    };
    let len = |at: usize| {
        let end = |line: &&str| line.trim_end() == format!("{}}}", " ".repeat(indent(lines[at])));
        lines[at..].iter().position(end).map_or(0, |last| last + 1)
    };
    let is_long = |at: &usize| is_head(lines[*at]) && !lines[*at].ends_with('}') && len(*at) > LONGEST_FUNCTION;
    (0..lines.len()).filter(is_long).map(|at| at + 1).collect()
}

/// The comments of a file with their line numbers.
fn comments(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//")).map(|(at, line)| (at + 1, line))
}

/// Lines with comments that are too wide. A row of a table and a drawing cannot be broken.
fn wide_comments(text: &str) -> Vec<usize> {
    let said = |line: &str| line.trim_start().trim_start_matches(['/', '!']).trim_start().to_owned();
    let mut is_drawing = false;
    let wide = comments(text).filter(|(_, line)| {
        is_drawing ^= said(line).starts_with("```");
        line.chars().count() > WIDEST && !is_drawing && !said(line).starts_with('|')
    });
    wide.map(|(at, _)| at).collect()
}

/// The words of `forbidden` that stand in the text, whole and in any case, also inside a name.
fn words_in<'a>(text: &str, forbidden: &[&'a str]) -> Vec<&'a str> {
    let text = text.to_lowercase();
    let mut words = text.split(|c: char| !c.is_ascii_alphabetic());
    let mut found: Vec<&str> =
        words.by_ref().filter_map(|word| forbidden.iter().find(|bad| **bad == word).copied()).collect();
    found.dedup();
    found
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = sources().into_iter().filter(|(_, text)| is_too_long(text)).map(|(name, _)| name).collect();
    assert!(long.is_empty(), "give the second idea its own module, the file has more than {LONGEST} lines: {long:?}");
}

#[test]
fn no_function_is_too_long() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|(name, _)| room(name).is_some())
        .flat_map(|(name, text)| long_functions(text).into_iter().map(move |line| format!("{name}:{line}")))
        .collect();
    assert!(long.is_empty(), "functions of more than {LONGEST_FUNCTION} lines:\n{}", long.join("\n"));
}

#[test]
fn comments_are_narrow_enough_to_be_read() {
    let wide: Vec<String> = sources()
        .iter()
        .filter(|(name, _)| room(name).is_some())
        .flat_map(|(name, text)| wide_comments(text).into_iter().map(move |line| format!("{name}:{line}")))
        .collect();
    assert!(wide.is_empty(), "comments of more than {WIDEST} columns:\n{}", wide.join("\n"));
}

#[test]
fn the_words_are_those_of_the_field() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        if room(&name).is_none() {
            continue;
        }
        found.extend(words_in(&text, PRIVATE).into_iter().map(|word| format!("{name}: {word}")));
        let said =
            comments(&text).flat_map(|(line, text)| words_in(text, VAGUE).into_iter().map(move |word| (line, word)));
        found.extend(said.map(|(line, word)| format!("{name}:{line}: {word}")));
    }
    assert!(
        found.is_empty(),
        "say it with a word of SQLite or Litestream, and name who is meant:\n{}",
        found.join("\n")
    );
}

#[test]
fn these_checks_can_fail() {
    assert!(is_too_long(&"x\n".repeat(LONGEST + 1)) && !is_too_long(&"x\n".repeat(LONGEST)));
    let function =
        |lines: usize| format!("mod x {{\n    pub fn f() {{\n{}    }}\n}}\n", "        x;\n".repeat(lines - 2));
    assert_eq!(long_functions(&function(LONGEST_FUNCTION + 1)), [2]);
    assert_eq!(long_functions(&function(LONGEST_FUNCTION)), Vec::<usize>::new());
    let wide = format!("    /// {}\nlet x = 1; // short\n//! | {} |\n", "x".repeat(WIDEST), "x".repeat(WIDEST));
    assert_eq!(wide_comments(&wide), [1]);
    assert_eq!(wide_comments(&format!("/// ```\n/// {0}\n/// ```\n/// {0}", "x".repeat(WIDEST))), [4]);
    assert_eq!(wide_comments(&format!("let text = \"{}\";", "x".repeat(WIDEST))), Vec::<usize>::new());
    assert_eq!(words_in("let _nursery = 1; // The Keeper's keeper", PRIVATE), ["nursery", "keeper"]);
    assert_eq!(words_in("a nursery_rhyme, forward, Nobody", VAGUE), ["nobody"]);
    assert_eq!(words_in("forward, standings", PRIVATE), Vec::<&str>::new());
    assert_eq!(room("src/run/exit.rs"), Some("run"));
    assert_eq!((room("src/fuzz.rs"), room("tests/it/main.rs")), (Some("fuzz"), None));
}
