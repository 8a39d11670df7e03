//! Up: from a commit to the bucket.
//!
//! One replication per database. It joins the local side (`db/`) and the bucket side (`remote/`),
//! which do not know each other.
//!
//! ```text
//!   absent.rs   there is no database: what to say
//!   behind.rs   before all that: is the database an earlier state of the history, with no commit of its own?
//!   core/       pure: when the application may start, and what to do next
//!   not_known   why that could not be found out
//!   open.rs     carries out the first half of it: wait for the file → take the lock → open and pin
//!   driver.rs   waits for events, carries out what the core asks for
//!   local.rs    the database's lane: one order at a time
//!   disk.rs     … and what is done there on a thread: capture, follow, spill, reset
//!   remote_lane the bucket's lane; send.rs: what is sent there
//!   start.rs    from which TXID, and is the WAL its continuation?
//!   dead_end.rs no restore gets to that place: begin anew
//!   difference  where that cannot be proved: compare, and upload only what differs
//!   doubt.rs    what is known of that meanwhile
//!   replaced.rs another file lies at the path: go on with it, if it is the same application's
//!   overwritten a program wrote to the file past SQLite: compare it
//!   upload.rs   create the next level-0 object; ours or another writer's?
//!   fingerprint what tells one LTX file from another
//!   by_note.rs  positions of the database, as our notes beside it have them
//!   look.rs     where the history in the bucket ends
//!   aside.rs    commits that are in no history are kept
//!   halt.rs     replication has ended, the application runs on: say so, again and again
//!   handle.rs   one replication, as others see it; mailbox.rs: what they may ask of it
//!   life.rs     from the appearance of the database to the end
//!   kept_files  what they may have of the local files, while the first replica is away
//!   mirror/     the other replicas of the database
//!   governor.rs what all of them may do and hold at the same time; spare_memory.rs: what the
//!                C library keeps of closed ones
//!   error.rs    why a step did not succeed; cause.rs: what lies behind an error of the database
//!   say.rs      the core's notices in words
//!   lifecycle/  beside it all: compaction, snapshots, retention
//! ```
//!
//! The WAL is the queue: while an upload is in flight, the next commits gather in the WAL and leave
//! as one batch. Three watermarks never cross: confirmed in the bucket ≤ captured ≤ committed in
//! the WAL.

mod absent;
mod aside;
mod behind;
mod by_note;
mod cause;
mod core;
mod dead_end;
mod difference;
mod disk;
mod doubt;
mod driver;
mod error;
mod fingerprint;
mod governor;
mod halt;
mod handle;
mod kept_files;
mod life;
mod lifecycle;
mod local;
mod look;
mod mailbox;
mod mirror;
mod not_known;
mod on_thread;
mod open;
mod overwritten;
mod remote_lane;
mod replaced;
mod say;
mod send;
mod spare_memory;
mod start;
mod upload;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::db::{Tuning, Watches};
#[cfg(test)]
use crate::fuzz::seeds;
use crate::ltx::Txid;
use crate::state::{LocalState, ReplicaState};

pub use behind::{Behind, Place, look_behind};
pub use core::{SealPermit, SyncError};
pub use governor::{Governor, Limits};
pub use handle::Replication;
pub use life::FILES_EACH;
pub use lifecycle::{OnceWork, Policy, Shipped, spread_of};
pub use mailbox::SnapshotError;
pub use mirror::{Mirror, MirrorSettings};
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
    /// It may be deleted while it is replicated: then replication ends in order when what was
    /// captured is in the replica.
    pub may_vanish: bool,
    /// The databases of this process, this one included: none of their files may be opened by name.
    pub all: watch::Receiver<Arc<BTreeSet<PathBuf>>>,
    /// So many files this process may have open.
    pub open_files: u64,
    /// How often to look without being woken.
    pub monitor_interval: Duration,
    /// The WAL is reset after this time even if it is small.
    pub checkpoint_interval: Duration,
    /// The least time between two uploads under sustained writes.
    pub sync_interval: Duration,
    /// Pause between attempts of the final sync.
    pub final_retry_interval: Duration,
    /// Create-if-absent forgets deleted keys: after this long without an upload, the history is
    /// looked at again before the next one.
    pub proof_lasts: Duration,
    /// What becomes of the replica's files as they grow old; `None`: nothing.
    pub lifecycle: Option<Arc<Policy>>,
    /// The history is to be sealed before anything else: `Event::Sealed` says that it is.
    pub seal: Option<watch::Receiver<SealPermit>>,
    /// Whether another part of this process has the database open already, and holds its write
    /// lock: then it is there, and no file of it may be opened by name.
    pub is_held: Option<watch::Receiver<bool>>,
    /// Is told of every level-0 object that the bucket has confirmed.
    pub confirmed: Option<Arc<dyn Confirmed>>,
    /// End as soon as everything is shipped and these are done.
    pub once: Option<OnceWork>,
    pub clock: Clock,
}

impl Settings {
    /// Whether another part of this process holds the write lock.
    fn is_held_elsewhere(&self) -> bool {
        self.is_held.as_ref().is_some_and(|is_held| *is_held.borrow())
    }

    /// Handles of what is noted beside the database, and of what is noted about the replica at this
    /// address.
    fn notes(&self, address: &str) -> (LocalState, ReplicaState) {
        let state = LocalState::open(&self.path, &self.meta_path);
        let replica = state.replica(address);
        (state, replica)
    }
}

/// Whoever is told of what the bucket has confirmed. It must not wait for anything.
pub trait Confirmed: std::fmt::Debug + Send + Sync {
    fn confirmed(&self, shipped: &Shipped);
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
    /// This process has created the next TXID: nothing of an earlier holder fits any more.
    Sealed,
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
    /// The application kept the database to itself in its last life: it opens it first, so that it
    /// can be told what is wrong.
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
        // The receiver is gone only while the program ends.
        let _ = self.sender.send((self.id, event));
    }
}

/// How a replication ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The bucket alone restores the last commit.
    Synced(Option<Txid>),
    /// The first replica does not have the last commits; this other one restores them.
    SyncedElsewhere { txid: Txid, replica: String, why: String },
    /// There was never a database to replicate, and there need not be one.
    NoDatabase,
    /// There was never a database, although there should be one.
    NeverAppeared { why: String },
    /// Another process held the replication to the end.
    Standby,
    /// Commits are not in the bucket.
    Unsynced { why: String },
    /// Another writer owns the history, which has been said in full.
    Fenced,
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
