//! What becomes of the files of a replica as they grow old: compaction by levels, snapshots,
//! retention.
//!
//! The replica stays small, under Litestream's names and rules, and every plan for a moment of the
//! retention window stays possible. It runs beside the replication and never delays it: the
//! replication tells what the bucket has confirmed, and that is all the two have in common. Nothing
//! here is fatal, and nothing happens while nothing was shipped: no request, no timer.
//!
//! ```text
//!   schedule.rs  pure: what is due, and when
//!   retain.rs    pure: which objects may go
//!   taken.rs     pure: what to write where a damaged object has the name
//!   cache.rs     the newest level-0 files, so that they need not be read back
//!   write.rs     compaction and snapshots: a streaming merge into a new object, then proof that it is there
//!   marks.rs     what is marked, and when to look again
//!   inspect.rs   looking into objects: is it whole, is it a full image?
//!   layout.rs    a history from another kind of store, made one of this
//!   wanted.rs    pure: a snapshot on demand
//!   once.rs      a snapshot and retention on demand, for `-once`
//!   work.rs      one piece of work, carried out
//!   task.rs      select, then apply: one piece of work at a time, one owner of what is known
//! ```
//!
//! What a restore reads, and so what must stay, is the planner's word (`remote/plan.rs`).
//!
//! An output is created, never replaced, and looked into before anything rests on it. The database
//! and its WAL are not involved at all: a snapshot is merged from what is in the bucket.

mod cache;
mod inspect;
mod layout;
mod marks;
mod once;
mod retain;
mod schedule;
mod taken;
mod task;
mod wanted;
mod work;
mod write;

#[cfg(test)]
mod soak;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_channel::mpsc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Stop;
use super::governor::Governor;
use super::mailbox::{SnapshotError, SnapshotReply};
use crate::ltx::{Header, Txid};
use crate::remote::Remote;
use crate::status::RefusalWriter;

pub(super) use layout::bring_over;
pub use once::OnceWork;
pub(super) use once::run as do_once;
pub(super) use schedule::MAX_INPUTS;
pub use schedule::spread_of;
pub(super) use write::{Input, WriteError, write_into};

/// Uploads that may wait to be heard of. What is lost when that is not enough is found by the next
/// LIST.
const NEWS_DEPTH: usize = 64;

/// Intervals and times.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How often level 1, 2, … takes in the level below it; at most eight.
    pub levels: Vec<Duration>,
    pub snapshot_interval: Duration,
    /// How far back every moment can be restored.
    pub snapshot_retention: Duration,
    /// Expired snapshots go at multiples of this.
    pub snapshot_check_interval: Duration,
    /// How long level-0 objects stay once they were compacted; zero: for ever.
    pub l0_retention: Duration,
    pub l0_check_interval: Duration,
    /// Whatever may go stays for this long, also after what replaces it was written, for those who
    /// are reading it.
    pub grace: Duration,
    /// Whether anything is ever deleted.
    pub delete: bool,
    /// How long a LIST is good for.
    pub listing_lasts: Duration,
    /// Shifts what is due within its interval, so that many databases do not begin at the same
    /// moment ([`spread_of`]).
    pub spread: u64,
}

impl Policy {
    /// When level `index` is to take in what was written at `modified_ms`.
    fn level_due_ms(&self, index: usize, modified_ms: i64) -> i64 {
        self.boundary_after(modified_ms, self.levels[index - 1])
    }

    fn snapshot_due_ms(&self, modified_ms: i64) -> i64 {
        self.boundary_after(modified_ms, self.snapshot_interval)
    }

    fn boundary_after(&self, at_ms: i64, interval: Duration) -> i64 {
        schedule::boundary_after(at_ms, schedule::ms(interval), self.spread)
    }

    /// At a boundary of the check interval.
    fn expires_ms(&self, modified_ms: i64, kept: Duration, check_interval: Duration) -> i64 {
        self.boundary_after(modified_ms.saturating_add(schedule::ms(kept)), check_interval)
    }

    fn l0_expires_ms(&self, modified_ms: i64) -> i64 {
        self.expires_ms(modified_ms, self.l0_retention.saturating_add(self.grace), self.l0_check_interval)
    }

    fn snapshot_expires_ms(&self, modified_ms: i64) -> i64 {
        self.expires_ms(modified_ms, self.snapshot_retention.saturating_add(self.grace), self.snapshot_check_interval)
    }
}

#[cfg(test)]
impl Policy {
    /// Nothing is due within a test.
    pub fn of_hours() -> Policy {
        let hour = Duration::from_secs(3600);
        Policy {
            levels: vec![hour],
            snapshot_interval: hour,
            snapshot_retention: hour,
            snapshot_check_interval: hour,
            l0_retention: hour,
            l0_check_interval: hour,
            grace: hour,
            delete: true,
            listing_lasts: hour,
            spread: 0,
        }
    }
}

/// A level-0 object that the bucket has confirmed.
#[derive(Clone, Debug)]
pub struct Shipped {
    pub header: Header,
    pub size: u64,
    /// The object, if it is at hand.
    pub bytes: Option<Bytes>,
    /// Whether it is a full image, if that is known.
    pub image: Option<bool>,
}

/// What the task hears.
enum News {
    /// In a box: the rarer news are small.
    Shipped(Box<Shipped>),
    /// A snapshot is wanted that holds this TXID, which is in the bucket.
    Wanted(Txid, SnapshotReply),
}

/// The task. Dropped, it ends at once and leaves nothing half-done visible.
pub struct Lifecycle(State);

enum State {
    /// Nothing was shipped yet, and so there is nothing to do. Of thousands of databases most may
    /// be like that.
    Waiting(Box<Parts>),
    Running(Running),
}

/// What the task has from the start.
#[derive(Clone)]
struct Parts {
    policy: Arc<Policy>,
    remote: Remote,
    writer: RefusalWriter,
    stop: watch::Receiver<Stop>,
    governor: Governor,
}

struct Running {
    news: mpsc::Sender<News>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(Parts { policy, remote, writer, stop, governor }: Parts) -> Running {
        let (news, heard) = mpsc::channel(NEWS_DEPTH);
        let dice = remote.clock().dice();
        let maintainer = Box::new(task::Maintainer::new(policy, remote, writer, governor, dice));
        Running { news, task: tokio::spawn(task::run(maintainer, heard, stop)) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lifecycle {
    /// Nothing happens before the first [`Lifecycle::shipped`].
    pub fn start(
        policy: impl Into<Arc<Policy>>,
        remote: Remote,
        writer: RefusalWriter,
        stop: watch::Receiver<Stop>,
        governor: Governor,
    ) -> Lifecycle {
        Lifecycle(State::Waiting(Box::new(Parts { policy: policy.into(), remote, writer, stop, governor })))
    }

    /// Never waits.
    pub fn shipped(&mut self, shipped: Shipped) {
        // Full or gone: the task notices by itself that it missed something.
        let _ = self.news().try_send(News::Shipped(Box::new(shipped)));
    }

    /// Makes a snapshot now. `newest` is in the bucket.
    pub fn snapshot(&mut self, newest: Txid, reply: SnapshotReply) {
        if let Err(full) = self.news().try_send(News::Wanted(newest, reply))
            && let News::Wanted(_, reply) = full.into_inner()
        {
            // Who has asked may be gone.
            let _ = reply.send(Err(SnapshotError::NotMaintained));
        }
    }

    #[cfg(test)]
    fn is_finished(&self) -> bool {
        matches!(&self.0, State::Running(Running { task, .. }) if task.is_finished())
    }

    fn news(&mut self) -> &mut mpsc::Sender<News> {
        if let State::Waiting(parts) = &self.0 {
            self.0 = State::Running(Running::start((**parts).clone()));
        }
        match &mut self.0 {
            State::Running(Running { news, .. }) => news,
            State::Waiting(_) => unreachable!("it was started above"),
        }
    }
}
