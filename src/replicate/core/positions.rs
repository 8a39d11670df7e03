//! Callers that ask which TXID holds, or will hold, what is committed now. They do not wait for the
//! bucket, and no upload begins earlier because of them.
//!
//! ```text
//!   Asked ──a look at the WAL begins──▶ Looking ──no frame beyond the last capture──▶ answered: the newest TXID
//!     ▲                                   │ └─────there are some───────────────────▶ answered: the next one
//!     └──────────── it failed ────────────┘
//! ```
//!
//! A look that began before the request may have missed what the caller has committed, so another
//! one is waited for. A capture is a look, too. Where frames wait, the next capture takes all of
//! them; if local files are merged before that, the caller waits for a later TXID than it has to.

use tokio::time::Instant;

use super::event::{Effect, SyncError, SyncId};
use super::{Now, Plan};
use crate::ltx::Txid;

#[derive(Debug)]
struct Asker {
    id: SyncId,
    by: Instant,
    is_looked_for: bool,
}

#[derive(Debug, Default)]
pub(super) struct PositionRequests {
    waiting: Vec<Asker>,
}

impl PositionRequests {
    pub fn ask(&mut self, id: SyncId, by: Instant) {
        self.waiting.push(Asker { id, by, is_looked_for: false });
    }

    /// Whether a look must begin.
    pub fn is_look_wanted(&self) -> bool {
        self.waiting.iter().any(|asker| !asker.is_looked_for)
    }

    /// Whether one is under way that a caller waits for.
    pub fn is_looking(&self) -> bool {
        self.waiting.iter().any(|asker| asker.is_looked_for)
    }

    pub fn look_begins(&mut self) {
        self.waiting.iter_mut().for_each(|asker| asker.is_looked_for = true);
    }

    /// Nothing came of it.
    pub fn look_again(&mut self) {
        self.waiting.iter_mut().for_each(|asker| asker.is_looked_for = false);
    }

    /// `newest` has its number for good; `is_ahead`: the WAL holds frames that are in no TXID yet.
    pub fn looked(&mut self, newest: Option<Txid>, is_ahead: bool, plan: &mut Plan) {
        let answer = match is_ahead {
            true => after(newest),
            false => newest,
        };
        for asker in self.waiting.extract_if(.., |asker| asker.is_looked_for) {
            plan.push(Effect::Synced(asker.id, Ok(answer)));
        }
    }

    /// A look would have to wait long: whatever is committed is in the next TXID at the latest.
    pub fn answer_without_a_look(&mut self, newest: Option<Txid>, plan: &mut Plan) {
        for asker in self.waiting.drain(..) {
            plan.push(Effect::Synced(asker.id, Ok(after(newest))));
        }
    }

    pub fn expire(&mut self, now: Now, plan: &mut Plan) {
        self.waiting.retain(|asker| {
            let is_over = plan.is_due(asker.by, now);
            if is_over {
                plan.push(Effect::Synced(asker.id, Err(SyncError::TimedOut { why: None })));
            }
            !is_over
        });
    }

    pub fn fail(&mut self, error: &SyncError, plan: &mut Plan) {
        for asker in self.waiting.drain(..) {
            plan.push(Effect::Synced(asker.id, Err(error.clone())));
        }
    }
}

fn after(newest: Option<Txid>) -> Option<Txid> {
    newest.map_or(Some(Txid::FIRST), Txid::next)
}

#[cfg(test)]
mod tests;
