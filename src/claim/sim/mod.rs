//! Ten thousand histories of claims: the pure core under a seeded scheduler, with a model of the
//! bucket, of the application and of what starts containers; and every history with a few faults.
//!
//! ```text
//!   world.rs       one true time, and one queue of what is under way
//!   turns.rs       deploys, kills, pauses, partitions, faults; and how a history ends
//!   container.rs   one container: its clocks, its disk, its process if one runs
//!   executor.rs    carries out what the core wants; the application, its commits and uploads
//!   bucket.rs      claims, beats and the log, whose next object is created once
//!   oracle.rs      what must hold after every step, and at the end
//!   broken.rs      executors that are wrong on purpose: each must be caught
//!   exhaustive.rs  not seeds, but all ways in which one or two things go wrong
//! ```
//!
//! A history is a function of its seed: `scripts/simulate claims 17` replays one and prints what
//! happened.

mod broken;
pub mod bucket;
pub mod container;
mod executor;
mod exhaustive;
mod oracle;
mod turns;
mod world;

use self::broken::Broken;
use self::world::World;
use crate::fuzz::seeds::{all_hold, each_happens, each_is_caught, seeds};

/// `Err` is what does not hold.
fn simulate(seed: u64, broken: Option<Broken>) -> Result<(), String> {
    World::of_seed(seed, broken, false).run()
}

/// What happened, and what does not hold in the end.
fn trace(seed: u64) -> String {
    let mut world = World::of_seed(seed, None, true);
    let end = world.run();
    format!("{}\n{end:?}", world.trace.join("\n"))
}

#[test]
fn ten_thousand_histories_hold() {
    all_hold(seeds(10_000), "scripts/simulate claims", |seed| simulate(seed, None), trace);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..50 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}

#[test]
fn every_kind_of_change_happens_often() {
    let least = [
        ("opens", 3000),
        ("superseded", 500),
        ("taken for dead", 300),
        ("stands by", 200),
        ("successor-ended", 100),
        ("successor-silent", 50),
        ("alone", 50),
        ("retreats", 20),
        ("denied", 100),
    ];
    each_happens(&least, |seed| {
        let mut world = World::of_seed(seed, None, false);
        world.run().expect("it holds");
        world.counts
    });
}

#[test]
fn every_broken_variant_is_caught() {
    each_is_caught(&Broken::ALL, |seed, broken| simulate(seed, Some(broken)));
}
