//! The lag of the last hour: the longest of each half minute, for the databases that had one. Pure.
//!
//! A database that was never behind costs nothing. One that was costs half a kilobyte until it was
//! not behind for an hour, and there is a limit to their number: four megabytes in all.

use std::collections::BTreeMap;
use std::time::Duration;

/// The time that one value covers.
pub const INTERVAL: Duration = Duration::from_secs(30);
/// An hour of them.
pub const INTERVALS: usize = 120;
/// Databases with a history.
const DATABASES_MAX: usize = 8192;

/// Histories by the number of the database.
#[derive(Debug, Default)]
pub struct Lags {
    histories: BTreeMap<u64, History>,
}

/// A ring: the value of the interval `n` stands at `n % INTERVALS`.
#[derive(Debug)]
struct History {
    longest_ms: Box<[u32; INTERVALS]>,
    /// Number of the newest interval with a value.
    newest: u64,
}

impl History {
    fn note(&mut self, ms: u32, interval: u64) {
        for passed in (self.newest + 1..=interval).take(INTERVALS) {
            self.longest_ms[at(passed)] = 0;
        }
        self.newest = self.newest.max(interval);
        let value = &mut self.longest_ms[at(interval)];
        *value = ms.max(*value);
    }

    fn get(&self, interval: u64) -> u32 {
        let is_here = interval <= self.newest && interval + INTERVALS as u64 > self.newest;
        if is_here { self.longest_ms[at(interval)] } else { 0 }
    }
}

fn at(interval: u64) -> usize {
    (interval % INTERVALS as u64) as usize
}

/// The interval in which `age` lies, counted from the start.
fn interval(age: Duration) -> u64 {
    age.as_secs() / INTERVAL.as_secs()
}

impl Lags {
    /// A database is behind by this, so long after the start.
    pub fn note(&mut self, database: u64, lag: Duration, age: Duration) {
        let interval = interval(age);
        let ms = u32::try_from(lag.as_millis()).unwrap_or(u32::MAX);
        if let Some(history) = self.histories.get_mut(&database) {
            return history.note(ms, interval);
        }
        if self.histories.len() >= DATABASES_MAX {
            self.forget(age);
        }
        if self.histories.len() < DATABASES_MAX {
            let mut history = History { longest_ms: Box::new([0; INTERVALS]), newest: interval };
            history.note(ms, interval);
            self.histories.insert(database, history);
        }
    }

    /// Drops the histories of databases that were not behind for an hour.
    pub fn forget(&mut self, age: Duration) {
        let oldest = interval(age).saturating_sub(INTERVALS as u64 - 1);
        self.histories.retain(|_, history| history.newest >= oldest);
    }

    /// The values of the last hour, the newest last; fewer if the start was later.
    pub fn last_hour(&self, database: u64, age: Duration) -> Vec<u32> {
        let newest = interval(age);
        let oldest = newest.saturating_sub(INTERVALS as u64 - 1);
        let history = self.histories.get(&database);
        (oldest..=newest).map(|interval| history.map_or(0, |history| history.get(interval))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_interval_keeps_its_longest_and_an_hour_is_kept() {
        let mut lags = Lags::default();
        lags.note(7, seconds(2), seconds(0));
        lags.note(7, seconds(5), seconds(29));
        lags.note(7, seconds(1), seconds(30));
        assert_eq!(lags.last_hour(7, seconds(100)), [5000, 1000, 0, 0]);
        assert_eq!(lags.last_hour(8, seconds(30)), [0, 0], "never behind");
        lags.note(7, seconds(3), seconds(3599));
        let hour = lags.last_hour(7, seconds(3599));
        assert_eq!((hour.len(), hour[0], hour[119]), (120, 5000, 3000));
        lags.note(7, seconds(4), seconds(3600));
        let hour = lags.last_hour(7, seconds(3600));
        assert_eq!((hour.len(), hour[0], hour[118], hour[119]), (120, 1000, 3000, 4000));
        assert!(lags.last_hour(7, seconds(7200)).iter().all(|ms| *ms == 0), "an hour later it is forgotten");
        lags.note(7, seconds(9), seconds(100_000));
        assert_eq!(lags.last_hour(7, seconds(100_000)).iter().filter(|ms| **ms > 0).count(), 1);
    }

    #[test]
    fn memory_is_bounded_and_goes_to_those_that_are_behind() {
        let mut lags = Lags::default();
        (0..20_000).for_each(|database| lags.note(database, seconds(1), seconds(10)));
        assert_eq!(lags.histories.len(), DATABASES_MAX);
        lags.note(20_000, seconds(1), seconds(4000));
        assert_eq!(lags.histories.len(), 1, "the others were not behind for an hour");
        assert_eq!(lags.last_hour(20_000, seconds(4000)).last(), Some(&1000));
        lags.forget(seconds(9000));
        assert!(lags.histories.is_empty());
    }
}
