//! Thousands of histories of requests, roles and applications: no request is lost, none waits
//! beyond its bound, no more are held than may be, what may write reaches a primary only, and a
//! read sees what its client has written. Each rule is shown once by a decision that breaks it.

use std::time::Duration;

use tokio::time::Instant;

use super::core::{App, Asked, Course, Need, Refusal, Standing, Step, Verdict, decide};
use super::position::ClientPosition;
use crate::clock::Dice;
use crate::ltx::Txid;
use crate::primary::{Peer, Primary};

const WAIT: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(10);
const ROOM: usize = 4;

/// What stands between the core and the world here: the real core, or a broken one.
type Next = fn(&mut Course, &Asked, &Standing, Instant, bool) -> Step;

fn real(course: &mut Course, _: &Asked, standing: &Standing, now: Instant, has_room: bool) -> Step {
    course.next(standing, now, || has_room)
}

struct Flying {
    course: Course,
    asked: Asked,
    arrived_at: Instant,
    wake_at: Instant,
    holds_room: bool,
}

struct World {
    dice: Dice,
    standing: Standing,
    now: Instant,
    flying: Vec<Flying>,
    arrived: usize,
    answered: usize,
    refused: usize,
    forwarded: usize,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            dice: Dice::of(seed),
            standing: Standing::default(),
            now: Instant::now(),
            flying: Vec::new(),
            arrived: 0,
            answered: 0,
            refused: 0,
            forwarded: 0,
        }
    }

    fn change(&mut self) {
        self.standing.shown = self.position();
        let apps = [App::Absent, App::Starting, App::Accepting, App::Accepting, App::Leaving, App::Gone];
        self.standing.app = apps[self.dice.roll(apps.len() as u64) as usize];
        self.standing.primary = match self.dice.roll(4) {
            0 => Primary::Unknown,
            1 => Primary::At(Peer { name: "b".into(), url: Some("http://b".into()) }),
            2 => Primary::At(Peer { name: "c".into(), url: None }),
            _ => Primary::Here,
        };
    }

    fn position(&mut self) -> ClientPosition {
        std::iter::once(Txid::new(self.dice.roll(4))).collect()
    }

    fn arrive(&mut self) {
        let need = [Need::Local, Need::Read, Need::Write][self.dice.roll(3) as usize];
        let after = (self.dice.roll(2) == 0).then(|| self.position()).filter(|_| need == Need::Read);
        let asked = Asked { need, after, is_forwarded: self.dice.roll(4) == 0 };
        let course = Course::new(asked.clone(), WAIT, PATIENCE);
        let (arrived_at, wake_at) = (self.now, self.now);
        self.flying.push(Flying { course, asked, arrived_at, wake_at, holds_room: false });
        self.arrived += 1;
    }

    /// Lets every request go as far as it can. `Err`: a rule is broken.
    fn advance(&mut self, next: Next, everyone: bool) -> Result<(), String> {
        let mut index = 0;
        while index < self.flying.len() {
            if !everyone && self.flying[index].wake_at > self.now {
                index += 1;
                continue;
            }
            match self.step(index, next)? {
                true => drop(self.flying.swap_remove(index)),
                false => index += 1,
            }
        }
        let held = self.flying.iter().filter(|flying| flying.holds_room).count();
        if held > ROOM || self.flying.len() > held {
            return Err(format!("{held} are held, {} wait", self.flying.len()));
        }
        Ok(())
    }

    /// Whether the request is over.
    fn step(&mut self, index: usize, next: Next) -> Result<bool, String> {
        let held = self.flying.iter().filter(|flying| flying.holds_room).count();
        let flying = &mut self.flying[index];
        let (asked, arrived_at) = (&flying.asked, flying.arrived_at);
        // A server may turn out not to accept connections.
        for _ in 0..3 {
            let step = next(&mut flying.course, asked, &self.standing, self.now, held < ROOM);
            let is_unsent = self.dice.roll(3) == 0;
            match step {
                Step::Pass => {
                    let is_primary = self.standing.primary == Primary::Here;
                    if asked.need == Need::Write && !is_primary {
                        return Err("a write has reached an application that is not the primary's".into());
                    }
                    let is_recent = asked.after.as_ref().is_none_or(|after| self.standing.shown.includes(after));
                    if !is_primary && !is_recent {
                        return Err("a read does not see what its client has written".into());
                    }
                    if self.standing.app != App::Accepting {
                        return Err(format!("passed to an application that is {:?}", self.standing.app));
                    }
                    if !is_unsent {
                        self.answered += 1;
                        return Ok(true);
                    }
                    self.standing.app = App::Starting;
                    flying.course.unsent(self.now);
                }
                Step::Forward(_) => {
                    if asked.is_forwarded || asked.need == Need::Local {
                        return Err("forwarded once too often".into());
                    }
                    if !is_unsent {
                        self.forwarded += 1;
                        return Ok(true);
                    }
                    flying.course.unsent(self.now);
                }
                Step::Refuse(refusal) => {
                    let waited = self.now - arrived_at;
                    if matches!(refusal, Refusal::TooLate | Refusal::Behind) && waited < WAIT {
                        return Err(format!("refused after {waited:?}"));
                    }
                    self.refused += 1;
                    return Ok(true);
                }
                Step::WaitUntil(at) => {
                    if at > arrived_at + WAIT || at <= self.now {
                        return Err(format!("waits until {:?} after it came", at - arrived_at));
                    }
                    (flying.wake_at, flying.holds_room) = (at, true);
                    return Ok(false);
                }
            }
        }
        Err("it is tried without a pause".into())
    }

    /// The next moment: something happens, or the earliest wait is over.
    fn pass_time(&mut self) -> bool {
        let pause = Duration::from_millis(self.dice.roll(20_000));
        let soonest = self.flying.iter().map(|flying| flying.wake_at).min();
        let (moment, is_change) = match soonest {
            Some(at) if at <= self.now + pause => (at, false),
            _ => (self.now + pause, true),
        };
        self.now = moment;
        is_change
    }
}

fn run(seed: u64, next: Next) -> Result<World, String> {
    let mut world = World::new(seed);
    for _ in 0..60 {
        let is_change = world.pass_time();
        if is_change {
            match world.dice.roll(2) {
                0 => world.change(),
                _ => (0..=world.dice.roll(3)).for_each(|_| world.arrive()),
            }
        }
        world.advance(next, is_change)?;
    }
    while !world.flying.is_empty() {
        let soonest = world.flying.iter().map(|flying| flying.wake_at).min();
        world.now = soonest.unwrap_or(world.now).max(world.now);
        world.advance(next, false)?;
    }
    match world.answered + world.refused + world.forwarded == world.arrived {
        true => Ok(world),
        false => Err("a request is lost".into()),
    }
}

#[test]
fn no_history_breaks_a_rule() {
    let (mut answered, mut refused, mut forwarded) = (0, 0, 0);
    for seed in 0..10_000 {
        let world = run(seed, real).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        answered += world.answered;
        refused += world.refused;
        forwarded += world.forwarded;
    }
    assert!(answered > 10_000 && refused > 10_000 && forwarded > 10_000, "{answered} {refused} {forwarded}");
}

#[test]
fn a_broken_core_is_caught() {
    let broken: [(&str, Next); 6] = [
        ("a write goes to whoever accepts it", |course, _, standing, now, has_room| match standing.app {
            App::Accepting => Step::Pass,
            _ => course.next(standing, now, || has_room),
        }),
        ("what was forwarded is forwarded again", |course, asked, standing, now, has_room| {
            match decide(standing, &Asked { is_forwarded: false, ..asked.clone() }, true) {
                Verdict::Forward(peer) => Step::Forward(peer.clone()),
                _ => course.next(standing, now, || has_room),
            }
        }),
        ("no limit of time", |course, _, standing, now, has_room| match course.next(standing, now, || has_room) {
            Step::WaitUntil(_) | Step::Refuse(Refusal::TooLate) => Step::WaitUntil(now + WAIT),
            step => step,
        }),
        ("a read is answered wherever it comes", |course, asked, standing, now, has_room| match asked.need {
            Need::Read if standing.app == App::Accepting => Step::Pass,
            _ => course.next(standing, now, || has_room),
        }),
        ("no limit of number", |course, _, standing, now, _| course.next(standing, now, || true)),
        ("an application that leaves gets more", |course, _, standing, now, has_room| {
            match (standing.app, &standing.primary) {
                (App::Leaving, Primary::Here) => Step::Pass,
                _ => course.next(standing, now, || has_room),
            }
        }),
    ];
    for (name, next) in broken {
        assert!((0..1000).any(|seed| run(seed, next).is_err()), "not caught: {name}");
    }
}
