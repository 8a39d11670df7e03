//! For how long something has not changed, by our own clock and our own looks.
//!
//! Clocks are never compared with those of others. A pause of ours, in which nothing was looked at,
//! is not held against them: between two looks no more time counts than they are usually apart.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Watch<T> {
    last: T,
    still: Duration,
    total: Duration,
}

impl<T: PartialEq> Watch<T> {
    pub fn begin(first: T) -> Watch<T> {
        Watch { last: first, still: Duration::ZERO, total: Duration::ZERO }
    }

    /// It was looked at again after `step`.
    pub fn observe(&mut self, seen: T, step: Duration) {
        self.total += step;
        if seen == self.last {
            self.still += step;
        } else {
            (self.last, self.still) = (seen, Duration::ZERO);
        }
    }

    /// Since the last change.
    pub fn still(&self) -> Duration {
        self.still
    }

    /// Since the beginning.
    pub fn total(&self) -> Duration {
        self.total
    }
}

/// Measures the time from look to look.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    last: Option<Duration>,
}

impl Steps {
    /// The time since the last look by the boot clock, and at most twice the usual pause.
    pub fn next(&mut self, boot: Duration, pause: Duration) -> Duration {
        let since = self.last.map_or(Duration::ZERO, |last| boot.saturating_sub(last));
        self.last = Some(boot);
        since.min(pause * 2)
    }

    /// Since the last look that was answered; `None` before the first.
    pub fn since(&self, boot: Duration) -> Option<Duration> {
        self.last.map(|last| boot.saturating_sub(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_begins_anew_and_a_pause_of_ours_counts_little() {
        let second = Duration::from_secs(1);
        let mut steps = Steps::default();
        let mut watch = Watch::begin(1);
        for at in [100, 101, 102] {
            watch.observe(1, steps.next(second * at, second));
        }
        assert_eq!((watch.still(), watch.total()), (second * 2, second * 2));
        watch.observe(1, steps.next(second * 1000, second));
        assert_eq!(watch.still(), second * 4, "we were asleep");
        watch.observe(2, steps.next(second * 1001, second));
        assert_eq!((watch.still(), watch.total()), (Duration::ZERO, second * 5));
    }
}
