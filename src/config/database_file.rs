//! The file that a database's name means: a path, `sqlite://PATH`, or one of SQLite's own `file:`
//! URIs.
//!
//! What follows `sqlite://` is the path, as in Litestream: three slashes make it absolute. Beyond
//! Litestream, as other programs write it: `sqlite:PATH`, `jdbc:sqlite:PATH`,
//! `sqlite3://file:PATH`, and parameters (`?mode=rwc`), which say how to open the file and not
//! which one it is. Pure.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// In the order in which they are tried.
const PREFIXES: [&str; 4] = ["sqlite3://", "sqlite://", "sqlite3:", "sqlite:"];

/// The path in the name; relative and `~/` as they are written.
pub fn database_file(name: &Path) -> Result<Cow<'_, Path>, String> {
    let bytes = name.as_os_str().as_bytes();
    let below_jdbc = strip(bytes, "jdbc:").unwrap_or(bytes);
    let prefixed = PREFIXES.iter().find_map(|prefix| strip(below_jdbc, prefix));
    let rest = prefixed.unwrap_or(bytes);
    if let Some(uri) = strip(rest, "file:") {
        return of_uri(uri).map(Cow::Owned);
    }
    let path = if prefixed.is_some() { split(rest, b"?").0 } else { rest };
    on_disk(path)?;
    Ok(Cow::Borrowed(Path::new(OsStr::from_bytes(path))))
}

/// What follows `file:`, as SQLite reads it: an authority that is empty or this host, a path with
/// %-escapes, parameters.
fn of_uri(uri: &[u8]) -> Result<std::path::PathBuf, String> {
    let (rest, _fragment) = split(uri, b"#");
    let (place, parameters) = split(rest, b"?");
    let path = match place.strip_prefix(b"//") {
        None => place,
        Some(after) => {
            let at = after.iter().position(|byte| *byte == b'/').unwrap_or(after.len());
            let (authority, path) = after.split_at(at);
            if !authority.is_empty() && !authority.eq_ignore_ascii_case(b"localhost") {
                let path = String::from_utf8_lossy(after);
                return Err(format!("file://{path} names a host; write file:{path}, or file:///PATH"));
            }
            path
        }
    };
    if parameters.split(|byte| *byte == b'&').any(|pair| pair == b"mode=memory") {
        return Err(IN_MEMORY.into());
    }
    let path = unescape(path)?;
    on_disk(&path)?;
    Ok(OsString::from_vec(path).into())
}

const IN_MEMORY: &str = "a database in memory has no file that could be replicated";

fn on_disk(path: &[u8]) -> Result<(), String> {
    if path == b":memory:" { Err(IN_MEMORY.into()) } else { Ok(()) }
}

/// The text behind a prefix, written in any case.
fn strip<'a>(bytes: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (start, rest) = bytes.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix.as_bytes()).then_some(rest)
}

/// What stands before and after the first of these bytes.
fn split<'a>(bytes: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    match bytes.iter().position(|byte| at.contains(byte)) {
        Some(index) => (&bytes[..index], &bytes[index + 1..]),
        None => (bytes, &[]),
    }
}

fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let hex = after.get(..2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex {
            Some(0) => return Err("the name holds %00, where SQLite would end it".into()),
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => return Err("the name has a malformed %-escape; write %25 for a percent sign".into()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> String {
        database_file(Path::new(name)).unwrap_or_else(|why| panic!("{name}: {why}")).display().to_string()
    }

    fn problem(name: &str) -> String {
        database_file(Path::new(name)).expect_err(name)
    }

    #[test]
    fn every_way_to_name_a_database() {
        for (name, path) in [
            ("/data/app.db", "/data/app.db"),
            ("app.db?x%20", "app.db?x%20"),
            ("sqlite:///data/app.db", "/data/app.db"),
            ("sqlite3:///data/app.db", "/data/app.db"),
            ("SQLite:////data/app.db", "//data/app.db"),
            ("sqlite://app.db", "app.db"),
            ("sqlite://~/app.db", "~/app.db"),
            ("sqlite:app.db", "app.db"),
            ("sqlite:/data/app.db?mode=rwc", "/data/app.db"),
            ("sqlite3:/data/a%20b.db", "/data/a%20b.db"),
            ("jdbc:sqlite:/data/app.db", "/data/app.db"),
            ("sqlite3://file:/data/app.db?cache=shared&mode=rwc", "/data/app.db"),
            ("file:app.db", "app.db"),
            ("file:./data/app.db?mode=ro#x", "./data/app.db"),
            ("file:/data/a%20b.db", "/data/a b.db"),
            ("file:///data/app.db?immutable=1", "/data/app.db"),
            ("file://localhost/data/app.db", "/data/app.db"),
            ("FILE:/data/100%25.db", "/data/100%.db"),
            ("filed.db", "filed.db"),
            ("sqlite", "sqlite"),
        ] {
            assert_eq!(file(name), path, "{name}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        for name in
            [":memory:", "sqlite://:memory:", "sqlite::memory:", "file::memory:", "file:x?cache=shared&mode=memory"]
        {
            assert!(problem(name).contains("in memory"), "{name}");
        }
        assert!(problem("file://data/app.db").contains("write file:data/app.db, or file:///PATH"));
        assert!(problem("file:/a%2").contains("%25"));
        assert!(problem("file:/a%00b").contains("%00"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_text_breaks_the_reader(name in "(jdbc:)?(sqlite3?:)?(file:)?(//)?[a-z/%0-9?&=#:é]{0,20}") {
            let _ = database_file(Path::new(&name));
        }
    }
}
