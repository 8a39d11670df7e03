//! What a mirror does next: a state machine without I/O, clocks or tasks.
//!
//! ```text
//!             the same history            an object is copied
//! Looking ───────────────────▶ Following ─────────┐
//!    ▲   ╲                      │  ▲  ▲            │
//!    │    ╲ another history     │  │  └────────────┘
//!    │     ▼                    │  └── begun anew: a snapshot 1-n, where what comes next cannot be had any more
//!    │   Refused                │
//!    └──────────────────────────┘  nothing was uploaded for long: another writer may have been here
//! ```
//!
//! One order at a time. What is refused is said again and again, and holds up nothing.

mod event;

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Dice;
use crate::ltx::Txid;
use crate::replicate::core::{Now, Outage, Pace, Plan};
pub use event::{Effect, Event, Found, Notice, Outcome, Trouble};

/// So many objects are copied one by one; more of them are not worth it, and a snapshot is made.
const COPIES_MAX: u64 = 2000;
/// How often it is said that a mirror is refused.
const REFUSED_EVERY: Duration = Duration::from_secs(60);

/// What a core is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// The average time between two rounds of uploads.
    pub sync_interval: Duration,
    /// Pause between attempts at the end.
    pub final_retry_interval: Duration,
    /// Create-if-absent forgets deleted keys: after this time without an upload the mirror is
    /// looked at again before the next.
    pub proof_lasts: Duration,
}

#[derive(Debug)]
enum State {
    /// Where the mirror ends is not known.
    Looking,
    Following(Following),
    Refused {
        why: String,
        say_at: Instant,
    },
    Ended(Outcome),
}

#[derive(Debug)]
struct Following {
    newest: Option<Txid>,
    /// Boot-clock time at which the mirror was seen to end there.
    seen_at: Duration,
    /// A round of uploads is under way: it goes on until the mirror has everything.
    in_round: bool,
    /// What comes next cannot be copied.
    is_cut_off: bool,
}

/// Whether the mirror may have what the first replica lacks: it keeps what proves that it goes on
/// there, so it is not maintained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lead {
    None,
    /// The first replica is away.
    Growing,
    /// It is back, and has to come up to there.
    Until(Txid),
}

#[derive(Debug)]
enum Work {
    Idle,
    Busy,
    /// After a failure.
    Waiting(Instant),
}

pub struct Core {
    config: Config,
    dice: Dice,
    state: State,
    work: Work,
    pace: Pace,
    outage: Outage,
    /// What went wrong last.
    why: Option<String>,
    /// The newest TXID that is final.
    newest: Option<Txid>,
    lead: Lead,
    finish: Option<Instant>,
    wake_at: Option<Instant>,
}

impl Core {
    pub fn new(config: Config, seed: u64) -> Core {
        Core {
            pace: Pace::new(config.sync_interval),
            dice: Dice::of(seed),
            state: State::Looking,
            work: Work::Idle,
            outage: Outage::new(),
            why: None,
            newest: None,
            lead: Lead::None,
            finish: None,
            wake_at: None,
            config,
        }
    }

    /// What is to be done after `event`.
    pub fn on_event(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let mut plan = Plan::default();
        match event {
            Event::Final(txid) => self.is_final(txid, &mut plan),
            Event::FirstIsAway(is_away) => self.first_is_away(is_away, &mut plan),
            Event::Finish(deadline) => self.finish = Some(deadline),
            Event::Timer => {}
            Event::Looked(found) => self.looked(found, now, &mut plan),
            Event::Copied(copied) => self.advanced(copied, false, now, &mut plan),
            Event::BegunAnew(begun) => self.advanced(begun, true, now, &mut plan),
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

    fn is_final(&mut self, txid: Txid, plan: &mut Plan<Effect>) {
        self.newest = self.newest.max(Some(txid));
        if matches!(self.lead, Lead::Until(reach) if txid >= reach) {
            self.lead = Lead::None;
            self.maintain(plan);
        }
    }

    fn first_is_away(&mut self, is_away: bool, plan: &mut Plan<Effect>) {
        self.lead = match (self.lead, is_away, self.newest) {
            (_, true, _) => Lead::Growing,
            (Lead::Growing, false, Some(newest)) => Lead::Until(newest),
            (Lead::Growing, false, None) => Lead::None,
            (lead, false, _) => lead,
        };
        match self.lead {
            Lead::None => self.maintain(plan),
            Lead::Growing | Lead::Until(_) => plan.push(Effect::Maintain(false)),
        }
    }

    fn maintain(&self, plan: &mut Plan<Effect>) {
        if let (State::Following(_), Lead::None) = (&self.state, self.lead) {
            plan.push(Effect::Maintain(true));
        }
    }

    fn looked(&mut self, found: Result<Found, Trouble>, now: Now, plan: &mut Plan<Effect>) {
        self.work = Work::Idle;
        let (newest, is_cut_off) = match found {
            Ok(Found::Empty) => (None, false),
            Ok(Found::Same(txid)) => (Some(txid), false),
            Ok(Found::SameBefore(txid)) => (Some(txid), true),
            Ok(Found::Foreign(why)) | Err(Trouble::Foreign(why)) => return self.refuse(why, now, plan),
            Err(trouble) => return self.failed(trouble, now, plan),
        };
        self.is_back(now, plan);
        if let (Some(txid), false) = (newest, is_cut_off) {
            plan.push(Effect::Confirmed(txid));
        }
        self.state = State::Following(Following { newest, seen_at: now.boot, in_round: false, is_cut_off });
        self.maintain(plan);
    }

    /// The mirror has an object more, or should have it.
    fn advanced(&mut self, done: Result<Txid, Trouble>, anew: bool, now: Now, plan: &mut Plan<Effect>) {
        self.work = Work::Idle;
        let State::Following(following) = &mut self.state else { return };
        match done {
            Ok(txid) if Some(txid) > following.newest => {
                (following.newest, following.seen_at, following.is_cut_off) = (Some(txid), now.boot, false);
                plan.push(Effect::Confirmed(txid));
                if anew {
                    plan.push(Effect::Say(Notice::BegunAnew(txid)));
                    // What it knows of the mirror has a hole now.
                    plan.push(Effect::Maintain(false));
                    self.maintain(plan);
                }
                self.is_back(now, plan);
            }
            Ok(_) | Err(Trouble::Gone) if anew => {
                let why = "the first replica has no file that goes beyond what the mirror has".to_owned();
                self.failed(Trouble::Passing { why, refused: false }, now, plan);
            }
            Ok(_) => {}
            Err(Trouble::Gone) => following.is_cut_off = true,
            Err(Trouble::Foreign(why)) => self.refuse(why, now, plan),
            Err(trouble) => self.failed(trouble, now, plan),
        }
    }

    fn refuse(&mut self, why: String, now: Now, plan: &mut Plan<Effect>) {
        plan.push(Effect::Maintain(false));
        self.state = State::Refused { why, say_at: now.instant };
    }

    fn failed(&mut self, trouble: Trouble, now: Now, plan: &mut Plan<Effect>) {
        let (why, refused) = match trouble {
            Trouble::Passing { why, refused } => (why, refused),
            Trouble::Gone | Trouble::Foreign(_) => return,
        };
        let failure = self.outage.failed(now.instant, !refused, &mut self.dice);
        if let Some(lasting) = failure.say {
            plan.push(Effect::Say(Notice::Outage { why: why.clone(), lasting }));
        }
        self.why = Some(why);
        let pause = match self.finish {
            Some(_) => failure.pause.min(self.config.final_retry_interval),
            None => failure.pause,
        };
        self.work = Work::Waiting(now.instant + pause);
    }

    fn is_back(&mut self, now: Now, plan: &mut Plan<Effect>) {
        self.why = None;
        if let Some(after) = self.outage.ended(now.instant) {
            plan.push(Effect::Say(Notice::Back { after }));
        }
    }

    fn plan(&mut self, now: Now, plan: &mut Plan<Effect>) {
        if let Some(deadline) = self.finish
            && self.is_over(deadline, now, plan)
        {
            return self.end(plan);
        }
        if let Work::Waiting(until) = self.work
            && plan.is_due(until, now)
        {
            self.work = Work::Idle;
        }
        match &mut self.state {
            State::Refused { why, say_at } => {
                if plan.is_due(*say_at, now) {
                    plan.push(Effect::Say(Notice::Refused(why.clone())));
                    *say_at = now.instant + REFUSED_EVERY;
                    plan.wake(*say_at);
                }
            }
            State::Looking if matches!(self.work, Work::Idle) && self.newest.is_some() => {
                self.order(Effect::Look, plan);
            }
            State::Following(_) if matches!(self.work, Work::Idle) => self.follow(now, plan),
            State::Looking | State::Following(_) | State::Ended(_) => {}
        }
    }

    /// The mirror ends where it is known to end, and nothing is under way.
    fn follow(&mut self, now: Now, plan: &mut Plan<Effect>) {
        let State::Following(following) = &mut self.state else { return };
        let Some(last) = self.newest.filter(|last| Some(*last) > following.newest) else {
            following.in_round = false;
            return;
        };
        if now.boot.saturating_sub(following.seen_at) >= self.config.proof_lasts {
            self.state = State::Looking;
            return self.order(Effect::Look, plan);
        }
        let at = self.pace.next_at(now.instant);
        if !following.in_round && self.finish.is_none() && at > now.instant {
            return plan.wake(at);
        }
        if !std::mem::replace(&mut following.in_round, true) {
            self.pace.begin(now.instant);
        }
        let first = following.newest.map_or(Some(Txid::FIRST), Txid::next).unwrap_or(last);
        let is_far = last.get() - first.get() >= COPIES_MAX;
        let order = match following.is_cut_off || is_far {
            true => Effect::BeginAnew(following.newest),
            false => Effect::Copy(first),
        };
        self.order(order, plan);
    }

    fn order(&mut self, order: Effect, plan: &mut Plan<Effect>) {
        self.work = Work::Busy;
        plan.push(order);
    }

    /// Whether there is nothing more to do, or no time for it.
    fn is_over(&self, deadline: Instant, now: Now, plan: &mut Plan<Effect>) -> bool {
        let is_done = match &self.state {
            State::Following(following) => following.newest >= self.newest,
            State::Looking => self.newest.is_none(),
            State::Refused { .. } | State::Ended(_) => true,
        };
        is_done || plan.is_due(deadline, now)
    }

    fn end(&mut self, plan: &mut Plan<Effect>) {
        let late = || Some(self.why.clone().unwrap_or_else(|| "there was no time for more".into()));
        let outcome = match &self.state {
            State::Ended(_) => return,
            State::Following(Following { newest, is_cut_off, .. }) => {
                let why = if *newest >= self.newest { None } else { late() };
                Outcome { newest: newest.filter(|_| !is_cut_off), why }
            }
            State::Looking => Outcome { newest: None, why: self.newest.and_then(|_| late()) },
            State::Refused { why, .. } => Outcome { newest: None, why: Some(why.clone()) },
        };
        plan.push(Effect::Maintain(false));
        self.state = State::Ended(outcome);
    }
}

#[cfg(test)]
mod tests;
