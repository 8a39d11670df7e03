//! The floor plan of `src/lib.rs`, kept: a room imports only rooms on rows below its own, and never
//! its neighbour.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

mod circles;
mod clock;
mod messages;
mod shape;

pub use shape::sources;

/// From the top down, as drawn in `src/lib.rs`.
const ROWS: &[&[&str]] = &[
    &["cli"],
    &["run"],
    &["config"],
    &["http", "verify", "control", "doctor", "copy", "follow", "proxy", "litefs", "nodes"],
    &["fleet"],
    &["replicate", "restore", "claim"],
    &["db", "state", "remote", "status", "directory"],
    &["sqlite", "ltx", "store", "supervise"],
    &["fuzz"],
    &["page", "fsx", "clock", "figures", "exposition", "primary", "endpoint", "secret", "members"],
];

/// Unit tests may build their world from any room below this one.
const TESTS_REACH_BELOW: &str = "run";

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|rooms| rooms.contains(&room))
}

/// What `room` may not do in this file, one sentence each.
fn violations(room: &str, depth: usize, source: &str) -> Vec<String> {
    let Some(own_row) = row(room) else { return vec![format!("{room} has no row in the floor plan")] };
    let reach = row(TESTS_REACH_BELOW).expect("a room");
    let mut found = Vec::new();
    for import in imports(source) {
        match import.target {
            Target::Room(other) if other == room => {}
            Target::Room(other) => match row(&other) {
                None => found.push(format!("line {}: {room} imports crate::{other}, which is no room", import.line)),
                Some(row) if import.place.in_tests && row > reach => {}
                Some(row) if row > own_row => {}
                Some(_) => found.push(format!("line {}: {room} must not know {other}", import.line)),
            },
            Target::Up(levels) if levels > depth + import.place.inline_depth => {
                found.push(format!("line {}: `super` leaves {room}: say `crate::`", import.line));
            }
            Target::Up(_) => {}
        }
    }
    found
}

struct Import {
    line: usize,
    place: Place,
    target: Target,
}

enum Target {
    /// `crate::ROOM`.
    Room(String),
    /// So many `super::` in a row.
    Up(usize),
}

/// Every `crate::room` and every chain of `super::`, in `use` items (groups too) and in expressions
/// alike.
fn imports(source: &str) -> Vec<Import> {
    let code: Vec<&str> = source.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    let places = places(&code);
    let text = code.join("\n");
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::").chain(text.match_indices("super::")) {
        let before = text[..at].chars().next_back();
        let after = &text[at + "crate::".len()..];
        let line = text[..at].matches('\n').count();
        let mut push = |target| found.push(Import { line: line + 1, place: places[line], target });
        if text[at..].starts_with("super") {
            if before != Some(':') {
                push(Target::Up(text[at..].split("super::").take_while(|part| part.is_empty()).count()));
            }
        } else if before.is_none_or(|c| !c.is_alphanumeric() && c != '_') {
            names(after).into_iter().for_each(|name| push(Target::Room(name)));
        }
    }
    found
}

/// Where a line stands inside a file.
#[derive(Clone, Copy)]
struct Place {
    in_tests: bool,
    /// How many `mod x { … }` stand around it.
    inline_depth: usize,
}

/// The place of each line. The sources are formatted, so a module ends at a brace that stands as
/// far to the right as its `mod`.
fn places(code: &[&str]) -> Vec<Place> {
    let mut open: Vec<(usize, bool)> = Vec::new();
    let place = |line: &&str| {
        let (words, indent) = (line.trim(), line.len() - line.trim_start().len());
        if words.ends_with('{') && words.split(' ').any(|word| word == "mod") {
            open.push((indent, words == "mod tests {"));
        } else if words == "}" && open.last().is_some_and(|(start, _)| *start == indent) {
            open.pop();
        }
        Place { in_tests: open.iter().any(|(_, tests)| *tests), inline_depth: open.len() }
    };
    code.iter().map(place).collect()
}

/// The first segment after `crate::`, or those of a `{…}` group.
fn names(after: &str) -> Vec<String> {
    let word =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = after.strip_prefix('{') else { return vec![word(after)] };
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                names.push(word(&group[start..at]));
                start = at + 1;
            }
            '}' if depth == 0 => {
                names.push(word(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Every source file with its room and its depth below the room's own module.
fn files() -> BTreeMap<PathBuf, (String, usize)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    let mut open = vec![root.clone()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("list src").filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let relative = path.strip_prefix(&root).expect("below src");
            let parts: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            let file = parts[parts.len() - 1].as_str();
            if !file.ends_with(".rs") || matches!(parts[..], [ref only] if only == "lib.rs" || only == "main.rs") {
                continue;
            }
            let room = parts[0].trim_end_matches(".rs").to_owned();
            let depth = parts.len() - 1 - usize::from(file == "mod.rs");
            found.insert(path, (room, depth));
        }
    }
    found
}

#[test]
fn rooms_know_only_the_rows_below_them() {
    let files = files();
    assert!(files.len() > 10, "the sources were not found");
    let broken: Vec<String> = files
        .iter()
        .flat_map(|(path, (room, depth))| {
            let source = fs::read_to_string(path).expect("read a source file");
            violations(room, *depth, &source).into_iter().map(|text| format!("{}: {text}", path.display()))
        })
        .collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_module_has_a_place_in_the_floor_plan() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("read lib.rs");
    let modules: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    for module in &modules {
        assert!(row(module).is_some(), "{module} is declared in lib.rs but stands in no row");
    }
    for room in ROWS.concat() {
        assert!(modules.contains(&room), "{room} stands in a row but is not declared in lib.rs");
    }
}

#[test]
fn this_check_can_fail() {
    let bad = |room, depth, source| !violations(room, depth, source).is_empty();
    assert!(bad("db", 0, "use crate::remote::Remote;"), "a neighbour");
    assert!(bad("store", 1, "fn f() { crate::cli::main() }"), "upwards, inline");
    assert!(bad("ltx", 0, "use crate::{\n    page::Pgno,\n    restore::{plan, Plan},\n};"), "in a group");
    assert!(bad("page", 0, "use super::clock;"), "around the corner");
    assert!(bad("store", 1, "use super::super::cli;"), "around two corners");
    assert!(bad("unheard_of", 0, ""), "a room without a row");
    assert!(bad("ltx", 0, "#[cfg(test)]\nmod tests {\n    use crate::run::Run;\n}"), "a test that reaches too high");
    let good = "use crate::page::Pgno; // crate::cli\n//! crate::run\nuse crate::{ltx::{Header, self}, store};\n\
                #[cfg(test)]\nmod tests {\n    use super::*;\n    use crate::restore::plan;\n}";
    assert_eq!(violations("remote", 0, good), Vec::<String>::new());
    assert!(!bad(
        "store",
        1,
        "use super::{Key, Store};\n#[cfg(test)]\nmod tests {\n    use super::super::conformance;\n}"
    ));
}
