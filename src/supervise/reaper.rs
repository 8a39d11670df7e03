//! The reaper: the one thread that starts children and the only one that waits for them.
//!
//! One owner for both makes the classic races impossible: a child that ends before its spawn has
//! returned is not looked for until it is registered, and a signal is never sent to a pid that has
//! been reaped and given to another process. The thread never ends, because the kernel ties the
//! parent-death signal to the thread that forked (workers of a runtime may end).
//!
//! It is an init: as PID 1, or else as a subreaper, it adopts every orphan below, and reaps it.
//! Other parts of the process may have children too (a credential helper). Those live in our own
//! process group, which no child of the reaper does, and are left to their owner for a while.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;
use std::time::Duration;

use libc::pid_t;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::escalate::Scope;
use super::exit::Exit;
use super::group::{self, Family};
use super::image::Image;
use super::signal::Signal;
use super::signals::InstallError;
use super::spawn::{SpawnError, Spawned, spawn};
use super::sys::{self, Change};
use super::tty;
use crate::clock::MACHINE;

/// Another owner's dead child is left alone for so long; by then its owner has collected it or
/// never will.
const OWNER_PATIENCE: Duration = Duration::from_secs(5);
/// How often to look whether the owner has done so, since that makes no signal.
const OWNER_POLL: Duration = Duration::from_millis(50);

/// Sends requests to the thread.
#[derive(Clone, Debug)]
pub struct Reaper {
    requests: mpsc::Sender<Request>,
}

static REAPER: OnceLock<Reaper> = OnceLock::new();

/// What the watcher of a child sees; the count tells two equal changes apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latest {
    pub count: u64,
    pub change: Change,
}

enum Request {
    Spawn { image: Image, reply: oneshot::Sender<Result<(Spawned, watch::Receiver<Latest>), SpawnError>> },
    Signal { pid: pid_t, scope: Scope, signal: Signal, done: oneshot::Sender<()> },
    Sweep { group: pid_t, signals: Vec<Signal>, reply: oneshot::Sender<Vec<pid_t>> },
}

impl Reaper {
    /// Starts the thread, once per process; called again, it returns the same reaper.
    pub(super) fn start() -> Result<Reaper, InstallError> {
        if let Some(reaper) = REAPER.get() {
            return Ok(reaper.clone());
        }
        let (requests, inbox) = mpsc::channel(16);
        let (started, starting) = std::sync::mpsc::sync_channel(1);
        let thread = move || {
            sys::unblock_all();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(live(inbox, &started)),
                Err(source) => drop(started.send(Err(source))),
            }
        };
        std::thread::Builder::new()
            .name("reaper".to_owned())
            .stack_size(512 * 1024)
            .spawn(thread)
            .map_err(|source| InstallError::Thread { source })?;
        let ended = || std::io::Error::other("it ended at once");
        starting.recv().unwrap_or_else(|_| Err(ended())).map_err(|source| InstallError::Thread { source })?;
        Ok(REAPER.get_or_init(|| Reaper { requests }).clone())
    }

    /// Starts a program; returns when it runs, or could not be executed.
    pub(super) async fn start_program(&self, image: Image) -> Result<(Spawned, watch::Receiver<Latest>), SpawnError> {
        let program = image.program.clone();
        let (reply, answer) = oneshot::channel();
        let gone = || SpawnError::Gone { program: program.clone() };
        self.requests.send(Request::Spawn { image, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Sends a signal to a child or its group, if the child has not ended.
    pub(super) async fn signal(&self, pid: pid_t, scope: Scope, signal: Signal) {
        let (done, sent) = oneshot::channel();
        if self.requests.send(Request::Signal { pid, scope, signal, done }).await.is_ok() {
            drop(sent.await);
        }
    }

    /// Sends the signals to everything that is left of a command, and returns what that was.
    pub(super) async fn sweep(&self, group: pid_t, signals: Vec<Signal>) -> Vec<pid_t> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Sweep { group, signals, reply }).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }
}

/// The thread's loop: look, then wait for a request, for a change of a child, or for a while.
async fn live(mut inbox: mpsc::Receiver<Request>, started: &std::sync::mpsc::SyncSender<std::io::Result<()>>) {
    let mut changes = match signal(SignalKind::child()) {
        Ok(changes) => changes,
        Err(source) => return drop(started.send(Err(source))),
    };
    if sys::own_pid() != 1
        && let Err(error) = sys::become_subreaper()
    {
        tracing::warn!(%error, "cannot become a subreaper: daemons that leave the command's group will not be found");
    }
    drop(started.send(Ok(())));
    let mut registry = Registry { inherited: inherited_children(), ..Registry::default() };
    loop {
        registry.look(MACHINE.instant());
        tokio::select! {
            Some(request) = inbox.recv() => registry.serve(request),
            _ = changes.recv() => {}
            () = sleep(OWNER_POLL), if registry.foreign.is_some() => {}
        }
    }
}

/// Children that existed before this program: a script may start one in the background before it
/// executes us. They do not belong to a command of ours, so they are not ended with it.
fn inherited_children() -> HashSet<pid_t> {
    if !sys::has_children() {
        return HashSet::new();
    }
    let own = sys::own_pid();
    let processes = group::scan().unwrap_or_default();
    processes.iter().filter(|process| process.parent == own).map(|process| process.pid).collect()
}

/// The children of the thread, and the one zombie that is left to another owner.
#[derive(Default)]
struct Registry {
    children: HashMap<pid_t, watch::Sender<Latest>>,
    inherited: HashSet<pid_t>,
    foreign: Option<(pid_t, Instant)>,
}

impl Registry {
    fn serve(&mut self, request: Request) {
        // If the caller no longer waits, the answer is dropped. A child that was started runs on
        // and is reaped like any other.
        match request {
            Request::Spawn { image, reply } => drop(reply.send(self.spawn(&image))),
            Request::Signal { pid, scope, signal, done } => {
                self.signal(pid, scope, signal);
                let _ = done.send(());
            }
            Request::Sweep { group, signals, reply } => drop(reply.send(self.sweep(group, &signals))),
        }
    }

    fn spawn(&mut self, image: &Image) -> Result<(Spawned, watch::Receiver<Latest>), SpawnError> {
        let spawned = spawn(image)?;
        let (sender, receiver) = watch::channel(Latest { count: 0, change: Change::Continued });
        self.children.insert(spawned.pid, sender);
        Ok((spawned, receiver))
    }

    fn signal(&mut self, pid: pid_t, scope: Scope, signal: Signal) {
        if !self.children.contains_key(&pid) {
            tracing::debug!(pid, %signal, "the command has ended already, signal not sent");
            return;
        }
        let sent = match scope {
            Scope::Group => sys::kill_group(pid, signal),
            Scope::Command => sys::kill(pid, signal),
        };
        if let Err(error) = sent {
            tracing::debug!(pid, %signal, %error, "signal not sent");
        }
    }

    /// Signals the living rest of a command. Runs here because nothing is reaped meanwhile: a pid
    /// that was seen in our care still is the same process.
    fn sweep(&mut self, group: pid_t, signals: &[Signal]) -> Vec<pid_t> {
        self.look(MACHINE.instant());
        let other_commands = self.children.keys().copied().filter(|pid| *pid != group);
        let spared: Vec<pid_t> = other_commands.chain(self.inherited.iter().copied()).collect();
        let family = Family { supervisor: sys::own_pid(), supervisor_group: sys::own_group(), group, spared: &spared };
        let found = match group::scan() {
            Ok(processes) => group::members(&processes, family),
            Err(error) => {
                tracing::debug!(%error, "cannot look through /proc: only the command's process group is looked at");
                if sys::group_exists(group) { vec![group] } else { Vec::new() }
            }
        };
        for signal in signals {
            for pid in &found {
                if let Err(error) = sys::kill(*pid, *signal) {
                    tracing::debug!(pid, %signal, %error, "signal not sent");
                }
            }
            // Also to those that were forked while we looked. If a member was seen, the group's
            // number is still its own.
            if found.iter().any(|pid| sys::group_of(*pid).is_ok_and(|its| its == group)) {
                drop(sys::kill_group(group, *signal));
            }
        }
        found
    }

    /// Collects everything that can be collected.
    fn look(&mut self, now: Instant) {
        self.children.retain(|pid, watcher| {
            while let Some(change) = sys::collect(*pid) {
                publish(*pid, watcher, change);
                if matches!(change, Change::Ended(_)) {
                    return false;
                }
            }
            true
        });
        self.reap_orphans(now);
    }

    fn reap_orphans(&mut self, now: Instant) {
        while let Some(pid) = sys::peek_dead() {
            if let Some(watcher) = self.children.get(&pid) {
                // It ended between the two looks.
                let change = sys::collect(pid).unwrap_or(Change::Ended(Exit::Unknown));
                publish(pid, watcher, change);
                if matches!(change, Change::Ended(_)) {
                    self.children.remove(&pid);
                }
                continue;
            }
            if sys::group_of(pid).is_ok_and(|group| group == sys::own_group()) {
                let since = match self.foreign {
                    Some((known, since)) if known == pid => since,
                    _ => now,
                };
                self.foreign = Some((pid, since));
                if now.duration_since(since) < OWNER_PATIENCE {
                    return;
                }
            }
            let exit = sys::collect(pid);
            self.inherited.remove(&pid);
            tracing::trace!(pid, ?exit, "reaped an orphan");
        }
        self.foreign = None;
    }
}

fn publish(pid: pid_t, watcher: &watch::Sender<Latest>, change: Change) {
    if matches!(change, Change::Ended(_)) {
        tty::take_back(pid);
    }
    watcher.send_modify(|latest| *latest = Latest { count: latest.count + 1, change });
}
