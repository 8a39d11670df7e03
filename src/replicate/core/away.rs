//! What the mirrors get while the first replica is away.
//!
//! Usually a mirror gets what the first replica has confirmed. When that does not answer, captured
//! commits are moved to local files in rounds, and the mirrors get those: what is in any replica is
//! safe.
//!
//! ```text
//!         trouble for 5 s, a PUT without an answer for 10 s, any trouble at the end
//!   Off ───────────────────────────────────────────────────────────────────────────▶ On: a round every interval
//!    ▲                                                                                │
//!    └──────────────────────────── an upload has succeeded ───────────────────────────┘
//! ```

use std::time::Duration;

use tokio::time::Instant;

use super::event::{Effect, LocalDone, LocalOrder, Relief};
use super::{Common, Lane, Now, Plan};
use crate::ltx::Txid;

/// Trouble that lasts so long makes the first replica count as away.
const TROUBLE_TIME: Duration = Duration::from_secs(5);
/// So does an upload without an answer.
const HANG_TIME: Duration = Duration::from_secs(10);
/// The least time between two rounds.
const ROUND_TIME_MIN: Duration = Duration::from_secs(1);

/// Whether everything that was committed before the end is in the queue's local files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtEnd {
    No,
    /// A round is under way that began after the last commit.
    Moving,
    /// It is done. Where the position in the history is not known, it cannot have moved anything.
    Moved {
        has_all: bool,
    },
}

#[derive(Debug)]
pub(super) struct Away {
    is_on: bool,
    /// Something changed since the last round.
    has_more: bool,
    next_round: Instant,
    at_end: AtEnd,
}

impl Away {
    pub fn new(now: Instant) -> Away {
        Away { is_on: false, has_more: true, next_round: now, at_end: AtEnd::No }
    }

    pub fn woke(&mut self) {
        self.has_more = true;
    }

    pub fn on_done(&mut self, done: &LocalDone, lane: &Lane) {
        self.at_end = match (self.at_end, done) {
            (AtEnd::Moving, LocalDone::Relieved(Ok(_))) => AtEnd::Moved { has_all: lane.has_position },
            // Also after an earlier round: the file may have been replaced since.
            (_, LocalDone::Relieved(Err(_))) => AtEnd::No,
            (at_end, _) => at_end,
        };
        if let LocalDone::Relieved(Err(_)) = done {
            self.has_more = true;
        }
    }
}

impl Common {
    /// When the first replica counts as away, given that an upload has been without an answer since
    /// then.
    fn is_away_at(&self, sending_since: Option<Instant>) -> Option<Instant> {
        let patience = if self.finish.is_called_for() { Duration::ZERO } else { TROUBLE_TIME };
        let trouble = self.outage.since().map(|since| since + patience);
        let hang = sending_since.map(|since| since + HANG_TIME);
        trouble.into_iter().chain(hang).min()
    }

    /// Lets the mirrors have what the first replica does not take.
    pub(super) fn serve_mirrors(&mut self, sending_since: Option<Instant>, now: Now, plan: &mut Plan) {
        let Some(interval) = self.config.mirror_interval else { return };
        let is_away = match self.is_away_at(sending_since) {
            Some(at) => plan.is_due(at, now),
            None => false,
        };
        if is_away != self.away.is_on {
            (self.away.is_on, self.away.next_round) = (is_away, now.instant);
            plan.push(Effect::ServeMirrors(is_away));
        }
        let is_ending = self.finish.is_called_for();
        if !is_away || !self.is_free() || is_ending && self.away.at_end != AtEnd::No {
            return;
        }
        let has_more = self.away.has_more || self.lane.queue.batch.is_some() || !self.lane.woken_reliably;
        let next = if is_ending { now.instant } else { self.away.next_round };
        if (has_more || is_ending) && plan.is_due(next.max(self.relief.no_spill_before()), now) {
            (self.away.next_round, self.away.has_more) = (now.instant + interval.max(ROUND_TIME_MIN), false);
            if is_ending {
                self.away.at_end = AtEnd::Moving;
            }
            self.order(LocalOrder::Relieve(Relief::Spill), now, plan);
        }
    }

    /// The newest TXID, if everything that was committed is in local files that the mirrors were
    /// given.
    pub(super) fn kept_for_mirrors(&self) -> Option<Txid> {
        let files = self.lane.queue.files.filter(|_| self.lane.queue.batch.is_none());
        files.filter(|_| self.away.is_on && self.away.at_end == AtEnd::Moved { has_all: true }).map(|(_, last)| last)
    }
}
