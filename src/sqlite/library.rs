//! Which SQLite another program runs on, as far as that can be seen from outside.
//!
//! The library says its version in no file name: it stands among its constants, as `3.45.1` between
//! zero bytes. A program that links it statically has the same bytes in itself. Where more than one
//! version is found, or none, it is not known.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Larger files are not searched.
const LARGEST: u64 = 512 << 20;
const CHUNK: usize = 1 << 20;
/// A version with the zero bytes around it is no longer than this.
const OVERLAP: usize = 16;
/// In every SQLite library, and in few other files.
const MARK: &[u8] = b"SQLite format 3\0";

/// The version of the SQLite that the process has loaded.
pub fn version_in_process(pid: i32) -> Option<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let (named, others): (Vec<&str>, Vec<&str>) = mapped_code(&maps)
        .into_iter()
        .partition(|path| path.rsplit('/').next().is_some_and(|name| name.contains("sqlite")));
    // A library under its name is the one that is used, whatever else is loaded.
    [named, others].into_iter().find_map(|paths| {
        let found: BTreeSet<String> =
            paths.iter().filter_map(|path| version_in_file(&root.join(path.trim_start_matches('/')))).collect();
        match found.len() {
            1 => found.into_iter().next(),
            _ => None,
        }
    })
}

/// The files whose code is in a process, by the lines of `/proc/PID/maps`.
fn mapped_code(maps: &str) -> BTreeSet<&str> {
    let file = |line: &'_ str| -> Option<usize> {
        let mode = line.split_ascii_whitespace().nth(1)?;
        mode.contains('x').then(|| line.find('/')).flatten()
    };
    maps.lines().filter_map(|line| file(line).map(|at| line[at..].trim_end_matches(" (deleted)"))).collect()
}

fn version_in_file(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok().filter(|file| file.is_file() && file.len() <= LARGEST)?;
    let mut file = File::open(path).ok()?;
    let (mut has_mark, mut found) = (false, BTreeSet::new());
    let mut buffer: Vec<u8> = Vec::with_capacity(CHUNK + OVERLAP);
    let mut left = metadata.len();
    while left > 0 {
        let kept = buffer.len().saturating_sub(OVERLAP);
        buffer.drain(..kept);
        let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut buffer).ok()?;
        if read == 0 {
            break;
        }
        left = left.saturating_sub(read as u64);
        has_mark = has_mark || contains(&buffer, MARK);
        found.extend(versions(&buffer));
    }
    (has_mark && found.len() == 1).then(|| found.into_iter().next()).flatten()
}

fn contains(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark)
}

/// Texts between zero bytes that look like a version of SQLite 3.
fn versions(bytes: &[u8]) -> BTreeSet<String> {
    let is_version = |text: &&[u8]| {
        let parts: Vec<&[u8]> = text.split(|byte| *byte == b'.').collect();
        let is_number = |part: &&[u8]| (1..=2).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
        matches!(parts.as_slice(), [b"3", middle, last] if is_number(middle) && is_number(last))
    };
    let texts = bytes.split(|byte| *byte == 0);
    // What stands at an end may be a part of something longer.
    let count = texts.clone().count();
    let inner = texts.enumerate().filter(|(at, _)| *at > 0 && at + 1 < count).map(|(_, text)| text);
    inner.filter(is_version).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_known_by_the_one_version_in_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("libsqlite3.so");
        let known = |content: &str| {
            fs::write(&path, content.replace('|', "\0")).expect("write");
            version_in_file(&path)
        };
        assert_eq!(known("code|SQLite format 3|more|3.45.1|end").as_deref(), Some("3.45.1"));
        assert_eq!(known("code|3.45.1|end"), None, "no library of SQLite");
        assert_eq!(known("code|SQLite format 3|3.45.1|3.46.0|end"), None, "which of them?");
        let far = format!("|SQLite format 3|{}|3.45.1|end", "x".repeat(CHUNK - 20));
        assert_eq!(known(&far).as_deref(), Some("3.45.1"), "across two chunks");
    }

    #[test]
    fn a_version_stands_between_zero_bytes() {
        // Not as constants: this program is searched, too.
        let found = |text: &str| Vec::from_iter(versions(text.replace('|', "\0").as_bytes()));
        assert_eq!(found("x|3.45.1|y"), ["3.45.1"]);
        assert_eq!(found("3.45.1| 3.4.5||2.1.0||3.123.1||3.1|"), Vec::<String>::new());
    }

    #[test]
    fn code_is_told_from_data() {
        let maps = "7f00-7f01 r--p 00000000 08:01 12 /usr/lib/libdata.so\n\
                    7f01-7f02 r-xp 00001000 08:01 13 /usr/lib/my libsqlite3.so.0.8.6 (deleted)\n\
                    7f02-7f03 r-xp 00000000 00:00 0 [vdso]\n";
        assert_eq!(Vec::from_iter(mapped_code(maps)), ["/usr/lib/my libsqlite3.so.0.8.6"]);
    }
}
