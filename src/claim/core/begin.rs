//! From the first look of a process to its claim, or to the decision that it stands by.

use super::event::{Claimed, Notice, Trouble};
use super::state::{Claiming, State};
use super::{Core, Plan};
use crate::claim::mine::Mine;
use crate::claim::seen::{Seen, Standing, Why};
use crate::claim::wire::BeatState;
use crate::clock::Now;
use crate::remote::Epoch;

impl Core {
    /// The first look of this process.
    pub(super) fn begin(&mut self, seen: &Seen, now: Now, plan: &mut Plan) {
        match seen.standing(&self.config.me) {
            Standing::Claim(why) => self.claim_next(seen, why, None),
            Standing::StandBy(own) => {
                plan.say(Notice::StandsBy);
                let Some(claim) = seen.0.get(&own) else { return };
                let mut mine = Mine::inherited(own, claim, now);
                let is_over = seen.above(own).any(|(_, later)| later.is_sealed());
                if !claim.is_released() && is_over {
                    mine.say(BeatState::Released { to: None, told_to_end: false });
                }
                self.mine = Some(mine);
                if claim.is_released() || is_over {
                    self.stand_by(own);
                } else {
                    // It was killed. What it committed may still be uploaded before a successor
                    // loses its patience.
                    self.begin_to_drain(seen, plan);
                }
            }
        }
    }

    pub(super) fn claim_next(&mut self, seen: &Seen, why: Why, stood_by: Option<Epoch>) {
        let parent = seen.newest().map(|(epoch, _)| epoch);
        // After the last number there is no other one; it is never reached.
        let Some(epoch) = parent.map_or(Some(Epoch::FIRST), Epoch::next) else { return };
        self.state = State::Claiming(Claiming { epoch, parent, why, is_unsettled: false, stood_by });
    }

    /// Whose is the claim that was made without an answer?
    pub(super) fn settle(&mut self, seen: &Seen, now: Now) {
        let State::Claiming(claiming) = &mut self.state else { return };
        match seen.0.get(&claiming.epoch) {
            Some(claim) if claim.claim.process == self.config.me.process => self.claimed(Claimed::Won, now),
            None if seen.newest().is_none_or(|(newest, _)| newest < claiming.epoch) => claiming.is_unsettled = false,
            _ => self.claimed(Claimed::Lost, now),
        }
    }

    pub(super) fn claim_answered(&mut self, answer: Result<Claimed, Trouble>, now: Now, plan: &mut Plan) {
        match answer {
            Ok(claimed) => {
                self.succeeded(plan);
                self.claimed(claimed, now);
            }
            Err(trouble) => {
                self.failed(trouble, now, plan);
                if let State::Claiming(claiming) = &mut self.state {
                    claiming.is_unsettled = true;
                }
            }
        }
    }

    pub(super) fn claimed(&mut self, claimed: Claimed, now: Now) {
        let State::Claiming(claiming) = &self.state else { return };
        self.look_at = None;
        match (claimed, claiming.stood_by) {
            (Claimed::Won, _) => {
                self.mine = Some(Mine::new(claiming.epoch, now));
                self.fenced = false;
                self.state = State::Waiting { for_: None, is_wary: claiming.why == Why::Fenced };
            }
            (Claimed::Lost, None) => self.state = State::Looking,
            (Claimed::Lost, Some(own)) => self.stand_by(own),
        }
    }
}
