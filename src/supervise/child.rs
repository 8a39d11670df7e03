//! A running command: its changes, signals for it, and the end of everything it has started.
//!
//! Dropping the handle leaves the command running; it is still reaped.

use std::time::Duration;

use libc::pid_t;
use tokio::sync::watch;
use tokio::time::sleep;

use super::command::CommandLine;
use super::defect;
use super::escalate::Scope;
use super::exit::Exit;
use super::image::{Image, SpawnOptions};
use super::reaper::{Latest, Reaper};
use super::signal::Signal;
use super::spawn::{SpawnError, Spawned};
use super::sys::Change;
use super::tty;
use crate::clock::MACHINE;

/// Processes that ignore TERM get KILL after the caller's grace time; the kernel then needs a
/// moment for each.
const KILL_PATIENCE: Duration = Duration::from_secs(1);
const POLL_FIRST: Duration = Duration::from_millis(2);
const POLL_MAX: Duration = Duration::from_millis(50);

pub struct Child {
    pid: pid_t,
    terminal: bool,
    changes: watch::Receiver<Latest>,
    seen: u64,
    reaper: Reaper,
    program: String,
}

/// What happened to the command itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildEvent {
    Stopped(Signal),
    Continued,
    Ended(Exit),
}

/// What was left of a command after its own end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GroupEnd {
    /// How many processes had to be asked to stop.
    pub asked: usize,
    /// How many of them had to be killed.
    pub killed: usize,
    /// Those that are still there: held by the kernel, or another user's.
    pub survivors: Vec<i32>,
}

impl Reaper {
    /// Starts a command; returns when its program runs, or could not be executed.
    pub async fn spawn(&self, command: &CommandLine, options: &SpawnOptions) -> Result<Child, SpawnError> {
        let child = self.spawn_beside(command, options).await?;
        defect::command_runs(child.pid);
        Ok(child)
    }

    /// The same for one that runs for a moment beside the command that this process is there for.
    pub async fn spawn_beside(&self, command: &CommandLine, options: &SpawnOptions) -> Result<Child, SpawnError> {
        let image = Image::prepare(command, options)?;
        let program = image.program.clone();
        let (Spawned { pid, terminal }, changes) = self.start_program(image).await?;
        Ok(Child { pid, terminal, changes, seen: 0, reaper: self.clone(), program })
    }
}

impl Child {
    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn program(&self) -> &str {
        &self.program
    }

    /// The next change. Cancel safe. If several changes have happened since the last call, only the
    /// newest is returned; the end is returned at every later call.
    pub async fn event(&mut self) -> ChildEvent {
        loop {
            let Latest { count, change } = *self.changes.borrow_and_update();
            if count != self.seen || matches!(change, Change::Ended(_)) {
                self.seen = count;
                return match change {
                    Change::Stopped(by) => ChildEvent::Stopped(by),
                    Change::Continued => ChildEvent::Continued,
                    Change::Ended(exit) => ChildEvent::Ended(exit),
                };
            }
            if self.changes.changed().await.is_err() {
                return ChildEvent::Ended(Exit::Unknown);
            }
        }
    }

    /// Its end.
    pub async fn end(&mut self) -> Exit {
        loop {
            if let ChildEvent::Ended(exit) = self.event().await {
                return exit;
            }
        }
    }

    /// Sends a signal to the command's process group. One that has ended is no error.
    pub async fn signal(&self, signal: Signal) {
        self.signal_to(Scope::Group, signal).await;
    }

    pub(super) async fn signal_to(&self, scope: Scope, signal: Signal) {
        if self.terminal && signal == Signal::CONT {
            // The shell has made us the foreground job.
            tty::give(self.pid);
        }
        self.reaper.signal(self.pid, scope, signal).await;
    }

    /// For job control: when the command was stopped on our terminal, we stop too, and go on
    /// together.
    pub fn follow_stop(&self, by: Signal) {
        if self.terminal {
            tty::follow_stop(self.pid, by);
        }
    }

    /// Ends what the command left behind: the rest of its group, and daemons that left the group.
    /// TERM (and CONT) first, KILL after `grace`. When this returns without survivors, nothing that
    /// the command started can write any more.
    pub async fn end_group(&mut self, grace: Duration) -> GroupEnd {
        let start = MACHINE.instant();
        let kill_at = start + grace;
        let give_up_at = kill_at + KILL_PATIENCE;
        let mut asked: Vec<pid_t> = Vec::new();
        let mut end = GroupEnd::default();
        let mut pause = POLL_FIRST;
        let mut left = self.reaper.sweep(self.pid, Vec::new()).await;
        while !left.is_empty() {
            let now = MACHINE.instant();
            if now >= give_up_at {
                tracing::warn!(pids = ?left, "processes of {} survived SIGKILL", self.program);
                end.survivors = left;
                break;
            }
            let signals = if now >= kill_at {
                if end.killed == 0 {
                    tracing::warn!(pids = ?left, "killing the processes that {} left running", self.program);
                }
                end.killed = end.killed.max(left.len());
                vec![Signal::KILL]
            } else if left.iter().any(|pid| !asked.contains(pid)) {
                // New processes appear while others end. To signal one twice is harmless, to miss
                // one is not.
                if asked.is_empty() {
                    tracing::info!(pids = ?left, "stopping the processes that {} left running", self.program);
                }
                asked.extend(&left);
                vec![Signal::TERM, Signal::CONT]
            } else {
                Vec::new()
            };
            let told = !signals.is_empty();
            left = self.reaper.sweep(self.pid, signals).await;
            if !told || !left.is_empty() {
                sleep(pause.min(give_up_at.saturating_duration_since(now))).await;
                pause = (pause * 2).min(POLL_MAX);
                left = self.reaper.sweep(self.pid, Vec::new()).await;
            }
        }
        if end.survivors.is_empty() {
            defect::command_is_gone(self.pid);
        }
        asked.sort_unstable();
        asked.dedup();
        end.asked = asked.len();
        end
    }
}
