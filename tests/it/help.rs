//! What `-help` shows, page by page, against files in `tests/it/golden/help`.
//!
//! `MILLSTREAM_TEST_BLESS=1` writes the files; look at what has changed before it is committed.

use std::fs;
use std::path::Path;

use crate::harness::Invocation;
use crate::harness::process::binary;

/// Every command, and the overview without a name.
const PAGES: &[&str] = &[
    "",
    "checkpoint",
    "completions",
    "copy",
    "databases",
    "demote",
    "doctor",
    "explain",
    "follow",
    "health",
    "info",
    "list",
    "ltx",
    "man",
    "mark",
    "nodes",
    "points",
    "promote",
    "register",
    "replicate",
    "reset",
    "restore",
    "run",
    "snapshot",
    "start",
    "status",
    "stop",
    "sync",
    "translate",
    "unregister",
    "verify",
    "version",
];

fn stdout(args: &[&str], home: &Path) -> String {
    let ended = Invocation::new(binary(), home).args(args.iter().copied()).finish();
    ended.assert_code(0);
    ended.stdout
}

#[test]
fn every_page_of_help_is_as_it_was_agreed() {
    let home = tempfile::tempdir().expect("tempdir");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/help");
    let mut changed = Vec::new();
    for command in PAGES {
        let args: Vec<&str> = [*command, "-help"].into_iter().filter(|word| !word.is_empty()).collect();
        let page = stdout(&args, home.path());
        let file = golden.join(format!("{}.txt", if command.is_empty() { "millstream" } else { command }));
        if std::env::var_os("MILLSTREAM_TEST_BLESS").is_some() {
            fs::write(&file, &page).expect("write the page");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if page != expected {
            changed.push(format!("{args:?}\n{page}"));
        }
        for line in page.lines() {
            assert!(line.chars().count() <= 100, "{args:?} is wider than 100 columns: {line}");
            assert!(!line.contains("--config"), "{args:?} spells flags with two dashes: {line}");
        }
    }
    assert!(changed.is_empty(), "changed; look at it, then MILLSTREAM_TEST_BLESS=1:\n{}", changed.join("\n"));
}

#[test]
fn every_page_has_its_parts() {
    let home = tempfile::tempdir().expect("tempdir");
    let overview = stdout(&["-help"], home.path());
    for command in PAGES.iter().filter(|command| !command.is_empty()) {
        assert!(overview.contains(&format!("\n  {command} ")), "{command} is not in the overview");
        let page = stdout(&[command, "-help"], home.path());
        for part in ["Usage: millstream ", "\nExamples:\n", "\nExit codes:\n"] {
            assert!(page.contains(part), "{command} has no {part:?}\n{page}");
        }
        for (short, other) in [("-h", page.as_str()), ("help", page.as_str())] {
            let args = if short == "help" { ["help", *command] } else { [*command, short] };
            assert_eq!(stdout(&args, home.path()), other, "{args:?}");
        }
    }
}
