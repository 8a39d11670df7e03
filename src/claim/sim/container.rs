//! One container: its clocks, its disk, its process if one runs, and what it was told.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::{Batch, Life};
use crate::claim::core::{Access, Core};
use crate::claim::wire::Claim;
use crate::clock::Now;

static START: OnceLock<Instant> = OnceLock::new();

/// Which container, in the order of their starts.
pub type At = usize;

pub struct Container {
    pub instance: String,
    pub clock: SkewedClock,
    pub disk: Disk,
    pub process: Option<Process>,
    /// The restart policy starts it again when it ends.
    pub is_wanted: bool,
    /// Its machine is gone.
    pub is_lost: bool,
    pub restarts: u32,
    /// Its application ends soon after its start.
    pub is_broken: bool,
    pub is_partitioned: bool,
    /// The store does not permit it.
    pub denied: Option<Access>,
    pub paused_until: u64,
    /// When something was last wrong with it, other than with its application.
    pub impaired_ms: u64,
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

/// Two clocks that do not agree with those of others.
#[derive(Clone, Copy)]
pub struct SkewedClock {
    /// Of a thousand milliseconds so many pass.
    pub rate: u64,
    pub boot_ms: u64,
    /// By how much the wall clock is wrong. It jumps.
    pub wall_ms: i64,
}

impl SkewedClock {
    pub fn now(self, true_ms: u64) -> Now {
        let passed = Duration::from_millis(true_ms * self.rate / 1000);
        let boot = Duration::from_millis(self.boot_ms) + passed;
        Now { instant: *START.get_or_init(Instant::now) + passed, boot }
    }

    /// The true time at which this clock shows `instant`.
    pub fn when(self, instant: Instant, true_ms: u64) -> u64 {
        let left = instant.saturating_duration_since(self.now(true_ms).instant);
        true_ms + u64::try_from(left.as_micros()).expect("not that long").div_ceil(self.rate).max(1)
    }
}

pub struct Process {
    pub life: Life,
    pub core: Core,
    pub claim: Arc<Claim>,
    pub app: App,
    pub task: Task,
    /// Its application was started without a claim, and it has not sealed yet.
    pub is_alone: bool,
    /// One upload at a time.
    pub in_flight: Option<Arc<Batch>>,
    pub serial: u32,
    /// When its newest claim was made, and its own application started.
    pub claimed_ms: Option<u64>,
    pub opened_ms: Option<u64>,
    pub timer_ms: Option<u64>,
    /// What it was told to be permitted, and not to be.
    pub granted: Vec<Access>,
    pub denied: Vec<Access>,
    /// What a broken executor has seen of beats.
    pub old_beats: std::collections::BTreeMap<crate::remote::Epoch, Option<crate::claim::wire::Beat>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    Off,
    Runs,
    Stops,
}

/// What the core wants beside requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    None,
    Seal,
    Replicate,
    Drain,
    /// Its application was started without a claim: nothing is uploaded.
    Alone,
    /// The same one is being stopped.
    Retreat,
    /// Another writer was met: nothing more is uploaded.
    Fenced,
}

impl Process {
    /// Whether its next upload would be taken, and its application runs.
    pub fn may_commit(&self, disk: &Disk, log: &[Arc<Batch>]) -> bool {
        let is_mine = |batch: &Arc<Batch>| batch.by == self.life;
        let may_upload = !matches!(self.task, Task::Fenced | Task::Alone | Task::Retreat);
        self.app != App::Off && may_upload && !self.is_alone && log.iter().skip(disk.base).all(is_mine)
    }
}
