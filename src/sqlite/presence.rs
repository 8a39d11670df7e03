//! What is at a database's path, judged by its first bytes.
//!
//! Only a name that nothing has, or a file without a single byte, is a missing database. Whatever
//! else is there may be valuable: it may be a database that is encrypted or damaged, or a
//! path that was mistaken. It is never replaced, and what it looks like is said.

use std::fmt;
use std::io::Read;
use std::path::Path;

use super::header::{DbHeader, MAGIC};
use crate::fsx::{self, Context};

/// As much as tells random bytes from others.
const SAMPLE_LEN: u64 = 4096;
/// Bits for each byte, from which on bytes count as random; 512 random bytes have 7.6.
const RANDOM_BITS: f64 = 7.2;
const RANDOM_SAMPLE_MIN: usize = 512;

/// What is at a database's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Missing,
    /// Zero bytes: a volume's placeholder or a crash at creation, never a database to keep.
    Empty,
    /// Bytes that do not begin a SQLite database.
    NoDatabase(Content),
    Database(DbHeader),
}

/// What bytes look like that are no database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// It begins as a database does, and goes on as none can.
    DamagedHeader,
    /// A format that its first bytes name.
    Named(&'static str),
    Zeros,
    Random,
    Text,
    Unknown,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Content::DamagedHeader => "it begins as a SQLite database, but its header is damaged",
            Content::Named(format) => return write!(f, "it looks like {format}"),
            Content::Zeros => "it begins with zeros: a damaged database, or space that was set aside",
            Content::Random => "it looks like random bytes: an encrypted database?",
            Content::Text => "it looks like text",
            Content::Unknown => "it is of an unknown format",
        })
    }
}

/// The first bytes of what is mistaken for a database. (Facts of the formats.)
const FORMATS: &[(&[u8], &str)] = &[
    (b"LTX1", "an LTX file of a replica"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\x04\x22\x4d\x18", "an LZ4 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"BZh", "a bzip2 file"),
    (b"PK\x03\x04", "a zip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file"),
    (b"age-encryption.org/", "a file that is encrypted with age"),
    (b"Salted__", "a file that is encrypted with openssl"),
    (b"-----BEGIN PGP", "a file that is encrypted with PGP"),
    (b"\x37\x7f\x06\x82", "the WAL of a SQLite database"),
    (b"\x37\x7f\x06\x83", "the WAL of a SQLite database"),
    (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", "the rollback journal of a SQLite database"),
    (b"** This file contains an SQLite 2", "a SQLite 2 database"),
    (b"PGDMP", "a dump of PostgreSQL"),
    (b"\x7fELF", "a program"),
    (b"%PDF-", "a PDF file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"version https://git-lfs.github.com", "a Git LFS pointer: the file itself was not fetched"),
];

/// How a dump by SQLite's shell begins, without blanks and in capitals.
const SQL: &[&str] = &["BEGIN TRANSACTION", "PRAGMA ", "CREATE ", "INSERT ", "DROP ", "--", "/*"];

impl Presence {
    /// Of a file that begins with these bytes.
    fn of(bytes: &[u8]) -> Presence {
        match DbHeader::parse(bytes) {
            _ if bytes.is_empty() => Presence::Empty,
            Some(header) => Presence::Database(header),
            None => Presence::NoDatabase(Content::of(bytes)),
        }
    }
}

impl Content {
    fn of(bytes: &[u8]) -> Content {
        // A database that was cut inside the first words of its header is one, too.
        if bytes.starts_with(MAGIC) || bytes.len() >= 4 && MAGIC.starts_with(bytes) {
            return Content::DamagedHeader;
        }
        if let Some((_, format)) = FORMATS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
            return Content::Named(format);
        }
        if bytes.get(257..262) == Some(b"ustar") {
            return Content::Named("a tar archive");
        }
        if bytes.get(8..12) == Some(b"DUCK") {
            return Content::Named("a DuckDB database");
        }
        match bytes {
            _ if bytes.iter().all(|byte| *byte == 0) => Content::Zeros,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Content::Named("text in UTF-16"),
            _ => text(bytes).unwrap_or(match is_random(bytes) {
                true => Content::Random,
                false => Content::Unknown,
            }),
        }
    }
}

/// What kind of text it is, if it is text.
fn text(bytes: &[u8]) -> Option<Content> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // The sample may end in the middle of a character.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if text.is_empty() || text.chars().any(|c| c.is_control() && !"\t\n\r\u{c}\u{1b}".contains(c)) {
        return None;
    }
    let start = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    let capitals = start.chars().take(32).collect::<String>().to_ascii_uppercase();
    let begins_with = |words: &[&str]| words.iter().any(|word| capitals.starts_with(word));
    Some(match () {
        () if begins_with(SQL) => Content::Named("an SQL dump"),
        () if begins_with(&["<!DOCTYPE HTML", "<HTML"]) => Content::Named("an HTML page"),
        () if begins_with(&["<?XML"]) => Content::Named("an XML file"),
        () if begins_with(&["{", "["]) => Content::Named("a JSON file"),
        () => Content::Text,
    })
}

fn is_random(bytes: &[u8]) -> bool {
    let mut counts = [0_u32; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let total = bytes.len() as f64;
    let share = |count: &u32| f64::from(*count) / total;
    let bits: f64 = counts.iter().filter(|count| **count > 0).map(|count| -share(count) * share(count).log2()).sum();
    bytes.len() >= RANDOM_SAMPLE_MIN && bits >= RANDOM_BITS
}

/// Looks at the file with plain I/O. Only for a time when this process has no connection to it:
/// closing the descriptor would drop that connection's locks. What is no regular file is an error.
pub fn look_at_file(path: &Path) -> fsx::Result<Presence> {
    if fsx::regular_file_if_exists(path)?.is_none() {
        return Ok(Presence::Missing);
    }
    let mut file = fsx::open_regular(path)?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(SAMPLE_LEN).read_to_end(&mut bytes).on("read", path)?;
    Ok(Presence::of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::PageSize;

    #[test]
    fn tells_the_four_states_apart() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("x.db");
        let look = || look_at_file(&path).expect("look");
        assert_eq!(look(), Presence::Missing);
        std::fs::write(&path, b"").expect("write");
        assert_eq!(look(), Presence::Empty);
        std::fs::write(&path, vec![0; 4096]).expect("write");
        assert_eq!(look(), Presence::NoDatabase(Content::Zeros));
        std::fs::remove_file(&path).expect("remove");
        let conn = rusqlite::Connection::open(&path).expect("open");
        conn.execute_batch("PRAGMA page_size=8192; PRAGMA journal_mode=WAL; CREATE TABLE t(x)").expect("create");
        drop(conn);
        let page_size = PageSize::new(8192).expect("valid");
        assert_eq!(look(), Presence::Database(DbHeader { page_size, is_wal: true }));
        std::fs::remove_file(&path).expect("remove");
        std::fs::create_dir(&path).expect("mkdir");
        assert!(look_at_file(&path).is_err(), "a directory is neither missing nor a database");
    }

    #[test]
    fn says_what_other_bytes_look_like() {
        let mut database = vec![0; 4096];
        database[..16].copy_from_slice(MAGIC);
        let with_page_size = |size: u16| {
            let mut bytes = database.clone();
            bytes[16..18].copy_from_slice(&size.to_be_bytes());
            Presence::of(&bytes)
        };
        assert!(matches!(with_page_size(4096), Presence::Database(_)));
        for impossible in [0, 2, 511, 4097, 65535] {
            assert_eq!(with_page_size(impossible), Presence::NoDatabase(Content::DamagedHeader), "{impossible}");
        }
        // Multiplicative congruence: every byte value about as often as any other.
        let random: Vec<u8> = (1..=4096_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
        let looks = |bytes: &[u8]| Content::of(bytes).to_string();
        for (bytes, word) in [
            (&MAGIC[..], "damaged"),
            (b"SQLite f", "damaged"),
            (&random, "encrypted"),
            (&random[..512], "encrypted"),
            (b"\x1f\x8b\x08\0\0", "gzip"),
            (b"LTX1\0\0", "LTX"),
            (b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n", "SQL dump"),
            (b"\xef\xbb\xbf-- dump\n", "SQL dump"),
            (b"<!doctype html><title>x</title>", "HTML"),
            (b"path = /data/app.db\n", "text"),
            ("gr\u{fc}n".as_bytes(), "text"),
            (b"\x01\x02\x03\x04", "unknown"),
            (b"x\0y", "unknown"),
            (b"\0", "zeros"),
        ] {
            assert!(looks(bytes).contains(word), "{word}: {}", looks(bytes));
        }
    }
}
