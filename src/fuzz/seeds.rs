//! What the simulations share: which seeds are run, and how a failing one is told.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;

/// The seeds to run: `MILLSTREAM_SIM_SEEDS=FROM..TO`, or so many from zero.
pub fn seeds(usual: u64) -> Range<u64> {
    let Ok(text) = std::env::var("MILLSTREAM_SIM_SEEDS") else { return 0..usual };
    let (from, to) = text.split_once("..").unwrap_or((&text, ""));
    let from = from.parse().expect("a seed");
    from..to.parse().unwrap_or(from + 1)
}

/// Fails at the first seed that does not hold, with the command that prints what happened; prints
/// it if there is one seed only.
pub fn all_hold(
    seeds: Range<u64>,
    command: &str,
    simulate: impl Fn(u64) -> Result<(), String>,
    trace: impl Fn(u64) -> String,
) {
    let is_one = seeds.end - seeds.start == 1;
    for seed in seeds {
        if is_one {
            println!("{}", trace(seed));
        }
        if let Err(what) = simulate(seed) {
            panic!("seed {seed}: {what}; {command} {seed} prints what happened");
        }
    }
}

/// Fails unless a thousand seeds do each of these things as often as that: a simulation in which
/// nothing happens shows nothing.
pub fn each_happens(least: &[(&str, u32)], counts: impl Fn(u64) -> BTreeMap<&'static str, u32>) {
    let mut all = BTreeMap::new();
    for (what, count) in (0..1000).flat_map(counts) {
        *all.entry(what).or_insert(0) += count;
    }
    println!("{all:?}");
    for (what, least) in least {
        assert!(all.get(what).is_some_and(|count| count >= least), "{what}: {all:?}");
    }
}

/// Fails unless each of these mistakes is caught by one of a thousand seeds.
pub fn each_is_caught<B: Copy + Debug>(mistakes: &[B], simulate: impl Fn(u64, B) -> Result<(), String>) {
    for &broken in mistakes {
        let caught = (0..1000).find_map(|seed| Some((seed, simulate(seed, broken).err()?)));
        let Some((seed, what)) = caught else { panic!("{broken:?} was not caught by 1000 seeds") };
        println!("{broken:?}: caught by seed {seed}: {what}");
    }
}
