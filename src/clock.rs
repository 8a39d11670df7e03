//! Time and jitter: the only door to clocks and randomness.
//!
//! Durations and deadlines use `tokio::time::Instant`, which tests can pause. The wall clock appears only where a format or a
//! person needs it. The boot clock also counts the time a machine was suspended, which the monotonic clock does not: a
//! paused VM must not believe that its last look at the bucket was a moment ago.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch by the wall clock; 0 when the clock stands before 1970.
pub fn unix_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// Time since boot, suspended time included (`CLOCK_BOOTTIME`).
pub fn since_boot() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid, writable timespec; the call has no other effect.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) } != 0;
    if failed {
        return Duration::ZERO;
    }
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A random number; good enough to spread retries and to name attempts, not for keys.
pub fn random_u64() -> u64 {
    // Every `RandomState` draws fresh keys from the operating system's generator (the first per thread) and steps them.
    RandomState::new().build_hasher().finish()
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
    /// With a seed of the operating system's.
    pub fn thrown() -> Dice {
        Dice(random_u64())
    }

    /// With the seed that `MILLSTREAM_TEST_SEED` names, or a new one, which is printed.
    #[cfg(test)]
    pub fn from_env() -> Dice {
        let seed = std::env::var("MILLSTREAM_TEST_SEED").ok().map(|text| text.parse().expect("a number"));
        let seed = seed.unwrap_or_else(random_u64);
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
        assert_ne!(random_u64(), random_u64());
    }

    #[test]
    fn clocks_run_forward() {
        assert!(unix_ms() > 1_700_000_000_000);
        assert!(since_boot() > Duration::ZERO);
    }
}
