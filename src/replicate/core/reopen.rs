//! The file has to be opened anew: another one lies in the database's place, or a program wrote to
//! it past SQLite.
//!
//! Nothing else may be done with the database meanwhile, because our connections to it may have
//! ended already. But requests are answered and deadlines pass. Each attempt is an order of its
//! own:
//!
//! | it finds | what follows |
//! |---|---|
//! | the file is open | it is compared with the history, as at a start |
//! | no file | it is waited for a moment, unless it was to be expected; then replication ends |
//! | a program that has the old file open | it is named, each minute, for as long as that lasts |
//! | the file is busy | the next attempt |

use std::time::Duration;

use tokio::time::Instant;

use super::event::{Effect, LocalOrder, Notice, Outcome, Reopened};
use super::{Common, Now, Plan, State};

/// How long to wait for a file where there is none any more.
const MISSING_TIME: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
const SAY_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Reopening {
    /// An attempt.
    order: LocalOrder,
    began: Instant,
    next_try: Instant,
    user_said: Option<Instant>,
    /// What stands in the way.
    why: String,
}

impl Reopening {
    /// Another file lies in the place of the database, or none.
    pub fn replaced(why: String, common: &Common, now: Now, plan: &mut Plan) -> Reopening {
        if !common.config.may_vanish {
            plan.push(Effect::Say(Notice::Replaced));
        }
        Reopening { order: LocalOrder::TakeUp, began: now.instant, next_try: now.instant, user_said: None, why }
    }

    /// The database, which was written to past SQLite, is closed, and could not be opened again at
    /// once.
    pub fn overwritten(why: String, now: Now) -> Reopening {
        let next_try = now.instant + RETRY_INTERVAL;
        Reopening { order: LocalOrder::Reopen, began: now.instant, next_try, user_said: None, why }
    }

    /// What an attempt came to, other than success.
    pub fn failed(&mut self, reopened: Reopened, common: &Common, now: Now, plan: &mut Plan) -> Option<State> {
        let has_vanished = common.config.may_vanish && common.finish.is_called_for();
        match reopened {
            Reopened::Missing { why } if has_vanished || now.instant - self.began >= MISSING_TIME => {
                return Some(State::Ended(Outcome::Halted(why)));
            }
            Reopened::InUse { why, pid } => {
                if self.user_said.is_none_or(|said| now.instant - said >= SAY_EVERY) {
                    self.user_said = Some(now.instant);
                    plan.push(Effect::Say(Notice::OldFileInUse(pid)));
                }
                self.why = why;
            }
            Reopened::Missing { why } | Reopened::Busy { why } => self.why = why,
            Reopened::Done => {}
        }
        self.next_try = now.instant + RETRY_INTERVAL;
        None
    }

    pub fn plan(&mut self, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        if let Some(deadline) = common.finish.deadline()
            && plan.is_due(deadline, now)
        {
            return Some(State::Ended(Outcome::Halted(std::mem::take(&mut self.why))));
        }
        if common.is_free() && plan.is_due(self.next_try, now) {
            common.order(self.order, now, plan);
        }
        None
    }
}
