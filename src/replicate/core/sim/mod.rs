//! Ten thousand histories: the pure core under a seeded scheduler, with a model of the database and
//! of the bucket.
//!
//! ```text
//!   world.rs   one clock, one queue of what is under way, the bucket, the nodes; kills, restarts, faults; world/opening.rs: a
//!              process begins;
//!              world/sealing.rs: whether it may create objects before it has sealed the history
//!   bucket.rs  the bucket: objects by TXID, and every way in which a request can go wrong
//!   node.rs    one node: its disk, its application, its opening and its core; carries effects out as the drivers do
//!   mirror.rs  what a mirror gets while the bucket is away
//!   callers.rs who asks for a sync, and must get an answer that is true
//!   oracle.rs  what must hold after every step, and at the end
//!   broken.rs  executors that are wrong on purpose: each must be caught
//! ```
//!
//! A history is a function of its seed: `scripts/simulate 17` replays one and prints what happened.

mod broken;
mod bucket;
mod callers;
mod mirror;
mod node;
mod oracle;
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
fn ten_thousand_histories_hold() {
    all_hold(seeds(10_000), "scripts/simulate", |seed| simulate(seed, None), trace);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..50 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}

#[test]
fn every_broken_variant_is_caught() {
    each_is_caught(&Broken::ALL, |seed, broken| simulate(seed, Some(broken)));
}
