//! As a follower: watch the primary, and claim when there is none.

use std::time::Duration;

use super::event::{Claimed, Effect, Notice, Observed, Outcome, Reach, Trouble};
use super::state::{Claiming, State, Step};
use super::vacancy::{margin, vacancy};
use super::{Core, Plan};
use crate::claim::mine::Mine;
use crate::claim::seen::{Seen, Why};
use crate::clock::Now;
use crate::remote::Epoch;

/// What was installed longer ago is looked at again before a claim.
const CAUGHT_UP_LASTS: Duration = Duration::from_secs(5);

impl Core {
    /// The first look of this process.
    pub(super) fn begin(&mut self, now: Now, plan: &mut Plan) {
        let me = &self.config.me;
        let newest = self.seen.newest();
        let was_primary = newest.is_some_and(|(_, last)| last.claim.instance == me.instance && !last.is_released());
        if was_primary && self.config.is_candidate {
            // What it has committed is here, and no other process has gone on.
            return self.claim(Why::Restart, plan);
        }
        self.begin_to_follow(now, plan);
    }

    pub(super) fn begin_to_follow(&mut self, now: Now, plan: &mut Plan) {
        (self.state, self.look_at, self.nothing_since) = (State::Following(Step::Resting), Some(now.instant), None);
        plan.push(Effect::Follow);
    }

    /// The newest claim, looked at again.
    pub(super) fn observed(&mut self, observed: Observed, now: Now, plan: &mut Plan) {
        if observed.has_later {
            self.look_at = None;
            self.is_seen_whole = None;
            return;
        }
        let Some((newest, last)) = self.seen.0.iter_mut().next_back() else { return };
        last.beat = observed.beat;
        let (newest, beat) = (*newest, last.beat.clone());
        if let Some(mine) = self.mine.as_mut().filter(|mine| mine.epoch == newest) {
            mine.is_seen(beat.as_ref());
        }
        self.watch(now);
        self.consider(now, plan);
    }

    /// Whether to become the primary.
    pub(super) fn consider(&mut self, now: Now, plan: &mut Plan) {
        let State::Following(step) = self.state else { return };
        if let Some((newest, last)) = self.seen.newest()
            && last.claim.process == self.config.me.process
            && !last.is_released()
            && self.mine.as_ref().is_none_or(|mine| mine.epoch < newest)
        {
            return self.has_claimed_late(newest, now);
        }
        if self.is_fenced_by_a_stranger(now) {
            return;
        }
        let Some(why) = self.vacancy(now) else {
            self.state = State::Following(Step::Resting);
            return;
        };
        match step {
            Step::Resting => {
                self.state = State::Following(Step::CatchingUp(now.boot));
                plan.push(Effect::CatchUp);
            }
            Step::CatchingUp(_) => {}
            Step::CaughtUp(at) if now.boot.saturating_sub(at) < CAUGHT_UP_LASTS => self.claim(why, plan),
            Step::CaughtUp(_) => self.state = State::Following(Step::Resting),
        }
    }

    fn vacancy(&self, now: Now) -> Option<Why> {
        let holds_off = self.fenced_at.is_some()
            || self.released_at.is_some_and(|at| {
                now.boot.saturating_sub(at) < self.config.ttl * 2 + margin(self.config.ttl)
                    && self.seen.newest().is_some_and(|(_, last)| last.claim.process == self.config.me.process)
            });
        vacancy(&self.config, &self.seen, &self.watches, self.is_promoted, holds_off)
    }

    /// A claim that was given up has been made all the same: others see it, so it is used.
    fn has_claimed_late(&mut self, epoch: Epoch, now: Now) {
        self.watches.begin_anew();
        (self.mine, self.state, self.look_at) = (Some(Mine::new(epoch, now)), State::Waiting, None);
    }

    /// Another writer was met, and no later claim shows whose it is.
    fn is_fenced_by_a_stranger(&mut self, now: Now) -> bool {
        let Some(at) = self.fenced_at else { return false };
        let own = self.mine.as_ref().map(|mine| mine.epoch);
        if self.seen.newest().is_some_and(|(newest, _)| Some(newest) > own) {
            self.fenced_at = None;
        } else if now.boot.saturating_sub(at) >= self.config.ttl * 2
            && self.is_seen_whole.is_some_and(|seen| seen >= at + self.config.ttl * 2)
        {
            self.state = State::Ended(Outcome::Foreign);
            return true;
        }
        false
    }

    pub(super) fn caught_up(&mut self, reach: Reach, now: Now, plan: &mut Plan) {
        let State::Following(Step::CatchingUp(asked)) = self.state else { return };
        if now.boot.saturating_sub(asked) >= self.config.ttl * 2 {
            // Much may have been uploaded since.
            self.state = State::Following(Step::Resting);
            return;
        }
        let since = *self.nothing_since.get_or_insert(now.boot);
        // Where there is no history at all, a node that has a database comes first.
        let is_enough = match reach {
            Reach::Everything => true,
            Reach::Nothing => self.is_promoted || now.boot.saturating_sub(since) >= self.config.ttl,
            Reach::Behind => {
                if !std::mem::replace(&mut self.said_behind, true) {
                    plan.say(Notice::IsBehind);
                    // It may be a matter of moments; after that it is asked as ever.
                    let soon = now.instant + self.config.ttl / 30;
                    self.look_at = self.look_at.map(|at| at.min(soon));
                }
                false
            }
        };
        self.said_behind &= !is_enough;
        self.state = State::Following(if is_enough { Step::CaughtUp(now.boot) } else { Step::Resting });
        if is_enough {
            self.consider(now, plan);
        }
    }

    fn claim(&mut self, why: Why, plan: &mut Plan) {
        let parent = self.seen.newest().map(|(epoch, _)| epoch);
        // After the last number there is no other one; it is never reached.
        let Some(epoch) = parent.map_or(Some(Epoch::FIRST), Epoch::next) else { return };
        plan.say(Notice::Claims(why));
        self.state = State::Claiming(Claiming { epoch, parent, why, is_unsettled: false });
    }

    pub(super) fn claim_answered(&mut self, answer: Result<Claimed, Trouble>, now: Now, plan: &mut Plan) {
        match answer {
            Ok(claimed) => {
                self.succeeded(plan);
                self.claimed(claimed, now, plan);
            }
            Err(trouble) => {
                self.failed(trouble, now, plan);
                if let State::Claiming(claiming) = &mut self.state {
                    claiming.is_unsettled = true;
                }
            }
        }
    }

    /// Whose is the claim that was made without an answer? If it was not made, it may still be.
    pub(super) fn settle(&mut self, seen: &Seen, now: Now, plan: &mut Plan) {
        let State::Claiming(claiming) = &self.state else { return };
        match seen.0.get(&claiming.epoch) {
            Some(claim) if claim.claim.process == self.config.me.process => self.claimed(Claimed::Won, now, plan),
            _ => self.claimed(Claimed::Lost, now, plan),
        }
    }

    fn claimed(&mut self, claimed: Claimed, now: Now, plan: &mut Plan) {
        let State::Claiming(claiming) = &self.state else { return };
        let epoch = claiming.epoch;
        self.look_at = None;
        match claimed {
            Claimed::Won => {
                (self.mine, self.released_at, self.fenced_at) = (Some(Mine::new(epoch, now)), None, None);
                (self.is_promoted, self.state) = (false, State::Waiting);
            }
            Claimed::Lost => self.begin_to_follow(now, plan),
        }
    }
}
