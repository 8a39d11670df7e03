//! Ten thousand histories: the pure core under a seeded scheduler, with a model of the database and of the bucket.
//!
//! ```text
//!   world.rs   one clock, one queue of what is under way, the bucket, the nodes; kills, restarts, faults
//!   bucket.rs  the bucket: objects by TXID, and every way in which a request can go wrong
//!   node.rs    one node: its disk, its application, its core; carries effects out as `driver.rs` and `disk.rs` do
//!   callers.rs who asks for a sync, and must get an answer that is true
//!   oracle.rs  what must hold after every step, and at the end
//!   broken.rs  executors that are wrong on purpose: each must be caught
//! ```
//!
//! A history is a function of its seed: `scripts/simulate 17` replays one and prints what happened.

mod broken;
mod bucket;
mod callers;
mod node;
mod oracle;
mod world;

use self::broken::Broken;
use self::world::World;

/// The seeds to run: `MILLSTREAM_SIM_SEEDS=FROM..TO`, or so many from zero.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("MILLSTREAM_SIM_SEEDS") else { return 0..usual };
    let (from, to) = text.split_once("..").unwrap_or((&text, ""));
    let from = from.parse().expect("a seed");
    from..to.parse().unwrap_or(from + 1)
}

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
    let seeds = seeds(10_000);
    let is_one = seeds.end - seeds.start == 1;
    for seed in seeds {
        if is_one {
            println!("{}", trace(seed));
        }
        if let Err(what) = simulate(seed, None) {
            panic!("seed {seed}: {what}; scripts/simulate {seed} prints what happened");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..50 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}

#[test]
fn every_broken_variant_is_caught() {
    for broken in Broken::ALL {
        let caught = (0..1000).find(|&seed| simulate(seed, Some(broken)).is_err());
        let Some(seed) = caught else { panic!("{broken:?} was not caught by 1000 seeds") };
        println!("{broken:?}: caught by seed {seed}");
    }
}
