//! A database is replicated by one process at a time: another one stands by, runs its application,
//! and takes over.

use tokio::time::Instant;

use super::application_first::ApplicationFirst;
use super::arming::Arming;
use super::event::{Done, Effect, Event, Notice, Order, Outcome};
use super::{Common, Next, Now, Plan, RETRY_INTERVAL, State};
use crate::replicate::Ready;

enum Step {
    Waiting(Instant),
    /// The lock is asked for; `is_outdated`: it was time to end only after that.
    Asking {
        is_outdated: bool,
    },
}

pub(super) struct Locking {
    /// Another process has it, which was said.
    is_standby: bool,
    step: Step,
}

impl Locking {
    pub fn begin(now: Now) -> Locking {
        Locking { is_standby: false, step: Step::Waiting(now.instant) }
    }

    pub fn on_event<D>(
        &mut self,
        event: Event<D>,
        common: &mut Common,
        now: Now,
        plan: &mut Plan<Effect<D>>,
    ) -> Option<Next<D>> {
        match (event, &mut self.step) {
            (Event::Finish(_), Step::Waiting(at)) => *at = now.instant,
            (Event::Finish(_), Step::Asking { is_outdated }) => *is_outdated = true,
            (Event::Done(Done::Lock(Ok(true))), Step::Asking { .. }) => {
                if self.is_standby {
                    plan.push(Effect::Say(Notice::TakingOver));
                }
                plan.push(Effect::LookAtBucket);
                return Some(Next::State(match common.config.once {
                    true => State::Arming(Box::new(Arming::begin(now))),
                    false => State::ApplicationFirst(ApplicationFirst::begin(plan)),
                }));
            }
            (Event::Done(Done::Lock(Ok(false))), Step::Asking { is_outdated }) => {
                let is_outdated = *is_outdated;
                return self.is_taken(is_outdated, common, now, plan);
            }
            (Event::Done(Done::Lock(Err(why))), Step::Asking { .. }) => return Some(Next::End(Outcome::Failed(why))),
            _ => {}
        }
        None
    }

    /// Another process has the lock.
    fn is_taken<D>(
        &mut self,
        is_outdated: bool,
        common: &mut Common,
        now: Now,
        plan: &mut Plan<Effect<D>>,
    ) -> Option<Next<D>> {
        if common.is_ending() && !is_outdated {
            return Some(Next::End(Outcome::Standby));
        }
        if !std::mem::replace(&mut self.is_standby, true) {
            plan.push(Effect::Say(Notice::Standby));
        }
        common.let_start(Ready::Standby, plan);
        self.step = Step::Waiting(if is_outdated { now.instant } else { now.instant + RETRY_INTERVAL });
        None
    }

    pub fn plan<D>(&mut self, now: Now, plan: &mut Plan<Effect<D>>) {
        if let Step::Waiting(at) = self.step
            && plan.is_due(at, now)
        {
            self.step = Step::Asking { is_outdated: false };
            plan.push(Effect::Do(Order::TakeLock));
        }
    }
}
