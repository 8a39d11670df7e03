//! What an answer of the bucket says beside what was asked: that it is there, that it permits it.

use std::time::Duration;

use super::event::{Access, Notice, Outcome, Trouble};
use super::state::{Claiming, State};
use super::{Core, Plan, Work};
use crate::claim::seen::Why;
use crate::clock::Now;

/// An answer that is older than that is none: this process was paused, and others went on.
const ANSWER_LASTS: Duration = Duration::from_secs(10);

impl Core {
    /// Who was never permitted to read claims, or to create one, ends before anything is started.
    pub(super) fn end_if_denied<T>(&mut self, access: Access, answer: &Result<T, Trouble>) {
        let is_new = match access {
            Access::Read => !self.is_granted,
            Access::Create => matches!(
                &self.state,
                State::Claiming(Claiming { why: Why::First | Why::Restart, .. }) if self.mine.is_none()
            ),
        };
        if let Err(Trouble::Denied(why)) = answer
            && is_new
        {
            self.state = State::Ended(Outcome::Denied(access, why.clone()));
        }
    }

    pub(super) fn answered<T>(&mut self, answer: Result<T, Trouble>, now: Now, plan: &mut Plan) -> Option<T> {
        let is_old = matches!(self.work, Work::Busy(since) if now.boot.saturating_sub(since) >= ANSWER_LASTS);
        let answer = answer.and_then(|answer| match is_old {
            true => Err(Trouble::Away("the answer is too old to be believed".into())),
            false => Ok(answer),
        });
        match answer {
            Ok(answer) => {
                self.succeeded(plan);
                Some(answer)
            }
            Err(trouble) => {
                self.failed(trouble, now, plan);
                None
            }
        }
    }

    pub(super) fn succeeded(&mut self, plan: &mut Plan) {
        self.work = Work::Idle;
        self.backoff.reset();
        if std::mem::take(&mut self.is_away) {
            plan.say(Notice::Back);
        }
    }

    pub(super) fn failed(&mut self, trouble: Trouble, now: Now, plan: &mut Plan) {
        self.work = Work::Paused(now.instant + self.backoff.next_pause(&mut self.dice));
        if !matches!(self.state, State::Ended(_)) && !std::mem::replace(&mut self.is_away, true) {
            plan.say(Notice::Outage(trouble.why().to_owned()));
        }
    }
}
