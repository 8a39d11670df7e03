//! After a panic of this program the command is still ended in order, and the exit code tells that
//! there was a defect.
//!
//! The thread that panicked stops. The others are told to end as by a TERM from outside: they stop
//! the command and upload what they can. If that takes too long, or if the main thread panicked,
//! the command is ended from here.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use libc::pid_t;

use super::signal::Signal;
use super::sys;
use crate::clock::MACHINE;

static HAPPENED: AtomicBool = AtomicBool::new(false);
/// Whether signals are caught, so that we can send one to ourselves.
static HEARS: AtomicBool = AtomicBool::new(false);
static GRACE_MS: AtomicU64 = AtomicU64::new(10_000);
/// The process group of the command that runs; 0: none does.
static COMMAND: AtomicI32 = AtomicI32::new(0);

const POLL: Duration = Duration::from_millis(20);
/// Time beyond the grace time, for the last log lines.
const MARGIN: Duration = Duration::from_secs(1);

/// Whether this program has met a defect: its exit code must say so.
pub fn happened() -> bool {
    HAPPENED.load(SeqCst)
}

/// How long an end in order may take.
pub fn allow(grace: Duration) {
    GRACE_MS.store(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX), SeqCst);
}

pub(super) fn hears() {
    HEARS.store(true, SeqCst);
}

pub(super) fn command_runs(pid: pid_t) {
    COMMAND.store(pid, SeqCst);
}

pub(super) fn command_is_gone(pid: pid_t) {
    // Another command may have been started since.
    let _ = COMMAND.compare_exchange(pid, 0, SeqCst, SeqCst);
}

/// For the thread that met the defect. The process ends meanwhile, or here with this code.
pub fn end_in_order(code: i32) -> ! {
    if HAPPENED.swap(true, SeqCst) {
        // The first thread that panics does the work.
        loop {
            thread::park();
        }
    }
    let grace = Duration::from_millis(GRACE_MS.load(SeqCst));
    let is_main = thread::current().name() == Some("main");
    if !is_main && HEARS.load(SeqCst) {
        // Whether it worked is not checked: the deadline decides.
        let _ = sys::kill(sys::own_pid(), Signal::TERM);
        MACHINE.block_for(grace + MARGIN);
    } else if let Some(group) = command() {
        let _ = sys::kill_group(group, Signal::TERM);
        let _ = sys::kill_group(group, Signal::CONT);
        wait_for(group, grace / 2);
    }
    if let Some(group) = command() {
        let _ = sys::kill_group(group, Signal::KILL);
        wait_for(group, MARGIN);
    }
    sys::exit_now(code)
}

fn command() -> Option<pid_t> {
    Some(COMMAND.load(SeqCst)).filter(|group| *group > 1)
}

fn wait_for(group: pid_t, patience: Duration) {
    let until = MACHINE.blocking_instant() + patience;
    while sys::group_exists(group) && MACHINE.blocking_instant() < until {
        MACHINE.block_for(POLL);
    }
}
