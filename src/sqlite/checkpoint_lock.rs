//! Keeping the application from checkpointing, because we do it for all.
//!
//! Beside a reader that never goes away, an application with SQLite's default `wal_autocheckpoint` tries a checkpoint after
//! every single commit as soon as the WAL holds 1,000 frames. Each try looks at every read slot and nearly always finds nothing
//! to copy; a writer at full speed loses a fifth of its time to them. A checkpoint has a lock of its own (byte 121 of the
//! `-shm` file), and a try that does not get it ends there. That is what SQLite's documentation promises, too: while one checkpoint runs,
//! others get `SQLITE_BUSY` at once, and the automatic one ignores it.
//!
//! Two things to know about it:
//!
//! - It is an open-file-description lock: SQLite's own are POSIX locks of the process, and would neither conflict with it in
//!   this process nor survive that somebody closes a descriptor of the file. For the same reason the descriptor is never closed.
//! - Recovery of the wal-index needs the same lock. It happens when the application was killed in the middle of writing the
//!   header of the wal-index. Whoever holds the lock must begin a read transaction every few milliseconds: it fails then, too,
//!   and tells that the lock must be released.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::fsx;

/// `UNIX_SHM_BASE + WAL_CKPT_LOCK` of SQLite's unix VFS; part of the file format (<https://sqlite.org/walformat.html#wal_locks>).
const CHECKPOINT_BYTE: libc::off_t = 121;

#[derive(Debug)]
pub struct CheckpointLock {
    path: PathBuf,
    /// Opened when it is first needed; `Err(())` when that failed: then the application checkpoints as it likes.
    shm: Option<Result<ManuallyDrop<File>, ()>>,
    held: bool,
}

impl CheckpointLock {
    /// For the database at `path`; opens nothing yet.
    pub fn of(path: &Path) -> CheckpointLock {
        CheckpointLock { path: fsx::with_suffix(path, "-shm"), shm: None, held: false }
    }

    /// Takes the lock if it is free. To be released when a read transaction cannot begin, and before a checkpoint of our own.
    /// A connection of this process must be open.
    pub fn hold(&mut self) {
        if !self.held {
            self.held = self.set(libc::F_WRLCK);
        }
    }

    /// Returns whether it was held.
    pub fn release(&mut self) -> bool {
        if self.held {
            self.set(libc::F_UNLCK);
        }
        std::mem::take(&mut self.held)
    }

    fn set(&mut self, kind: libc::c_int) -> bool {
        let path = &self.path;
        let open = || File::options().read(true).write(true).open(path).map(ManuallyDrop::new).map_err(drop);
        let Ok(shm) = self.shm.get_or_insert_with(open) else { return false };
        // SAFETY: all-zero is a valid value of this plain C structure.
        let mut range: libc::flock = unsafe { std::mem::zeroed() };
        range.l_type = kind as libc::c_short;
        range.l_whence = libc::SEEK_SET as libc::c_short;
        range.l_start = CHECKPOINT_BYTE;
        range.l_len = 1;
        // SAFETY: the descriptor is open (never closed), and the call reads one `flock`, which `range` is.
        unsafe { libc::fcntl(shm.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) == 0 }
    }
}

impl Drop for CheckpointLock {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_checkpoints_while_it_is_held() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let app = rusqlite::Connection::open(&path).expect("open");
        app.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x)").expect("create");
        app.busy_timeout(std::time::Duration::from_secs(60)).expect("timeout");
        // Busy, frames, frames copied.
        let checkpoint = || -> (i64, i64, i64) {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            app.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], row).expect("checkpoint")
        };
        let mut lock = CheckpointLock::of(&path);
        lock.hold();
        assert!(lock.held);
        // At once, in spite of the time that it would wait for a lock.
        assert_eq!(checkpoint().0, 1, "a checkpoint ran beside ours");
        app.execute_batch("INSERT INTO t VALUES (1)").expect("writers are not concerned");
        assert!(lock.release());
        assert!(!lock.release());
        let (busy, frames, copied) = checkpoint();
        assert_eq!((busy, copied), (0, frames));
        lock.hold();
        drop(lock);
        assert_eq!(checkpoint().0, 0, "it must not outlive its value");
    }

    #[test]
    fn without_shared_memory_nothing_is_held() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut lock = CheckpointLock::of(&dir.path().join("none.db"));
        lock.hold();
        assert!(!lock.release());
    }
}
