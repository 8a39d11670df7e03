//! One true time, one queue of what is under way, the bucket, the containers; and what happens to
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::broken::Broken;
use super::bucket::{Answer, Bucket, Life, Request};
use super::container::{App, At, Container, Disk, Process, SkewedClock, Task};
use super::exhaustive::{Deviation, Script};
use crate::claim::core::{Config, Core, Event, Outcome};
use crate::claim::seen::Identity;
use crate::claim::wire::Claim;
use crate::clock::{Dice, Now};
use crate::remote::Epoch;

pub const WAIT_MS: u64 = 30_000;
pub const LOOK_MS: u64 = 5_000;
pub const TTL_MS: u64 = 15_000;

/// A request without an answer is given up.
pub const GIVEN_UP_MS: u64 = 5_000;
/// What was given up may still arrive.
pub const LATE_MS: u64 = 120_000;
pub const MINUTE_MS: u64 = 60_000;

pub struct World {
    pub dice: Dice,
    pub broken: Option<Broken>,
    pub now_ms: u64,
    pub containers: Vec<Container>,
    pub bucket: Bucket,
    pub rows: u32,
    pub claims_made: u32,
    /// A beat that was late may come over the one that says so.
    pub released: BTreeSet<Epoch>,
    pub commit_every_ms: u64,
    /// When the store was last not as it should be.
    pub bad_ms: u64,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u32>,
    pub script: Option<Script>,
    pub trace: Vec<String>,
    due: BTreeMap<(u64, u64), Due>,
    serial: u64,
    lives: Life,
    /// How many requests of a hundred go wrong.
    pub faults: u64,
    pub latency_ms: u64,
    is_traced: bool,
}

pub enum Due {
    Arrives { at: At, life: Life, request: Request, fate: Fate },
    Answered { at: At, life: Life, request: Request, answer: Option<Answer> },
    Timer { at: At, life: Life },
    Commit { at: At, life: Life },
    AppStopped { at: At, life: Life },
    AppFails { at: At, life: Life },
    Retry { at: At, life: Life },
    Woken { at: At, life: Life },
    MustServe { at: At, life: Life, claimed_ms: u64 },
    Restart { at: At },
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    Lost,
    LostReply,
    /// Given up, and carried out later.
    Late,
}

impl World {
    pub fn of_seed(seed: u64, broken: Option<Broken>, is_traced: bool) -> World {
        World {
            dice: Dice::of(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(11)),
            broken,
            now_ms: 1_000_000,
            containers: Vec::new(),
            bucket: Bucket::default(),
            rows: 0,
            claims_made: 0,
            released: BTreeSet::new(),
            commit_every_ms: 1500,
            bad_ms: 0,
            counts: BTreeMap::new(),
            script: None,
            trace: Vec::new(),
            due: BTreeMap::new(),
            serial: 0,
            lives: 0,
            faults: 0,
            latency_ms: 50,
            is_traced,
        }
    }

    pub fn deploy(&mut self, is_broken: bool) -> Result<(), String> {
        let at = self.containers.len();
        self.say(|| format!("{at}: deployed{}", if is_broken { ", its application fails" } else { "" }));
        let clock = SkewedClock {
            rate: 950 + self.dice.roll(101),
            boot_ms: self.dice.roll(1 << 40),
            wall_ms: self.dice.roll(20_000) as i64 - 10_000,
        };
        self.containers.push(Container {
            instance: format!("c{at}"),
            clock,
            disk: Disk::default(),
            process: None,
            is_wanted: true,
            is_lost: false,
            restarts: 0,
            is_broken,
            is_partitioned: false,
            denied: None,
            paused_until: 0,
            impaired_ms: self.now_ms,
        });
        self.start(at)
    }

    pub fn start(&mut self, at: At) -> Result<(), String> {
        self.lives += 1;
        let (life, seed) = (self.lives, self.dice.roll(1 << 30));
        self.say(|| format!("{at}: process {life} starts"));
        let container = &mut self.containers[at];
        let me = Identity { instance: container.instance.clone(), process: life.to_string() };
        let ms = Duration::from_millis;
        let may_be_alone = container.disk.base > 0;
        let config = Config { me, wait: ms(WAIT_MS), look: ms(LOOK_MS), ttl: ms(TTL_MS), may_be_alone };
        let nothing = Claim {
            node: String::new(),
            instance: String::new(),
            process: String::new(),
            hostname: String::new(),
            url: None,
            cluster_url: None,
            ttl_ms: 0,
            parent: None,
            why: String::new(),
        };
        container.process = Some(Process {
            life,
            core: Core::new(config, seed),
            claim: Arc::new(nothing),
            app: App::Off,
            task: Task::None,
            is_alone: false,
            in_flight: None,
            serial: 0,
            claimed_ms: None,
            opened_ms: None,
            timer_ms: None,
            old_beats: BTreeMap::new(),
            granted: Vec::new(),
            denied: Vec::new(),
        });
        container.impaired_ms = container.impaired_ms.max(self.now_ms);
        self.tell(at, Event::Timer)
    }

    /// The restart policy, with its growing pauses.
    pub fn has_ended(&mut self, at: At) {
        let container = &mut self.containers[at];
        container.process = None;
        if container.is_wanted {
            let pause = (100 << container.restarts.min(10)).min(MINUTE_MS);
            container.restarts += 1;
            self.later(pause, Due::Restart { at });
        }
    }

    pub fn go_on_for(&mut self, time_ms: u64) -> Result<(), String> {
        let until = self.now_ms + time_ms;
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), due) = entry.remove_entry();
            self.now_ms = self.now_ms.max(at);
            self.take(due)?;
        }
        self.now_ms = until;
        Ok(())
    }

    fn take(&mut self, due: Due) -> Result<(), String> {
        let (at, life) = match &due {
            Due::Arrives { at, life, request, fate } => {
                let (at, life, request, fate) = (*at, *life, request.clone(), *fate);
                return self.arrives(at, life, request, fate);
            }
            Due::Restart { at } => {
                let at = *at;
                let container = &self.containers[at];
                return if container.process.is_none() && container.is_wanted { self.start(at) } else { Ok(()) };
            }
            Due::Answered { at, life, .. }
            | Due::Timer { at, life }
            | Due::Commit { at, life }
            | Due::AppStopped { at, life }
            | Due::AppFails { at, life }
            | Due::Retry { at, life }
            | Due::Woken { at, life }
            | Due::MustServe { at, life, .. } => (*at, *life),
        };
        if self.containers[at].process.as_ref().is_none_or(|process| process.life != life) {
            return Ok(());
        }
        let paused = self.containers[at].paused_until.saturating_sub(self.now_ms);
        if paused > 0 {
            self.later(paused, due);
            return Ok(());
        }
        match due {
            Due::Answered { request, answer, .. } => self.is_answered(at, &request, answer),
            Due::Timer { .. } => {
                self.process(at).timer_ms = None;
                self.tell(at, Event::Timer)
            }
            Due::Commit { .. } => self.commit(at),
            Due::AppStopped { .. } => self.app_stopped(at),
            Due::AppFails { .. } => self.app_fails(at),
            Due::Retry { .. } => {
                self.retry(at);
                Ok(())
            }
            Due::Woken { .. } => self.tell(at, Event::Woke),
            Due::MustServe { claimed_ms, .. } => self.must_serve(at, claimed_ms),
            Due::Arrives { .. } | Due::Restart { .. } => Ok(()),
        }
    }

    /// The processes of the other containers.
    pub fn others(&self, at: At) -> impl Iterator<Item = (At, Life)> {
        let all = self.containers.iter().enumerate().filter(move |(other, _)| *other != at);
        all.filter_map(|(at, container)| Some((at, container.process.as_ref()?.life)))
    }

    pub fn send(&mut self, at: At, request: Request) {
        let life = self.process(at).life;
        let mut fate = match self.dice.roll(100) < self.faults {
            true => [Fate::Lost, Fate::LostReply, Fate::Late][self.dice.roll(3) as usize],
            false => Fate::Answered,
        };
        if self.containers[at].is_partitioned {
            fate = Fate::Lost;
        }
        let deviation = self.script.as_mut().and_then(Script::next);
        if let Some(deviation) = deviation {
            self.say(|| format!("{at}: {deviation:?}"));
            self.bad_ms = self.now_ms + LATE_MS;
            if let Deviation::Fate(other) = deviation {
                fate = other;
            }
        }
        let late = if self.script.is_some() { 3 * GIVEN_UP_MS } else { self.dice.roll(LATE_MS) };
        let latency = 2 + self.dice.roll(self.latency_ms);
        self.say(|| format!("{at}: {request:?} {fate:?}"));
        match fate {
            Fate::Answered => {}
            Fate::Lost | Fate::LostReply | Fate::Late => {
                let (request, answer) = (request.clone(), None);
                self.later(GIVEN_UP_MS, Due::Answered { at, life, request, answer });
            }
        }
        match fate {
            Fate::Lost => {}
            Fate::Answered | Fate::LostReply => self.later(latency, Due::Arrives { at, life, request, fate }),
            Fate::Late => self.later(GIVEN_UP_MS + late, Due::Arrives { at, life, request, fate }),
        }
        match deviation {
            Some(Deviation::Kill) => self.kill(at),
            Some(Deviation::Pause) => self.pause(at, 60_000),
            Some(Deviation::Fate(_)) | None => {}
        }
    }

    fn arrives(&mut self, at: At, life: Life, request: Request, fate: Fate) -> Result<(), String> {
        let is_alive = self.containers[at].process.as_ref().is_some_and(|process| process.life == life);
        if is_alive && fate != Fate::Late {
            self.is_requested(at, &request)?;
        }
        let answer = match self.containers[at].denied.is_some_and(|denied| request.access() == Some(denied)) {
            true => Answer::Denied,
            false => self.bucket.carry_out(&request, i64::try_from(self.now_ms).expect("small")),
        };
        if is_alive && matches!((&request, &answer), (Request::Claim(..), Answer::Created(true))) {
            self.claim_was_made(at);
        }
        self.check()?;
        if fate == Fate::Answered {
            let (latency, answer) = (1 + self.dice.roll(self.latency_ms), Some(answer));
            self.later(latency, Due::Answered { at, life, request, answer });
        }
        Ok(())
    }

    pub fn tell(&mut self, at: At, event: Event) -> Result<(), String> {
        self.say(|| match &event {
            Event::Looked(Ok(_)) => format!("{at}: <- Looked"),
            event => format!("{at}: <- {event:?}"),
        });
        let (now, now_ms) = (self.now(at), self.now_ms);
        let clock = self.containers[at].clock;
        let process = self.process(at);
        let life = process.life;
        let effects = process.core.on_event(event, now);
        let wake_ms = process.core.wake_at().map(|at| clock.when(at, now_ms));
        if let Some(wake_ms) = wake_ms.filter(|wake| process.timer_ms.is_none_or(|timer| *wake < timer)) {
            process.timer_ms = Some(wake_ms);
            self.later(wake_ms - now_ms, Due::Timer { at, life });
        }
        for effect in effects {
            // A fault may have ended it meanwhile.
            if self.containers[at].process.as_ref().is_none_or(|process| process.life != life) {
                return Ok(());
            }
            if !matches!(effect, crate::claim::core::Effect::Look) {
                self.say(|| format!("{at}: -> {effect:?}"));
            }
            self.effect(at, effect)?;
        }
        let ended = self.containers[at].process.as_ref().filter(|process| process.life == life);
        match ended.and_then(|process| process.core.outcome().cloned()) {
            Some(Outcome::Foreign) => Err(format!("{at} met a writer that has no claim")),
            Some(Outcome::Denied(access, _)) => {
                super::oracle::is_denied(self, at, access)?;
                *self.counts.entry("denied").or_default() += 1;
                self.has_ended(at);
                Ok(())
            }
            Some(outcome) => {
                self.say(|| format!("{at}: ends: {outcome:?}"));
                self.has_ended(at);
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub fn now(&self, at: At) -> Now {
        self.containers[at].clock.now(self.now_ms)
    }

    pub fn process(&mut self, at: At) -> &mut Process {
        self.containers[at].process.as_mut().expect("it runs")
    }

    pub fn later(&mut self, pause_ms: u64, due: Due) {
        self.serial += 1;
        self.due.insert((self.now_ms + pause_ms, self.serial), due);
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if self.is_traced {
            self.trace.push(format!("{:>9} {}", self.now_ms, what()));
        }
    }
}
