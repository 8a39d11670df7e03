//! What a replication has done so far, counted by whoever does it: metrics read it, and nothing is
//! decided by it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Work of one kind: how often, how often in vain, and how long it took in all.
#[derive(Debug, Default)]
pub struct Tally {
    count: AtomicU64,
    errors: AtomicU64,
    nanos: AtomicU64,
}

/// The numbers of a [`Tally`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallied {
    pub count: u64,
    pub errors: u64,
    pub took: Duration,
}

impl Tally {
    /// Once more.
    pub fn add(&self, took: Duration, succeeded: bool) {
        self.count.fetch_add(1, Relaxed);
        self.errors.fetch_add(u64::from(!succeeded), Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub fn get(&self) -> Tallied {
        Tallied {
            count: self.count.load(Relaxed),
            errors: self.errors.load(Relaxed),
            took: Duration::from_nanos(self.nanos.load(Relaxed)),
        }
    }
}

/// What one replica's share of a replication has done since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Looks at the WAL for new commits.
    pub syncs: Tally,
    /// Resets of the WAL, each with the checkpoints that it needs.
    pub checkpoints: Tally,
    /// Merges into a compaction level.
    pub compactions: Tally,
    /// Merges into a snapshot.
    pub snapshots: Tally,
    /// WAL bytes whose frames were captured.
    pub wal_bytes: AtomicU64,
    /// Bytes that wait in local files.
    pub spilled_bytes: AtomicU64,
    /// The local disk was full when commits were to be kept there: 1, otherwise 0.
    pub disk_full: AtomicU64,
    /// Objects that were not what had been written to them.
    pub unproved: AtomicU64,
    level_0: [AtomicU64; 3],
}

impl Counts {
    /// What retention has found in level 0: so many objects that may go, that no other holds, that
    /// are too recent.
    pub fn level_0(&self, found: [u64; 3]) {
        self.level_0.iter().zip(found).for_each(|(number, found)| number.store(found, Relaxed));
    }

    /// The same, in this order.
    pub fn level_0_found(&self) -> [u64; 3] {
        self.level_0.each_ref().map(|number| number.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_counts_too() {
        let tally = Tally::default();
        tally.add(Duration::from_millis(5), true);
        tally.add(Duration::from_millis(7), false);
        assert_eq!(tally.get(), Tallied { count: 2, errors: 1, took: Duration::from_millis(12) });
    }
}
