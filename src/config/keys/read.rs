//! The table and the readers agree: what is read is a key of the table, and what the table calls supported is read.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Class, LEVELS};

/// The names in `section.text("name")` and its like, tests left out.
fn read(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).expect("list").map(|entry| entry.expect("entry").path()) {
        if entry.is_dir() {
            found.extend(read(&entry));
            continue;
        }
        let source = fs::read_to_string(&entry).expect("read");
        found.extend(names(source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()));
    }
    found
}

fn names(source: &str) -> Vec<String> {
    const GETTERS: [&str; 9] =
        [".text", ".value", ".bool", ".number", ".duration", ".texts", ".section", ".sections", ".has"];
    let calls = GETTERS.iter().flat_map(|getter| source.split(getter).skip(1));
    let names = calls.filter_map(|rest| rest.strip_prefix("(\"")?.split('"').next());
    // Others take the section, and the place of it for their complaints, first.
    let others = source.split("positive(").chain(source.split("pages(")).chain(source.split("variables(")).skip(1);
    let first = others.filter_map(|rest| rest.split(')').next());
    let literals = first.flat_map(|arguments| arguments.split('"').skip(1).step_by(2));
    names.chain(literals).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn what_is_read_is_in_the_table_and_what_is_supported_is_read() {
    let read = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config"));
    let keys = || LEVELS.into_iter().flat_map(|level| level.keys());
    let unknown: Vec<&String> = read.iter().filter(|name| !keys().any(|key| key.name == **name)).collect();
    assert!(unknown.is_empty(), "read, but no key: {unknown:?}");
    let unread = keys().filter(|key| key.class == Class::Supported && !read.contains(key.name));
    let unread: Vec<&str> = unread.map(|key| key.name).collect();
    assert!(unread.is_empty(), "in the table, but not read: {unread:?}");
}
