//! Bringing dirty pages to the disk ahead of a checkpoint, while no lock is held.
//!
//! A checkpoint syncs the WAL before it copies, and the database file when it has copied
//! everything. Under the write lock, the application waits for both. What is synced a moment before
//! leaves little to do there.
//!
//! The files are synced through the descriptors that SQLite has open (`descriptor.rs`).

use std::ffi::c_int;

use rusqlite::ffi;

use super::connection::Connection;
use super::descriptor::OpenFile;

impl Connection {
    /// Syncs the database file, then the WAL, which a writer makes dirty again soonest. A failure
    /// has no consequence here: the checkpoint syncs again, and tells.
    pub fn sync_ahead(&self) {
        for which in [ffi::SQLITE_FCNTL_FILE_POINTER, ffi::SQLITE_FCNTL_JOURNAL_POINTER] {
            self.sync_file(which);
        }
    }

    fn sync_file(&self, which: c_int) {
        let Some(OpenFile { file, methods }) = self.open_file(which) else { return };
        // SAFETY: the file is open.
        unsafe {
            if let Some(sync) = (*methods).xSync {
                sync(file, ffi::SQLITE_SYNC_NORMAL);
            }
        }
    }
}
