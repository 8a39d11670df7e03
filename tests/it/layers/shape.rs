//! The shape of the sources: how long a file may be, how wide a comment, and which words stand in
//! neither.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines that a file may have.
const LONGEST: usize = 400;

/// Columns of a comment.
const WIDEST: usize = 100;

/// Files that are longer and still to be split. This list only ever gets shorter.
const STILL_LONG: &[&str] = &[
    "src/replicate/core/sim/world.rs",
    "src/replicate/core/stream.rs",
    "src/replicate/difference/tests.rs",
    "src/replicate/driver.rs",
    "src/replicate/lifecycle/soak.rs",
    "src/replicate/lifecycle/task.rs",
    "src/replicate/lifecycle/tests.rs",
    "src/replicate/mirror/sim.rs",
    "src/replicate/tests.rs",
];

/// Rooms whose comments are in plain English and within the columns. The others follow.
const PLAIN: &[&str] = &["claim", "cli", "config", "control", "fleet", "http", "run", "supervise"];

/// The room that is not looked at yet.
const NOT_YET: &str = "replicate";

/// Words of our own for which SQLite, Litestream or LiteFS have one.
const PRIVATE: &[&str] =
    &["bell", "canvas", "chores", "descent", "keeper", "kinship", "nursery", "revival", "traveller", "ward"];

/// Words that say who is meant in no comment.
const VAGUE: &[&str] = &["nobody", "somebody"];

/// Every source file below `src` and `tests`, by its path from the package on.
fn sources() -> Vec<(String, String)> {
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

/// The comments of a file with their line numbers.
fn comments(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//")).map(|(at, line)| (at + 1, line))
}

/// Lines with comments that are too wide. A row of a table cannot be broken.
fn wide_comments(text: &str) -> Vec<usize> {
    let is_row = |line: &str| line.trim_start().trim_start_matches(['/', '!']).trim_start().starts_with('|');
    let wide = comments(text).filter(|(_, line)| line.chars().count() > WIDEST && !is_row(line));
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
    let new: Vec<&String> = long.iter().filter(|name| !STILL_LONG.contains(&name.as_str())).collect();
    assert!(new.is_empty(), "give the second idea its own module, the file has more than {LONGEST} lines: {new:?}");
    for name in STILL_LONG {
        assert!(long.iter().any(|long| long == name), "{name} is not too long any more: remove it from the list");
    }
}

#[test]
fn comments_are_narrow_enough_to_be_read() {
    let in_plain_rooms = |name: &str| room(name).is_some_and(|room| PLAIN.contains(&room));
    let wide: Vec<String> = sources()
        .iter()
        .filter(|(name, _)| in_plain_rooms(name))
        .flat_map(|(name, text)| wide_comments(text).into_iter().map(move |line| format!("{name}:{line}")))
        .collect();
    assert!(wide.is_empty(), "comments of more than {WIDEST} columns:\n{}", wide.join("\n"));
}

#[test]
fn the_words_are_those_of_the_field() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        let Some(room) = room(&name).filter(|room| *room != NOT_YET) else { continue };
        found.extend(words_in(&text, PRIVATE).into_iter().map(|word| format!("{name}: {word}")));
        if PLAIN.contains(&room) {
            let said = comments(&text)
                .flat_map(|(line, text)| words_in(text, VAGUE).into_iter().map(move |word| (line, word)));
            found.extend(said.map(|(line, word)| format!("{name}:{line}: {word}")));
        }
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
    let wide = format!("    /// {}\nlet x = 1; // short\n//! | {} |\n", "x".repeat(WIDEST), "x".repeat(WIDEST));
    assert_eq!(wide_comments(&wide), [1]);
    assert_eq!(wide_comments(&format!("let text = \"{}\";", "x".repeat(WIDEST))), Vec::<usize>::new());
    assert_eq!(words_in("let _nursery = 1; // The Keeper's keeper", PRIVATE), ["nursery", "keeper"]);
    assert_eq!(words_in("a nursery_rhyme, forward, Nobody", VAGUE), ["nobody"]);
    assert_eq!(words_in("forward, standings", PRIVATE), Vec::<&str>::new());
    assert_eq!(room("src/run/exit.rs"), Some("run"));
    assert_eq!((room("src/fuzz.rs"), room("tests/it/main.rs")), (Some("fuzz"), None));
}
