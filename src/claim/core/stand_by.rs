//! After others came: watch them, and come back when they have ended or show no life.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Notice, Outcome};
use super::state::{Beats, StandingBy, State};
use super::{Core, Plan};
use crate::claim::seen::{Seen, SeenClaim, Why};
use crate::claim::watch::Watch;
use crate::claim::wire::Beat;
use crate::remote::Epoch;

/// How often a node that stands by looks when its successor shows life rarely.
const LOOK_RARELY: Duration = Duration::from_secs(60);
/// No beat is waited for longer, whatever it says.
const EVERY_MAX: Duration = Duration::from_secs(3600);

impl Core {
    pub(super) fn stand_by(&mut self, own: Epoch) {
        let fenced = self.fenced.then(|| Watch::begin(self.before.clone()));
        let (above, look_every) = (BTreeMap::new(), self.config.look);
        self.state = State::StandingBy(StandingBy { own, above, offered: None, fenced, look_every });
    }

    /// Whether all that came later have ended.
    pub(super) fn look_for_a_vacancy(&mut self, seen: &Seen, step: Duration, plan: &mut Plan) {
        let State::StandingBy(by) = &mut self.state else { return };
        let Some((newest, last)) = seen.newest() else { return };
        let held: Vec<_> = seen.above(by.own).filter(|(_, claim)| !claim.is_released()).collect();
        by.above.retain(|epoch, _| held.iter().any(|(at, _)| at == epoch));
        let mut is_silent = true;
        for (epoch, claim) in &held {
            let watch = by.above.entry(*epoch).or_insert_with(|| Watch::begin(claim.beat.clone()));
            watch.observe(claim.beat.clone(), step);
            is_silent &= watch.still() >= silence(claim.beat.as_ref(), self.config.ttl);
        }
        let is_rare = |claim: &SeenClaim| claim.beat.as_ref().is_some_and(|beat| every(beat) > self.config.ttl);
        by.look_every = if held.iter().any(|(_, claim)| is_rare(claim)) { LOOK_RARELY } else { self.config.look };
        by.offered = match last.released_to() {
            Some(to) if to != self.config.me.instance && held.is_empty() && !seen.was_told_to_end(to) => {
                let mut watch = by.offered.take().unwrap_or_else(|| Watch::begin(newest));
                watch.observe(newest, step);
                Some(watch)
            }
            _ => None,
        };
        if newest == by.own && by.fenced.is_some() {
            return self.look_for_the_other_writer(seen, step, plan);
        }
        let is_free = by.offered.as_ref().is_none_or(|watch| watch.still() >= self.config.wait);
        let why = if held.is_empty() { Why::SuccessorEnded } else { Why::SuccessorSilent };
        let own = by.own;
        if is_silent && is_free {
            plan.say(Notice::ComesBack(why));
            self.claim_next(seen, why, Some(own));
        }
    }

    /// Another writer was met, and there is no later claim. It may have an earlier one: it was
    /// taken for dead, and woke up just before it sealed. It will see our claim and end.
    pub(super) fn look_for_the_other_writer(&mut self, seen: &Seen, step: Duration, plan: &mut Plan) {
        let State::StandingBy(StandingBy { own, fenced: Some(watch), .. }) = &mut self.state else { return };
        let beat = |epoch: &Epoch| seen.0.get(epoch).and_then(|claim| claim.beat.clone());
        let beats: Beats = self.before.iter().map(|(epoch, _)| (*epoch, beat(epoch))).collect();
        let is_one_of_them = beats != self.before;
        watch.observe(beats, step);
        let own = *own;
        if is_one_of_them {
            plan.say(Notice::ComesBack(Why::Fenced));
            self.claim_next(seen, Why::Fenced, Some(own));
        } else if watch.still() >= silence(None, self.config.ttl) {
            self.state = State::Ended(Outcome::Foreign);
        }
    }
}

fn every(beat: &Beat) -> Duration {
    Duration::from_millis(beat.every_ms).min(EVERY_MAX)
}

/// After so long without a change of its beat a holder is taken for dead.
fn silence(beat: Option<&Beat>, ttl: Duration) -> Duration {
    beat.map_or(ttl, |beat| every(beat) * 3) + ttl / 3
}
