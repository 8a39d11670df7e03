//! One node: its clocks, its disk, its process if one runs, and what it was told.

use std::sync::Arc;

use crate::claim::core::Access;
use crate::claim::roles::core::Core;
use crate::claim::sim::bucket::{Batch, Life};
use crate::claim::sim::container::SkewedClock;
use crate::claim::wire::{Beat, Claim};
use crate::remote::Epoch;

/// Which node, in the order of their starts.
pub type At = usize;

pub struct Node {
    pub instance: String,
    pub clock: SkewedClock,
    pub disk: Disk,
    pub process: Option<Process>,
    /// The restart policy starts it again when it ends.
    pub is_wanted: bool,
    pub is_candidate: bool,
    pub restarts: u32,
    pub is_partitioned: bool,
    /// The claims can be reached, and nothing else.
    pub cannot_upload: bool,
    pub denied: Option<Access>,
    pub paused_until: u64,
    /// Only its supervisor is paused: the application goes on.
    pub app_goes_on: bool,
    /// When its supervisor was last not running, or stopped.
    pub stopped_ms: u64,
    /// When something was last wrong with it.
    pub impaired_ms: u64,
    /// Its copies are brought forward this rarely.
    pub follows_every_ms: u64,
    /// The primary can push to it.
    pub has_stream: bool,
}

/// What it has, whichever process runs.
#[derive(Default)]
pub struct Disk {
    /// The database has what the log has up to there.
    pub base: usize,
    /// Commits that are not in the log.
    pub pending: Vec<u32>,
    /// They are in no history.
    pub orphaned: u32,
}

pub struct Process {
    pub life: Life,
    pub core: Core,
    pub claim: Arc<Claim>,
    pub task: Task,
    /// Its application can write.
    pub writes: bool,
    /// One upload at a time.
    pub in_flight: Option<Arc<Batch>>,
    pub serial: u32,
    pub timer_ms: Option<u64>,
    /// A beat that is being written, and what is to be looked at after it.
    pub renewing: Option<Epoch>,
    /// The claim whose beat is being read, and what was read.
    pub observing: Option<(Epoch, Option<Beat>)>,
    pub waits_for_tail: Option<Tailing>,
}

/// What the core wants beside requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    None,
    Follow,
    Seal,
    Replicate,
    Drain,
    /// Another writer was met: nothing more is uploaded.
    Fenced,
}

/// Why the end of the log is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tailing {
    Install,
    CatchUp,
}

impl Process {
    /// Whether its next upload would be taken, and its application can write.
    pub fn may_commit(&self, disk: &Disk, log: &[Arc<Batch>]) -> bool {
        let is_mine = |batch: &Arc<Batch>| batch.by == self.life;
        let uploads = matches!(self.task, Task::Replicate | Task::Drain);
        self.writes && uploads && log.iter().skip(disk.base).all(is_mine)
    }
}
