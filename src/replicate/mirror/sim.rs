//! Thousands of histories of a mirror: the pure core with a model of the first replica and of the
//! mirror's bucket.
//!
//! `scripts/simulate mirror 17` replays one and prints what happened.

mod bucket;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use super::core::{Config, Core, Effect, Event, Found, Trouble};
use crate::clock::Dice;
use crate::ltx::Txid;
use crate::replicate::core::Now;
use crate::replicate::seeds::{all_hold, each_is_caught, seeds};

static START: OnceLock<Instant> = OnceLock::new();

const TURNS: u64 = 80;
const PEACE_MS: u64 = 300_000;

/// Executors that are wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// What cannot be copied is left out.
    SkipsAGap,
    /// A failed copy counts as done.
    ConfirmsFailures,
    /// Whatever lies in the mirror is taken for the same history.
    TakesAnyHistory,
    /// A snapshot counts as made when it was not.
    BeginsWithNothing,
    /// "Exists already" replaces what is there.
    Overwrites,
}

const ALL: [Broken; 5] = [
    Broken::SkipsAGap,
    Broken::ConfirmsFailures,
    Broken::TakesAnyHistory,
    Broken::BeginsWithNothing,
    Broken::Overwrites,
];

/// An object: which history it belongs to. Zero is the database's.
type Branch = u8;

#[derive(Default)]
struct World {
    dice: Option<Dice>,
    broken: Option<Broken>,
    now_ms: u64,
    due: BTreeMap<(u64, u64), Due>,
    serial: u64,
    /// The history goes up to there, and level 0 of the first replica begins there.
    newest: u64,
    oldest: u64,
    first_is_down: bool,
    /// How often of a hundred a request to the mirror's store goes wrong.
    faults: u64,
    l0: BTreeMap<u64, Branch>,
    snapshots: BTreeSet<(u64, Branch)>,
    /// The note: the mirror is in step up to there.
    noted: Option<u64>,
    at_hand: BTreeSet<u64>,
    core: Option<Core>,
    life: u32,
    confirmed: u64,
    /// Another history was put there.
    is_foreign: bool,
    is_refused: bool,
    trace: Option<Vec<String>>,
}

enum Due {
    Timer(u32),
    Done(u32, Event),
}

fn txid(number: u64) -> Txid {
    Txid::new(number).expect("TXIDs begin with one")
}

fn passing() -> Trouble {
    Trouble::Passing { why: "503".into(), refused: false }
}

impl World {
    fn new(seed: u64, broken: Option<Broken>, is_traced: bool) -> World {
        let dice = Some(Dice::of(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(7)));
        let trace = is_traced.then(Vec::new);
        let mut world = World { dice, broken, trace, now_ms: 1_000_000, oldest: 1, ..World::default() };
        world.newest = world.roll(30);
        world.oldest = 1 + world.roll(world.newest + 1);
        world
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice.as_mut().expect("thrown").roll(sides)
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        let now = self.now_ms;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now:>9} {}", what()));
        }
    }

    fn now(&self) -> Now {
        let passed = Duration::from_millis(self.now_ms);
        Now { instant: *START.get_or_init(Instant::now) + passed, boot: passed }
    }

    fn run(&mut self) -> Result<(), String> {
        self.start()?;
        for _ in 0..TURNS {
            self.happen()?;
            let pause = 1 << self.roll(13);
            self.go_on_for(pause)?;
        }
        self.say(|| "peace".into());
        (self.faults, self.first_is_down) = (0, false);
        if self.core.is_none() {
            self.start()?;
        }
        self.go_on_for(PEACE_MS)?;
        self.check_end()
    }

    fn happen(&mut self) -> Result<(), String> {
        match self.roll(14) {
            0..4 => self.commit()?,
            4 => {
                for _ in 0..self.roll(60) {
                    self.commit()?;
                }
            }
            5 => self.faults = 0,
            6 => self.faults = self.roll(100),
            7 => self.faults = 100,
            8 => self.first_is_down = !self.first_is_down,
            // Retention: the newest object stays.
            9 => self.oldest += self.roll(self.newest.saturating_sub(self.oldest) + 1),
            10 if self.core.is_some() => self.kill(),
            10 | 11 if self.core.is_none() => {
                if self.roll(3) == 0 {
                    self.say(|| "the notes are lost".into());
                    self.noted = None;
                }
                self.start()?;
            }
            12 if self.core.is_none() && self.roll(4) == 0 => {
                self.say(|| "the mirror is emptied".into());
                (self.confirmed, self.noted) = (0, None);
                self.l0.clear();
                self.snapshots.clear();
            }
            13 if self.core.is_none() && self.roll(4) == 0 => {
                self.say(|| "the mirror has another history".into());
                let len = 1 + self.roll(2 * self.newest + 2);
                (self.is_foreign, self.confirmed, self.noted) = (true, 0, None);
                self.l0 = (1..=len).map(|number| (number, 1)).collect();
                self.snapshots.clear();
            }
            13 if self.core.is_some() && self.roll(8) == 0 => {
                self.say(|| "somebody else writes into the mirror".into());
                let next = self.end().map_or(1, |(end, _)| end + 1);
                (self.is_foreign, _) = (true, self.l0.insert(next, 1));
            }
            _ => {}
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        self.newest += 1;
        if self.roll(3) > 0 {
            self.at_hand.insert(self.newest);
        }
        let newest = self.newest;
        match self.core {
            Some(_) => self.tell(Event::Final(txid(newest))),
            None => Ok(()),
        }
    }

    fn kill(&mut self) {
        self.say(|| "killed".into());
        self.core = None;
        self.at_hand.clear();
    }

    fn start(&mut self) -> Result<(), String> {
        self.say(|| "starts".into());
        let config = Config {
            sync_interval: Duration::from_millis([0, 1000][self.roll(2) as usize]),
            final_retry_interval: Duration::from_millis(500),
            proof_lasts: Duration::from_secs(60),
        };
        self.life += 1;
        self.is_refused = false;
        self.core = Some(Core::new(config, self.roll(1 << 30)));
        match self.newest {
            0 => Ok(()),
            newest => self.tell(Event::Final(txid(newest))),
        }
    }

    fn later(&mut self, pause_ms: u64, due: Due) {
        self.serial += 1;
        self.due.insert((self.now_ms + pause_ms, self.serial), due);
    }

    fn go_on_for(&mut self, time_ms: u64) -> Result<(), String> {
        let until = self.now_ms + time_ms;
        let mut steps = 0;
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), due) = entry.remove_entry();
            self.now_ms = at;
            steps += 1;
            if steps > 20_000 {
                return Err("something is done again and again without a pause".into());
            }
            match due {
                Due::Timer(life) if life == self.life && self.core.is_some() => {
                    let wake_at = self.core.as_ref().and_then(Core::wake_at);
                    if wake_at.is_some_and(|at| at <= self.now().instant) {
                        self.tell(Event::Timer)?;
                    }
                }
                Due::Done(life, event) if life == self.life && self.core.is_some() => self.tell(event)?,
                Due::Timer(_) | Due::Done(..) => {}
            }
        }
        self.now_ms = until;
        Ok(())
    }

    fn tell(&mut self, event: Event) -> Result<(), String> {
        self.say(|| format!("<- {event:?}"));
        let now = self.now();
        let Some(core) = &mut self.core else { return Ok(()) };
        let effects = core.on_event(event, now);
        if let Some(at) = core.wake_at() {
            let pause = at.saturating_duration_since(now.instant).as_nanos().div_ceil(1_000_000);
            self.later(u64::try_from(pause).expect("not that long"), Due::Timer(self.life));
        }
        for effect in effects {
            self.say(|| format!("-> {effect:?}"));
            self.effect(effect)?;
        }
        Ok(())
    }

    fn effect(&mut self, effect: Effect) -> Result<(), String> {
        let event = match effect {
            Effect::Look => Event::Looked(self.look()),
            Effect::Copy(txid) => Event::Copied(self.copy(txid.get())?),
            Effect::BeginAnew(after) => Event::BegunAnew(self.begin_anew(after.map_or(0, Txid::get))),
            Effect::Confirmed(txid) => return self.is_confirmed(txid.get()),
            Effect::Say(super::core::Notice::Refused(_)) => {
                self.is_refused = true;
                return Ok(());
            }
            Effect::Maintain(_) | Effect::Say(_) => return Ok(()),
        };
        let pause = 1 + self.roll(40);
        self.later(pause, Due::Done(self.life, event));
        Ok(())
    }
}

fn simulate(seed: u64, broken: Option<Broken>) -> Result<(), String> {
    World::new(seed, broken, false).run()
}

fn trace(seed: u64) -> String {
    let mut world = World::new(seed, None, true);
    let end = world.run();
    format!("{}\n{end:?}", world.trace.unwrap_or_default().join("\n"))
}

#[test]
fn thousands_of_histories_hold() {
    all_hold(seeds(10_000), "scripts/simulate mirror", |seed| simulate(seed, None), trace);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..50 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}

#[test]
fn every_broken_variant_is_caught() {
    each_is_caught(&ALL, |seed, broken| simulate(seed, Some(broken)));
}

#[test]
fn most_histories_end_in_step() {
    let refused = (0..1000).filter(|seed| {
        let mut world = World::new(*seed, None, false);
        world.run().is_ok() && world.is_refused && !world.is_foreign
    });
    assert!(refused.count() < 400, "a mirror is refused too often for the simulation to show anything");
}
