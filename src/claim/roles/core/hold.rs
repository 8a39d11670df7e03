//! With a claim: wait for earlier holders, seal, serve, close, drain.

use std::time::Duration;

use super::event::{Effect, Notice, Outcome, Stop};
use super::state::State;
use super::{Core, Plan, SEALS_WITHIN};
use crate::claim::mine::Mine;
use crate::claim::wire::BeatState;
use crate::clock::Now;

impl Core {
    /// Until when the claim counts, by the boot clock: no other node can have gone on before that.
    /// It moves while the claim is renewed.
    pub fn valid_until(&self) -> Option<Duration> {
        self.mine.as_ref().and_then(|mine| mine.safe_until(self.config.ttl))
    }

    /// The application must not write any more after this time.
    pub(super) fn close_at(&self) -> Option<Duration> {
        self.valid_until().map(|until| until.saturating_sub(self.config.closing_time()))
    }

    pub(super) fn may_serve(&self, now: Now) -> bool {
        self.close_at().is_some_and(|at| now.boot < at)
    }

    pub(super) fn is_newest(&self) -> bool {
        let newest = self.seen.newest();
        newest.is_some_and(|(newest, last)| {
            last.claim.process == self.config.me.process && self.mine.as_ref().is_some_and(|mine| mine.epoch == newest)
        })
    }

    /// A later claim ends this one, whoever made it.
    pub(super) fn is_superseded(&mut self, now: Now, plan: &mut Plan) -> bool {
        let Some(mine) = &self.mine else { return false };
        let later = self.seen.newest().filter(|(epoch, claim)| {
            *epoch > mine.epoch || *epoch == mine.epoch && claim.claim.process != self.config.me.process
        });
        let Some((_, later)) = later else { return false };
        let (host, to) = (later.claim.hostname.clone(), later.claim.instance.clone());
        plan.say(Notice::SupersededBy(host));
        self.successor = Some(to);
        self.begin_to_drain(now, plan);
        true
    }

    pub(super) fn wait(&mut self, now: Now, plan: &mut Plan) {
        if self.is_superseded(now, plan) {
            return;
        }
        let Some(mine) = &self.mine else { return };
        let others = self.seen.not_released(mine.epoch, &self.config.me);
        let alive = others.iter().find(|(epoch, claim)| !self.watches.is_silent(*epoch, claim));
        if let Some((_, first)) = alive {
            let host = first.claim.hostname.clone();
            if self.waits_for.as_ref() != Some(&host) {
                plan.say(Notice::WaitsFor(host.clone()));
                self.waits_for = Some(host);
            }
            return;
        }
        if let Some((_, first)) = others.first() {
            plan.say(Notice::TakenForDead(first.claim.hostname.clone()));
        }
        self.waits_for = None;
        self.removable = self.seen.removable();
        self.state = State::Sealing { is_done: false, since: now.boot };
        plan.push(Effect::Seal);
    }

    pub(super) fn sealed(&mut self, now: Now, plan: &mut Plan) {
        let (State::Sealing { is_done, .. }, Some(mine)) = (&mut self.state, &mut self.mine) else { return };
        *is_done = true;
        mine.is_sealed();
        if self.may_serve(now) {
            self.open(plan);
        }
    }

    pub(super) fn open(&mut self, plan: &mut Plan) {
        let Some(mine) = &mut self.mine else { return };
        mine.say(BeatState::Held);
        self.state = State::Serving;
        plan.push(Effect::Open);
    }

    /// The beat was written, and then no later claim was there.
    pub(super) fn renewed(&mut self, has_later: bool, now: Now, plan: &mut Plan) {
        let Some(mine) = &mut self.mine else { return };
        if has_later {
            mine.is_written(Duration::ZERO);
            // Who it is, a look shows.
            self.look_at = None;
            self.is_seen_whole = None;
            return;
        }
        let was_lapsed = !self.may_serve(now);
        let Some(mine) = &mut self.mine else { return };
        mine.is_renewed();
        match self.state {
            State::Sealing { is_done: true, .. } if self.may_serve(now) && !was_lapsed => self.open(plan),
            // Claims may have come and gone meanwhile: a look must show that this is the newest.
            State::Sealing { is_done: true, .. } | State::Closed => self.look_at = None,
            _ => {}
        }
    }

    /// While the claim is held.
    pub(super) fn looked_as_holder(&mut self, now: Now, plan: &mut Plan) {
        if self.is_superseded(now, plan) {
            return;
        }
        match self.state {
            State::Sealing { is_done: true, .. } if self.is_newest() && self.may_serve(now) => self.open(plan),
            State::Closed if self.is_newest() && self.may_serve(now) => {
                plan.say(Notice::Reopened);
                self.open(plan);
            }
            _ => {}
        }
    }

    /// Before others can go on, the application stops to write.
    pub(super) fn close_if_due(&mut self, now: Now, plan: &mut Plan) {
        let (State::Serving, Some(at)) = (&self.state, self.close_at()) else { return };
        let is_due = plan.is_due(now.instant + at.saturating_sub(now.boot), now);
        if is_due {
            self.state = State::Closed;
            plan.say(Notice::Closed);
            plan.push(Effect::Close(self.valid_until().unwrap_or(now.boot)));
        }
    }

    /// Another node may be able to seal.
    pub(super) fn give_up_if_due(&mut self, now: Now, plan: &mut Plan) {
        let State::Sealing { since, .. } = self.state else { return };
        let left = (since + self.config.ttl * SEALS_WITHIN).saturating_sub(now.boot);
        if plan.is_due(now.instant + left, now) {
            plan.say(Notice::CannotSeal);
            self.begin_to_drain(now, plan);
        }
    }

    pub(super) fn begin_to_drain(&mut self, now: Now, plan: &mut Plan) {
        let Some(mine) = &mut self.mine else { return };
        mine.say(BeatState::Draining);
        (self.state, self.look_at) = (State::Draining, Some(now.instant));
        plan.push(Effect::Drain);
    }

    pub(super) fn is_fenced(&mut self, now: Now, plan: &mut Plan) {
        let has_sealed = self.mine.as_ref().is_some_and(Mine::has_sealed);
        if has_sealed && matches!(self.state, State::Serving | State::Closed | State::Draining) {
            self.fenced_at = Some(now.boot);
        }
        if matches!(self.state, State::Serving | State::Closed) {
            self.begin_to_drain(now, plan);
        }
    }

    pub(super) fn drained(&mut self, now: Now, plan: &mut Plan) {
        let (State::Draining, Some(mine)) = (&self.state, &mut self.mine) else { return };
        let told_to_end = self.stop.is_some_and(|stop| !stop.failed);
        mine.say(BeatState::Released { to: self.successor.take(), told_to_end });
        self.released_at = Some(now.boot);
        match self.stop {
            Some(_) => self.state = State::Leaving,
            None => self.begin_to_follow(now, plan),
        }
    }

    pub(super) fn hand_over(&mut self, to: Option<String>, now: Now, plan: &mut Plan) {
        if matches!(self.state, State::Serving | State::Closed) {
            self.successor = to;
            self.begin_to_drain(now, plan);
        }
    }

    pub(super) fn stop(&mut self, stop: Stop, now: Now, plan: &mut Plan) {
        self.stop.get_or_insert(stop);
        let owes_release = self.mine.as_ref().is_some_and(|mine| mine.is_released() && mine.is_owed(now));
        match &self.state {
            // Whether or not the application could write: an earlier process here may have
            // committed.
            State::Waiting | State::Sealing { .. } | State::Serving | State::Closed => self.begin_to_drain(now, plan),
            State::Following(_) if owes_release => self.state = State::Leaving,
            State::Draining | State::Leaving | State::Ended(_) => {}
            State::Looking | State::Following(_) | State::Claiming(_) => {
                self.state = State::Ended(Outcome::Nothing);
            }
        }
    }
}
