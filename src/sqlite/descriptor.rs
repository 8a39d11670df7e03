//! The files that SQLite has open, through its own descriptors: to close one of ours would drop its
//! locks.

use std::ffi::{c_int, c_void};
use std::ptr;

use rusqlite::ffi;

use super::connection::Connection;

/// A file that SQLite has open, as long as the connection is.
#[derive(Clone, Copy)]
pub(super) struct OpenFile {
    pub file: *mut ffi::sqlite3_file,
    pub methods: *const ffi::sqlite3_io_methods,
}

impl Connection {
    /// The database file ([`ffi::SQLITE_FCNTL_FILE_POINTER`]) or the WAL
    /// ([`ffi::SQLITE_FCNTL_JOURNAL_POINTER`]).
    pub(super) fn open_file(&self, which: c_int) -> Option<OpenFile> {
        let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
        let handle = self.handle("find the file of").ok()?;
        // SAFETY: the handle is open and used by this thread only, "main" is NUL-terminated, and
        // both controls write one pointer, for which `file` is the place.
        let code = unsafe {
            let place = ptr::from_mut(&mut file).cast::<c_void>();
            ffi::sqlite3_file_control(handle, c"main".as_ptr(), which, place)
        };
        if code != ffi::SQLITE_OK || file.is_null() {
            return None;
        }
        // SAFETY: SQLite owns the file as long as the connection is open; one without methods is
        // not open.
        let methods = unsafe { (*file).pMethods };
        (!methods.is_null()).then_some(OpenFile { file, methods })
    }

    /// Reads what lies in the database file itself, whatever the WAL has of newer pages. Whether
    /// there was as much.
    pub fn read_file(&self, offset: u64, bytes: &mut [u8]) -> bool {
        let Some(OpenFile { file, methods }) = self.open_file(ffi::SQLITE_FCNTL_FILE_POINTER) else { return false };
        let (Ok(len), Ok(offset)) = (c_int::try_from(bytes.len()), i64::try_from(offset)) else { return false };
        // SAFETY: the file is open, and `bytes` has room for `len` bytes.
        let read = unsafe { (*methods).xRead };
        // SAFETY: as above.
        read.is_some_and(|read| unsafe { read(file, bytes.as_mut_ptr().cast(), len, offset) } == ffi::SQLITE_OK)
    }
}
