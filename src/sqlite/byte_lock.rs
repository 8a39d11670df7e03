//! Locks on bytes of a file (`fcntl`), as SQLite's unix VFS takes them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Bytes of a file: the first, and how many.
pub type Bytes = (libc::off_t, libc::off_t);

/// Asks for a lock of this kind, or only whether it could be had; returns whose lock is in the way.
pub(super) fn ask(file: &File, command: libc::c_int, kind: libc::c_int, bytes: Bytes) -> io::Result<Option<i32>> {
    // SAFETY: all-zero is a valid value of this plain C structure.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    (range.l_start, range.l_len) = bytes;
    let only_asks = matches!(command, libc::F_GETLK | libc::F_OFD_GETLK);
    // SAFETY: the descriptor is open, and the call reads and writes one `flock`, which `range` is.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut range) } {
        -1 => Err(io::Error::last_os_error()),
        _ if !only_asks || range.l_type == libc::F_UNLCK as libc::c_short => Ok(None),
        _ => Ok(Some(range.l_pid)),
    }
}

/// Whether another process has a lock on one of the bytes. Locks of this process do not count.
pub fn is_locked_by_another_process(file: &File, bytes: Bytes) -> io::Result<bool> {
    Ok(ask(file, libc::F_GETLK, libc::F_WRLCK, bytes)?.is_some())
}
