//! The limit of open descriptors: raised for this process, and given back as it was to what it
//! starts.
//!
//! A service is often started with a soft limit of 1,024, which is there for programs that use
//! `select`. This one does not, and every database takes several descriptors; so the soft limit
//! becomes the hard one, as programs in Go have it.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::OnceLock;

use libc::rlimit;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A hard limit may be a thousand million. Helpers that others start in this process inherit the
/// limit, and some of them close every descriptor up to it, one by one.
const ENOUGH: libc::rlim_t = 1 << 20;

/// The runtime, the signals, the watch and one database with its store take about so many.
const NEEDED: usize = 21;

/// This process could not work.
#[derive(Debug, thiserror::Error)]
#[error("this process can open only {room} more files, and needs at least {NEEDED}: raise its limit (ulimit -n)")]
pub struct TooFew {
    room: usize,
}

/// As this process was started; empty if that could not be read.
static AT_START: OnceLock<rlimit> = OnceLock::new();

/// Raises the soft limit.
pub fn raise() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = *AT_START.get_or_init(|| rlimit { rlim_cur: soft, rlim_max: hard });
    let raised = limit.rlim_max.min(ENOUGH).max(limit.rlim_cur);
    Ok(setrlimit(Resource::RLIMIT_NOFILE, raised, limit.rlim_max)?)
}

/// Raises the limit, and tries whether it is enough.
pub fn make_room() -> Result<(), TooFew> {
    // What can be opened counts, whatever the limit is.
    let _ = raise();
    let tried: Vec<OwnedFd> = std::iter::from_fn(descriptor).take(NEEDED).collect();
    match tried.len() {
        NEEDED => Ok(()),
        room => Err(TooFew { room }),
    }
}

/// How many files this process may have open, if it needs more than that.
pub fn too_low_for(needed: u64) -> Option<u64> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    (limit < needed).then_some(limit)
}

fn descriptor() -> Option<OwnedFd> {
    // SAFETY: plain values only.
    match unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) } {
        -1 => None,
        // SAFETY: it was opened a moment ago, and nothing else knows of it.
        fd => Some(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

/// What a child must get back.
pub fn at_start() -> Option<rlimit> {
    AT_START.get().copied()
}

/// The soft limit that this process was started with, and the hard one up to which it raises it.
pub fn open_files() -> Option<(u64, u64)> {
    at_start().map(|limit| (limit.rlim_cur, limit.rlim_max))
}
