//! A program that keeps the whole database to itself (`PRAGMA locking_mode=EXCLUSIVE`): nobody else can even read it.
//!
//! SQLite's busy errors do not say how a database is locked. The lock on the file does, and what lies beside it shows whether a
//! transaction is under way, which ends some day, or not.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::clients::{Range, name_of, write_locker};
use super::presence::{Presence, look_at_file};
use crate::fsx;

/// The bytes SHARED of the database file: who writes to them is alone.
const SHARED: Range = (0x4000_0002, 510);

/// How a database is locked at one moment, seen from a process that has no connection to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locked {
    /// Nobody is alone with it.
    No,
    Exclusively(Holder),
}

/// Who is alone with the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Name and process id, as far as they can be seen from here.
    pub name: String,
    /// In WAL mode no transaction needs to be alone.
    pub is_wal: bool,
    /// A journal that holds something: a transaction is under way.
    pub has_journal: bool,
    /// Length and time of the file: whether it is being written to.
    pub stamp: (u64, i64, i64),
}

/// Looks at the locks. Only for a time when this process has no connection to the database.
pub fn look_at_locks(path: &Path) -> fsx::Result<Locked> {
    let Some(found) = fsx::regular_file_if_exists(path)? else { return Ok(Locked::No) };
    let Some(pid) = write_locker(&fsx::open_regular(path)?, SHARED) else { return Ok(Locked::No) };
    Ok(Locked::Exclusively(Holder {
        name: if pid > 0 { name_of(pid) } else { "a process that cannot be seen from here".into() },
        is_wal: matches!(look_at_file(path)?, Presence::Database(header) if header.is_wal),
        has_journal: has_journal(path),
        stamp: (found.len(), found.mtime(), found.mtime_nsec()),
    }))
}

/// Whether the rollback journal is one of a transaction. Between two of them it is gone, empty, or begins with zeros.
fn has_journal(path: &Path) -> bool {
    let mut first = [0; 8];
    let journal = fsx::with_suffix(path, "-journal");
    let is_file = fs::symlink_metadata(&journal).is_ok_and(|journal| journal.is_file());
    is_file && File::open(&journal).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first != [0; 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_with_a_database_is_seen_and_others_are_not() {
        for (work, expected) in [
            ("PRAGMA journal_mode=WAL; CREATE TABLE t(x); BEGIN IMMEDIATE", None),
            ("PRAGMA journal_mode=DELETE; CREATE TABLE t(x); BEGIN IMMEDIATE", None),
            (
                "PRAGMA journal_mode=DELETE; CREATE TABLE t(x); BEGIN EXCLUSIVE; INSERT INTO t VALUES (1)",
                Some((false, true)),
            ),
            ("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=DELETE; CREATE TABLE t(x)", Some((false, false))),
            ("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=PERSIST; CREATE TABLE t(x)", Some((false, false))),
            ("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; CREATE TABLE t(x)", Some((true, false))),
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
                    Some((holder.is_wal, holder.has_journal))
                }
            };
            assert_eq!(seen, expected, "{work}");
        }
    }
}
