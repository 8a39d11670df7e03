//! Keeping a copy at the newest state of a replica: a state machine without I/O, clocks or tasks.
//!
//! ```text
//!  Unknown ─▶ looked at ─┬─▶ Missing ─▶ restored ─▶ Unknown
//!     ▲                  ├─▶ At(TXID) ◀──────────────────────┐
//!     │                  │     │ nothing new: later           │
//!     │                  │     └ something new: merged, ──────┤
//!     │                  │        installed in one transaction│
//!     │                  ├─▶ Doubt ─▶ compared with a whole ──┘
//!     │                  │            image in one transaction
//!     │                  └─▶ Unfit ─▶ replaced when no program has it open ─▶ Unknown
//!     └── another program has written to it, or it had to be closed
//! ```
//!
//! A primary may push what it has confirmed (`lead.rs`): that is installed if it follows the copy
//! exactly. Else, and now and again, the replica is listed: nothing but a listing says that the
//! copy has everything.
//!
//! One piece of work at a time. What one listing shows and what would cost much, a history that
//! ends before the copy or a gap, is believed when a second listing shows it too.

mod continuity;
mod current;
mod event;
mod found;
mod lead;
mod listed;
mod pace;
mod route;
mod told;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use current::Current;
pub use event::{Doubt, Effect, End, Event, Found, Grip, Installed, Notice, Position, Reason, Trouble};
use lead::Lead;
use pace::Pace;
use told::Said;

use crate::clock::{Backoff, Dice, Now};
use crate::ltx::Txid;
use crate::remote::{Listing, LtxObject};
use crate::store::Key;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// So long a damaged file is done without; then it is tried again.
const AVOIDED_FOR: Duration = Duration::from_secs(60);

/// What is known of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    Missing,
    At(Position),
    /// Where it was, if that is known, and the history is the same.
    Doubt(Option<Txid>),
    Unfit,
}

/// What a listing showed that is to be confirmed by another one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Suspicion {
    EndsBefore(Option<Txid>),
    Gap(Key),
}

/// How it is known that the history is the one that the copy is a state of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Proof {
    Nothing,
    /// By the level-0 object that ends with the position, as it was when it was proved or
    /// installed, while it is still there.
    Object(LtxObject),
    /// The primary pushed what was installed: the header of that object tells.
    Pushed,
}

#[derive(Clone, Debug)]
pub struct Core {
    dice: Dice,
    known: Known,
    is_locked: bool,
    /// An effect is under way.
    is_busy: bool,
    next_at: Option<Instant>,
    pace: Pace,
    backoff: Backoff,
    is_away: bool,
    wants_whole: bool,
    /// What the listing that is under way was asked for.
    asked_whole: bool,
    proof: Proof,
    lead: Lead,
    /// When the replica was listed the last time.
    listed_at: Option<Instant>,
    /// A listing that waits for what the headers of some of its objects say.
    pending: Option<Listing>,
    suspicion: Option<Suspicion>,
    avoided: BTreeMap<Key, Instant>,
    foreign_writes: u64,
    said: Said,
    /// The newest request to catch up; that for which the listing under way was asked; and that
    /// since which everything is installed.
    wanted: u64,
    asked_for: u64,
    caught_up: u64,
    current: Current,
    is_stopping: bool,
    ended: Option<End>,
}

impl Core {
    pub fn new(interval: Duration, seed: u64) -> Core {
        Core {
            dice: Dice::of(seed),
            known: Known::Nothing,
            is_locked: false,
            is_busy: false,
            next_at: None,
            pace: Pace::new(interval),
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            is_away: false,
            wants_whole: true,
            asked_whole: true,
            proof: Proof::Nothing,
            lead: Lead::default(),
            listed_at: None,
            pending: None,
            suspicion: None,
            avoided: BTreeMap::new(),
            foreign_writes: 0,
            said: Said::default(),
            wanted: 0,
            asked_for: 0,
            caught_up: 0,
            current: Current::default(),
            is_stopping: false,
            ended: None,
        }
    }

    /// When a [`Event::Timer`] is wanted; none while an effect is under way.
    pub fn wake_at(&self) -> Option<Instant> {
        self.next_at.filter(|_| !self.is_busy)
    }

    pub fn ended(&self) -> Option<&End> {
        self.ended.as_ref()
    }

    /// Where the copy is, as far as that is known.
    pub fn position(&self) -> Option<Position> {
        match self.known {
            Known::At(position) => Some(position),
            _ => None,
        }
    }

    /// What is to be done after `event`; to begin with, after a [`Event::Timer`].
    pub fn on_event(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        if !matches!(event, Event::Timer | Event::Stop | Event::CatchUp(_) | Event::Lead(_) | Event::Pushed(_)) {
            self.is_busy = false;
        }
        match event {
            Event::Timer => {}
            Event::Stop => self.is_stopping = true,
            Event::CatchUp(number) => {
                (self.wanted, self.next_at) = (number, None);
            }
            Event::Lead(epoch) => self.is_led(epoch, now),
            Event::Pushed(pushed) => self.lead.take_in(pushed),
            Event::Looked(looked) => self.looked(looked, now, &mut effects),
            Event::Restored(done) => self.in_place(done, now, &mut effects),
            Event::Replaced(done) => self.replaced(done, now, &mut effects),
            Event::Listed(Ok(listing)) => {
                self.answered(&mut effects);
                self.listed(&listing, now, &mut effects);
            }
            Event::Checked(Ok(headers)) => {
                self.answered(&mut effects);
                self.checked(&headers, now, &mut effects);
            }
            Event::Listed(Err(trouble)) | Event::Checked(Err(trouble)) => {
                self.pending = None;
                self.troubled(trouble, now, &mut effects);
            }
            Event::Held(Ok(grip)) => self.gripped(grip, now, &mut effects),
            Event::Held(Err(trouble)) => {
                self.closed();
                self.troubled(trouble, now, &mut effects);
            }
            Event::Installed(done, grip) => self.installed(done, grip, now, &mut effects),
            Event::Closed => self.ended = Some(End::Stopped(self.position())),
        }
        effects.extend(self.plan(now));
        effects
    }

    /// The next piece of work, if it is time for one.
    fn plan(&mut self, now: Now) -> Option<Effect> {
        if self.is_busy || self.ended.is_some() {
            return None;
        }
        if let Some(effect) = self.install_pushed(now) {
            return Some(effect);
        }
        if !self.is_stopping && self.next_at.is_some_and(|at| at > now.instant) {
            return None;
        }
        self.next_at = None;
        self.is_busy = true;
        Some(match self.known {
            _ if self.is_stopping => Effect::Close,
            Known::Nothing => Effect::Look,
            Known::Missing => Effect::Restore,
            Known::Unfit => Effect::Replace,
            Known::At(_) | Known::Doubt(_) if !self.is_locked => Effect::Hold,
            Known::At(_) | Known::Doubt(_) => {
                let is_in_doubt = matches!(self.known, Known::Doubt(_));
                self.asked_whole = is_in_doubt || self.wants_whole || self.pace.wants_whole();
                (self.asked_for, self.listed_at) = (self.wanted, Some(now.instant));
                self.current.asks(now);
                Effect::List { whole: self.asked_whole }
            }
        })
    }

    /// An effect that was asked for after a listing, without a pause.
    fn at_once(&mut self, effect: Effect, effects: &mut Vec<Effect>) {
        if !self.is_stopping {
            self.is_busy = true;
            effects.push(effect);
        }
    }

    fn later(&mut self, pause: Duration, now: Now) {
        self.next_at = Some(now.instant + pause);
    }

    /// After a failure.
    fn after_a_pause(&mut self, now: Now) {
        let pause = self.backoff.next_pause(&mut self.dice);
        self.later(pause, now);
    }

    fn installed(&mut self, done: Result<Installed, Trouble>, grip: Grip, now: Now, effects: &mut Vec<Effect>) {
        match done {
            Ok(Installed { position, pages }) => {
                // What was pushed says nothing of the bucket.
                if self.proof != Proof::Pushed {
                    self.answered(effects);
                }
                self.is_at(position, pages, now, effects);
            }
            Err(Trouble::Incomplete(why)) => {
                effects.push(Effect::Say(Notice::Outage(why)));
                self.known = Known::Doubt(self.position().map(|position| position.txid));
                (self.is_away, self.proof, self.caught_up) = (true, Proof::Nothing, 0);
                self.after_a_pause(now);
            }
            Err(trouble) => {
                self.proof = Proof::Nothing;
                self.troubled(trouble, now, effects);
            }
        }
        self.gripped(grip, now, effects);
    }

    fn is_at(&mut self, position: Position, pages: u64, now: Now, effects: &mut Vec<Effect>) {
        if matches!(self.known, Known::Doubt(_)) {
            effects.push(Effect::Say(Notice::Healed { position, pages }));
        }
        self.known = Known::At(position);
        (self.suspicion, self.said.gap) = (None, None);
        self.avoided.clear();
        self.pace.news();
        self.said.installs += 1;
        self.said.pages += pages;
        // A primary that goes on writing would keep every listing from showing nothing new.
        if self.current.installed() {
            self.caught_up = self.asked_for;
        }
        self.follows(position, now, effects);
        // What was pushed puts off no listing.
        if self.caught_up == self.wanted && self.proof != Proof::Pushed {
            self.later(self.pace.interval(), now);
        }
    }

    /// Whether the write lock is held.
    pub fn is_locked(&self) -> bool {
        self.is_locked
    }

    fn gripped(&mut self, grip: Grip, now: Now, effects: &mut Vec<Effect>) {
        match grip {
            Grip::Held => (self.is_locked, self.said.is_locked) = (true, false),
            Grip::Busy => {
                self.is_locked = false;
                if !std::mem::replace(&mut self.said.is_locked, true) {
                    effects.push(Effect::Say(Notice::Locked));
                }
                self.later(FIRST_PAUSE, now);
            }
            Grip::Foreign => {
                self.foreign_writes += 1;
                effects.push(Effect::Say(Notice::ForeignWrite { count: self.foreign_writes }));
                self.closed();
                self.next_at = None;
            }
            Grip::Closed => self.closed(),
        }
    }

    /// The copy is not known any more until it is looked at.
    fn closed(&mut self) {
        if matches!(self.known, Known::At(_) | Known::Doubt(_)) {
            self.known = Known::Nothing;
        }
        (self.is_locked, self.caught_up) = (false, 0);
    }

    fn answered(&mut self, effects: &mut Vec<Effect>) {
        self.backoff.reset();
        if std::mem::take(&mut self.is_away) {
            effects.push(Effect::Say(Notice::Back));
        }
    }

    fn troubled(&mut self, trouble: Trouble, now: Now, effects: &mut Vec<Effect>) {
        match trouble {
            Trouble::Final(reason, why) => self.ended = Some(End::Failed(reason, why)),
            Trouble::Cancelled => {}
            Trouble::Gone => {
                self.wants_whole = true;
                self.after_a_pause(now);
            }
            Trouble::Damaged { name, why } => {
                self.avoided.insert(name.clone(), now.instant + AVOIDED_FOR);
                effects.push(Effect::Say(Notice::Damaged { name, why }));
                self.wants_whole = true;
                self.after_a_pause(now);
            }
            Trouble::OtherPageSize(why) => {
                effects.push(Effect::Say(Notice::OtherPageSize(why)));
                self.known = Known::Unfit;
            }
            Trouble::Passing(why) | Trouble::Incomplete(why) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    effects.push(Effect::Say(Notice::Outage(why)));
                }
                self.after_a_pause(now);
            }
        }
    }
}
