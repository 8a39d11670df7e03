//! A program that keeps the whole database to itself (`PRAGMA locking_mode=EXCLUSIVE`): no other
//! program can even read it.
//!
//! SQLite's busy errors do not say how a database is locked. The lock on the file does, and what
//! is beside it shows whether a transaction is under way, which ends some day, or not.

use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::byte_lock::Bytes;
use super::clients::{name_of, write_locker};
use super::presence::{Presence, look_at_file};
use crate::fsx;

/// The bytes SHARED of the database file: who writes to them is alone.
const SHARED: Bytes = (0x4000_0002, 510);

/// How a database is locked at one moment, seen from a process that has no connection to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locked {
    /// No program has it to itself.
    No,
    Exclusively(Holder),
}

/// Who has the database to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Name and process id, as far as they can be seen from here.
    pub name: String,
    /// In WAL mode no transaction needs to be alone.
    pub is_wal: bool,
    pub journal: Journal,
    /// Whether the file is being written to.
    pub size_and_time: SizeAndTime,
}

/// Length and time of a file.
pub type SizeAndTime = (u64, i64, i64);

/// The rollback journal of a database that a program has to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    Missing,
    /// It begins with zeros, or with nothing: no page of the database has been overwritten since
    /// the last commit.
    Blank(SizeAndTime),
    /// A transaction has begun to write to the database.
    Hot,
}

/// Looks at the locks. Only for a time when this process has no connection to the database.
pub fn look_at_locks(path: &Path) -> fsx::Result<Locked> {
    let Some(found) = fsx::regular_file_if_exists(path)? else { return Ok(Locked::No) };
    let Some(pid) = write_locker(&fsx::open_regular(path)?, SHARED) else { return Ok(Locked::No) };
    Ok(Locked::Exclusively(Holder {
        name: if pid > 0 { name_of(pid) } else { "a process that cannot be seen from here".into() },
        is_wal: matches!(look_at_file(path)?, Presence::Database(header) if header.is_wal),
        journal: journal(path),
        size_and_time: size_and_time(&found),
    }))
}

fn size_and_time(file: &Metadata) -> SizeAndTime {
    (file.len(), file.mtime(), file.mtime_nsec())
}

fn journal(path: &Path) -> Journal {
    let path = fsx::with_suffix(path, "-journal");
    let Some(found) = fs::symlink_metadata(&path).ok().filter(Metadata::is_file) else { return Journal::Missing };
    let mut first = [0; 8];
    let read = fsx::open_regular(&path).is_ok_and(|mut file| file.read_exact(&mut first).is_ok());
    if read && first != [0; 8] { Journal::Hot } else { Journal::Blank(size_and_time(&found)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_with_a_database_is_seen_and_others_are_not() {
        for (work, expected) in [
            ("PRAGMA journal_mode=WAL; CREATE TABLE t(x); BEGIN IMMEDIATE", None),
            ("PRAGMA journal_mode=DELETE; CREATE TABLE t(x); BEGIN IMMEDIATE", None),
            // It has not begun to write to the database, or has.
            (
                "PRAGMA journal_mode=DELETE; CREATE TABLE t(x); BEGIN EXCLUSIVE; INSERT INTO t VALUES (1)",
                Some((false, "blank")),
            ),
            (
                "PRAGMA journal_mode=DELETE; CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(900000)); PRAGMA cache_size=1; \
                 BEGIN EXCLUSIVE; UPDATE t SET x = randomblob(900000)",
                Some((false, "hot")),
            ),
            ("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=DELETE; CREATE TABLE t(x)", Some((false, "blank"))),
            ("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=PERSIST; CREATE TABLE t(x)", Some((false, "blank"))),
            ("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=MEMORY; CREATE TABLE t(x)", Some((false, "missing"))),
            ("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; CREATE TABLE t(x)", Some((true, "missing"))),
        ] {
            let dir = tempfile::tempdir().expect("tempdir");
            let path = dir.path().join("app.db");
            assert_eq!(look_at_locks(&path).expect("look"), Locked::No, "nothing is there");
            let client = rusqlite::Connection::open(&path).expect("open");
            client.execute_batch(work).expect(work);
            let seen = match look_at_locks(&path).expect("look") {
                Locked::No => None,
                Locked::Exclusively(holder) => {
                    assert!(holder.name.contains(&std::process::id().to_string()), "{holder:?}");
                    let journal = match holder.journal {
                        Journal::Missing => "missing",
                        Journal::Blank(_) => "blank",
                        Journal::Hot => "hot",
                    };
                    Some((holder.is_wal, journal))
                }
            };
            assert_eq!(seen, expected, "{work}");
        }
    }
}
