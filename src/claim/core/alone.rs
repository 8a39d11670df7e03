//! Without a claim, because the bucket was away at the start and the database is here: the
//! application runs, and nothing of it is uploaded. As soon as the bucket answers, it is claimed;
//! if another one holds it, or came later, the application is stopped first, because what it
//! commits may never be part of the history.

use std::time::Duration;

use tokio::time::Instant;

use super::event::{Effect, Notice};
use super::state::State;
use super::{Core, Plan};
use crate::claim::seen::{Seen, Standing, Why};
use crate::clock::Now;

/// A bucket that does not answer is not waited for any longer, where the application can be started
/// without it.
const ALONE_AFTER: Duration = Duration::from_secs(2);

/// Whether the application may run before the history is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// The databases are not here, or it is known who writes.
    No,
    /// It is started at this time, if nothing is known by then; `None`: the time has not begun.
    May { at: Option<Instant> },
    /// It runs.
    Runs,
}

impl Alone {
    /// It is waited for the bucket from now on.
    pub fn begins(&mut self, now: Now) {
        if let Alone::May { at } = self {
            at.get_or_insert(now.instant + ALONE_AFTER);
        }
    }

    /// The bucket has answered.
    pub fn is_answered(&mut self) {
        if let Alone::May { .. } = self {
            *self = Alone::No;
        }
    }
}

impl Core {
    /// Whether it is time to start without a claim.
    pub(super) fn start_alone_if_due(&mut self, now: Now, plan: &mut Plan) {
        let (State::Looking, Alone::May { at: Some(at) }) = (&self.state, self.alone) else { return };
        if plan.is_due(at, now) {
            self.alone = Alone::Runs;
            plan.say(Notice::Alone);
            plan.push(Effect::Alone);
        }
    }

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
        (self.alone, self.state) = (Alone::No, State::Retreating);
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
