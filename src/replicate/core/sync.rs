//! Callers that wait until what is committed now is in the bucket. They do not wait for the pace.
//!
//! ```text
//!   Asked ──capture begins──▶ Capturing ──it found commits──▶ Captured(TXID) ──confirmed──▶ answered
//!     ▲                           │ └─────it found none─────────────────────────────────────▲
//!     └────── it failed ──────────┘
//! ```
//!
//! A capture that began before the request may have missed what the caller has committed, so
//! another one is waited for. Wherever it is not certain any more that a TXID of the queue holds
//! the caller's commits, the request begins again: it is answered later then, never too early.

use tokio::time::Instant;

use super::batch::Queue;
use super::event::{Effect, SyncError, SyncId};
use super::{BatchKind, Now, Plan};
use crate::ltx::Txid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No capture has begun since.
    Asked,
    /// One is under way that has.
    Capturing,
    /// Everything up to the moment of the request is in the history when this TXID is.
    Captured(Txid),
}

#[derive(Debug)]
struct Waiter {
    id: SyncId,
    by: Instant,
    stage: Stage,
    /// It is not answered when its commits are in the bucket, but waits for more.
    goes_on: bool,
}

/// The commits of a caller that waits for more are in the bucket.
#[derive(Debug)]
pub(super) struct Synced {
    pub id: SyncId,
    pub by: Instant,
    pub txid: Option<Txid>,
}

#[derive(Debug, Default)]
pub(super) struct Syncs {
    waiting: Vec<Waiter>,
    /// Those who wait for more.
    going_on: Vec<Synced>,
    /// What keeps the bucket from taking uploads.
    trouble: Option<String>,
}

impl Syncs {
    pub fn ask(&mut self, id: SyncId, by: Instant) {
        self.waiting.push(Waiter { id, by, stage: Stage::Asked, goes_on: false });
    }

    /// Whose commits are in the bucket is returned by [`Syncs::going_on`] then.
    pub fn ask_first(&mut self, id: SyncId, by: Instant) {
        self.waiting.push(Waiter { id, by, stage: Stage::Asked, goes_on: true });
    }

    pub fn going_on(&mut self) -> impl Iterator<Item = Synced> {
        self.going_on.drain(..)
    }

    /// Whether anybody waits: then uploads do not wait for their pace.
    pub fn is_any(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether a capture must begin now.
    pub fn is_capture_wanted(&self) -> bool {
        self.waiting.iter().any(|waiter| waiter.stage == Stage::Asked)
    }

    pub fn capture_begins(&mut self) {
        self.change(|stage| if stage == Stage::Asked { Stage::Capturing } else { stage });
    }

    /// A capture into the empty queue has ended.
    pub fn captured(&mut self, found: bool, queue: &Queue, confirmed: Option<Txid>, plan: &mut Plan) {
        if !found {
            // The queue was empty, so whatever is captured is confirmed.
            return self.answer(plan, |stage| (stage == Stage::Capturing).then_some(confirmed));
        }
        // An image that has to be compared first may turn out to be another TXID, or none.
        let is_numbered = |kind| !matches!(kind, BatchKind::Unverified(_));
        let point = queue.batch.filter(|batch| is_numbered(batch.kind)).map(|batch| batch.txid);
        let next = point.map_or(Stage::Asked, Stage::Captured);
        self.change(|stage| if stage == Stage::Capturing { next } else { stage });
    }

    /// Nothing is certain any more of what the queue holds.
    pub fn begin_again(&mut self) {
        self.change(|_| Stage::Asked);
    }

    /// Answers those whose commits are in the bucket.
    pub fn settle(&mut self, queue: &Queue, confirmed: Option<Txid>, plan: &mut Plan) {
        self.answer(plan, |stage| match stage {
            Stage::Captured(point) if confirmed >= Some(point) => Some(confirmed),
            _ => None,
        });
        if queue.is_empty() {
            // Local files were merged, and have fewer TXIDs now: another capture shows that nothing
            // is left.
            self.change(|stage| if let Stage::Captured(_) = stage { Stage::Asked } else { stage });
        }
    }

    /// The bucket does not take uploads, or does again.
    pub fn trouble(&mut self, why: Option<&str>) {
        self.trouble = why.map(str::to_owned);
    }

    /// Deadlines pass whatever the bucket does.
    pub fn expire(&mut self, now: Now, plan: &mut Plan) {
        let why = &self.trouble;
        self.waiting.retain(|waiter| {
            let is_over = plan.is_due(waiter.by, now);
            if is_over {
                plan.push(Effect::Synced(waiter.id, Err(SyncError::TimedOut { why: why.clone() })));
            }
            !is_over
        });
    }

    pub fn fail(&mut self, error: &SyncError, plan: &mut Plan) {
        let waiting = self.waiting.drain(..).map(|waiter| waiter.id);
        for id in waiting.chain(self.going_on.drain(..).map(|synced| synced.id)) {
            plan.push(Effect::Synced(id, Err(error.clone())));
        }
    }

    fn change(&mut self, next: impl Fn(Stage) -> Stage) {
        self.waiting.iter_mut().for_each(|waiter| waiter.stage = next(waiter.stage));
    }

    /// `reached` is the answer, once there is one.
    fn answer(&mut self, plan: &mut Plan, reached: impl Fn(Stage) -> Option<Option<Txid>>) {
        self.waiting.retain(|waiter| match reached(waiter.stage) {
            Some(txid) if waiter.goes_on => {
                self.going_on.push(Synced { id: waiter.id, by: waiter.by, txid });
                false
            }
            Some(txid) => {
                plan.push(Effect::Synced(waiter.id, Ok(txid)));
                false
            }
            None => true,
        });
    }
}

#[cfg(test)]
mod tests;
