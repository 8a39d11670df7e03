//! After a run in which the application kept the database to itself: opened by us first, it would
//! be closed to the application, which would die without saying why. So the application opens it
//! first, and is told what is wrong (`exclusive.rs`).

use std::time::Duration;

use tokio::time::Instant;

use super::arming::Arming;
use super::event::{Done, Effect, Event, Order, Outcome};
use super::{Common, Next, Now, Plan, RETRY_INTERVAL, State};
use crate::replicate::Ready;
use crate::sqlite::Locked;

/// How long it is waited for.
const OPENS_WITHIN: Duration = Duration::from_secs(60);

pub(super) enum ApplicationFirst {
    /// Whether that was so.
    ReadingNote,
    /// The locks are looked at again then.
    Waiting { until: Instant, next_look: Instant },
    /// Whether it has the database.
    Looking { until: Instant },
}

impl ApplicationFirst {
    pub fn begin<D>(plan: &mut Plan<Effect<D>>) -> ApplicationFirst {
        plan.push(Effect::Do(Order::ReadNote));
        ApplicationFirst::ReadingNote
    }

    pub fn on_event<D>(
        &mut self,
        event: Event<D>,
        common: &mut Common,
        now: Now,
        plan: &mut Plan<Effect<D>>,
    ) -> Option<Next<D>> {
        match (event, &*self) {
            (Event::Done(Done::Note(false)), Self::ReadingNote) => return Some(arm(now)),
            (Event::Done(Done::Note(true)), Self::ReadingNote) => {
                common.let_start(Ready::AfterApplication, plan);
                *self = Self::Waiting { until: now.instant + OPENS_WITHIN, next_look: now.instant };
            }
            (Event::Finish(_), Self::Waiting { .. }) => return Some(arm(now)),
            // A program is alone with it, so that opening it changes nothing, or none will be.
            (Event::Done(Done::Locks(Ok(locked))), Self::Looking { until }) => {
                if locked != Locked::No || now.instant >= *until || common.is_ending() {
                    return Some(arm(now));
                }
                *self = Self::Waiting { until: *until, next_look: now.instant + RETRY_INTERVAL };
            }
            (Event::Done(Done::Locks(Err(why))), Self::Looking { .. }) => return Some(Next::End(Outcome::Failed(why))),
            _ => {}
        }
        None
    }

    pub fn plan<D>(&mut self, now: Now, plan: &mut Plan<Effect<D>>) {
        if let Self::Waiting { until, next_look } = *self
            && plan.is_due(next_look, now)
        {
            *self = Self::Looking { until };
            plan.push(Effect::Do(Order::LookAtLocks));
        }
    }
}

fn arm<D>(now: Now) -> Next<D> {
    Next::State(State::Arming(Box::new(Arming::begin(now))))
}
