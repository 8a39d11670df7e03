//! A write lock that is kept from one transaction to the next.
//!
//! SQLite lets the write lock of a WAL go with every commit. For the moment until the next
//! transaction has it again, a program that waits for it can write, is told that its commit is
//! done, and has it taken back by what follows. So the function that locks is replaced in this one
//! connection's file: as long as the lock is to be kept, letting it go does nothing, and taking it
//! once more is done at once. Other connections of this process find it held as those of other
//! processes do.
//!
//! The lock is the first of the wal-index (`WAL_WRITE_LOCK`). No other lock is touched.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::ffi;

const WRITE_LOCK: c_int = 0;

/// Stands in for the methods of one open file. The methods come first: the file points to them.
#[repr(C)]
struct Methods {
    methods: ffi::sqlite3_io_methods,
    original: *const ffi::sqlite3_io_methods,
    is_kept: AtomicBool,
    is_held: AtomicBool,
}

/// The lock of one attached database. To be dropped before its connection is.
pub struct KeptLock {
    file: *mut ffi::sqlite3_file,
    methods: *mut Methods,
}

// SAFETY: it is used with its connection, by one thread at a time.
unsafe impl Send for KeptLock {}

impl KeptLock {
    /// `None`: the file has no wal-index, or is not as expected. `schema` ends with a zero.
    pub fn of(connection: &rusqlite::Connection, schema: &'static std::ffi::CStr) -> Option<KeptLock> {
        let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
        // SAFETY: the connection is open, and the answer is a pointer to its file, which lives as
        // long as the database is attached.
        let code = unsafe {
            ffi::sqlite3_file_control(
                connection.handle(),
                schema.as_ptr(),
                ffi::SQLITE_FCNTL_FILE_POINTER,
                (&raw mut file).cast(),
            )
        };
        if code != ffi::SQLITE_OK || file.is_null() {
            return None;
        }
        // SAFETY: an open file points to its methods, which are constant.
        let original = unsafe { (*file).pMethods };
        if original.is_null() {
            return None;
        }
        // SAFETY: as above; the copy is of plain function pointers.
        let mut methods = unsafe { ptr::read(original) };
        if methods.iVersion < 2 || methods.xShmLock.is_none() {
            return None;
        }
        methods.xShmLock = Some(shm_lock);
        let methods = Box::into_raw(Box::new(Methods {
            methods,
            original,
            is_kept: AtomicBool::new(false),
            is_held: AtomicBool::new(false),
        }));
        // SAFETY: the file is open, and what it points to lives until this is dropped.
        unsafe { (*file).pMethods = methods.cast() };
        Some(KeptLock { file, methods })
    }

    /// From now on it is not let go, once it is taken.
    pub fn keep(&self) {
        // SAFETY: it lives until this is dropped.
        unsafe { (*self.methods).is_kept.store(true, Ordering::Relaxed) };
    }
}

impl Drop for KeptLock {
    fn drop(&mut self) {
        // SAFETY: the connection is open still, so its file is; nothing of it runs now. The methods
        // were made by `of`, and the file does not point to them any more when they go.
        unsafe {
            let methods = Box::from_raw(self.methods);
            (*self.file).pMethods = methods.original;
            if let (true, Some(lock)) = (methods.is_held.load(Ordering::Relaxed), (*methods.original).xShmLock) {
                lock(self.file, WRITE_LOCK, 1, ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_EXCLUSIVE);
            }
        }
    }
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: SQLite calls this with the file that points to these methods.
    let methods = unsafe { &*(*file).pMethods.cast::<Methods>() };
    // SAFETY: the original methods are constant.
    let Some(lock) = (unsafe { (*methods.original).xShmLock }) else { return ffi::SQLITE_IOERR_SHMLOCK };
    let is_it = offset == WRITE_LOCK && count == 1 && flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    if !is_it {
        // SAFETY: passed on as it came.
        return unsafe { lock(file, offset, count, flags) };
    }
    let (is_kept, is_held) = (&methods.is_kept, &methods.is_held);
    match flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        true if is_kept.load(Ordering::Relaxed) && is_held.load(Ordering::Relaxed) => ffi::SQLITE_OK,
        false if is_held.load(Ordering::Relaxed) => ffi::SQLITE_OK,
        unlocks => {
            // SAFETY: passed on as it came.
            let code = unsafe { lock(file, offset, count, flags) };
            if code == ffi::SQLITE_OK {
                is_held.store(!unlocks, Ordering::Relaxed);
            }
            code
        }
    }
}
