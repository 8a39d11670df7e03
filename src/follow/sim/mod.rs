//! Thousands of histories of a copy: the pure core under a seeded scheduler, with a model of the
//! replica, of the copy with its note, and of what is done to both.
//!
//! ```text
//!   world.rs     time, what happens, and how a history ends
//!   replica.rs   the database that is replicated, and its files in the bucket
//!   lead.rs      the primary that pushes, and the connection to it
//!   copy.rs      carries out what the core wants done with the copy, in steps that a kill can part
//!   says.rs      what the copy says of itself must be true
//!   broken.rs    executors that are wrong on purpose: each must be caught
//! ```
//!
//! What must hold: what is committed to the copy is the state that the core takes it for, and so
//! is all that readers see until another program writes; and in the end, when everything works
//! again, the copy is the newest state. While nothing goes wrong, it is never far behind.
//!
//! `scripts/simulate follow 17` replays one history and prints what happened.

mod broken;
mod copy;
mod lead;
mod replica;
mod says;
mod world;

use self::broken::Broken;
use self::world::World;
use crate::fuzz::seeds::{all_hold, each_happens, each_is_caught, seeds};

/// `Err` is what does not hold.
fn simulate(seed: u64, broken: Option<Broken>) -> Result<(), String> {
    let mut world = World::of_seed(seed, broken, false);
    // Where other things go wrong, a copy may be far behind.
    world.is_calm = broken == Some(Broken::MissesALostConnection);
    world.run()
}

/// What happened, and what does not hold in the end.
fn trace(seed: u64) -> String {
    let mut world = World::of_seed(seed, None, true);
    let end = world.run();
    format!("{}\n{end:?}", world.trace.join("\n"))
}

#[test]
fn thousands_of_histories_hold() {
    all_hold(seeds(2_000), "scripts/simulate follow", |seed| simulate(seed, None), trace);
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
        ("restores", 1000),
        ("installs", 4000),
        ("installs of whole images", 600),
        ("kills in an install", 200),
        ("foreign writes", 500),
        ("other histories", 200),
        ("damaged files", 200),
        ("replaced", 50),
        ("catches up", 3000),
        ("installs of pushes", 3000),
        ("connections", 2000),
        ("lost connections", 1000),
        ("pushes again", 1000),
        ("pushes of a superseded primary", 400),
    ];
    each_happens(&least, |seed| {
        let mut world = World::of_seed(seed, None, false);
        world.run().expect("it holds");
        world.counts
    });
}

/// While nothing goes wrong, nothing is read twice: a whole image is never installed.
#[test]
fn a_copy_that_is_left_alone_is_never_compared_with_a_whole_image() {
    for seed in 0..100 {
        let mut world = World::of_seed(seed, None, false);
        world.is_calm = true;
        world.run().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        assert_eq!(world.counts.get("installs of whole images"), None, "seed {seed}");
        assert_eq!(world.counts.get("restores"), Some(&1), "seed {seed}");
    }
}

/// A listing costs money; what is pushed needs none.
#[test]
fn a_copy_that_is_pushed_to_seldom_lists_its_replica() {
    for seed in 0..100 {
        let mut world = World::of_seed(seed, None, false);
        (world.is_calm, world.line.is_steady) = (true, true);
        world.run().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        let count = |what| world.counts.get(what).copied().unwrap_or(0);
        let [lists, pushes, asked] = ["lists", "installs of pushes", "catches up"].map(count);
        let most = 6 + 2 * asked + u32::try_from(world.passed_ms() / 30_000).expect("not that long");
        assert!(lists <= most && pushes >= 10, "seed {seed}: {lists} of {most} listings, {pushes} pushes");
    }
}

#[test]
fn every_broken_variant_is_caught() {
    each_is_caught(&Broken::ALL, |seed, broken| simulate(seed, Some(broken)));
}
