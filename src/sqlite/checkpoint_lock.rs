//! Keeping the application from checkpointing, because we do it for all.
//!
//! Beside a reader that never goes away, an application with SQLite's default `wal_autocheckpoint`
//! tries a checkpoint after every single commit as soon as the WAL holds 1,000 frames. Each try
//! looks at every read slot and nearly always finds nothing to copy; a writer at full speed loses a
//! fifth of its time to them. A checkpoint has a lock of its own (byte 121 of the `-shm` file), and
//! a try that does not get it ends there. That is what SQLite's documentation promises, too: while
//! one checkpoint runs, others get `SQLITE_BUSY` at once, and the automatic one ignores it.
//!
//! It is a POSIX lock, as SQLite's own are, and those belong to the process. So it keeps others out
//! and never us: a connection of this process takes the same byte as if it were free, for a
//! checkpoint of ours, or to build a wal-index anew that an application left torn when it was
//! killed in the middle of writing its header. (A lock that excluded our own connections, too,
//! would let no process repair the index: the application's next process would wait for us, and we
//! for ourselves.) Two things follow:
//!
//! - SQLite gives the byte back when it is done with it, and ours is gone with it:
//!   [`CheckpointLock::renew`].
//! - Who holds it must begin a read transaction every few milliseconds, which is what finds a torn
//!   index and repairs it.
//!
//! The descriptor is not closed while a connection of this process is open: that would drop its
//! locks.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use super::byte_lock::{Bytes, ask, is_locked_by_another_process};
use crate::fsx;

/// `UNIX_SHM_BASE + WAL_CKPT_LOCK` of SQLite's unix VFS; part of the file format
/// (<https://sqlite.org/walformat.html#wal_locks>).
const CHECKPOINT_BYTE: Bytes = (121, 1);

#[derive(Debug)]
pub struct CheckpointLock {
    path: PathBuf,
    /// Opened when it is first needed; `Err(())` when that failed: then the application checkpoints
    /// as it likes.
    shm: Option<Result<ManuallyDrop<File>, ()>>,
    held: bool,
}

impl CheckpointLock {
    /// For the database at `path`; opens nothing yet.
    pub fn of(path: &Path) -> CheckpointLock {
        CheckpointLock { path: fsx::with_suffix(path, "-shm"), shm: None, held: false }
    }

    /// Takes the lock if no other process has it. A connection of this process must be open.
    pub fn hold(&mut self) {
        self.held = self.set(libc::F_WRLCK);
    }

    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Takes it back after SQLite has given it away, if it was held.
    pub fn renew(&mut self) {
        if self.held {
            self.hold();
        }
    }

    pub fn release(&mut self) {
        if std::mem::take(&mut self.held) {
            self.set(libc::F_UNLCK);
        }
    }

    /// Also closes the descriptor. No connection of this process to the database may be open: it
    /// would lose its locks.
    pub fn close(&mut self) {
        self.release();
        if let Some(Ok(shm)) = self.shm.take() {
            drop(ManuallyDrop::into_inner(shm));
        }
    }

    /// Whether a checkpoint of another process is under way, or kept from beginning.
    pub fn is_held_elsewhere(&mut self) -> bool {
        let Some(shm) = self.shm() else { return false };
        is_locked_by_another_process(shm, CHECKPOINT_BYTE).unwrap_or(false)
    }

    fn shm(&mut self) -> Option<&File> {
        let path = &self.path;
        let open = || File::options().read(true).write(true).open(path).map(ManuallyDrop::new).map_err(drop);
        self.shm.get_or_insert_with(open).as_deref().ok()
    }

    fn set(&mut self, kind: libc::c_int) -> bool {
        self.shm().is_some_and(|shm| ask(shm, libc::F_SETLK, kind, CHECKPOINT_BYTE).is_ok())
    }
}

impl Drop for CheckpointLock {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
impl CheckpointLock {
    /// Whether another process would be refused the lock. An open-file-description lock meets those
    /// of this process, too.
    pub fn excludes_others(&self) -> bool {
        let shm = ManuallyDrop::new(File::options().read(true).write(true).open(&self.path).expect("open"));
        ask(&shm, libc::F_OFD_GETLK, libc::F_WRLCK, CHECKPOINT_BYTE).expect("asked").is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_excludes_others_and_never_ourselves() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let ours = rusqlite::Connection::open(&path).expect("open");
        ours.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x)").expect("create");
        // Busy, frames, frames copied.
        let checkpoint = || -> (i64, i64, i64) {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            ours.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], row).expect("checkpoint")
        };
        let mut lock = CheckpointLock::of(&path);
        lock.renew();
        assert!(!lock.excludes_others(), "it was not held before");
        lock.hold();
        assert!(lock.excludes_others());
        ours.execute_batch("INSERT INTO t VALUES (1)").expect("writers are not concerned");
        let (busy, frames, copied) = checkpoint();
        assert_eq!((busy, copied), (0, frames));
        assert!(!lock.excludes_others(), "SQLite gives it back with its own: is it still needed to renew it?");
        lock.renew();
        assert!(lock.excludes_others());
        lock.release();
        assert!(!lock.excludes_others());
        lock.hold();
        let CheckpointLock { path, .. } = &lock;
        let other = CheckpointLock { path: path.clone(), shm: None, held: false };
        drop(lock);
        assert!(!other.excludes_others(), "it must not outlive its value");
    }

    #[test]
    fn without_shared_memory_nothing_is_held() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut lock = CheckpointLock::of(&dir.path().join("none.db"));
        lock.hold();
        assert!(!lock.held);
        lock.release();
    }
}
