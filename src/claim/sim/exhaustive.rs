//! Every history of two or three containers in which one or two things go wrong, at any request of
//! the handover: no dice.

use super::broken::Broken;
use super::world::{Fate, World};

/// What goes wrong at one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    Fate(Fate),
    /// The process is killed right after it sent the request.
    Kill,
    /// … or stopped for a minute.
    Pause,
}

const ALL: [Deviation; 5] = [
    Deviation::Fate(Fate::Lost),
    Deviation::Fate(Fate::LostReply),
    Deviation::Fate(Fate::Late),
    Deviation::Kill,
    Deviation::Pause,
];

/// Which requests go wrong, by their numbers.
#[derive(Clone, Default)]
pub struct Script {
    plan: Vec<(usize, Deviation)>,
    at: usize,
}

impl Script {
    pub fn next(&mut self) -> Option<Deviation> {
        self.at += 1;
        self.plan.iter().find(|(at, _)| *at == self.at - 1).map(|(_, deviation)| *deviation)
    }
}

const STEP_MS: u64 = 7_000;

/// One holder, and newcomers that follow one another; whatever goes wrong is in `plan`.
fn run(
    newcomers: usize,
    plan: &[(usize, Deviation)],
    broken: Option<Broken>,
    is_traced: bool,
) -> (Result<(), String>, Vec<String>) {
    let mut world = World::of_seed(1, broken, is_traced);
    world.commit_every_ms = 10_000;
    let end = (|| {
        world.deploy(false)?;
        world.go_on_for(60_000)?;
        world.script = Some(Script { plan: plan.to_vec(), at: 0 });
        for _ in 0..newcomers {
            world.deploy(false)?;
            world.go_on_for(STEP_MS)?;
        }
        world.go_on_for(60_000)?;
        world.script = None;
        world.rest(&[8 * 60_000, 60 * 60_000])
    })();
    (end, world.trace)
}

fn holds(newcomers: usize, plan: &[(usize, Deviation)]) {
    if let (Err(what), _) = run(newcomers, plan, None, false) {
        let trace = run(newcomers, plan, None, true).1.join("\n");
        panic!("{trace}\n{newcomers} newcomers, {plan:?}: {what}");
    }
}

#[test]
fn one_thing_that_goes_wrong_does_no_harm() {
    for newcomers in [1, 2] {
        for at in 0..160 {
            ALL.iter().for_each(|deviation| holds(newcomers, &[(at, *deviation)]));
        }
    }
}

#[test]
fn two_things_that_go_wrong_do_no_harm() {
    for newcomers in [1, 2] {
        for (first, second) in (0..19).flat_map(|first| (first + 1..20).map(move |second| (first, second))) {
            for one in ALL {
                ALL.iter().for_each(|other| holds(newcomers, &[(first, one), (second, *other)]));
            }
        }
    }
}

#[test]
fn the_search_sees_mistakes() {
    for broken in [Broken::NeverSeals, Broken::OpensAtOnce, Broken::IgnoresLaterClaims] {
        assert!(run(1, &[], Some(broken), false).0.is_err(), "{broken:?}");
    }
    let lost = [(1, Deviation::Fate(Fate::LostReply))];
    assert!(run(1, &lost, Some(Broken::TakesALostReplyForALoss), false).0.is_err());
    assert!(run(1, &lost, None, false).0.is_ok());
}
