//! Histories of a replica that grows old: what `task.rs` plans and applies, under a seeded
//! scheduler, with a model of the bucket.
//!
//! ```text
//!   world.rs    three clocks, one queue of what is under way; kills, faults
//!   others.rs   the writer, the setting of the clock, restores under way, strangers
//!   marked.rs   marks that people make and drop
//!   process.rs  one process: the owner of the plan and its sleep, as `run` in `task.rs` has them
//!   request.rs  what the bucket does with a piece of work
//!   bucket.rs   the objects, true and false ones, and every way in which a request can go wrong
//!   oracle.rs   what must hold after every step, and at the end
//!   broken.rs   executors that are wrong on purpose: each must be caught
//! ```
//!
//! A history is a function of its seed: `scripts/simulate maintenance 17` replays one and prints
//! what happened.

mod broken;
mod bucket;
mod marked;
mod oracle;
mod others;
mod process;
mod request;
mod world;

use self::broken::Broken;
use self::world::World;
use crate::replicate::seeds::{all_hold, each_is_caught, seeds};

/// `Err` is what does not hold.
fn simulate(seed: u64, broken: Option<Broken>) -> Result<(), String> {
    World::new(seed, broken, false).run()
}

/// What happened, and what does not hold in the end.
fn trace(seed: u64) -> String {
    let mut world = World::new(seed, None, true);
    let end = world.run();
    format!("{}\n{end:?}", world.trace.join("\n"))
}

#[test]
fn thousands_of_histories_hold() {
    all_hold(seeds(1_000), "scripts/simulate maintenance", |seed| simulate(seed, None), trace);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}

/// A history in which nothing happens proves nothing.
#[test]
fn histories_are_eventful() {
    let mut all = world::Count::default();
    for seed in 0..100 {
        let mut world = World::new(seed, None, false);
        world.run().expect("it holds");
        all.add(&world.count);
    }
    println!("{all:?}");
    assert!(all.is_eventful(), "{all:?}");
}

#[test]
fn every_broken_variant_is_caught() {
    each_is_caught(&Broken::ALL, |seed, broken| simulate(seed, Some(broken)));
}
