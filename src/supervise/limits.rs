//! The limit of open descriptors: raised for this process, and given back as it was to what it starts.
//!
//! A service is often started with a soft limit of 1,024, which is there for programs that use `select`. This one does not, and
//! every database takes several descriptors; so the soft limit becomes the hard one, as programs in Go have it.

use std::io;
use std::sync::OnceLock;

use libc::rlimit;

/// A hard limit may be a thousand million. Helpers that others start in this process inherit the limit, and some of them close every
/// descriptor up to it, one by one.
const ENOUGH: libc::rlim_t = 1 << 20;

/// As this process was started; empty if that could not be read.
static AT_START: OnceLock<rlimit> = OnceLock::new();

/// Raises the soft limit.
pub fn raise() -> io::Result<()> {
    let mut limit = rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes to a valid rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == -1 {
        return Err(io::Error::last_os_error());
    }
    let limit = *AT_START.get_or_init(|| limit);
    let raised = rlimit { rlim_cur: limit.rlim_max.min(ENOUGH).max(limit.rlim_cur), ..limit };
    // SAFETY: the call reads a valid rlimit.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// What a child must get back.
pub fn at_start() -> Option<rlimit> {
    AT_START.get().copied()
}
