//! The road up: from a commit to the bucket.
//!
//! One road per database. It joins the local side (`db/`) and the bucket side (`remote/`), which do not know each other.
//!
//! ```text
//!   road.rs     wait for the file → take the lock → arm → find the place in the history → ship until told to stop
//!   absent.rs   pure: there is no database: when to warn, and what to say
//!   behind.rs   before all that: is the database an earlier state of the history, with no commit of its own?
//!   look.rs     where the history in the bucket ends
//!   start.rs    from which TXID, and is the WAL its continuation?
//!   dead_end.rs no restore gets to that place: begin anew
//!   difference  where that cannot be proved: compare, and upload only what differs
//!   exclusive   a program that keeps the database to itself
//!   ship.rs     capture → upload → confirm, and the final sync
//!   relief.rs   reset the WAL; spill what the bucket does not have yet
//!   upload.rs   create the next level-0 object; ours or another writer's?
//!   fence.rs    another writer owns the history: freeze, keep the tail aside, say which TXIDs
//!   replaced.rs another file lies at the path: go on with it, if it is the same application's
//!   halt.rs     replication has ended, the application runs on: say so, again and again
//!   error.rs    why a step did not succeed
//!   lifecycle/  beside the road: compaction, snapshots, retention
//!   pace.rs     pure: when the next upload may begin
//!   outage.rs   pure: what to say and when to retry
//! ```
//!
//! The WAL is the queue: while an upload is in flight, the next commits gather in the WAL and leave as one batch. Three
//! watermarks never cross: confirmed in the bucket ≤ captured ≤ committed in the WAL.

mod absent;
mod behind;
mod dead_end;
mod difference;
mod error;
mod exclusive;
mod fence;
mod halt;
mod lifecycle;
mod look;
mod outage;
mod pace;
mod relief;
mod replaced;
mod road;
mod ship;
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

use crate::db::{Tuning, Watches};
use crate::ltx::Txid;
use crate::remote::Remote;
use crate::status::{Board, Status};

pub use behind::{Behind, Place, look_behind};
pub use lifecycle::{Chores, Policy};

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
            let ended = road::travel(settings, remote, events.clone(), board, stopped.clone(), watch, &mut lock).await;
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
