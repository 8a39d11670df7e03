//! Up: from a commit to the bucket.
//!
//! One replication per database. It joins the local side (`db/`) and the bucket side (`remote/`), which do not know each other.
//!
//! ```text
//!   absent.rs   pure: there is no database: when to warn, and what to say
//!   behind.rs   before all that: is the database an earlier state of the history, with no commit of its own?
//!   open.rs     wait for the file → take the lock → open and pin
//!   exclusive   a program that keeps the database to itself
//!   core/       pure: what to do next
//!   driver.rs   waits for events, carries out what the core asks for
//!   local.rs    the database's lane: one order at a time
//!   disk.rs     … and what is done there on a thread: capture, follow, spill, reset
//!   start.rs    from which TXID, and is the WAL its continuation?
//!   dead_end.rs no restore gets to that place: begin anew
//!   difference  where that cannot be proved: compare, and upload only what differs
//!   replaced.rs another file lies at the path: go on with it, if it is the same application's
//!   upload.rs   create the next level-0 object; ours or another writer's?
//!   look.rs     where the history in the bucket ends
//!   aside.rs    commits that are in no history are kept
//!   halt.rs     replication has ended, the application runs on: say so, again and again
//!   mailbox.rs  what others may ask of it
//!   governor.rs what all of them may do and hold at the same time
//!   error.rs    why a step did not succeed
//!   say.rs      the core's notices in words
//!   lifecycle/  beside it all: compaction, snapshots, retention
//! ```
//!
//! The WAL is the queue: while an upload is in flight, the next commits gather in the WAL and leave as one batch. Three
//! watermarks never cross: confirmed in the bucket ≤ captured ≤ committed in the WAL.

mod absent;
mod aside;
mod behind;
mod core;
mod dead_end;
mod difference;
mod disk;
mod driver;
mod error;
mod exclusive;
mod governor;
mod halt;
mod lifecycle;
mod local;
mod look;
mod mailbox;
mod on_thread;
mod open;
mod replaced;
mod say;
mod start;
mod upload;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::core::Core;
use self::difference::Doubts;
use self::disk::Disk;
use self::driver::{Driver, FirstLook, Noted, Parts, now};
use self::local::LocalSide;
use self::on_thread::{OnThread, blocking};
use self::open::{Announce, look_around, wait_for_arming, wait_for_database, wait_for_lock};
use crate::clock;
use crate::db::{Accepted, Db, History, KnownFile, Lock, SPILL_DIRECTORY, Spill, SpillError, Tuning, Watch, Watches};
use crate::ltx::Txid;
use crate::remote::Remote;
use crate::status::{Board, Status};

pub use behind::{Behind, Place, look_behind};
pub use core::SyncError;
pub use governor::{Governor, Limits};
use lifecycle::do_chores;
pub use lifecycle::{Chores, Policy, SnapshotError, spread_of};
use mailbox::{Command, Mailbox, Request};

/// How one database is replicated.
#[derive(Clone, Debug)]
pub struct Settings {
    pub path: PathBuf,
    /// Our local state: lock, spilled files, the note of a restore.
    pub meta_path: PathBuf,
    pub tuning: Tuning,
    /// It may be missing to the end.
    pub optional: bool,
    /// The databases of this process, this one included: none of their files may be opened by name.
    pub all: watch::Receiver<Arc<BTreeSet<PathBuf>>>,
    /// How often to look without being woken.
    pub monitor_interval: Duration,
    /// The WAL is reset after this time even if it is small.
    pub checkpoint_interval: Duration,
    /// The least time between two uploads under sustained writes.
    pub sync_interval: Duration,
    /// WAL bytes that may wait for the bucket before they are spilled to local files.
    pub max_sync_wal_bytes: u64,
    /// Pause between attempts of the final sync.
    pub final_retry_interval: Duration,
    /// Create-if-absent forgets deleted keys: after this long without an upload, the history is looked at again before the
    /// next one.
    pub proof_lasts: Duration,
    /// What becomes of the replica's files as they grow old; `None`: nothing.
    pub lifecycle: Option<Policy>,
    /// End as soon as everything is shipped and these are done.
    pub once: Option<Chores>,
}

/// Names a database of this process. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId(pub u64);

/// What a replication tells while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The application may start: no commit can be missed from here on.
    Ready(Ready),
    /// Another writer owns the history: the application must stop, or not start at all.
    Fenced,
    /// The application keeps the database to itself: it must not run on without a backup.
    Exclusive { why: String },
    /// Replication of this database has ended and will not come back.
    Failed { why: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    Armed,
    /// There is no database yet; it is picked up when it appears.
    NoDatabaseYet,
    /// The application kept the database to itself in its last life: it opens it first, so that it can be told what is wrong.
    AfterApplication,
    /// Another process replicates this database; this one takes over when that one ends.
    Standby,
}

/// Where the events of one database go.
#[derive(Clone)]
struct Events {
    id: DatabaseId,
    sender: mpsc::UnboundedSender<(DatabaseId, Event)>,
}

impl Events {
    /// Never waits: each database has few events in its life.
    fn send(&self, event: Event) {
        // Nobody listens any more only while the program ends.
        let _ = self.sender.send((self.id, event));
    }
}

/// How a replication ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The bucket alone restores the last commit.
    Synced(Option<Txid>),
    /// There was never a database to replicate, and there need not be one.
    NoDatabase,
    /// There was never a database, although there should be one.
    NeverAppeared { why: String },
    /// Another process held the replication to the end.
    Standby,
    /// Commits are not in the bucket.
    Unsynced { why: String },
    /// Another writer owns the history.
    Fenced { message: String },
    /// The database could not be opened or read, or is no longer the one that was opened.
    Failed { why: String },
}

/// When to end: not yet, or everything in the bucket by the deadline.
pub type Stop = Option<Instant>;

/// What the replications of a process share.
#[derive(Clone)]
pub struct Resources {
    pub events: mpsc::UnboundedSender<(DatabaseId, Event)>,
    pub watches: Watches,
    pub governor: Governor,
}

/// One database's replication, as others see it. It ends when the last of its handles is dropped, too.
#[derive(Clone)]
pub struct Replication {
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<Status>,
    end: Shared<BoxFuture<'static, Ended>>,
    #[cfg(test)]
    task: tokio::task::AbortHandle,
}

impl Replication {
    /// Starts replicating.
    pub fn start(id: DatabaseId, settings: Settings, remote: Remote, resources: &Resources) -> Replication {
        let (commands, heard) = mpsc::unbounded_channel();
        let (requests, asked) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(None);
        let (board, status) = Board::new();
        let mailbox = Mailbox { commands: heard, stop, requests };
        let life = Life {
            files: resources.watches.watch(&settings.path),
            watch: resources.watches.watch(&settings.path),
            events: Events { id, sender: resources.events.clone() },
            governor: resources.governor.clone(),
            settings,
            remote,
            board,
            status: status.clone(),
            stop: stopped,
            requests: asked,
        };
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                ended = life.run() => ended,
                never = mailbox.serve() => match never {},
            }
        });
        #[cfg(test)]
        let abort = task.abort_handle();
        let end = async move {
            match task.await {
                Ok(ended) => ended,
                Err(error) => Ended::Failed { why: format!("replication ended unexpectedly: {error}") },
            }
        };
        Replication {
            commands,
            status,
            end: end.boxed().shared(),
            #[cfg(test)]
            task: abort,
        }
    }

    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// The same, to be looked at by others.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Tells it to bring what is left into the bucket and to end, by the deadline at the latest. A later call moves the deadline.
    pub fn finish_by(&self, deadline: Instant) {
        // It may have ended.
        let _ = self.commands.send(Command::Stop(deadline));
    }

    /// Returns at the end: after [`Replication::finish_by`], with `once`, or after a failure. Anybody may wait for it, again and
    /// again.
    pub fn ended(&self) -> impl Future<Output = Ended> + Send + use<> {
        self.end.clone()
    }

    pub fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// Waits until everything that is committed now is in the bucket; returns the newest TXID there.
    pub fn sync(&self, by: Instant) -> impl Future<Output = Result<Option<Txid>, SyncError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let asked = self.commands.send(Command::Ask(Request::Sync { by, reply })).is_ok();
        async move {
            let gone = || Err(SyncError::Ended("it does not run any more".into()));
            if !asked {
                return gone();
            }
            match tokio::time::timeout_at(by, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => gone(),
                // Before the database is open nobody there looks at the clock.
                Err(_) => Err(SyncError::TimedOut { why: None }),
            }
        }
    }

    /// Makes a snapshot of what is in the bucket now; returns the TXID that it ends with.
    pub fn snapshot(&self) -> impl Future<Output = Result<Txid, SnapshotError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let asked = self.commands.send(Command::Ask(Request::Snapshot { reply })).is_ok();
        async move {
            match answer.await {
                Ok(answer) if asked => answer,
                _ => Err(SnapshotError::NotMaintained),
            }
        }
    }
}

/// Everything that a replication's task has from the start.
struct Life {
    settings: Settings,
    remote: Remote,
    events: Events,
    governor: Governor,
    board: Board,
    status: watch::Receiver<Status>,
    stop: watch::Receiver<Stop>,
    requests: mpsc::UnboundedReceiver<Request>,
    watch: Watch,
    /// For after a failure.
    files: Watch,
}

impl Life {
    async fn run(self) -> Ended {
        let (name, is_for_once) = (self.settings.path.display().to_string(), self.settings.once.is_some());
        let (events, status, stopped) = (self.events.clone(), self.status.clone(), self.stop.clone());
        let Life { settings, remote, governor, board, stop, requests, watch, files, .. } = self;
        // Kept to the end, whatever it is: no second process must begin where this one has given up.
        let mut lock = None;
        let outside = Outside { remote, governor, board, stop, events: self.events, requests, watch };
        let ended = replicate(settings, outside, &mut lock).await;
        if let Ended::Failed { why } = &ended {
            tracing::error!(db = %name, "replication has ended: {why}");
            events.send(Event::Failed { why: why.clone() });
            if lock.is_some() && !is_for_once {
                halt::keep_saying(&name, why, &status, files, stopped).await;
            }
        }
        ended
    }
}

/// What a replication works with besides the database.
struct Outside {
    remote: Remote,
    governor: Governor,
    board: Board,
    stop: watch::Receiver<Stop>,
    events: Events,
    requests: mpsc::UnboundedReceiver<Request>,
    watch: Watch,
}

/// How long the start of the application may wait to hear where the history ends. It waits only after an end in the middle, and
/// for a file that was not replicated from here before.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// From the appearance of the database to the end.
async fn replicate(settings: Settings, outside: Outside, lock: &mut Option<Lock>) -> Ended {
    let Outside { remote, governor, board, mut stop, events, requests, mut watch } = outside;
    let mut ready = Announce::new(events.clone());
    let Some(waited) = wait_for_database(&settings, &mut watch, &mut stop, &mut ready).await else {
        if settings.optional {
            return Ended::NoDatabase;
        }
        let seen = look_around(&settings).await;
        return Ended::NeverAppeared { why: absent::verdict(&settings.path, &seen) };
    };
    match wait_for_lock(&settings, &mut stop, &mut ready).await {
        Ok(Some(taken)) => *lock = Some(taken),
        Ok(None) => return Ended::Standby,
        Err(error) => return Ended::Failed { why: error.to_string() },
    }
    let look = FirstLook::begin(&remote);
    let db = match wait_for_arming(&settings, &mut stop, &mut ready, &governor).await {
        Ok(db) => db,
        Err(error) => return Ended::Failed { why: error.to_string() },
    };
    let settings = Arc::new(settings);
    let (disk, noted) = match open_notes(&settings, &remote, db, governor.clone()).await {
        Ok(opened) => opened,
        Err(error) => return Ended::Failed { why: error.to_string() },
    };
    // A bucket that does not answer must not keep the application from its own disk.
    let now = now();
    let is_waited_for = noted.history.was_cut_off() || !noted.is_known;
    let gate_until = if is_waited_for { now.instant + LOOK_TIME } else { now.instant };
    let core = Core::new(core_config(&settings), clock::random_u64(), now, gate_until);
    let local = LocalSide {
        settings: settings.clone(),
        remote: remote.clone(),
        stop: stop.clone(),
        disk: OnThread::new(disk),
        seen: None,
        created_anew: waited,
        is_known: noted.is_known,
        accepted: false,
        confirmed: None,
        doubts: Doubts::default(),
    };
    let chores = Finishing {
        once: settings.once,
        policy: settings.lifecycle.clone(),
        remote: remote.clone(),
        stop: stop.clone(),
        governor: governor.clone(),
    };
    let parts = Parts { settings, remote, board, stop, events, watch, ready, requests, governor };
    let (ended, local) = Driver::new(parts, core, local, look, noted).run().await;
    if let (Ended::Synced(_), Some(mut local)) = (&ended, local) {
        local.close_history().await;
    }
    chores.finish(ended).await
}

/// Reads what earlier runs left beside the database.
async fn open_notes(
    settings: &Arc<Settings>,
    remote: &Remote,
    db: Db,
    governor: Governor,
) -> Result<(Disk, Noted), SpillError> {
    let (settings, address) = (settings.clone(), remote.address().to_owned());
    blocking(move || {
        let mut history = History::load(&settings.meta_path, &address);
        let is_accepted = Accepted::look(&settings.path, &settings.meta_path) == Accepted::ThisFile;
        let is_known = KnownFile::is_at(&settings.path, &settings.meta_path, &address);
        let noted = Noted { history: history.clone(), is_accepted, is_known };
        if let Err(error) = history.reopen() {
            tracing::debug!(db = %settings.path.display(), "{error}");
        }
        let spill = Spill::open(&settings.meta_path.join(SPILL_DIRECTORY))?;
        Ok((Disk::new(db, spill, history, governor), noted))
    })
    .await
}

/// What was asked for once everything is in the bucket.
struct Finishing {
    once: Option<Chores>,
    policy: Option<Policy>,
    remote: Remote,
    stop: watch::Receiver<Stop>,
    governor: Governor,
}

impl Finishing {
    /// The lock is still ours.
    async fn finish(self, ended: Ended) -> Ended {
        let (Ended::Synced(Some(newest)), Some(chores), Some(policy)) = (&ended, self.once, self.policy) else {
            return ended;
        };
        let work = async {
            let _turn = self.governor.merge().await;
            do_chores(chores, &policy, &self.remote, *newest).await
        };
        tokio::select! {
            done = work => match done {
                Ok(()) => ended,
                Err(error) => Ended::Failed { why: format!("every commit is in the replica, but {error}") },
            },
            () = deadline_passes(self.stop) => {
                let why = "every commit is in the replica, but there was no time for the snapshot or retention".into();
                Ended::Failed { why }
            }
        }
    }
}

/// Returns when the deadline is set and has passed; it may be moved meanwhile.
async fn deadline_passes(mut stop: watch::Receiver<Stop>) {
    loop {
        let deadline = *stop.borrow_and_update();
        let passed = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now));
        let changed = tokio::select! {
            () = passed, if deadline.is_some() => return,
            changed = stop.changed() => changed,
        };
        if changed.is_err() {
            // Nobody can move it any more.
            return tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)).await;
        }
    }
}

fn core_config(settings: &Settings) -> core::Config {
    core::Config {
        monitor_interval: settings.monitor_interval,
        checkpoint_interval: settings.checkpoint_interval,
        min_checkpoint_page_count: settings.tuning.min_checkpoint_page_count,
        truncate_page_n: settings.tuning.truncate_page_n,
        sync_interval: settings.sync_interval,
        max_sync_wal_bytes: settings.max_sync_wal_bytes,
        final_retry_interval: settings.final_retry_interval,
        proof_lasts: settings.proof_lasts,
        once: settings.once.is_some(),
    }
}
