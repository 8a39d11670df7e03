//! Without a claim, because the bucket was away at the start and the database is here: the
//! application runs, and nothing of it is uploaded. As soon as the bucket answers, it is claimed;
//! if another one holds it, or came later, the application is stopped first, because what it
//! commits may never be part of the history.

use super::event::{Effect, Notice};
use super::state::State;
use super::{Core, Plan};
use crate::claim::seen::{Seen, Standing, Why};

impl Core {
    pub(super) fn look_whether_to_retreat(&mut self, seen: &Seen, plan: &mut Plan) {
        let me = &self.config.me;
        let after = seen.newest().and_then(|(newest, _)| newest.next());
        let holder = after.and_then(|next| seen.not_released(next, me).into_iter().next());
        match (seen.standing(me), holder) {
            // No other instance came after what lies here.
            (Standing::Claim(why @ (Why::First | Why::Restart)), None) => self.claim_next(seen, why, None),
            (_, holder) => {
                let host = holder.map(|(_, claim)| claim).or(seen.newest().map(|(_, claim)| claim));
                plan.say(Notice::Retreats(host.map(|claim| claim.claim.hostname.clone()).unwrap_or_default()));
                self.retreat(plan);
            }
        }
    }

    fn retreat(&mut self, plan: &mut Plan) {
        (self.is_alone, self.state) = (false, State::Retreating);
        plan.push(Effect::Retreat);
    }

    /// It could not be sealed with what was committed without a claim: others came before.
    pub(super) fn is_fenced_alone(&mut self, plan: &mut Plan) {
        if matches!(self.state, State::Waiting { .. } | State::Sealing { .. }) {
            self.retreat(plan);
        }
    }

    /// Its application has stopped.
    pub(super) fn has_retreated(&mut self) {
        self.look_at = None;
        self.state = match &self.mine {
            Some(_) => State::Waiting { for_: None, is_wary: false },
            None => State::Looking,
        };
    }
}
