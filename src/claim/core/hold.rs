//! With a claim: wait for earlier holders, seal, serve, drain.

use std::time::Duration;

use super::alone::Alone;
use super::event::{Effect, Notice, Outcome, Stop};
use super::state::State;
use super::{Core, Plan, TRIAL};
use crate::claim::seen::{Seen, SeenClaim};
use crate::claim::watch::Watch;
use crate::claim::wire::BeatState;
use crate::clock::Now;

/// However often an earlier holder shows life, it is waited for no longer than so many waits.
const WAITS_MAX: u32 = 4;

impl Core {
    pub(super) fn wait(&mut self, seen: &Seen, step: Duration, plan: &mut Plan) {
        let (State::Waiting { for_, is_wary }, Some(mine)) = (&mut self.state, &self.mine) else { return };
        // The store does not honour create-if-absent, and another claim went over this one.
        if seen.0.get(&mine.epoch).is_some_and(|there| there.claim.process != self.config.me.process) {
            (self.mine, self.state, self.look_at) = (None, State::Looking, None);
            return;
        }
        if let Some((_, later)) = seen.newest().filter(|(epoch, _)| *epoch > mine.epoch) {
            plan.say(Notice::SupersededBy(later.claim.hostname.clone()));
            return self.begin_to_drain(seen, plan);
        }
        let mut others = seen.not_released(mine.epoch, &self.config.me);
        if *is_wary {
            let held = self.before.iter().filter_map(|(epoch, _)| Some((*epoch, seen.0.get(epoch)?)));
            others.extend(held.filter(|(_, claim)| !claim.is_released()));
        }
        let Some((_, first)) = others.first() else { return self.seal(seen, plan) };
        let beats = others.iter().map(|(epoch, claim)| (*epoch, claim.beat.clone())).collect();
        match for_ {
            Some(watch) => watch.observe(beats, step),
            None => {
                plan.say(Notice::WaitsFor(first.claim.hostname.clone()));
                *for_ = Some(Watch::begin(beats));
            }
        }
        let is_over = |watch: &Watch<_>| {
            watch.still() >= self.config.wait || watch.total() >= self.config.wait.saturating_mul(WAITS_MAX)
        };
        if for_.as_ref().is_some_and(is_over) {
            plan.say(Notice::TakenForDead(first.claim.hostname.clone()));
            self.seal(seen, plan);
        }
    }

    pub(super) fn seal(&mut self, seen: &Seen, plan: &mut Plan) {
        let Some(mine) = &self.mine else { return };
        let is_other = |claim: &&SeenClaim| claim.claim.instance != self.config.me.instance;
        let before = seen.0.range(..mine.epoch).rev().map(|(_, claim)| claim).find(is_other);
        self.predecessor = before.filter(|claim| !claim.was_told_to_end()).map(|claim| claim.claim.instance.clone());
        let others = seen.not_released(mine.epoch, &self.config.me).into_iter();
        self.before = others.map(|(epoch, claim)| (epoch, claim.beat.clone())).collect();
        self.removable = seen.removable();
        self.state = State::Sealing { is_done: false };
        plan.push(Effect::Seal);
    }

    pub(super) fn sealed(&mut self, now: Now, plan: &mut Plan) {
        let Some(mine) = &mut self.mine else { return };
        if matches!(self.state, State::Sealing { .. }) {
            mine.is_sealed();
        }
        if let State::Sealing { is_done } = &mut self.state {
            if mine.is_safe(self.config.ttl, now) {
                return self.open(now, plan);
            }
            *is_done = true;
            self.look_at = None;
        }
    }

    pub(super) fn open(&mut self, now: Now, plan: &mut Plan) {
        let Some(mine) = &mut self.mine else { return };
        mine.say(BeatState::Held);
        self.alone = Alone::No;
        self.state = State::Serving { opened: now.boot, has_ghost: false };
        plan.push(Effect::Open);
    }

    pub(super) fn peeked(&mut self, exists: bool, now: Now) {
        let every = self.look_every();
        let State::Serving { has_ghost, .. } = &mut self.state else { return };
        *has_ghost = exists;
        self.look_at = (!exists).then(|| now.instant + every);
        if !exists {
            self.steps.next(now.boot, every);
        }
    }

    pub(super) fn look_for_successor(&mut self, opened: Duration, seen: &Seen, plan: &mut Plan) {
        let Some(mine) = &self.mine else { return };
        let mut later = seen.above(mine.epoch).peekable();
        let has_ghost = later.peek().is_some();
        // A claim whose maker is gone has no beat: the application is not stopped for it.
        let is_alive = |claim: &SeenClaim| claim.beat.is_some() && !claim.is_released();
        if let Some((_, by)) = later.find(|(_, claim)| is_alive(claim)) {
            plan.say(Notice::SupersededBy(by.claim.hostname.clone()));
            self.begin_to_drain(seen, plan);
        } else {
            self.state = State::Serving { opened, has_ghost };
        }
    }

    pub(super) fn begin_to_drain(&mut self, seen: &Seen, plan: &mut Plan) {
        let Some(mine) = &mut self.mine else { return };
        let newest = seen.newest().filter(|(epoch, _)| *epoch > mine.epoch);
        self.successor = newest.map(|(_, claim)| claim.claim.instance.clone());
        mine.say(BeatState::Draining);
        (self.alone, self.state) = (Alone::No, State::Draining);
        plan.push(Effect::Drain);
    }

    pub(super) fn is_fenced(&mut self, plan: &mut Plan) {
        if self.alone == Alone::Runs {
            return self.is_fenced_alone(plan);
        }
        self.fenced = true;
        if let (State::Serving { .. }, Some(mine)) = (&self.state, &mut self.mine) {
            mine.say(BeatState::Draining);
            self.state = State::Draining;
            plan.push(Effect::Drain);
        }
    }

    pub(super) fn drained(&mut self, now: Now) {
        if let State::Retreating = self.state {
            return self.has_retreated();
        }
        let (State::Draining, Some(mine)) = (&self.state, &mut self.mine) else { return };
        if let Some(stop) = self.stop {
            let to = self.successor.take().or_else(|| self.predecessor.take().filter(|_| stop.failed));
            mine.say(BeatState::Released { to, told_to_end: !stop.failed });
            self.state = State::Leaving;
        } else {
            mine.say(BeatState::Released { to: self.successor.take(), told_to_end: false });
            let own = mine.epoch;
            self.stand_by(own);
            self.look_at = Some(now.instant);
        }
    }

    pub(super) fn stop(&mut self, stop: Stop, now: Now, plan: &mut Plan) {
        let stop = *self.stop.get_or_insert(stop);
        // What fails later is restarted: the earlier one may be long gone, and is older.
        if matches!(self.state, State::Serving { opened, .. } if now.boot.saturating_sub(opened) >= TRIAL) {
            self.predecessor = None;
        }
        match (&self.state, &mut self.mine) {
            // Whether or not its application was started: an earlier process here may have
            // committed.
            (State::Waiting { .. } | State::Sealing { .. } | State::Serving { .. } | State::Retreating, Some(mine)) => {
                mine.say(BeatState::Draining);
                self.state = State::Draining;
                plan.push(Effect::Drain);
            }
            (State::StandingBy(_), Some(mine)) => {
                mine.say(BeatState::Released { to: None, told_to_end: !stop.failed });
                self.state = State::Leaving;
            }
            (State::Draining | State::Leaving | State::Ended(_), _) => {}
            _ => self.state = State::Ended(Outcome::Nothing),
        }
    }
}
