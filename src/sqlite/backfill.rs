//! How far the checkpoints of a database have come, whoever runs them, by the wal-index that all
//! its connections share.
//!
//! In WAL mode only a checkpoint writes to the database file, and it leaves a trace: it stores how
//! far it wants to copy before it begins, and how far it has copied when it is done (`WalCkptInfo`
//! in SQLite's `wal.c`, <https://sqlite.org/walformat.html#the_wal_index_file_format>). A change of
//! the file without such a trace was made past SQLite.

use std::ffi::{c_int, c_void};
use std::ptr;

use rusqlite::ffi;

use super::connection::Connection;
use super::descriptor::OpenFile;
use super::wal::Salts;

/// `mxFrame` …
const FRAMES_AT: usize = 16;
/// … and the two salts, in the first copy of the wal-index header.
const SALTS_AT: usize = 32;
/// `nBackfill` …
const DONE_AT: usize = 96;
/// … and `nBackfillAttempted`.
const ATTEMPTED_AT: usize = 128;
/// `WALINDEX_PGSZ`: the wal-index is mapped in pieces of this length.
const REGION_BYTES: c_int = 32768;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// The generation of the WAL.
    pub salts: Salts,
    /// Frames of the WAL that are in the database file.
    pub done: u32,
    attempted: u32,
}

impl Backfill {
    /// Whether a checkpoint has written to the database file after `self` was seen and before `now`
    /// was. `true` also where the WAL was restarted: that follows a checkpoint.
    pub fn has_moved(&self, now: &Backfill) -> bool {
        self != now
    }

    /// A checkpoint is at work, or was killed at it, or the wal-index was built anew since.
    pub fn is_incomplete(&self) -> bool {
        self.done != self.attempted
    }
}

impl Connection {
    /// Where the checkpoints are; `None` when this connection has no wal-index. The database must
    /// be in WAL mode, and a read transaction open.
    pub fn backfill(&self) -> Option<Backfill> {
        let salts = Salts(u32::from_be(self.word(SALTS_AT)?), u32::from_be(self.word(SALTS_AT + 4)?));
        Some(Backfill { salts, done: self.word(DONE_AT)?, attempted: self.word(ATTEMPTED_AT)? })
    }

    /// Frames of the WAL that hold committed transactions, whoever made them, at this moment.
    /// `None` where [`Connection::backfill`] is.
    pub fn committed_frames(&self) -> Option<u32> {
        self.word(FRAMES_AT)
    }

    /// A word of the wal-index header.
    fn word(&self, at: usize) -> Option<u32> {
        let region = self.wal_index()?;
        // SAFETY: the region is mapped as long as the transaction lasts, is longer than the header,
        // and is aligned to a page. Other processes write to it, hence volatile; a value that is
        // torn between two reads only differs from the next one.
        Some(unsafe { region.add(at).cast::<u32>().read_volatile() })
    }

    /// The first piece of the wal-index, which SQLite has mapped.
    fn wal_index(&self) -> Option<*const u8> {
        if self.conn().ok()?.is_autocommit() {
            return None;
        }
        let OpenFile { file, methods } = self.open_file(ffi::SQLITE_FCNTL_FILE_POINTER)?;
        let mut region: *mut c_void = ptr::null_mut();
        // SAFETY: the file is open. With the transaction the region is mapped already, so that
        // asking for it, without leave to lengthen it, changes nothing.
        let code = unsafe {
            let map = (*methods).xShmMap.filter(|_| (*methods).iVersion >= 2)?;
            map(file, 0, REGION_BYTES, 0, &raw mut region)
        };
        (code == ffi::SQLITE_OK && !region.is_null()).then(|| region.cast::<u8>().cast_const())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sqlite::CheckpointMode;

    #[test]
    fn every_checkpoint_leaves_a_trace_and_a_commit_leaves_none() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let app = rusqlite::Connection::open(&path).expect("open");
        app.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x)").expect("create");
        let ours = Connection::open(&path, Duration::ZERO).expect("open");
        assert_eq!(ours.backfill(), None, "without a transaction nothing is certain");
        let closed = Connection::none();
        assert!(closed.rest().is_err() && closed.end().is_ok());
        assert_eq!(closed.backfill(), None);
        ours.pin().expect("pin");
        let first = ours.backfill().expect("a wal-index");
        app.execute_batch("INSERT INTO t VALUES (1)").expect("commit");
        assert!(!first.has_moved(&ours.backfill().expect("a wal-index")));
        assert_eq!(ours.committed_frames(), Some(first.done + 3), "two pages before, and one now");
        // As far as our read transaction lets it.
        app.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").expect("checkpoint");
        let second = ours.backfill().expect("a wal-index");
        assert!(first.has_moved(&second) && !second.is_incomplete(), "{first:?} {second:?}");
        ours.end().expect("end");
        ours.checkpoint(CheckpointMode::Passive).expect("checkpoint");
        ours.rest().expect("rest");
        let third = ours.backfill().expect("a wal-index");
        assert!(second.has_moved(&third), "ours as well");
        app.execute_batch("INSERT INTO t VALUES (2)").expect("commit");
        assert!(third.has_moved(&ours.backfill().expect("a wal-index")), "a new beginning of the WAL");
    }
}
