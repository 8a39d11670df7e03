//! Bringing dirty pages to the disk ahead of a checkpoint, while no lock is held.
//!
//! A checkpoint syncs the WAL before it copies, and the database file when it has copied
//! everything. Under the write lock, the application waits for both. What is synced a moment before
//! leaves little to do there.
//!
//! The files are synced through the descriptors that SQLite has open: to close one of our own would
//! drop its locks.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use rusqlite::ffi;

use super::connection::Connection;

impl Connection {
    /// Syncs the database file, then the WAL, which a writer makes dirty again soonest. A failure
    /// has no consequence here: the checkpoint syncs again, and tells.
    pub fn sync_ahead(&self) {
        for which in [ffi::SQLITE_FCNTL_FILE_POINTER, ffi::SQLITE_FCNTL_JOURNAL_POINTER] {
            self.sync_file(c"main", which);
        }
    }

    fn sync_file(&self, database: &CStr, which: c_int) {
        let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
        // SAFETY: the handle is open and used by this thread only, the name is NUL-terminated, and
        // both controls write one pointer, for which `file` is the place.
        let code = unsafe {
            let place = ptr::from_mut(&mut file).cast::<c_void>();
            ffi::sqlite3_file_control(self.conn.handle(), database.as_ptr(), which, place)
        };
        if code != ffi::SQLITE_OK || file.is_null() {
            return;
        }
        // SAFETY: SQLite owns the file as long as the connection is open; one without methods is
        // not open.
        unsafe {
            let methods = (*file).pMethods;
            if !methods.is_null()
                && let Some(sync) = (*methods).xSync
            {
                sync(file, ffi::SQLITE_SYNC_NORMAL);
            }
        }
    }
}
