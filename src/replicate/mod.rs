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
//!   by_note.rs  positions of the database, as our notes beside it have them
//!   look.rs     where the history in the bucket ends
//!   aside.rs    commits that are in no history are kept
//!   halt.rs     replication has ended, the application runs on: say so, again and again
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
mod by_note;
mod core;
mod dead_end;
mod difference;
mod disk;
mod driver;
mod error;
mod exclusive;
mod halt;
mod lifecycle;
mod local;
mod look;
mod on_thread;
mod open;
mod replaced;
mod say;
mod start;
mod upload;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::core::{Core, Lane};
use self::difference::Doubts;
use self::disk::Disk;
use self::driver::{Driver, FirstLook, Noted, Parts, now};
use self::local::{LocalSide, describe};
use self::on_thread::OnThread;
use self::open::{Announce, look_around, wait_for_arming, wait_for_database, wait_for_lock};
use crate::clock;
use crate::db::{Db, Tuning, Watch, Watches};
use crate::ltx::Txid;
use crate::remote::Remote;
use crate::state::{LocalState, Lock, ReplicaState, ResetOrder, SpillError};
use crate::status::{Board, Status};

pub use behind::{Behind, Place, look_behind};
use lifecycle::do_chores;
pub use lifecycle::{Chores, Policy};
pub use on_thread::blocking;

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
    pub all: Arc<[PathBuf]>,
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

impl Settings {
    /// Handles of what is noted beside the database, and of what is noted about the replica at this address.
    fn notes(&self, address: &str) -> (LocalState, ReplicaState) {
        let state = LocalState::open(&self.path, &self.meta_path);
        let replica = state.replica(address);
        (state, replica)
    }
}

/// What a road tells while it runs.
#[derive(Debug)]
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

#[derive(Debug)]
pub enum Ready {
    Armed,
    /// There is no database yet; it is picked up when it appears.
    NoDatabaseYet,
    /// The application kept the database to itself in its last life: it opens it first, so that it can be told what is wrong.
    AfterApplication,
    /// Another process replicates this database; this one takes over when that one ends.
    Standby,
}

/// How a road ended.
#[derive(Debug)]
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

/// When to end: not yet, or everything shipped by the deadline.
pub type Stop = Option<Instant>;

/// A running road.
pub struct Road {
    stop: watch::Sender<Stop>,
    status: watch::Receiver<Status>,
    task: JoinHandle<Ended>,
}

impl Road {
    /// Starts shipping; `events` hears what the rest of the program must act on. Roads share their `watches`.
    pub fn start(settings: Settings, remote: Remote, events: mpsc::Sender<Event>, watches: &Watches) -> Road {
        let (stop, stopped) = watch::channel(None);
        let (board, status) = Board::new();
        let (path, is_for_once) = (settings.path.clone(), settings.once.is_some());
        let (watch, files) = (watches.watch(&path), watches.watch(&path));
        let seen = status.clone();
        let task = tokio::spawn(async move {
            // Kept to the end, whatever it is: no second process must begin where this one has given up.
            let mut lock = None;
            let ended = replicate(settings, remote, events.clone(), board, stopped.clone(), watch, &mut lock).await;
            if let Ended::Failed { why } = &ended {
                let name = path.display().to_string();
                tracing::error!(db = %name, "replication has ended: {why}");
                // Nobody listens any more only while the program ends.
                let _ = events.send(Event::Failed { why: why.clone() }).await;
                drop(events);
                if lock.is_some() && !is_for_once {
                    halt::keep_saying(&name, why, &seen, files, stopped).await;
                }
            }
            ended
        });
        Road { stop, status, task }
    }

    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// The same, to be looked at by others.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Tells the road to ship what is left and to end, by the deadline at the latest. A later call moves the deadline.
    pub fn finish_by(&self, deadline: Instant) {
        self.stop.send_replace(Some(deadline));
    }

    /// Waits for the end: after [`Road::finish_by`], with `once`, or after a failure.
    pub async fn ended(&mut self) -> Ended {
        match (&mut self.task).await {
            Ok(ended) => ended,
            Err(error) => Ended::Failed { why: format!("replication ended unexpectedly: {error}") },
        }
    }
}

/// How long the start of the application may wait to hear where the history ends. It waits only after an end in the middle, and
/// for a file that was not replicated from here before.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// From the appearance of the database to the end.
async fn replicate(
    settings: Settings,
    remote: Remote,
    events: mpsc::Sender<Event>,
    board: Board,
    mut stop: watch::Receiver<Stop>,
    mut watch: Watch,
    lock: &mut Option<Lock>,
) -> Ended {
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
    let db = match wait_for_arming(&settings, &mut stop, &mut ready).await {
        Ok(db) => db,
        Err(error) => return Ended::Failed { why: error.to_string() },
    };
    let settings = Arc::new(settings);
    let (disk, lane, noted) = match open_notes(&settings, &remote, db, waited).await {
        Ok(opened) => opened,
        Err(error) => return Ended::Failed { why: error.to_string() },
    };
    // A bucket that does not answer must not keep the application from its own disk.
    let now = now();
    let is_waited_for = noted.last_synced.was_cut_off() || !noted.is_known;
    let gate_until = if is_waited_for { now.instant + LOOK_TIME } else { now.instant };
    let core = Core::new(core_config(&settings), clock::random_u64(), lane, now, gate_until);
    let local = LocalSide {
        settings: settings.clone(),
        remote: remote.clone(),
        stop: stop.clone(),
        disk: OnThread::new(disk),
        seen: None,
        accepted: noted.is_reset,
        confirmed: None,
        doubts: Doubts::default(),
    };
    let (once, policy, bucket, stopped) = (settings.once, settings.lifecycle.clone(), remote.clone(), stop.clone());
    let parts = Parts { settings, remote, board, stop, events, watch, ready };
    let (ended, local) = Driver::new(parts, core, local, look, noted).run().await;
    if let (Ended::Synced(_), Some(mut local)) = (&ended, local) {
        local.close_history().await;
    }
    finish_once(ended, once, policy, bucket, stopped).await
}

/// Reads what earlier runs left beside the database.
async fn open_notes(
    settings: &Arc<Settings>,
    remote: &Remote,
    db: Db,
    is_new: bool,
) -> Result<(Disk, Lane, Noted), SpillError> {
    let (settings, address) = (settings.clone(), remote.address().to_owned());
    blocking(move || {
        let (state, replica) = settings.notes(&address);
        let mut last_synced = replica.last_synced();
        let (is_reset, is_known) = (is_reset(&state), replica.is_known_file());
        let noted = Noted { last_synced: last_synced.clone(), is_reset, is_known, is_new };
        if let Err(error) = last_synced.reopen() {
            tracing::debug!(db = %settings.path.display(), "{error}");
        }
        let mut disk = Disk::new(db, state.spill()?, last_synced);
        let (lane, _) = describe(&mut disk);
        Ok((disk, lane, noted))
    })
    .await
}

/// Whether `millstream reset` was called for the file that lies here.
fn is_reset(state: &LocalState) -> bool {
    match state.reset_order() {
        ResetOrder::ThisFile => true,
        ResetOrder::None => false,
        ResetOrder::AnotherFile => {
            let name = state.database().display();
            tracing::warn!(db = %name, "`millstream reset` was called for another file than this: it is compared with the replica");
            if let Err(error) = state.forget_reset_order() {
                tracing::warn!(db = %name, "{error}");
            }
            false
        }
    }
}

/// What was asked for once everything is in the bucket. The lock is still ours.
async fn finish_once(
    ended: Ended,
    once: Option<Chores>,
    policy: Option<Policy>,
    bucket: Remote,
    stopped: watch::Receiver<Stop>,
) -> Ended {
    let (Ended::Synced(Some(newest)), Some(chores), Some(policy)) = (&ended, once, policy) else { return ended };
    tokio::select! {
        done = do_chores(chores, &policy, &bucket, *newest) => match done {
            Ok(()) => ended,
            Err(error) => Ended::Failed { why: format!("every commit is in the replica, but {error}") },
        },
        () = deadline_passes(stopped) => {
            let why = "every commit is in the replica, but there was no time for the snapshot or retention".into();
            Ended::Failed { why }
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
