//! Callers that wait until what is committed now is in the database file, and the WAL starts over.
//!
//! ```text
//!   as a sync ──in the bucket──▶ Asked ──a reset begins──▶ Resetting ──it is done──▶ answered
//!                                  ▲ └──no frame is left──────────────────────────────▲
//!                                  └─a reader or a writer is in the way─┘
//! ```
//!
//! What is committed is uploaded first ([`Syncs`]), so that the reset frees nothing that is nowhere
//! else, and so that it is known which frames the caller means. A reset that began before may not
//! have seen all of them.

use tokio::time::Instant;

use super::event::{Effect, LocalDone, SyncError, SyncId};
use super::sync::Synced;
use super::{Now, Plan};
use crate::db::{Obstacle, Reset};
use crate::ltx::Txid;

#[derive(Debug)]
struct Waiter {
    id: SyncId,
    by: Instant,
    /// The newest TXID in the bucket when its commits were there.
    txid: Option<Txid>,
    /// A reset has begun since.
    is_resetting: bool,
}

#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    waiting: Vec<Waiter>,
    /// What was in the way of the last reset.
    obstacle: Option<Obstacle>,
}

impl Checkpoints {
    /// The commits of these callers are in the bucket.
    pub fn take_up(&mut self, synced: impl IntoIterator<Item = Synced>) {
        let waiter = |Synced { id, by, txid }| Waiter { id, by, txid, is_resetting: false };
        self.waiting.extend(synced.into_iter().map(waiter));
    }

    pub fn is_any(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The WAL has no frame that a reset would free.
    pub fn nothing_to_do(&mut self, plan: &mut Plan) {
        self.waiting.iter_mut().for_each(|waiter| waiter.is_resetting = true);
        self.answer(plan);
    }

    pub fn reset_begins(&mut self) {
        self.waiting.iter_mut().for_each(|waiter| waiter.is_resetting = true);
    }

    pub fn on_done(&mut self, done: &LocalDone, plan: &mut Plan) {
        let LocalDone::Relieved(relieved) = done else { return };
        match relieved {
            Ok(Reset::Done) => return self.answer(plan),
            Ok(Reset::Deferred(obstacle)) => self.obstacle = Some(*obstacle),
            Ok(Reset::CaptureFirst) | Err(_) => {}
        }
        self.waiting.iter_mut().for_each(|waiter| waiter.is_resetting = false);
    }

    /// Deadlines pass whatever holds the WAL.
    pub fn expire(&mut self, now: Now, plan: &mut Plan) {
        let obstacle = self.obstacle;
        self.waiting.retain(|waiter| {
            let is_over = plan.is_due(waiter.by, now);
            if is_over {
                plan.push(Effect::Synced(waiter.id, Err(SyncError::NotReset { obstacle })));
            }
            !is_over
        });
    }

    pub fn fail(&mut self, error: &SyncError, plan: &mut Plan) {
        for waiter in self.waiting.drain(..) {
            plan.push(Effect::Synced(waiter.id, Err(error.clone())));
        }
    }

    fn answer(&mut self, plan: &mut Plan) {
        for waiter in self.waiting.extract_if(.., |waiter| waiter.is_resetting) {
            plan.push(Effect::Synced(waiter.id, Ok(waiter.txid)));
        }
        if self.waiting.is_empty() {
            self.obstacle = None;
        }
    }
}
