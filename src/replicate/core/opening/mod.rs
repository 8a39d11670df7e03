//! Before replication: when the application may start, and when the database is armed.
//!
//! [`Opening::on_event`] takes what happened and returns what to do; `open.rs` carries it out, and
//! `sim/` does the same with a model of the disk. No commit can be missed once the database is open
//! and its WAL pinned, so the application waits for that, except where there is nothing to miss:
//!
//! ```text
//! state               ends when                   meanwhile the application may start, if
//!
//! Absent              a database lies there       there is none: `NoDatabaseYet`
//!   │
//! Locking             the lock is ours            another process has it: `Standby`
//!   │
//! ApplicationFirst    it has opened the database  it kept the database to itself last time: `AfterApplication`
//!   │
//! Arming              it is open and pinned       never
//!   │
//!   ▼
//! handed over to `super::Core`, which says `Armed` as soon as the bucket does not stand against it (`gate.rs`)
//! ```
//!
//! One order is under way at a time. A stop is heard in every state; what was asked before it is
//! asked once more, because the application may have done something in its last moment.
//!
//! ```text
//!   event.rs              what happens, and what is asked for
//!   absent.rs             there is no database yet
//!   locking.rs            another process may replicate it
//!   application_first.rs  the application opens the database before we do
//!   arming.rs             it is opened; something may keep it busy, or it is still being copied
//!   exclusive.rs          a program keeps the database to itself
//!   postponed.rs          nothing more can be opened now
//! ```

mod absent;
mod application_first;
mod arming;
mod event;
mod exclusive;
mod locking;
mod postponed;

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use super::{Now, Plan};
use crate::replicate::Ready;
use absent::Absent;
use application_first::ApplicationFirst;
pub use arming::ARRIVAL_QUIET;
use arming::Arming;
pub use event::{Armed, Done, Effect, Event, Extent, Notice, Opened, Order, Outcome};
use locking::Locking;
use postponed::Postponed;

/// How often a standby asks for the lock, and how often the database is tried while something keeps
/// it busy.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// What an opening is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database may be missing to the end.
    pub optional: bool,
    /// There is no application: what is there now is replicated.
    pub once: bool,
    /// How often to look without being woken.
    pub monitor_interval: Duration,
}

enum State {
    Absent(Absent),
    Locking(Locking),
    ApplicationFirst(ApplicationFirst),
    Arming(Box<Arming>),
    Ended,
}

/// What follows from an event.
enum Next<D> {
    State(State),
    End(Outcome<D>),
}

/// What every state needs.
struct Common {
    config: Config,
    /// The application may have started.
    is_started: bool,
    /// There was no database when we began.
    is_new: bool,
    /// It is time to end, by then.
    finish: Option<Instant>,
}

pub struct Opening {
    common: Common,
    state: State,
    postponed: Postponed,
    wake_at: Option<Instant>,
}

impl Opening {
    pub fn new(config: Config, now: Now) -> Opening {
        let state = State::Absent(Absent::begin(&config, now));
        let common = Common { config, is_started: false, is_new: false, finish: None };
        Opening { common, state, postponed: Postponed::default(), wake_at: Some(now.instant) }
    }

    /// What is to be done after `event`; the last effect of all is [`Effect::End`].
    pub fn on_event<D>(&mut self, event: Event<D>, now: Now) -> Vec<Effect<D>> {
        let mut plan = Plan::default();
        if let Event::Finish(by) = event
            && self.common.finish.replace(by).is_some()
        {
            // Only the deadline has moved.
            return Vec::new();
        }
        let common = &mut self.common;
        let next = match (event, &mut self.state) {
            (_, State::Ended) => None,
            (Event::Done(Done::OutOfFiles(why)), _) => {
                self.postponed.put_off(why, common, now, &mut plan).map(Next::End)
            }
            (event, State::Absent(state)) => state.on_event(event, common, now, &mut plan),
            (event, State::Locking(state)) => state.on_event(event, common, now, &mut plan),
            (event, State::ApplicationFirst(state)) => state.on_event(event, common, now, &mut plan),
            (event, State::Arming(state)) => state.on_event(event, common, now, &mut plan),
        };
        match next {
            Some(Next::State(state)) => self.state = state,
            Some(Next::End(outcome)) => {
                self.state = State::Ended;
                plan.push(Effect::End(outcome));
            }
            None => {}
        }
        match &mut self.state {
            State::Absent(state) => state.plan(now, &mut plan),
            State::Locking(state) => state.plan(now, &mut plan),
            State::ApplicationFirst(state) => state.plan(now, &mut plan),
            State::Arming(state) => state.plan(&self.common, now, &mut plan),
            State::Ended => {}
        }
        self.postponed.note(&plan.effects);
        if !matches!(self.state, State::Ended) {
            self.postponed.plan(&self.common, now, &mut plan);
        }
        self.wake_at = plan.wake_at;
        plan.effects
    }

    /// When [`Event::Timer`] is due.
    pub fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// It was told to end.
    pub fn is_ending(&self) -> bool {
        self.common.finish.is_some()
    }
}

impl Common {
    /// The application may start, unless it may already.
    fn let_start<D>(&mut self, ready: Ready, plan: &mut Plan<Effect<D>>) {
        if !std::mem::replace(&mut self.is_started, true) {
            plan.push(Effect::Ready(ready));
        }
    }

    fn is_ending(&self) -> bool {
        self.finish.is_some()
    }
}
