//! SQLite's memory, in a heap of its own.
//!
//! An open database takes some sixty kilobytes in small pieces, and those of a thousand are freed
//! together when nothing happens in them any more. Among our own allocations, which stay, they
//! would leave gaps on every page, and no page could be given back to the system.

use std::ffi::{c_int, c_void};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use dlmalloc::Dlmalloc;
use rusqlite::ffi;

static HEAP: Mutex<Dlmalloc> = Mutex::new(Dlmalloc::new());

/// Before each allocation: its size, which SQLite asks for. What follows is aligned to so much.
const HEAD: usize = 16;

fn heap() -> MutexGuard<'static, Dlmalloc> {
    HEAP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on SQLite allocates there. It has no effect once SQLite is in use.
pub fn use_own_heap() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let methods = METHODS;
        // SAFETY: SQLite copies the structure, whose functions keep to its contract for them.
        let code = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &methods) };
        debug_assert_eq!(code, ffi::SQLITE_OK, "SQLite is in use already");
    });
}

/// Gives what is free back to the system.
pub fn trim_heap() {
    // SAFETY: it moves nothing that is in use.
    unsafe { heap().trim(0) };
}

const METHODS: ffi::sqlite3_mem_methods = ffi::sqlite3_mem_methods {
    xMalloc: Some(allocate),
    xFree: Some(free),
    xRealloc: Some(reallocate),
    xSize: Some(size_of),
    xRoundup: Some(round_up),
    xInit: Some(begin),
    xShutdown: Some(end),
    pAppData: std::ptr::null_mut(),
};

unsafe extern "C" fn allocate(size: c_int) -> *mut c_void {
    let Ok(size) = usize::try_from(size) else { return std::ptr::null_mut() };
    // SAFETY: the size is not negative, and what is returned is checked.
    let start = unsafe { heap().c_malloc(HEAD + size) };
    // SAFETY: it is null, or the start of so many bytes that nothing else uses.
    unsafe { with_head(start, size) }
}

unsafe extern "C" fn free(pointer: *mut c_void) {
    if !pointer.is_null() {
        // SAFETY: SQLite gives back what `allocate` or `reallocate` returned, once.
        unsafe { heap().c_free(pointer.cast::<u8>().sub(HEAD)) };
    }
}

unsafe extern "C" fn reallocate(pointer: *mut c_void, size: c_int) -> *mut c_void {
    let Ok(size) = usize::try_from(size) else { return std::ptr::null_mut() };
    // SAFETY: SQLite passes what `allocate` or `reallocate` returned; it stays valid if there is no
    // memory.
    unsafe {
        let start = heap().c_realloc(pointer.cast::<u8>().sub(HEAD), HEAD + size);
        with_head(start, size)
    }
}

unsafe extern "C" fn size_of(pointer: *mut c_void) -> c_int {
    if pointer.is_null() {
        return 0;
    }
    // SAFETY: `with_head` has written it there.
    let size = unsafe { pointer.cast::<u8>().sub(HEAD).cast::<usize>().read() };
    c_int::try_from(size).unwrap_or(c_int::MAX)
}

unsafe extern "C" fn round_up(size: c_int) -> c_int {
    size.saturating_add(7) & !7
}

unsafe extern "C" fn begin(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn end(_: *mut c_void) {}

/// Notes the size, and returns what follows.
///
/// # Safety
///
/// `start` is null, or the start of at least `HEAD` bytes that are aligned for a `usize`.
unsafe fn with_head(start: *mut u8, size: usize) -> *mut c_void {
    if start.is_null() {
        return std::ptr::null_mut();
    }
    // SAFETY: as the caller promises.
    unsafe {
        start.cast::<usize>().write(size);
        start.add(HEAD).cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_their_content_and_know_their_size() {
        // SAFETY: what is allocated is used within its size, and freed once.
        unsafe {
            let pieces: Vec<*mut c_void> = (1..200).map(|size| allocate(size * 37)).collect();
            for (index, piece) in (1u8..200).zip(&pieces) {
                assert!(!piece.is_null() && piece.addr() % 8 == 0);
                piece.cast::<u8>().write_bytes(index, usize::from(index) * 37);
            }
            for (index, piece) in (1u8..200).zip(pieces) {
                assert_eq!(size_of(piece), c_int::from(index) * 37);
                let piece = reallocate(piece, 9000);
                assert_eq!(size_of(piece), 9000);
                let kept = std::slice::from_raw_parts(piece.cast::<u8>(), usize::from(index) * 37);
                assert!(kept.iter().all(|byte| *byte == index));
                free(piece);
            }
            free(std::ptr::null_mut());
            assert_eq!(
                (size_of(std::ptr::null_mut()), round_up(1), round_up(8), round_up(c_int::MAX) % 8),
                (0, 8, 8, 0)
            );
            assert!(allocate(-1).is_null());
        }
        trim_heap();
    }
}
