//! Looking for commits in the WAL: woken, by polling, and until the writer has published them.

use std::time::Duration;

use tokio::time::Instant;

use super::super::batch::Front;
use super::super::{Busy, Common, Lane, Now, Plan, State};
use super::{ClosedState, Effect, LocalOrder, Outcome, Report, Streaming};
use crate::clock::Backoff;
use crate::ltx::Txid;

/// From the last byte of a commit in the WAL to its publication in the wal-index, at most, if
/// nothing has to be synced.
const PUBLISH_TIME: Duration = Duration::from_micros(500);
/// Where every change is told, only every so-many'th poll is made.
const QUIET_INTERVALS: u32 = 15;
/// The same where the connections are closed: there may be thousands of such databases.
const CLOSED_INTERVALS: u32 = 60;

/// What is known of the WAL.
#[derive(Debug)]
pub(super) enum Wal {
    /// Nothing is known to have happened since the last capture.
    Quiet { since: Instant, poll_at: Instant },
    /// Something has.
    Changed,
    /// It is looked whether there are frames beyond the last capture. `quiet_since`: without being
    /// told of a change.
    Glancing { quiet_since: Option<Instant> },
    /// There are. Where a capture finds no commit in them, the writer has not published it yet, and
    /// when it does, in the wal-index, no event tells: look again very soon, and less and less
    /// often if it is a long transaction.
    Ahead { again_at: Instant, backoff: Backoff },
    /// Nothing has for a while: the connections are closed.
    Closed(ClosedState),
}

impl Streaming {
    pub(super) fn glanced(&mut self, is_ahead: bool, common: &mut Common, now: Now, plan: &mut Plan) {
        // Who has asked for it comes before any event, as a rule.
        let was_asked_for = common.positions.is_looking();
        self.looked(is_ahead, common, plan);
        match (&mut self.wal, is_ahead) {
            (Wal::Closed(closed), is_changed) => {
                let was_told = was_asked_for || matches!(closed, ClosedState::Glancing { is_changed: true });
                if is_changed && !was_told && common.lane.woken_reliably {
                    plan.push(Effect::MissedEvent);
                }
                closed.rest(is_changed, poll_interval(common, CLOSED_INTERVALS), now);
            }
            (Wal::Glancing { quiet_since }, true) => {
                if quiet_since.is_some() && common.lane.woken_reliably {
                    plan.push(Effect::MissedEvent);
                }
                self.is_ahead(common, now, plan);
            }
            (Wal::Changed | Wal::Quiet { .. }, true) => self.is_ahead(common, now, plan),
            (Wal::Glancing { .. }, false) => self.settled(common, now, plan),
            _ => {}
        }
    }

    pub(super) fn is_ahead(&mut self, common: &Common, now: Now, plan: &mut Plan) {
        plan.push(Effect::Report(Report::Noticed));
        let backoff = Backoff::new(PUBLISH_TIME, common.config.monitor_interval);
        self.wal = Wal::Ahead { again_at: now.instant, backoff };
    }

    pub(super) fn captured(&mut self, found: bool, common: &mut Common, now: Now, plan: &mut Plan) {
        match common.lane.is_overwritten {
            true => common.begin_requests_again(),
            false => {
                common.syncs.captured(found, &common.lane.queue, self.confirmed, plan);
                match found || common.lane.has_position {
                    true => self.looked(false, common, plan),
                    // It has no page yet.
                    false => common.positions.looked(self.confirmed, false, plan),
                }
            }
        }
        match &mut self.wal {
            _ if found => {
                plan.push(Effect::Report(Report::Noticed));
                report_captured(common, plan);
                self.wal = Wal::Changed;
            }
            Wal::Ahead { again_at, backoff } if !common.finish.is_called_for() => {
                *again_at = now.instant + backoff.next_pause(&mut common.dice);
            }
            Wal::Ahead { .. } | Wal::Glancing { .. } => self.settled(common, now, plan),
            Wal::Changed | Wal::Quiet { .. } | Wal::Closed(_) => {}
        }
    }

    /// What a look at the WAL, or a capture, says to those who ask for the position.
    fn looked(&self, is_ahead: bool, common: &mut Common, plan: &mut Plan) {
        // What was committed to a closed database is numbered when it is open.
        let is_unknown = is_ahead && matches!(self.wal, Wal::Closed(_));
        match self.can_number(common) && !is_unknown {
            true => common.positions.looked(self.newest(common), is_ahead, plan),
            false => common.positions.look_again(),
        }
    }

    /// Whether it is certain which TXID comes next.
    fn can_number(&self, common: &Common) -> bool {
        let Lane { has_position, is_overwritten, queue, .. } = &common.lane;
        let is_unverified = matches!(queue.front(), Some(Front::Unverified(_)));
        *has_position && !is_overwritten && !is_unverified && !self.is_suspected
    }

    /// The newest TXID that has its number for good.
    fn newest(&self, common: &Common) -> Option<Txid> {
        common.lane.queue.last().max(self.confirmed)
    }

    /// Looks at the WAL for those who ask for the position, if no other order was given.
    pub(super) fn answer_positions(&self, common: &mut Common, now: Now, plan: &mut Plan) {
        if !common.positions.is_look_wanted() || !self.can_number(common) {
            return;
        }
        match common.busy {
            Busy::Free => common.glance(now, plan),
            Busy::Working => {}
            Busy::Lent(_) => common.positions.answer_without_a_look(self.newest(common), plan),
        }
    }

    /// Everything that is committed is captured.
    pub(super) fn settled(&mut self, common: &Common, now: Now, plan: &mut Plan) {
        let since = match self.wal {
            Wal::Glancing { quiet_since: Some(since) } => since,
            _ => now.instant,
        };
        self.wal = Wal::Quiet { since, poll_at: now.instant + poll_interval(common, QUIET_INTERVALS) };
        if common.lane.queue.is_empty() {
            plan.push(Effect::Report(Report::Idle));
        }
    }

    /// Everything is in the bucket, and none of it was made by this process.
    fn is_to_be_sealed(&self, common: &Common, now: Now) -> bool {
        let is_certain = !common.lane.is_overwritten && !self.is_suspected;
        self.seal.is_wanted() && is_certain && common.may_create(self.seal, now)
    }

    /// Nothing has happened for so long that the connections are better closed.
    fn is_to_be_closed(&self, since: Instant, common: &Common, now: Now, plan: &mut Plan) -> bool {
        let Lane { has_position, wal_frames, woken_reliably, is_overwritten, .. } = common.lane;
        let is_settled = !is_overwritten && !self.is_suspected && !self.seal.is_wanted();
        let may_be = has_position && wal_frames == 0 && woken_reliably && is_settled;
        may_be && common.config.close_after.is_some_and(|after| plan.is_due(since + after, now))
    }

    /// The connections are closed, or it could not be done.
    pub(super) fn closed(&mut self, is_closed: bool, common: &Common, now: Now) {
        match &mut self.wal {
            Wal::Closed(closed) if is_closed => closed.rest(false, poll_interval(common, CLOSED_INTERVALS), now),
            Wal::Closed(ClosedState::Closing { is_changed: false }) => {
                self.wal =
                    Wal::Quiet { since: now.instant, poll_at: now.instant + poll_interval(common, QUIET_INTERVALS) };
            }
            _ => self.wal = Wal::Changed,
        }
    }

    /// The queue is empty and the database free: resets the WAL if that is due, else looks for
    /// commits. `Some` at the end.
    pub(super) fn look_for_commits(&mut self, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        let is_ending = common.finish.is_called_for();
        let is_closed = matches!(self.wal, Wal::Closed(_));
        if !is_ending && !is_closed && common.reset_if_due(now, plan) {
            return None;
        }
        if self.examination.order_if_due(common, now, plan) {
            return None;
        }
        let is_asked = common.syncs.is_capture_wanted() && !common.lane.is_overwritten;
        if let Wal::Closed(closed) = &mut self.wal {
            closed.order(is_ending || is_asked, common, now, plan);
            return None;
        }
        match &self.wal {
            Wal::Quiet { .. } if is_ending && common.lane.is_overwritten => {}
            Wal::Quiet { .. } if is_ending && !is_asked => return Some(State::Ended(Outcome::Synced)),
            Wal::Quiet { .. } | Wal::Changed if is_ending || is_asked => {
                self.wal = Wal::Glancing { quiet_since: None };
                capture(common, now, plan);
            }
            Wal::Changed => {
                self.wal = Wal::Glancing { quiet_since: None };
                common.glance(now, plan);
            }
            Wal::Quiet { .. } if self.is_to_be_sealed(common, now) => common.order(LocalOrder::Seal, now, plan),
            Wal::Quiet { since, .. } if self.is_to_be_closed(*since, common, now, plan) => {
                self.wal = Wal::Closed(ClosedState::Closing { is_changed: false });
                common.order(LocalOrder::Close, now, plan);
            }
            Wal::Quiet { since, poll_at } if plan.is_due(*poll_at, now) => {
                self.wal = Wal::Glancing { quiet_since: Some(*since) };
                common.glance(now, plan);
            }
            Wal::Ahead { again_at, .. } => {
                let turn =
                    if is_ending || is_asked { now.instant } else { self.pace.next_at(now.instant).max(*again_at) };
                if plan.is_due(turn, now) {
                    capture(common, now, plan);
                }
            }
            Wal::Quiet { .. } | Wal::Glancing { .. } | Wal::Closed(_) => {}
        }
        None
    }
}

/// Between two polls: every one is made only where changes are not told.
fn poll_interval(common: &Common, intervals: u32) -> Duration {
    common.config.monitor_interval * if common.lane.woken_reliably { intervals } else { 1 }
}

fn capture(common: &mut Common, now: Now, plan: &mut Plan) {
    common.syncs.capture_begins();
    common.positions.look_begins();
    common.order(LocalOrder::Capture, now, plan);
}

/// The newest TXID that has its number, for the status.
pub(super) fn report_captured(common: &Common, plan: &mut Plan) {
    if let Some(txid) = common.lane.queue.last() {
        plan.push(Effect::Report(Report::Captured(txid)));
    }
}
