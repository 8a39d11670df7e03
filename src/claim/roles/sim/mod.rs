//! Thousands of histories of a cluster: the pure core under a seeded scheduler, with a model of the
//! bucket, of the databases and of what starts processes.
//!
//! ```text
//!   world.rs      one true time, and one queue of what is under way
//!   turns.rs      kills, pauses, partitions, faults, orders of people; and how a history ends
//!   node.rs       one node: its clocks, its disk, its process if one runs
//!   executor.rs   carries out what the core wants; the application, its commits and uploads
//!   requests.rs   what becomes of requests
//!   failover.rs   how long a cluster is without a primary
//!   oracle.rs     what must hold after every step, and at the end
//!   broken.rs     executors that are wrong on purpose: each must be caught
//! ```
//!
//! A history is a function of its seed: `scripts/simulate roles 17` replays one and prints what
//! happened.

mod broken;
mod executor;
mod failover;
mod node;
mod oracle;
mod requests;
mod turns;
mod world;

use std::time::Duration;

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
fn thousands_of_histories_hold() {
    all_hold(seeds(5_000), "scripts/simulate roles", |seed| simulate(seed, None), trace);
}

#[test]
fn a_killed_primary_is_replaced_within_its_ttl_and_three_seconds() {
    let longest = std::cell::Cell::new(Duration::ZERO);
    let simulate = |seed| {
        let took = failover::simulate(seed, None)?;
        longest.set(longest.get().max(took));
        Ok(())
    };
    all_hold(seeds(1_000), "scripts/simulate failover", simulate, failover::trace);
    println!("longest: {:?}", longest.get());
}

#[test]
fn a_node_that_looks_late_is_caught() {
    each_is_caught(&[Broken::WakesLate], |seed, broken| failover::simulate(seed, Some(broken)).map(drop));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}

#[test]
fn every_kind_of_change_happens_often() {
    let least = [
        ("opens", 3000),
        ("superseded", 300),
        ("taken for dead", 300),
        ("closed", 300),
        ("reopened", 50),
        ("primary-silent", 300),
        ("handed-over", 20),
        ("promoted", 200),
        ("free", 200),
        ("restart", 200),
        ("denied", 20),
        ("cannot seal", 10),
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
