//! The signal mask and the ignored signals this process was started with, so that a child can be
//! given exactly those.
//!
//! They must be read before Rust's runtime starts: it ignores SIGPIPE before `main`. Hence a
//! function in `.init_array`, which the loader (or the C start-up code of a static binary) calls
//! first; it makes system calls and stores two words, nothing more.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::signal::{self, Signal};

static BLOCKED: AtomicU64 = AtomicU64::new(0);
static IGNORED: AtomicU64 = AtomicU64::new(0);

#[used]
#[unsafe(link_section = ".init_array")]
static READ_AT_START: extern "C" fn() = read;

extern "C" fn read() {
    let mut blocked = 0;
    let mut ignored = 0;
    // SAFETY: all-zero bytes are a valid sigset_t and a valid sigaction; both calls only write to
    // them.
    unsafe {
        let mut mask: libc::sigset_t = std::mem::zeroed();
        let known = libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &mut mask) == 0;
        for number in 1..=signal::MAX {
            let bit = 1 << (number - 1);
            if known && libc::sigismember(&mask, number) == 1 {
                blocked |= bit;
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            let known = libc::sigaction(number, std::ptr::null(), &mut action) == 0;
            if known && action.sa_sigaction == libc::SIG_IGN {
                ignored |= bit;
            }
        }
    }
    BLOCKED.store(blocked, Relaxed);
    IGNORED.store(ignored, Relaxed);
}

/// Whether the signal was ignored when this process was started, as `nohup` does with HUP.
pub fn ignored(signal: Signal) -> bool {
    IGNORED.load(Relaxed) >> (signal.number() - 1) & 1 == 1
}

/// Whether the signal was blocked when this process was started.
pub fn blocked(signal: Signal) -> bool {
    BLOCKED.load(Relaxed) >> (signal.number() - 1) & 1 == 1
}
