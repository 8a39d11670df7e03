//! The terminal on stdin, if there is one: who has the foreground, and job control between a shell,
//! us and the child.
//!
//! ```text
//!   shell ── job ──▶ our group (supervisor, pipeline neighbours)
//!                ──▶ child's group ◀── Ctrl-C, Ctrl-Z, input
//! ```
//!
//! The terminal talks to one group only. The child has a group of its own, so that it can be
//! signalled as a whole; it therefore must have the foreground, or its first read from the terminal
//! would stop it. Ctrl-C then reaches the child once and us not at all. When the child stops, the
//! shell must see its job (us) stop; when the shell continues us, we continue the child. The
//! foreground is never taken from another job: given only while it is ours, taken back only from
//! the child.

use std::ffi::c_int;

use libc::pid_t;

use super::group;
use super::signal::Signal;
use super::sys;

const STDIN: c_int = libc::STDIN_FILENO;

/// Whether stdin is the terminal that controls this process; without one, none of this matters.
pub fn controls_us() -> bool {
    foreground().is_some()
}

/// Whether the terminal currently belongs to our own group.
pub fn is_ours() -> bool {
    foreground() == Some(sys::own_group())
}

/// Gives the terminal to the child's group, if it is ours to give.
pub fn give(group: pid_t) {
    if is_ours() {
        set_foreground(group);
    }
}

/// Takes the terminal back from the child's group, or from a job of it that is gone.
pub fn take_back(child_group: pid_t) {
    match foreground() {
        Some(group) if group == sys::own_group() => {}
        Some(group) if group == child_group || !sys::group_exists(group) => set_foreground(sys::own_group()),
        _ => {}
    }
}

/// The child stopped: stop with it, and return when continued. Without a shell above nothing would
/// ever continue us; then a keyboard stop is undone, which is what the kernel does for a process
/// that has no shell above it.
pub fn follow_stop(child_group: pid_t, by: Signal) {
    if shell_above() {
        take_back(child_group);
        sys::stop_own_group();
    } else if by == Signal::TSTP
        && let Err(error) = sys::kill_group(child_group, Signal::CONT)
    {
        tracing::debug!(%error, "cannot continue the command");
    }
}

/// Whether some process in our session, above our own group, could continue us.
fn shell_above() -> bool {
    let own = sys::own_group();
    let Some(session) = group::read_process(sys::own_pid()).map(|process| process.session) else { return false };
    let mut parent = sys::parent_pid();
    while parent > 0 {
        match group::read_process(parent) {
            Some(process) if process.session != session => return false,
            Some(process) if process.group != own => return true,
            Some(process) => parent = process.parent,
            None => return false,
        }
    }
    false
}

fn foreground() -> Option<pid_t> {
    // SAFETY: plain values only; fails when stdin is no terminal or not the one that controls us.
    let group = unsafe { libc::tcgetpgrp(STDIN) };
    (group > 0).then_some(group)
}

/// A process in the background that does this is stopped by TTOU, unless it blocks that signal.
fn set_foreground(group: pid_t) {
    let ttou = sys::signal_set(|signal| signal.number() == libc::SIGTTOU);
    // SAFETY: plain values only. It may fail (no terminal any more, another session): then there is
    // nothing to hand over.
    sys::with_blocked(&ttou, || unsafe { libc::tcsetpgrp(STDIN, group) });
}

/// For the child between fork and exec, all signals blocked: makes its own group the foreground.
///
/// # Safety
/// Async-signal-safe.
pub unsafe fn grab_in_child() {
    // SAFETY: plain values only; both calls are async-signal-safe.
    unsafe { libc::tcsetpgrp(STDIN, libc::getpid()) };
}
