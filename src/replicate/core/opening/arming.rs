//! The database is opened and its WAL pinned; while something keeps it busy, again and again until
//! the deadline.
//!
//! A program that keeps it to itself for good is named, once the application may run
//! (`exclusive.rs`). A database that looks damaged may still be on its way to this path, by `cp`
//! for example: that ends when nothing is written any more.

use std::time::Duration;

use tokio::time::Instant;

use super::event::{Armed, Done, Effect, Event, Extent, Notice, Opened, Order, Outcome};
use super::exclusive::Exclusive;
use super::{Common, Next, Now, Plan, RETRY_INTERVAL};
use crate::sqlite::{Holder, Locked};

/// A file that is still being written has not been left alone for so long.
pub const ARRIVAL_QUIET: Duration = Duration::from_secs(5);
const SAY_EVERY: Duration = Duration::from_secs(60);

enum Step {
    Waiting(Instant),
    Opening {
        in_turn: bool,
    },
    /// It is busy: who has it?
    LookingAtLocks {
        why: String,
        next_try: Instant,
    },
    /// Noted for the next start before the application hears of it and ends.
    Noting {
        holder: Holder,
        why: String,
        next_try: Instant,
    },
}

pub(super) struct Arming {
    exclusive: Exclusive,
    /// A program that keeps the database to itself was named in this run: the note of that stays.
    was_refused: bool,
    arrival: Arrival,
    busy_said: Option<Instant>,
    step: Step,
}

impl Arming {
    pub fn begin(now: Now) -> Arming {
        Arming {
            exclusive: Exclusive::default(),
            was_refused: false,
            arrival: Arrival::default(),
            busy_said: None,
            step: Step::Waiting(now.instant),
        }
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
            (Event::Finish(_), Step::LookingAtLocks { next_try, .. } | Step::Noting { next_try, .. }) => {
                *next_try = now.instant;
            }
            (Event::Finish(_), Step::Opening { in_turn: true }) => plan.push(Effect::Hurry),
            (Event::Done(Done::Opened(opened)), Step::Opening { in_turn }) => {
                let in_turn = *in_turn;
                return self.opened(opened, in_turn, common, now, plan);
            }
            (Event::Done(Done::Locks(Ok(locked))), Step::LookingAtLocks { why, next_try }) => {
                let (why, next_try) = (std::mem::take(why), *next_try);
                self.is_locked(locked, why, next_try, common, now, plan);
            }
            (Event::Done(Done::Locks(Err(why))), Step::LookingAtLocks { .. }) => {
                return Some(Next::End(Outcome::Failed(why)));
            }
            (Event::Done(Done::Noted), Step::Noting { holder, why, next_try }) => {
                plan.push(Effect::Exclusive(holder.clone()));
                let (why, next_try) = (std::mem::take(why), *next_try);
                self.try_again(why, next_try, now, plan);
            }
            _ => {}
        }
        None
    }

    fn opened<D>(
        &mut self,
        opened: Opened<D>,
        in_turn: bool,
        common: &Common,
        now: Now,
        plan: &mut Plan<Effect<D>>,
    ) -> Option<Next<D>> {
        // It may have become time to end since it was tried.
        let next_try = if in_turn && common.is_ending() { now.instant } else { now.instant + RETRY_INTERVAL };
        match opened {
            Opened::Armed(database) => {
                let (is_new, is_started) = (common.is_new, common.is_started);
                return Some(Next::End(Outcome::Armed(Armed { database, is_new, is_started })));
            }
            Opened::Busy(why) if common.finish.is_none_or(|deadline| now.instant < deadline) => {
                self.step = Step::LookingAtLocks { why, next_try };
                plan.push(Effect::Do(Order::LookAtLocks));
            }
            Opened::Part { why, seen } if in_turn => {
                let is_first = self.arrival.is_new();
                if !self.arrival.goes_on(seen, now.instant) {
                    return Some(Next::End(Outcome::Failed(why)));
                }
                if is_first {
                    plan.push(Effect::Say(Notice::Arriving(why)));
                }
                self.step = Step::Waiting(next_try);
            }
            Opened::Busy(why) | Opened::Part { why, .. } | Opened::Failed(why) => {
                return Some(Next::End(Outcome::Failed(why)));
            }
        }
        None
    }

    fn is_locked<D>(
        &mut self,
        locked: Locked,
        why: String,
        next_try: Instant,
        common: &Common,
        now: Now,
        plan: &mut Plan<Effect<D>>,
    ) {
        match self.exclusive.see(locked, now.instant) {
            Some(holder) if common.is_started => {
                self.was_refused = true;
                self.step = Step::Noting { holder, why, next_try };
                plan.push(Effect::Do(Order::NoteExclusive));
            }
            _ => self.try_again(why, next_try, now, plan),
        }
    }

    fn try_again<D>(&mut self, why: String, next_try: Instant, now: Now, plan: &mut Plan<Effect<D>>) {
        if self.busy_said.is_none_or(|said| now.instant - said >= SAY_EVERY) {
            self.busy_said = Some(now.instant);
            plan.push(Effect::Say(Notice::Busy(why)));
        }
        self.step = Step::Waiting(next_try);
    }

    pub fn plan<D>(&mut self, common: &Common, now: Now, plan: &mut Plan<Effect<D>>) {
        if let Step::Waiting(at) = self.step
            && plan.is_due(at, now)
        {
            // At the end there is no time to wait for others.
            let in_turn = !common.is_ending();
            self.step = Step::Opening { in_turn };
            plan.push(Effect::Do(Order::Open { in_turn, forget_note: !self.was_refused }));
        }
    }
}

/// A file that may still be coming.
#[derive(Debug, Default)]
struct Arrival {
    seen: Option<Extent>,
    /// When it was last seen to change.
    since: Option<Instant>,
}

impl Arrival {
    fn is_new(&self) -> bool {
        self.since.is_none()
    }

    /// Whether there is something to wait for, at this look.
    fn goes_on(&mut self, seen: Option<Extent>, now: Instant) -> bool {
        if self.seen != seen {
            self.seen = seen;
            self.since = Some(now);
        }
        now < *self.since.get_or_insert(now) + ARRIVAL_QUIET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_waited_for_as_long_as_it_is_written() {
        let start = Instant::now();
        let extent = |len| Some(Extent { len, modified: None });
        let mut arrival = Arrival::default();
        let mut look = |second, len| arrival.goes_on(extent(len), start + Duration::from_secs(second));
        assert!(look(0, 10) && look(4, 10) && look(4, 20) && look(8, 20) && look(300, 30), "it grows");
        assert!(look(304, 30) && !look(305, 30), "it stays a part");
    }
}
