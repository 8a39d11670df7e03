//! One true time, one queue of what is under way, the bucket and the nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::broken::Broken;
use super::node::{At, Disk, Node, Process, Task};
use crate::claim::core::Outcome;
use crate::claim::roles::core::{Config, Core, Event};
use crate::claim::seen::Identity;
use crate::claim::sim::bucket::{Answer, Bucket, Life, Request};
use crate::claim::sim::container::SkewedClock;
use crate::claim::wire::Claim;
use crate::clock::{Dice, Now};

pub const TTL_MS: u64 = 15_000;
/// A request without an answer is given up.
pub const GIVEN_UP_MS: u64 = 5_000;
/// What was given up may still arrive.
pub const LATE_MS: u64 = 120_000;
/// With [`Broken::WakesLate`].
const TIMER_LATE_MS: u64 = 2_500;
pub const MINUTE_MS: u64 = 60_000;

pub struct World {
    pub dice: Dice,
    pub broken: Option<Broken>,
    pub now_ms: u64,
    pub nodes: Vec<Node>,
    pub bucket: Bucket,
    /// When each object of the log was created.
    pub logged_ms: Vec<u64>,
    pub rows: u32,
    pub claims_made: u32,
    pub is_automatic: bool,
    pub commit_every_ms: u64,
    /// When the store was last not as it should be.
    pub bad_ms: u64,
    /// Since when no application can write, if that is so.
    pub vacant_ms: Option<u64>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u32>,
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
    Arrives {
        at: At,
        life: Life,
        request: Request,
        fate: Fate,
    },
    Answered {
        at: At,
        life: Life,
        request: Request,
        answer: Option<Answer>,
    },
    Timer {
        at: At,
        life: Life,
    },
    Commit {
        at: At,
        life: Life,
    },
    Install {
        at: At,
        life: Life,
    },
    Closed {
        at: At,
        life: Life,
    },
    DrainOver {
        at: At,
        life: Life,
    },
    Retry {
        at: At,
        life: Life,
    },
    Restart {
        at: At,
    },
    /// Its stream from the primary is lost.
    Woken {
        at: At,
        life: Life,
    },
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
        let mut dice = Dice::of(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(23));
        World {
            is_automatic: dice.roll(4) > 0,
            dice,
            broken,
            now_ms: 1_000_000,
            nodes: Vec::new(),
            bucket: Bucket::default(),
            logged_ms: Vec::new(),
            rows: 0,
            claims_made: 0,
            commit_every_ms: 1500,
            bad_ms: 0,
            vacant_ms: Some(1_000_000),
            counts: BTreeMap::new(),
            trace: Vec::new(),
            due: BTreeMap::new(),
            serial: 0,
            lives: 0,
            faults: 0,
            latency_ms: 50,
            is_traced,
        }
    }

    pub fn add_node(&mut self) -> Result<(), String> {
        let at = self.nodes.len();
        let clock = SkewedClock {
            rate: 990 + self.dice.roll(21),
            boot_ms: self.dice.roll(1 << 40),
            wall_ms: self.dice.roll(20_000) as i64 - 10_000,
        };
        let is_candidate = at == 0 || self.dice.roll(4) > 0;
        let has_stream = self.dice.roll(2) == 0;
        let follows_every_ms = if self.dice.roll(3) == 0 { 600_000 } else { 1000 };
        self.say(|| format!("{at}: joins, candidate: {is_candidate}"));
        self.nodes.push(Node {
            instance: format!("n{at}"),
            clock,
            disk: Disk::default(),
            process: None,
            is_wanted: true,
            is_candidate,
            restarts: 0,
            is_partitioned: false,
            cannot_upload: false,
            denied: None,
            paused_until: 0,
            app_goes_on: false,
            stopped_ms: self.now_ms,
            impaired_ms: self.now_ms,
            follows_every_ms,
            has_stream,
        });
        self.start(at)
    }

    pub fn start(&mut self, at: At) -> Result<(), String> {
        self.lives += 1;
        let (life, seed, is_automatic) = (self.lives, self.dice.roll(1 << 30), self.is_automatic);
        self.say(|| format!("{at}: process {life} starts"));
        let node = &mut self.nodes[at];
        let me = Identity { instance: node.instance.clone(), process: life.to_string() };
        let is_candidate = node.is_candidate || self.broken == Some(Broken::EveryNodeIsACandidate);
        let config = Config { me, ttl: Duration::from_millis(TTL_MS), is_candidate, is_automatic };
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
        node.process = Some(Process {
            life,
            core: Core::new(config, seed),
            claim: Arc::new(nothing),
            task: Task::None,
            writes: false,
            in_flight: None,
            serial: 0,
            timer_ms: None,
            renewing: None,
            observing: None,
            waits_for_tail: None,
        });
        node.impaired_ms = node.impaired_ms.max(self.now_ms);
        self.tell(at, Event::Timer)
    }

    /// The restart policy, with its growing pauses.
    pub fn has_ended(&mut self, at: At) {
        let node = &mut self.nodes[at];
        node.process = None;
        if node.is_wanted {
            let pause = (100 << node.restarts.min(10)).min(MINUTE_MS);
            node.restarts += 1;
            self.later(pause, Due::Restart { at });
        }
    }

    /// Other nodes may hear that the streams of this one have ended.
    pub fn streams_end(&mut self, from: At) {
        let others: Vec<_> = (0..self.nodes.len()).filter(|at| *at != from).collect();
        for at in others {
            let Some(life) = self.nodes[at].process.as_ref().map(|process| process.life) else { continue };
            if self.nodes[at].has_stream {
                self.later(1, Due::Woken { at, life });
            }
        }
    }

    pub fn go_on_for(&mut self, time_ms: u64) -> Result<(), String> {
        let until = self.now_ms + time_ms;
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), due) = entry.remove_entry();
            self.now_ms = self.now_ms.max(at);
            self.take(due)?;
            self.check()?;
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
                let node = &self.nodes[at];
                return if node.process.is_none() && node.is_wanted { self.start(at) } else { Ok(()) };
            }
            Due::Answered { at, life, .. }
            | Due::Timer { at, life }
            | Due::Commit { at, life }
            | Due::Install { at, life }
            | Due::Closed { at, life }
            | Due::DrainOver { at, life }
            | Due::Retry { at, life }
            | Due::Woken { at, life } => (*at, *life),
        };
        let node = &self.nodes[at];
        if node.process.as_ref().is_none_or(|process| process.life != life) {
            return Ok(());
        }
        let paused = node.paused_until.saturating_sub(self.now_ms);
        if paused > 0 && !(node.app_goes_on && matches!(due, Due::Commit { .. })) {
            self.later(paused, due);
            return Ok(());
        }
        match due {
            Due::Answered { request, answer, .. } => self.answered(at, &request, answer)?,
            Due::Timer { .. } => {
                self.process(at).timer_ms = None;
                self.tell(at, Event::Timer)?;
            }
            Due::Commit { .. } => self.commit(at),
            Due::Install { .. } => self.install(at),
            Due::Closed { .. } => self.closed(at)?,
            Due::DrainOver { .. } => self.drain_over(at)?,
            Due::Retry { .. } => self.retry(at)?,
            Due::Woken { .. } => self.tell(at, Event::Woke)?,
            Due::Arrives { .. } | Due::Restart { .. } => {}
        }
        Ok(())
    }

    pub fn tell(&mut self, at: At, event: Event) -> Result<(), String> {
        self.say(|| match &event {
            Event::Looked(Ok(_)) => format!("{at}: <- Looked"),
            event => format!("{at}: <- {event:?}"),
        });
        let (now, now_ms) = (self.now(at), self.now_ms);
        let clock = self.nodes[at].clock;
        let late_ms = if self.broken == Some(Broken::WakesLate) { TIMER_LATE_MS } else { 0 };
        let process = self.process(at);
        let life = process.life;
        let effects = process.core.on_event(event, now);
        let wake_ms = process.core.wake_at().map(|at| clock.when(at, now_ms) + late_ms);
        if let Some(wake_ms) = wake_ms.filter(|wake| process.timer_ms.is_none_or(|timer| *wake < timer)) {
            process.timer_ms = Some(wake_ms);
            self.later(wake_ms - now_ms, Due::Timer { at, life });
        }
        for effect in effects {
            // It may have ended meanwhile.
            if self.nodes[at].process.as_ref().is_none_or(|process| process.life != life) {
                return Ok(());
            }
            self.say(|| format!("{at}: -> {effect:?}"));
            self.effect(at, effect)?;
        }
        let ended = self.nodes[at].process.as_ref().filter(|process| process.life == life);
        match ended.and_then(|process| process.core.outcome().cloned()) {
            Some(Outcome::Foreign) => Err(format!("{at} met a writer that has no claim")),
            Some(outcome) => {
                self.say(|| format!("{at}: ends: {outcome:?}"));
                self.ends(at, &outcome)?;
                self.has_ended(at);
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub fn now(&self, at: At) -> Now {
        self.nodes[at].clock.now(self.now_ms)
    }

    pub fn process(&mut self, at: At) -> &mut Process {
        self.nodes[at].process.as_mut().expect("it runs")
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
