//! Thin, safe names for the system calls that no crate offers for every signal number and every
//! wait option.
//!
//! (The `nix` crate cannot name real-time signals, so it loses the status of a process that died of
//! one.)

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;

use libc::pid_t;

use super::exit::Exit;
use super::signal::{self, Signal};

/// A change in the life of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Stopped(Signal),
    Continued,
    Ended(Exit),
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A write beyond the limit for file sizes (`ulimit -f`) fails, and is reported, instead of ending
/// the process.
pub fn ignore_file_size_signal() {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Ends this process at once: nothing of it runs any more.
pub fn exit_now(code: c_int) -> ! {
    // SAFETY: does not return, and runs no code of ours.
    unsafe { libc::_exit(code) }
}

pub fn own_pid() -> pid_t {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getpid() }
}

pub fn own_group() -> pid_t {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getpgrp() }
}

pub fn parent_pid() -> pid_t {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getppid() }
}

/// The process group of a process, dead or alive, that has not been reaped yet.
pub fn group_of(pid: pid_t) -> io::Result<pid_t> {
    // SAFETY: plain values only.
    checked(unsafe { libc::getpgid(pid) })
}

pub fn kill(pid: pid_t, signal: Signal) -> io::Result<()> {
    assert!(pid > 0, "0 and negative numbers mean groups or everybody");
    // SAFETY: plain values only.
    checked(unsafe { libc::kill(pid, signal.number()) }).map(drop)
}

pub fn kill_group(group: pid_t, signal: Signal) -> io::Result<()> {
    assert!(group > 1, "0 and 1 mean our own group or everybody");
    // SAFETY: plain values only.
    checked(unsafe { libc::kill(-group, signal.number()) }).map(drop)
}

/// Stops every process of our own group, this one included; returns when we are continued.
pub fn stop_own_group() {
    // SAFETY: plain values only. It can fail only for lack of a process to signal, and there is
    // always this one.
    unsafe { libc::kill(0, libc::SIGSTOP) };
}

pub fn group_exists(group: pid_t) -> bool {
    // SAFETY: signal 0 only asks.
    match checked(unsafe { libc::kill(-group, 0) }) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(libc::EPERM),
    }
}

/// Orphans among our descendants become our children, as they do for PID 1.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: plain values only.
    checked(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Unblocks every signal for the calling thread.
pub fn unblock_all() {
    // SAFETY: the set is initialised before it is read; a valid `how` and set cannot fail.
    unsafe {
        let mut none = MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Ignores the signal in this process (children get back what we were started with).
pub fn ignore(signal: Signal) {
    // SAFETY: SIG_IGN runs no code.
    unsafe { libc::signal(signal.number(), libc::SIG_IGN) };
}

/// Whether this process has any child, dead or alive.
pub fn has_children() -> bool {
    // SAFETY: all-zero bytes are a valid siginfo_t; the call writes to it.
    let looked = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        checked(libc::waitid(libc::P_ALL, 0, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT))
    };
    looked.is_ok()
}

/// The first dead child, which stays a zombie: the one who owns it may want to collect it.
pub fn peek_dead() -> Option<pid_t> {
    let (pid, _) = wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)?;
    Some(pid)
}

/// Collects what is new about one child. An end can be collected once.
pub fn collect(pid: pid_t) -> Option<Change> {
    let id = libc::id_t::try_from(pid).ok()?;
    wait(libc::P_PID, id, libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG).map(|(_, change)| change)
}

/// Waits until the child has ended; used for one that is known to be ending.
pub fn collect_blocking(pid: pid_t) {
    let Ok(id) = libc::id_t::try_from(pid) else { return };
    wait(libc::P_PID, id, libc::WEXITED);
}

fn wait(kind: libc::idtype_t, id: libc::id_t, options: c_int) -> Option<(pid_t, Change)> {
    // SAFETY: all-zero bytes are a valid siginfo_t; the call writes to it, and fills the fields of
    // SIGCHLD if it found a child.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        while libc::waitid(kind, id, &mut info, options) == -1 {
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return None;
            }
        }
        let pid = info.si_pid();
        (pid != 0).then(|| (pid, change(info.si_code, info.si_status())))
    }
}

fn change(code: c_int, status: c_int) -> Change {
    let signal = Signal::from_raw(status);
    match (code, signal) {
        (libc::CLD_EXITED, _) => Change::Ended(u8::try_from(status & 0xff).map_or(Exit::Unknown, Exit::Code)),
        (libc::CLD_KILLED | libc::CLD_DUMPED, Some(signal)) => Change::Ended(Exit::Signal(signal)),
        (libc::CLD_STOPPED | libc::CLD_TRAPPED, Some(signal)) => Change::Stopped(signal),
        (libc::CLD_STOPPED | libc::CLD_TRAPPED, None) => Change::Stopped(Signal::STOP),
        (libc::CLD_CONTINUED, _) => Change::Continued,
        _ => Change::Ended(Exit::Unknown),
    }
}

/// The environment, byte for byte and in order, with duplicates and entries that are no
/// assignments.
pub fn environment() -> Vec<CString> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let mut entries = Vec::new();
    // SAFETY: `environ` is null or points to a null-terminated array of C strings; nothing in this
    // program changes it.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            entries.push(CStr::from_ptr(*at).to_owned());
            at = at.add(1);
        }
    }
    entries
}

/// The signal set with the signals for which `member` holds.
pub fn signal_set(member: impl Fn(Signal) -> bool) -> libc::sigset_t {
    // SAFETY: the set is initialised before use; numbers that the C library keeps to itself are
    // refused without effect.
    unsafe {
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        for signal in (1..=signal::MAX).filter_map(Signal::from_raw).filter(|signal| member(*signal)) {
            libc::sigaddset(set.as_mut_ptr(), signal.number());
        }
        set.assume_init()
    }
}

/// Runs `action` while the signals in `set` are blocked for this thread.
pub fn with_blocked<T>(set: &libc::sigset_t, action: impl FnOnce() -> T) -> T {
    let mut before = MaybeUninit::uninit();
    // SAFETY: `set` is initialised; `before` is written by the first call, which cannot fail, and
    // read by the second.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set, before.as_mut_ptr()) };
    let result = action();
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change_is_told_apart() {
        for code in 0..=255 {
            let code_u8 = u8::try_from(code).expect("in range");
            assert_eq!(change(libc::CLD_EXITED, code), Change::Ended(Exit::Code(code_u8)));
        }
        assert_eq!(change(libc::CLD_KILLED, 9), Change::Ended(Exit::Signal(Signal::KILL)));
        assert_eq!(change(libc::CLD_DUMPED, 3), Change::Ended(Exit::Signal(Signal::QUIT)));
        assert_eq!(change(libc::CLD_STOPPED, 20), Change::Stopped(Signal::TSTP));
        assert_eq!(change(libc::CLD_CONTINUED, 18), Change::Continued);
        assert_eq!(change(99, 0), Change::Ended(Exit::Unknown), "never a success by accident");
        assert_eq!(change(libc::CLD_KILLED, 0), Change::Ended(Exit::Unknown));
    }
}
