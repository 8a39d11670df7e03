//! There is no database yet: it is looked for until one lies there, or it is time to end. A path
//! that is wrong by one letter looks like an application that has not created its database yet, so
//! it is said after a moment, again each minute, and at the end (`replicate/absent.rs` has the
//! words).

use std::time::Duration;

use tokio::time::Instant;

use super::event::{Done, Effect, Event, Notice, Order, Outcome};
use super::locking::Locking;
use super::{Common, Config, Next, Now, Plan, State};
use crate::replicate::Ready;

/// An application creates its database within this time, if it does so at its start.
const FIRST: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(60);

enum Step {
    Waiting(Instant),
    /// The file is looked at; `is_outdated`: something has happened since.
    Looking {
        is_outdated: bool,
    },
    /// What lies there instead is found out, for a warning.
    LookingAround {
        lasting: Duration,
    },
    /// The same for the last word.
    LookingAroundAtEnd,
}

pub(super) struct Absent {
    warnings: Warnings,
    /// Why the file could not be looked at, as it was said last.
    complaint: Option<String>,
    step: Step,
}

impl Absent {
    pub fn begin(config: &Config, now: Now) -> Absent {
        let warnings = Warnings::begin(now.instant, config.optional);
        Absent { warnings, complaint: None, step: Step::Waiting(now.instant) }
    }

    pub fn on_event<D>(
        &mut self,
        event: Event<D>,
        common: &mut Common,
        now: Now,
        plan: &mut Plan<Effect<D>>,
    ) -> Option<Next<D>> {
        match (event, &mut self.step) {
            (Event::Woke | Event::Finish(_), Step::Waiting(at)) => *at = now.instant,
            (Event::Woke | Event::Finish(_), Step::Looking { is_outdated }) => *is_outdated = true,
            (Event::Done(Done::File(Ok(true))), Step::Looking { .. }) => {
                return Some(Next::State(State::Locking(Locking::begin(now))));
            }
            (Event::Done(Done::File(looked)), Step::Looking { is_outdated }) => {
                let is_outdated = *is_outdated;
                if let Err(why) = looked {
                    self.complain(why, plan);
                }
                return self.is_missing(is_outdated, common, now, plan);
            }
            (Event::Done(Done::LookedAround(seen)), Step::LookingAround { lasting }) => {
                plan.push(Effect::Say(Notice::StillMissing { seen, lasting: *lasting }));
                // Whatever has happened meanwhile.
                self.step = Step::Waiting(now.instant);
            }
            (Event::Done(Done::LookedAround(seen)), Step::LookingAroundAtEnd) => {
                return Some(Next::End(Outcome::NeverAppeared(seen)));
            }
            _ => {}
        }
        None
    }

    /// Once, if it stays the same: that there is no database is said again and again.
    fn complain<D>(&mut self, why: String, plan: &mut Plan<Effect<D>>) {
        if self.complaint.as_ref() != Some(&why) {
            plan.push(Effect::Say(Notice::CannotLook(why.clone())));
            self.complaint = Some(why);
        }
    }

    fn is_missing<D>(
        &mut self,
        is_outdated: bool,
        common: &mut Common,
        now: Now,
        plan: &mut Plan<Effect<D>>,
    ) -> Option<Next<D>> {
        if common.config.once || common.is_ending() && !is_outdated {
            if common.config.optional {
                return Some(Next::End(Outcome::NoDatabase));
            }
            self.step = Step::LookingAroundAtEnd;
            plan.push(Effect::Do(Order::LookAround));
            return None;
        }
        common.is_new = true;
        if common.is_ending() {
            self.step = Step::Waiting(now.instant);
            return None;
        }
        if !common.is_started {
            plan.push(Effect::Say(Notice::NoDatabaseYet));
        }
        common.let_start(Ready::NoDatabaseYet, plan);
        if is_outdated {
            self.step = Step::Waiting(now.instant);
        } else if let Some(lasting) = self.warnings.due(now.instant) {
            self.step = Step::LookingAround { lasting };
            plan.push(Effect::Do(Order::LookAround));
        } else {
            let next_look = now.instant + common.config.monitor_interval;
            self.step = Step::Waiting(self.warnings.next.map_or(next_look, |warning| warning.min(next_look)));
        }
        None
    }

    pub fn plan<D>(&mut self, now: Now, plan: &mut Plan<Effect<D>>) {
        if let Step::Waiting(at) = self.step
            && plan.is_due(at, now)
        {
            self.step = Step::Looking { is_outdated: false };
            plan.push(Effect::Do(Order::LookAtFile));
        }
    }
}

/// When to warn.
#[derive(Debug)]
struct Warnings {
    since: Instant,
    next: Option<Instant>,
}

impl Warnings {
    /// One that is `optional` is no reason to warn.
    fn begin(now: Instant, optional: bool) -> Warnings {
        Warnings { since: now, next: (!optional).then(|| now + FIRST) }
    }

    /// How long it lasts already, if that is to be said now.
    fn due(&mut self, now: Instant) -> Option<Duration> {
        let due = self.next.is_some_and(|next| now >= next);
        if due {
            self.next = Some(now + EVERY);
        }
        due.then(|| now.saturating_duration_since(self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_after_ten_seconds_and_then_each_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut warnings = Warnings::begin(start, false);
        assert_eq!(warnings.next, Some(at(10)));
        let said: Vec<u64> = (0..200).filter(|second| warnings.due(at(*second)).is_some()).collect();
        assert_eq!(said, [10, 70, 130, 190]);
        assert_eq!(warnings.due(at(250)), Some(Duration::from_secs(250)));
        let mut optional = Warnings::begin(start, true);
        assert_eq!((optional.next, optional.due(at(1_000))), (None, None));
    }
}
