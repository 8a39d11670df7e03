//! Who writes: a state machine without I/O, clocks or tasks.
//!
//! ```text
//!  Looking ─▶ Claiming ─▶ Waiting ─▶ Sealing ─▶ Serving
//!     │          ▲           │          │          │  a later claim, a foreign TXID, or the end
//!     │          │           └──────────┴──────────┤
//!     │          │                                 ▼
//!     │          └─────── StandingBy ◀───────── Draining ─▶ Leaving ─▶ Ended
//!     └──────────────────────▲    released               released, and told to end
//!      this instance was superseded
//! ```
//!
//! A bucket that is away at the start: where the database is here, the application is started all
//! the same, without a claim, and nothing of it is uploaded (`alone.rs`).
//!
//! Waiting: earlier holders are to release, or are silent for too long. Sealing: the next TXIDs are
//! to be ours. Standing by: until all that came later have released, or show no life.
//!
//! A newcomer announces itself by its claim. The holder looks for the claim after its own; when
//! that shows life, it stops its application, uploads the last commits and releases. The newcomer
//! waits for that; if it waits in vain, it seals, and the log keeps out whoever was thought dead.
//!
//! What keeps two nodes from taking turns for ever: only the first process of an instance claims
//! over a holder, once. From then on the instance claims again only when all that came after it
//! have released or are silent. What brings an old version back when a new one does not start: a
//! release after a failure is addressed to whoever served before, and a restarted process of the
//! failed instance leaves the place to it for a while.
//!
//! Where nodes reach each other they say when there is something to see, and the next look is made
//! at once. Nothing depends on it.
//!
//! One request to the bucket at a time: what is known never comes from two of them.

mod alone;
mod begin;
mod event;
mod granted;
mod hold;
mod stand_by;
mod state;

use std::time::Duration;

use tokio::time::Instant;

use alone::Alone;
pub use event::{Access, Claimed, Effect, Event, Notice, Outcome, Stop, Trouble};
use granted::Granted;
use state::{Beats, Claiming, State, Work};

use super::mine::Mine;
use super::seen::{Identity, Seen};
use super::watch::Steps;
use crate::clock::{Backoff, Dice, Now};
use crate::remote::Epoch;

/// How often the claims are looked at while others are waited for.
const POLL: Duration = Duration::from_secs(1);
/// So long after its start a holder shows life often: until then an earlier one may come back.
const TRIAL: Duration = Duration::from_secs(5 * 60);
/// How often it does so later.
const RARELY: Duration = Duration::from_secs(10 * 60);
/// After such a time without a look, claims may have come and gone, and one HEAD does not show it.
const PEEK_LASTS: Duration = Duration::from_secs(30 * 60);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// An answer that is older than that is none: this process was paused, and others went on.
const ANSWER_LASTS: Duration = Duration::from_secs(10);

/// What a core is told once.
#[derive(Clone, Debug)]
pub struct Config {
    pub me: Identity,
    /// Key `handover.wait`: how long an earlier holder may take to answer.
    pub wait: Duration,
    /// Key `handover.look`: how often a holder looks for a later claim.
    pub look: Duration,
    /// Three beats come in this time.
    pub ttl: Duration,
    /// The databases are here: the application need not wait for a bucket that is away.
    pub may_be_alone: bool,
}

#[derive(Clone)]
pub struct Core {
    config: Config,
    dice: Dice,
    state: State,
    work: Work,
    mine: Option<Mine>,
    steps: Steps,
    look_at: Option<Instant>,
    backoff: Backoff,
    is_away: bool,
    /// Whom the claim is released to when the time comes.
    successor: Option<String>,
    /// Who served before, and may again if this one fails.
    predecessor: Option<String>,
    fenced: bool,
    /// The earlier claims that were not released when this one was sealed.
    before: Beats,
    removable: Vec<Epoch>,
    stop: Option<Stop>,
    alone: Alone,
    granted: Granted,
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
            alone: if config.may_be_alone { Alone::May { at: None } } else { Alone::No },
            granted: Granted::default(),
            backoff: Backoff::new(FIRST_PAUSE, config.look.max(FIRST_PAUSE)),
            config,
            dice: Dice::of(seed),
            state: State::Looking,
            work: Work::Idle,
            mine: None,
            steps: Steps::default(),
            look_at: None,
            is_away: false,
            successor: None,
            predecessor: None,
            fenced: false,
            before: Vec::new(),
            removable: Vec::new(),
            stop: None,
            wake_at: None,
        }
    }

    /// What is to be done after `event`; to begin with, after a [`Event::Timer`].
    pub fn on_event(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let mut plan = Plan::default();
        match event {
            Event::Looked(seen) => {
                self.note(Access::Read, &seen);
                let asked = if let Work::Busy(since) = self.work { since } else { now.boot };
                if let Some(seen) = self.answered(seen, now, &mut plan) {
                    self.looked(&seen, asked, now, &mut plan);
                }
            }
            Event::Peeked(exists) => {
                if let Some(exists) = self.answered(exists, now, &mut plan) {
                    self.peeked(exists, now);
                }
            }
            Event::Claimed(answer) => {
                self.note(Access::Create, &answer);
                self.claim_answered(answer, now, &mut plan);
            }
            Event::Beaten(beaten) => {
                if let (Some(()), Some(mine)) = (self.answered(beaten, now, &mut plan), &mut self.mine) {
                    mine.is_written(self.config.ttl);
                    if mine.is_news() {
                        plan.push(Effect::Wake);
                    }
                }
            }
            Event::Removed => self.work = Work::Idle,
            Event::Sealed => self.sealed(now, &mut plan),
            Event::Drained => self.drained(now),
            Event::Fenced => self.is_fenced(&mut plan),
            Event::Stop(stop) => self.stop(stop, now, &mut plan),
            Event::Woke => self.look_at = self.look_at.map(|at| at.min(now.instant)),
            Event::Timer => self.alone.begins(now),
        }
        self.plan(now, &mut plan);
        self.wake_at = plan.wake_at;
        plan.effects
    }

    /// When [`Event::Timer`] is due.
    pub fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// No request of [`Effect::Seal`] may be sent after this time, by the boot clock: others may
    /// have gone on since. It moves while the bucket answers.
    pub fn seal_until(&self) -> Option<Duration> {
        self.mine.as_ref().and_then(|mine| mine.safe_until(self.config.ttl))
    }

    pub fn outcome(&self) -> Option<&Outcome> {
        match self.state {
            State::Ended(ref outcome) => Some(outcome),
            _ => None,
        }
    }

    fn answered<T>(&mut self, answer: Result<T, Trouble>, now: Now, plan: &mut Plan) -> Option<T> {
        let is_old = matches!(self.work, Work::Busy(since) if now.boot.saturating_sub(since) >= ANSWER_LASTS);
        let answer = answer.and_then(|answer| match is_old {
            true => Err(Trouble::Away("the answer is too old to be believed".into())),
            false => Ok(answer),
        });
        match answer {
            Ok(answer) => {
                self.succeeded(plan);
                Some(answer)
            }
            Err(trouble) => {
                self.failed(trouble, now, plan);
                None
            }
        }
    }

    fn succeeded(&mut self, plan: &mut Plan) {
        self.work = Work::Idle;
        self.backoff.reset();
        if std::mem::take(&mut self.is_away) {
            plan.say(Notice::Back);
        }
    }

    fn failed(&mut self, trouble: Trouble, now: Now, plan: &mut Plan) {
        self.work = Work::Paused(now.instant + self.backoff.next_pause(&mut self.dice));
        if !matches!(self.state, State::Ended(_)) && !std::mem::replace(&mut self.is_away, true) {
            plan.say(Notice::Outage(trouble.why().to_owned()));
        }
    }

    fn looked(&mut self, seen: &Seen, asked: Duration, now: Now, plan: &mut Plan) {
        let step = self.steps.next(now.boot, self.look_every());
        self.look_at = Some(now.instant + self.look_every());
        self.alone.is_answered();
        if let Some(mine) = &mut self.mine {
            mine.is_seen(seen.0.get(&mine.epoch).and_then(|claim| claim.beat.as_ref()));
            if seen.newest().is_some_and(|(newest, _)| newest == mine.epoch) {
                mine.is_newest(asked);
            }
        }
        match &self.state {
            State::Looking if self.alone == Alone::Runs => self.look_whether_to_retreat(seen, plan),
            State::Looking => self.begin(seen, now, plan),
            State::Claiming(claiming) if claiming.is_unsettled => self.settle(seen, now),
            State::Waiting { .. } => self.wait(seen, step, plan),
            State::Sealing { .. } if self.mine.as_ref().is_some_and(|mine| seen.above(mine.epoch).next().is_some()) => {
                self.begin_to_drain(seen, plan);
            }
            State::Sealing { is_done: true } => self.open(now, plan),
            State::Serving { opened, .. } => self.look_for_successor(*opened, seen, plan),
            State::StandingBy(_) => self.look_for_a_vacancy(seen, step, plan),
            State::Claiming(_) | State::Sealing { .. } | State::Retreating => {}
            State::Draining | State::Leaving | State::Ended(_) => {}
        }
    }

    fn plan(&mut self, now: Now, plan: &mut Plan) {
        let is_late = |stop: Stop| plan.is_due(stop.deadline, now);
        if !matches!(self.state, State::Ended(_)) && self.stop.is_some_and(is_late) {
            self.state = State::Ended(Outcome::Unreleased);
        }
        self.start_alone_if_due(now, plan);
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
        let every = self.beat_every(now);
        if let Some(mine) = &mut self.mine
            && mine.is_owed(now)
        {
            return Some(Effect::Beat(mine.epoch, mine.beat(every, now)));
        }
        if matches!(self.state, State::Leaving) {
            self.state = State::Ended(Outcome::Released);
            return None;
        }
        if !self.removable.is_empty() && matches!(self.state, State::Serving { .. }) {
            return Some(Effect::Remove(std::mem::take(&mut self.removable)));
        }
        if let Some(due) = self.mine.as_ref().and_then(Mine::due) {
            plan.is_due(due, now);
        }
        if matches!(self.state, State::Draining | State::Retreating)
            || !self.look_at.is_none_or(|at| plan.is_due(at, now))
        {
            return None;
        }
        match (&self.state, &self.mine) {
            (State::Serving { has_ghost: false, .. }, Some(mine))
                if self.steps.since(now.boot).is_some_and(|since| since < PEEK_LASTS) =>
            {
                mine.epoch.next().map(Effect::Peek)
            }
            _ => Some(Effect::Look),
        }
    }

    fn look_every(&self) -> Duration {
        match &self.state {
            State::Looking | State::Claiming(_) | State::Waiting { .. } => POLL.min(self.config.look),
            State::StandingBy(by) => by.look_every,
            _ => self.config.look,
        }
    }

    fn beat_every(&self, now: Now) -> Duration {
        let often = self.config.ttl / 3;
        match self.state {
            // It grows slowly: a beat that was late may come over a newer one, and must not look
            // old.
            State::Serving { opened, .. } => {
                let served = now.boot.saturating_sub(opened).saturating_sub(TRIAL);
                (served / 10).clamp(often, RARELY.max(often))
            }
            _ => often,
        }
    }
}
