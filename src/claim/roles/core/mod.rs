//! Which node of a cluster writes: a state machine without I/O, clocks or tasks.
//!
//! ```text
//!  Looking ─┬─▶ Following ─▶ caught up ─▶ Claiming ─▶ Waiting ─▶ Sealing ─▶ Serving ◀─▶ Closed
//!           │       ▲                         ▲          │          │          │   not renewed in time
//!           └───────┼─────────────────────────┘          └──────────┴──────────┤
//!       it was the  │ released                                                 ▼ a later claim, a foreign
//!       primary     └───────────────────────────────────────────────────── Draining     TXID, an order
//!                                                                              └─▶ Leaving ─▶ Ended
//! ```
//!
//! *Validity.* The holder writes its beat, and after that it looks whether there is a later claim.
//! If there is none, its claim counts from before the first request was sent, for the ttl, by its
//! own boot clock. Shortly before that runs out the application is kept from writing.
//!
//! *Silence.* Another node claims after it has watched the same beat for the ttl of that claim and
//! a margin, by its own clock; and it looks once more after its claim was made. A beat that came
//! before the claim is seen by that look, and the watch begins anew. One that comes after it finds
//! the later claim, and does not count. So two nodes never let their applications write at the same
//! time, unless one of the processes is stopped while its application runs on; what that one
//! commits then is kept out by the seal.
//!
//! A later claim ends an earlier one, whoever made it and why: the holder drains and releases, and
//! the claimant waits for that. This is how a node is promoted while there is a primary, and how a
//! newcomer that knows no clusters gets its turn.
//!
//! Who shows life can be the primary, or soon will be: a holder that can write its beat, and cannot
//! see whether there is a later claim, stops to beat; one that cannot seal gives its claim back.
//!
//! One request to the bucket at a time: what is known never comes from two of them.

mod answers;
mod event;
mod follow;
mod hold;
mod state;
mod vacancy;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use event::{Access, Effect, Event, Notice, Observed, Outcome, Reach, Stop, Trouble};
use state::{Claiming, State};
use vacancy::Watches;

use crate::claim::mine::Mine;
use crate::claim::seen::{Identity, Seen};
use crate::claim::watch::Steps;
use crate::claim::wire::{BeatState, Claim};
use crate::clock::{Backoff, Dice, Now};
use crate::remote::Epoch;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// So many ttls it may take to seal.
const SEALS_WITHIN: u32 = 8;
/// After such a time without a look at everything, claims may have come and gone.
const SEEN_WHOLE_LASTS: Duration = Duration::from_secs(10 * 60);

/// What a core is told once.
#[derive(Clone, Debug)]
pub struct Config {
    pub me: Identity,
    /// How long a claim counts without being renewed.
    pub ttl: Duration,
    /// This node may be the primary.
    pub is_candidate: bool,
    /// A primary that shows no life, or has ended, is replaced by itself.
    pub is_automatic: bool,
}

impl Config {
    /// How often others are looked at, if there is no beat to wait for.
    pub fn look_every(&self) -> Duration {
        self.ttl / 6
    }

    /// So long before a claim ends it begins to keep the application from writing.
    pub fn closing_time(&self) -> Duration {
        self.ttl / 5
    }
}

#[derive(Clone, Debug)]
enum Work {
    Idle,
    /// Since then by the boot clock.
    Busy(Duration),
    /// After a failure.
    Paused(Instant),
}

/// What others may know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// Who writes is not known, or is about to change.
    Unknown,
    /// This other node writes.
    Follower(Epoch, Arc<Claim>),
    /// This node does, or is only kept from it because it cannot renew its claim.
    Primary(Epoch),
}

#[derive(Clone)]
pub struct Core {
    config: Config,
    dice: Dice,
    state: State,
    work: Work,
    mine: Option<Mine>,
    seen: Seen,
    watches: Watches,
    steps: Steps,
    look_at: Option<Instant>,
    /// When everything was looked at, by the boot clock.
    is_seen_whole: Option<Duration>,
    backoff: Backoff,
    is_away: bool,
    /// The last beat was not answered: it may have been written, and whether there is a later claim
    /// is not known.
    is_blind: bool,
    is_granted: bool,
    is_promoted: bool,
    /// Whom the claim is released to.
    successor: Option<String>,
    released_at: Option<Duration>,
    fenced_at: Option<Duration>,
    nothing_since: Option<Duration>,
    waits_for: Option<String>,
    said_behind: bool,
    removable: Vec<Epoch>,
    stop: Option<Stop>,
    wake_at: Option<Instant>,
}

/// What is to be done, and when to plan again.
#[derive(Default)]
struct Plan {
    effects: Vec<Effect>,
    wake_at: Option<Instant>,
}

impl Plan {
    fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    fn say(&mut self, notice: Notice) {
        self.push(Effect::Say(notice));
    }

    fn is_due(&mut self, at: Instant, now: Now) -> bool {
        if at > now.instant {
            self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
        }
        at <= now.instant
    }
}

impl Core {
    pub fn new(config: Config, seed: u64) -> Core {
        Core {
            backoff: Backoff::new(FIRST_PAUSE, (config.ttl / 6).max(FIRST_PAUSE)),
            config,
            dice: Dice::of(seed),
            state: State::Looking,
            work: Work::Idle,
            mine: None,
            seen: Seen::default(),
            watches: Watches::default(),
            steps: Steps::default(),
            look_at: None,
            is_seen_whole: None,
            is_away: false,
            is_blind: false,
            is_granted: false,
            is_promoted: false,
            successor: None,
            released_at: None,
            fenced_at: None,
            nothing_since: None,
            waits_for: None,
            said_behind: false,
            removable: Vec::new(),
            stop: None,
            wake_at: None,
        }
    }

    /// What is to be done after `event`; to begin with, after a [`Event::Timer`].
    pub fn on_event(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let mut plan = Plan::default();
        match event {
            Event::Looked(seen) => self.looked(seen, now, &mut plan),
            Event::Observed(observed) => {
                if let Some(observed) = self.answered(observed, now, &mut plan) {
                    self.observed(observed, now, &mut plan);
                }
            }
            Event::Claimed(answer) => {
                self.end_if_denied(Access::Create, &answer);
                self.claim_answered(answer, now, &mut plan);
            }
            Event::Renewed(renewed) => match self.answered(renewed, now, &mut plan) {
                Some(has_later) => self.renewed(has_later, now, &mut plan),
                None => self.is_blind = true,
            },
            Event::Removed => self.work = Work::Idle,
            Event::CaughtUp(reach) => self.caught_up(reach, now, &mut plan),
            Event::Sealed => self.sealed(now, &mut plan),
            Event::Drained => self.drained(now, &mut plan),
            Event::Fenced => self.is_fenced(now, &mut plan),
            Event::Promote => {
                self.is_promoted = self.config.is_candidate && !self.is_holder();
                self.consider(now, &mut plan);
            }
            Event::HandOver(to) => self.hand_over(to, now, &mut plan),
            Event::Stop(stop) => self.stop(stop, now, &mut plan),
            Event::Woke => self.look_at = self.look_at.map(|at| at.min(now.instant)),
            Event::Timer => {}
        }
        self.plan(now, &mut plan);
        self.wake_at = plan.wake_at;
        plan.effects
    }

    /// When [`Event::Timer`] is due.
    pub fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            State::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    pub fn view(&self) -> View {
        match (&self.state, self.seen.newest()) {
            (State::Serving | State::Closed, _) => {
                self.mine.as_ref().map_or(View::Unknown, |mine| View::Primary(mine.epoch))
            }
            (State::Following(_), Some((epoch, last)))
                if last.beat.as_ref().is_some_and(|beat| beat.state == BeatState::Held) =>
            {
                View::Follower(epoch, last.claim.clone())
            }
            _ => View::Unknown,
        }
    }

    fn is_holder(&self) -> bool {
        matches!(self.state, State::Waiting | State::Sealing { .. } | State::Serving | State::Closed)
    }

    fn looked(&mut self, seen: Result<Seen, Trouble>, now: Now, plan: &mut Plan) {
        self.end_if_denied(Access::Read, &seen);
        let Some(seen) = self.answered(seen, now, plan) else { return };
        (self.is_granted, self.is_seen_whole, self.is_blind) = (true, Some(now.boot), false);
        if let Some(mine) = &mut self.mine {
            mine.is_seen(seen.0.get(&mine.epoch).and_then(|claim| claim.beat.as_ref()));
        }
        self.seen = seen.clone();
        self.watch(now);
        match &self.state {
            State::Looking => self.begin(now, plan),
            State::Claiming(claiming) if claiming.is_unsettled => self.settle(&seen, now, plan),
            State::Following(_) => self.consider(now, plan),
            State::Waiting => self.wait(now, plan),
            State::Sealing { .. } | State::Serving | State::Closed => self.looked_as_holder(now, plan),
            State::Claiming(_) | State::Draining | State::Leaving | State::Ended(_) => {}
        }
    }

    /// What is known of others was looked at again.
    fn watch(&mut self, now: Now) {
        let step = self.steps.next(now.boot, self.config.look_every());
        self.watches.observe(&self.seen, step);
        self.look_at = Some(now.instant + self.watches.look_after(&self.config, &self.seen));
    }

    fn plan(&mut self, now: Now, plan: &mut Plan) {
        let is_late = |stop: Stop| plan.is_due(stop.deadline, now);
        if !matches!(self.state, State::Ended(_)) && self.stop.is_some_and(is_late) {
            self.state = State::Ended(Outcome::Unreleased);
        }
        self.close_if_due(now, plan);
        self.give_up_if_due(now, plan);
        match self.work {
            Work::Busy(_) => return,
            Work::Paused(until) if !plan.is_due(until, now) => return,
            Work::Paused(_) | Work::Idle => self.work = Work::Idle,
        }
        if let Some(order) = self.next_order(now, plan) {
            self.work = Work::Busy(now.boot);
            plan.push(order);
        }
    }

    /// The most urgent request; else when there will be one.
    fn next_order(&mut self, now: Now, plan: &mut Plan) -> Option<Effect> {
        match &self.state {
            State::Ended(_) => return None,
            State::Claiming(Claiming { is_unsettled: true, .. }) => return Some(Effect::Look),
            State::Claiming(Claiming { epoch, parent, why, .. }) => {
                return Some(Effect::Claim { epoch: *epoch, parent: *parent, why: *why });
            }
            _ => {}
        }
        let every = self.config.ttl / 3;
        if let Some(mine) = &mut self.mine
            && mine.is_owed(now)
        {
            // Who cannot see others must not show life, or none of them would ever go on.
            // A release is written in any case, and in between others are looked at.
            let is_released = mine.is_released();
            if self.is_blind && !(is_released && matches!(self.state, State::Leaving)) {
                self.is_blind &= !is_released;
                return Some(Effect::Look);
            }
            return Some(Effect::Renew { epoch: mine.epoch, beat: mine.beat(every, now) });
        }
        if matches!(self.state, State::Leaving) {
            self.state = State::Ended(Outcome::Released);
            return None;
        }
        if let Some(due) = self.mine.as_ref().and_then(Mine::due) {
            plan.is_due(due, now);
        }
        if !self.removable.is_empty() && matches!(self.state, State::Serving) {
            return Some(Effect::Remove(std::mem::take(&mut self.removable)));
        }
        let looks = match self.state {
            State::Serving => self.is_seen_whole.is_none(),
            State::Draining | State::Leaving => false,
            _ => true,
        };
        if !looks || !self.look_at.is_none_or(|at| plan.is_due(at, now)) {
            return None;
        }
        match self.seen.newest() {
            Some((newest, last)) if matches!(self.state, State::Following(_)) && self.can_observe(now) => {
                let is_enough = last.is_sealed() || last.is_released();
                Some(if is_enough { Effect::Observe(newest) } else { Effect::Look })
            }
            _ => Some(Effect::Look),
        }
    }

    fn can_observe(&self, now: Now) -> bool {
        let is_recent = |at| now.boot.saturating_sub(at) < SEEN_WHOLE_LASTS;
        self.fenced_at.is_none() && self.is_seen_whole.is_some_and(is_recent)
    }
}

#[cfg(test)]
impl Core {
    /// Whether the application may write.
    pub fn is_serving(&self) -> bool {
        matches!(self.state, State::Serving)
    }
}
