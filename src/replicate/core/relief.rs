//! What keeps the WAL short, whatever the bucket does.
//!
//! A WAL can be reset when everything in it is captured and safe: in the bucket, or in local files.
//! While uploads keep up, it is reset when it is long, or when its time has come. While they do
//! not, the read transaction follows the writer every few milliseconds (which also spares the
//! application its own checkpoints), and beyond a third of the budget the commits move to local
//! files: the rest is for what is committed until that is done.

use std::time::Duration;

use tokio::time::Instant;

use super::event::{Effect, LocalDone, LocalOrder, Notice, Relief, Reopened, Trouble};
use super::{Busy, Common, Config, Lane, Now, Plan};
use crate::db::{Obstacle, Reset};

/// The part of the budget beyond which commits move to local files. A writer at full speed makes
/// four times as much until they have.
const SPILL_SHARE: u64 = 3;
/// Between two steps of following.
const FOLLOW_EVERY: Duration = Duration::from_millis(20);
/// While the database is lent: how often to look at the length of the WAL.
const MEASURE_EVERY: Duration = Duration::from_millis(50);
/// After the application's own checkpoint was in the way.
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(5);
/// After anything was in the way while more WAL waits than is allowed.
const URGENT_PAUSE: Duration = Duration::from_millis(100);
/// A WAL of so many times the length at which it is reset is very long, and reset is tried more
/// often.
const VERY_LONG: u32 = 10;
const VERY_LONG_PAUSE: Duration = Duration::from_millis(100);
const COMPLAIN_EVERY: Duration = Duration::from_secs(300);
/// After local files could not be written, work that waits for the bucket is not interrupted for so
/// long: it would begin again and again, for nothing.
const NO_INTERRUPT_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// The database is with an order that waits for the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lent {
    measure_at: Instant,
    /// Length of the WAL at the first measurement.
    began_with: Option<u64>,
    is_interrupted: bool,
}

impl Lent {
    pub fn begin(now: Instant) -> Lent {
        Lent { measure_at: now, began_with: None, is_interrupted: false }
    }

    /// Whether the order must be interrupted. The file's length tells enough: pinned, the WAL
    /// cannot begin anew, so what does not lengthen the file fits into what it had before.
    pub fn measured(&mut self, len: u64, budget: u64, relief: &WalRelief, now: Instant) -> bool {
        let began_with = *self.began_with.get_or_insert(len);
        let is_too_long = len.saturating_sub(began_with) > budget;
        if self.is_interrupted || !is_too_long || relief.no_interrupt_before.is_some_and(|until| now < until) {
            return false;
        }
        self.is_interrupted = true;
        true
    }
}

/// Whether the read transaction follows the writer, who is then spared checkpoints of his own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follow {
    No,
    Since(Instant),
}

#[derive(Debug)]
pub(super) struct WalRelief {
    follow: Follow,
    /// Something changed since the read transaction moved on.
    is_behind: bool,
    /// More WAL waits than is allowed.
    is_over_budget: bool,
    last_relief: Relief,
    last_reset: Instant,
    /// The last attempt met a reader or writer of the application.
    no_reset_before: Instant,
    no_spill_before: Instant,
    complained_at: Option<Instant>,
    no_interrupt_before: Option<Instant>,
}

impl WalRelief {
    pub fn new(now: Instant) -> WalRelief {
        WalRelief {
            follow: Follow::No,
            is_behind: true,
            is_over_budget: false,
            last_relief: Relief::Reset,
            last_reset: now,
            no_reset_before: now,
            no_spill_before: now,
            complained_at: None,
            no_interrupt_before: None,
        }
    }

    pub fn woke(&mut self) {
        self.is_behind = true;
    }

    pub fn on_order(&mut self, order: LocalOrder, now: Instant) {
        match order {
            LocalOrder::Follow => (self.follow, self.is_behind) = (Follow::Since(now), false),
            LocalOrder::Relieve(relief) => (self.is_over_budget, self.last_relief) = (false, relief),
            // These let the application checkpoint again.
            LocalOrder::Capture | LocalOrder::Seal | LocalOrder::LetGo => self.follow = Follow::No,
            order if order.is_lent() => self.follow = Follow::No,
            _ => {}
        }
    }

    /// An order that `lane` tells of is carried out.
    pub fn on_done(&mut self, done: &LocalDone, lane: &Lane, config: &Config, now: Instant, plan: &mut Plan) {
        match done {
            LocalDone::Followed(Ok(backlog)) => {
                self.is_over_budget = *backlog > config.max_sync_wal_bytes / SPILL_SHARE
            }
            LocalDone::Start(Err(Trouble::Interrupted))
            | LocalDone::Compared(Err(Trouble::Interrupted))
            | LocalDone::Sent(Err(Trouble::Interrupted)) => self.is_over_budget = true,
            LocalDone::Relieved(Ok(Reset::Done)) => {
                (self.last_reset, self.complained_at, self.no_interrupt_before) = (now, None, None);
            }
            LocalDone::Relieved(Ok(Reset::Deferred(obstacle))) => {
                // Each attempt costs a checkpoint and may cost a writer a moment.
                match self.last_relief {
                    Relief::Reset => self.no_reset_before = now + pause_after(*obstacle, lane.wal_frames, config),
                    Relief::Spill => (self.is_over_budget, self.no_spill_before) = (true, now + URGENT_PAUSE),
                }
                self.complain(*obstacle, lane.wal_frames, config, now, plan);
            }
            LocalDone::Relieved(Ok(Reset::CaptureFirst)) => self.is_behind = true,
            LocalDone::Relieved(Err(trouble)) => {
                self.no_interrupt_before = Some(now + NO_INTERRUPT_AFTER_FAILURE);
                self.failed(trouble, config, now, plan);
            }
            // What failed before was for the file that is not there any more.
            LocalDone::Reopened(Ok(Reopened::Done)) => {
                (self.no_reset_before, self.no_spill_before, self.no_interrupt_before) = (now, now, None);
            }
            LocalDone::Followed(Err(trouble)) => self.failed(trouble, config, now, plan),
            _ => {}
        }
    }

    /// After an attempt that failed or met a reader or a writer, no other is made before then.
    pub fn no_spill_before(&self) -> Instant {
        self.no_spill_before
    }

    /// Whether the WAL has to be made shorter before anything else may have the database.
    pub fn is_urgent(&self, now: Instant) -> bool {
        self.is_over_budget && self.no_spill_before <= now
    }

    fn failed(&mut self, trouble: &Trouble, config: &Config, now: Instant, plan: &mut Plan) {
        self.no_reset_before = now + config.monitor_interval;
        self.no_spill_before = self.no_reset_before;
        if let Trouble::Passing { why, .. } = trouble {
            plan.push(Effect::Say(Notice::ReliefFailed(why.clone())));
        }
    }

    fn complain(&mut self, obstacle: Obstacle, frames: u32, config: &Config, now: Instant, plan: &mut Plan) {
        let limit = match obstacle {
            // It passes: worth a word when it happens so often that the file becomes huge.
            Obstacle::Checkpoint => config.truncate_page_n.max(1),
            Obstacle::Writer | Obstacle::Reader => config.min_checkpoint_page_count.saturating_mul(VERY_LONG),
        };
        let is_due = self.complained_at.is_none_or(|at| now.saturating_duration_since(at) >= COMPLAIN_EVERY);
        if is_due && frames > limit {
            self.complained_at = Some(now);
            plan.push(Effect::Say(Notice::CheckpointBlocked(obstacle)));
        }
    }
}

impl Common {
    /// Uploads do not keep up, or must not begin yet: follows the writer, and moves what is beyond
    /// the budget to local files.
    pub(super) fn relieve(&mut self, now: Now, plan: &mut Plan) {
        match self.busy {
            Busy::Lent(lent) => return self.measure(lent, now, plan),
            Busy::Working => return,
            Busy::Free => {}
        }
        let relief = &self.relief;
        if relief.is_over_budget && plan.is_due(relief.no_spill_before, now) {
            return self.order(LocalOrder::Relieve(Relief::Spill), now, plan);
        }
        let next_step = match relief.follow {
            Follow::No => now.instant,
            Follow::Since(at) => at + FOLLOW_EVERY,
        };
        let is_behind = relief.is_behind || !self.lane.woken_reliably;
        if is_behind && plan.is_due(next_step, now) {
            self.order(LocalOrder::Follow, now, plan);
        } else if !is_behind && relief.follow != Follow::No && plan.is_due(next_step, now) {
            self.order(LocalOrder::LetGo, now, plan);
        }
    }

    /// Everything captured is in the bucket: resets the WAL if it is long, if its time has come, or
    /// if a caller waits for it.
    /// Whether it did.
    pub(super) fn reset_if_due(&mut self, now: Now, plan: &mut Plan) -> bool {
        self.checkpoints.take_up(self.syncs.going_on());
        if self.lane.wal_frames == 0 {
            self.checkpoints.nothing_to_do(plan);
            return false;
        }
        let (relief, config) = (&self.relief, &self.config);
        let is_long = self.lane.wal_frames >= config.min_checkpoint_page_count.max(1) || self.checkpoints.is_any();
        let due = if is_long { now.instant } else { relief.last_reset + config.checkpoint_interval };
        let is_due = plan.is_due(due.max(relief.no_reset_before), now);
        if is_due {
            self.checkpoints.reset_begins();
            self.order(LocalOrder::Relieve(Relief::Reset), now, plan);
        }
        is_due
    }

    /// The order that has the database waits for the bucket, perhaps for ever.
    fn measure(&mut self, lent: Lent, now: Now, plan: &mut Plan) {
        if plan.is_due(lent.measure_at, now) {
            self.busy = Busy::Lent(Lent { measure_at: now.instant + MEASURE_EVERY, ..lent });
            plan.wake(now.instant + MEASURE_EVERY);
            plan.push(Effect::MeasureWal);
        }
    }
}

fn pause_after(obstacle: Obstacle, frames: u32, config: &Config) -> Duration {
    let is_very_long = frames > config.min_checkpoint_page_count.saturating_mul(VERY_LONG);
    match obstacle {
        Obstacle::Checkpoint => CHECKPOINT_PAUSE,
        Obstacle::Writer | Obstacle::Reader if is_very_long => VERY_LONG_PAUSE.min(config.monitor_interval),
        Obstacle::Writer | Obstacle::Reader => config.monitor_interval,
    }
}
