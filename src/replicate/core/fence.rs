//! Another writer owns the history: it was met at work, or the history went on elsewhere while
//! nothing replicated here.
//!
//! The application must not go on committing into a branch that no restore gives back: the database
//! is frozen by holding its write lock, and the program is told to stop the application. What was
//! committed here and is in no history is kept aside.

use std::time::Duration;

use tokio::time::Instant;

use super::event::{Effect, Event, LocalDone, LocalOrder, Notice, Outcome};
use super::{Common, Finish, Now, Plan, State};

const FREEZE_ATTEMPTS: u32 = 20;
const FREEZE_EVERY: Duration = Duration::from_millis(50);
/// To send what is kept aside, where there is no application to be stopped first.
const KEEP_TIME: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Freezing {
        attempts_left: u32,
        next_at: Instant,
    },
    /// Until the program says that the application has stopped.
    Stopping {
        is_frozen: bool,
    },
    /// Nothing can commit any more: the write lock is given back.
    Thawing {
        deadline: Instant,
    },
    Thawed {
        deadline: Instant,
    },
    Keeping,
    Kept,
}

pub(super) struct Fencing {
    why: String,
    step: Step,
}

impl Fencing {
    pub fn begin(why: String, now: Now) -> Fencing {
        Fencing { why, step: Step::Freezing { attempts_left: FREEZE_ATTEMPTS, next_at: now.instant } }
    }

    pub fn why(&self) -> &str {
        &self.why
    }

    pub fn on_event(&mut self, event: Event, plan: &mut Plan) -> Option<State> {
        let Event::Local(done, _) = event else { return None };
        match (done, self.step) {
            (LocalDone::Frozen(is_frozen), Step::Freezing { attempts_left, .. }) if is_frozen || attempts_left == 0 => {
                self.step = Step::Stopping { is_frozen };
                if is_frozen {
                    plan.push(Effect::Say(Notice::Frozen));
                }
                plan.push(Effect::Fence);
            }
            (LocalDone::Thawed, Step::Thawing { deadline }) => self.step = Step::Thawed { deadline },
            (LocalDone::TailKept, Step::Keeping) => self.step = Step::Kept,
            _ => {}
        }
        None
    }

    pub fn plan(&mut self, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        if !common.is_free() {
            return None;
        }
        match self.step {
            Step::Freezing { attempts_left, next_at } if plan.is_due(next_at, now) => {
                let attempts_left = attempts_left.saturating_sub(1);
                self.step = Step::Freezing { attempts_left, next_at: now.instant + FREEZE_EVERY };
                common.order(LocalOrder::Freeze, now, plan);
            }
            Step::Stopping { is_frozen } => {
                if let Some(deadline) = has_stopped_by(common, now) {
                    self.step = if is_frozen { Step::Thawing { deadline } } else { Step::Keeping };
                    let order = if is_frozen { LocalOrder::Thaw } else { LocalOrder::KeepTail(deadline) };
                    common.order(order, now, plan);
                }
            }
            Step::Thawed { deadline } => {
                self.step = Step::Keeping;
                common.order(LocalOrder::KeepTail(deadline), now, plan);
            }
            Step::Kept => return Some(State::Ended(Outcome::Fenced(self.why.clone()))),
            Step::Freezing { .. } | Step::Thawing { .. } | Step::Keeping => {}
        }
        None
    }
}

/// The deadline, once the application has stopped; where there is none, at once.
fn has_stopped_by(common: &Common, now: Now) -> Option<Instant> {
    match common.finish {
        Finish::No => None,
        Finish::WhenDone => Some(now.instant + KEEP_TIME),
        Finish::By(deadline) => Some(deadline),
    }
}
