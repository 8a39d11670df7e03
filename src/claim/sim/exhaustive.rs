//! Every history of two or three containers in which one or two things go wrong, at any request of
//! the handover: no dice.

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
fn run(newcomers: usize, plan: &[(usize, Deviation)], is_traced: bool) -> (Result<(), String>, Vec<String>) {
    let mut world = World::of_seed(1, None, is_traced);
    world.commit_every_ms = 10_000;
    let end = (|| {
        world.deploy(false)?;
        world.go_on_for(10_000)?;
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
    if let (Err(what), _) = run(newcomers, plan, false) {
        let trace = run(newcomers, plan, true).1.join("\n");
        panic!("{trace}\n{newcomers} newcomers, {plan:?}: {what}");
    }
}

#[test]
fn one_thing_that_goes_wrong_does_no_harm() {
    for newcomers in [1, 2] {
        for at in 0..60 {
            ALL.iter().for_each(|deviation| holds(newcomers, &[(at, *deviation)]));
        }
    }
}

#[test]
fn two_things_that_go_wrong_do_no_harm() {
    for newcomers in [1, 2] {
        for (first, second) in (0..14).flat_map(|first| (first + 1..15).map(move |second| (first, second))) {
            for one in ALL {
                ALL.iter().for_each(|other| holds(newcomers, &[(first, one), (second, *other)]));
            }
        }
    }
}
