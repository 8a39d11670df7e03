//! What becomes of the files of a replica as they grow old: compaction by levels, snapshots, retention.
//!
//! The replica stays small, under Litestream's names and rules, and every plan for a moment of the retention window stays
//! possible. It runs beside the road and never delays it: the road tells what the bucket has confirmed, and that is all the two
//! have in common. Nothing here is fatal, and nothing happens while nothing was shipped: no request, no timer.
//!
//! ```text
//!   schedule.rs  pure: what is due, and when
//!   retain.rs    pure: which objects may go
//!   taken.rs     pure: what to write where a damaged object has the name
//!   cache.rs     the newest level-0 files, so that they need not be read back
//!   write.rs     compaction and snapshots: a streaming merge into a new object, then proof that it is there
//!   inspect.rs   looking into objects: is it whole, is it a full image?
//!   layout.rs    a history from another kind of store, made one of this
//!   once.rs      a snapshot and retention on demand, for `-once`
//!   task.rs      select, then apply: one piece of work at a time, one owner of what is known
//! ```
//!
//! What a restore reads, and so what must stay, is the planner's word (`remote/plan.rs`).
//!
//! An output is created, never replaced, and looked into before anything rests on it. The database and its WAL are not
//! involved at all: a snapshot is merged from what is in the bucket.

mod cache;
mod inspect;
mod layout;
mod once;
mod retain;
mod schedule;
mod taken;
mod task;
mod write;

#[cfg(test)]
mod soak;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Stop;
use crate::ltx::Header;
use crate::remote::Remote;
use crate::status::RefusalBoard;

pub(super) use layout::bring_over;
pub use once::Chores;
pub(super) use once::run as do_chores;

/// Uploads that may wait to be heard of. What is lost when that is not enough is found by the next LIST.
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
    /// Whatever may go stays for this long, also after what replaces it was written, for those who are reading it.
    pub grace: Duration,
    /// Whether anything is ever deleted.
    pub delete: bool,
    /// How long a LIST is good for.
    pub listing_lasts: Duration,
}

impl Policy {
    fn level_ms(&self, index: usize) -> i64 {
        ms(self.levels[index - 1])
    }

    fn snapshot_ms(&self) -> i64 {
        ms(self.snapshot_interval)
    }

    fn l0_expires_ms(&self, modified_ms: i64) -> i64 {
        expires_ms(modified_ms, self.l0_retention.saturating_add(self.grace), self.l0_check_interval)
    }

    fn snapshot_expires_ms(&self, modified_ms: i64) -> i64 {
        expires_ms(modified_ms, self.snapshot_retention.saturating_add(self.grace), self.snapshot_check_interval)
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn expires_ms(modified_ms: i64, kept: Duration, check_interval: Duration) -> i64 {
    schedule::boundary_after(modified_ms.saturating_add(ms(kept)), ms(check_interval))
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

/// The running task. Dropped, it ends at once and leaves nothing half-done visible.
pub struct Lifecycle {
    news: mpsc::Sender<Shipped>,
    task: JoinHandle<()>,
}

impl Lifecycle {
    /// Nothing happens before the first [`Lifecycle::shipped`].
    pub fn start(policy: Policy, remote: Remote, board: RefusalBoard, stop: watch::Receiver<Stop>) -> Lifecycle {
        let (news, heard) = mpsc::channel(NEWS_DEPTH);
        let task = tokio::spawn(task::run(policy, remote, board, heard, stop));
        Lifecycle { news, task }
    }

    /// Never waits.
    pub fn shipped(&self, shipped: Shipped) {
        // Full or gone: the task notices by itself that it missed something.
        let _ = self.news.try_send(shipped);
    }
}

impl Drop for Lifecycle {
    fn drop(&mut self) {
        self.task.abort();
    }
}
