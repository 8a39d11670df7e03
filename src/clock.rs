//! The only way to time and randomness: one handle for all of it.
//!
//! | a [`Clock`]'s | | for |
//! |---|---|---|
//! | `instant` | is monotonic; tests can pause it | pauses and deadlines |
//! | `since_boot` | also runs while the machine is suspended | how long ago the bucket was seen |
//! | `unix_ms` | can be set, also back | formats and people |
//! | `random_u64`, `dice` | not for keys | spreading retries, naming attempts |
//!
//! What waits, or compares times, owns a handle: a replication has it in its `Settings`, a replica
//! in its `Remote`. The pure cores have none: they are told the time, and given a seed. [`MACHINE`]
//! is the real one. Only these name it: `cli` and `run`, which hand it down; a `Remote` that was
//! given no other; and what is of this machine in any case, such as processes, the terminal and
//! the names of temporary files. `clippy.toml` forbids every other way to the time.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The clocks of this machine, and its random numbers.
pub const MACHINE: Clock = Clock {
    #[cfg(test)]
    simulated: None,
};

/// A moment, by both clocks that decisions count with.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Runs while the machine runs: for pauses and deadlines.
    pub instant: Instant,
    /// Runs while the machine is suspended, too: for how long ago the bucket was seen.
    pub boot: Duration,
}

/// Where time and randomness come from.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    #[cfg(test)]
    simulated: Option<&'static Simulated>,
}

#[expect(clippy::disallowed_methods, reason = "everything else asks a Clock")]
impl Clock {
    /// By the monotonic clock.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Time since boot, suspended time included (`CLOCK_BOOTTIME`).
    pub fn since_boot(&self) -> Duration {
        #[cfg(test)]
        if let Some(simulated) = self.simulated {
            return simulated.passed();
        }
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a valid, writable timespec; the call has no other effect.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) } != 0;
        if failed {
            return Duration::ZERO;
        }
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    }

    pub fn now(&self) -> Now {
        Now { instant: self.instant(), boot: self.since_boot() }
    }

    /// Milliseconds since the Unix epoch by the wall clock; 0 when the clock stands before 1970.
    pub fn unix_ms(&self) -> i64 {
        #[cfg(test)]
        if let Some(simulated) = self.simulated {
            return simulated.unix_ms + i64::try_from(simulated.passed().as_millis()).unwrap_or(0);
        }
        let now = SystemTime::now();
        now.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }

    /// A random number; good enough to spread retries and to name attempts, not for keys.
    pub fn random_u64(&self) -> u64 {
        #[cfg(test)]
        if let Some(simulated) = self.simulated {
            return simulated.random_u64();
        }
        // Every `RandomState` has keys of its own: the operating system's, counted up on each
        // thread.
        RandomState::new().build_hasher().finish()
    }

    /// Numbers that follow from a random seed.
    pub fn dice(&self) -> Dice {
        Dice(self.random_u64())
    }

    /// For a thread that blocks: what it waits for is real, so its time must not be one that a test
    /// has paused.
    pub fn blocking_instant(&self) -> std::time::Instant {
        std::time::Instant::now()
    }

    /// Keeps this thread for as long.
    pub fn block_for(&self, pause: Duration) {
        std::thread::sleep(pause);
    }
}

/// Three times that follow tokio's, which a test can pause, and numbers that follow from a seed.
#[cfg(test)]
#[derive(Debug)]
struct Simulated {
    began: Instant,
    unix_ms: i64,
    numbers: std::sync::Mutex<Dice>,
}

#[cfg(test)]
impl Simulated {
    fn passed(&self) -> Duration {
        MACHINE.instant().duration_since(self.began)
    }

    fn random_u64(&self) -> u64 {
        let mut numbers = self.numbers.lock().expect("no panic under the lock");
        (numbers.roll(1 << 31) << 31) | numbers.roll(1 << 31)
    }
}

#[cfg(test)]
impl Clock {
    /// A clock for one test, kept until the process ends. Its wall clock stands at `unix_ms` now.
    pub fn simulated(seed: u64, unix_ms: i64) -> Clock {
        let numbers = std::sync::Mutex::new(Dice::of(seed));
        Clock { simulated: Some(Box::leak(Box::new(Simulated { began: MACHINE.instant(), unix_ms, numbers }))) }
    }
}

/// Exponential backoff with full jitter in its upper half: between 50 % and 100 % of the step.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    step: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, cap: Duration) -> Backoff {
        Backoff { first, cap, step: first }
    }

    /// The next pause; each is twice the last until the cap.
    pub fn next_pause(&mut self, dice: &mut Dice) -> Duration {
        let step = self.step;
        self.step = (step * 2).min(self.cap);
        let half = step / 2;
        half + half.mul_f64(dice.roll(1 << 20) as f64 / f64::from(1 << 20))
    }

    pub fn reset(&mut self) {
        self.step = self.first;
    }
}

/// Numbers that look random and follow from a seed: for jitter, and for tests that can be replayed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// With the seed that `MILLSTREAM_TEST_SEED` names, or a new one, which is printed.
    #[cfg(test)]
    pub fn from_env() -> Dice {
        let seed = std::env::var("MILLSTREAM_TEST_SEED").ok().map(|text| text.parse().expect("a number"));
        let seed = seed.unwrap_or_else(|| MACHINE.random_u64());
        println!("MILLSTREAM_TEST_SEED={seed}");
        Dice(seed)
    }

    pub const fn of(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_cap_and_resets() {
        let mut dice = Dice::from_env();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for step_ms in [100, 200, 350, 350] {
            let pause = backoff.next_pause(&mut dice);
            let step = Duration::from_millis(step_ms);
            assert!(pause >= step / 2 && pause <= step, "{pause:?} for a step of {step:?}");
        }
        backoff.reset();
        assert!(backoff.next_pause(&mut dice) <= Duration::from_millis(100));
    }

    #[test]
    fn random_numbers_differ() {
        assert_ne!(MACHINE.random_u64(), MACHINE.random_u64());
    }

    #[test]
    fn clocks_run_forward() {
        assert!(MACHINE.unix_ms() > 1_700_000_000_000);
        assert!(MACHINE.since_boot() > Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_follows_the_test_and_its_seed() {
        let (clock, again) = (Clock::simulated(7, 1_500_000_000_000), Clock::simulated(7, 0));
        let (began, wall_ms) = (clock.now(), clock.unix_ms());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let now = clock.now();
        assert_eq!(now.instant - began.instant, Duration::from_secs(3600));
        assert_eq!(now.boot - began.boot, Duration::from_secs(3600));
        assert_eq!(clock.unix_ms() - wall_ms, 3_600_000);
        let numbers = [(); 3].map(|()| clock.random_u64());
        assert_eq!(numbers, [(); 3].map(|()| again.random_u64()));
        assert_ne!(numbers[0], numbers[1]);
    }
}
