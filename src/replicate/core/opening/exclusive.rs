//! A program keeps the database to itself with `PRAGMA locking_mode=EXCLUSIVE`: it cannot be
//! replicated. Pure: the note itself is in `state/exclusive.rs`.
//!
//! At the first start of such an application there is no database yet: it takes the lock, and
//! arming waits for it. At the next start arming would come first, and the application would die of
//! "database is locked" without a word why. Both shall go alike: when the lock is found, it is
//! noted for the next start, which then lets the application open the database first; and each time
//! the application that has the lock is stopped and named, because it runs without a backup.
//!
//! A transaction in a rollback mode may be alone with the database for a long time, too. But one
//! that writes to the database has a journal until it ends: a database that changes beside a
//! journal without content has seen a commit, after which the lock was kept. Where no such proof
//! comes, it takes longer, and the database must have stood still.

use std::time::Duration;

use tokio::time::Instant;

use crate::sqlite::{Holder, Journal, Locked};

/// How long a program must have been alone with the database without a break.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same without a proof that it is no transaction.
const PATIENCE_IN_DOUBT: Duration = Duration::from_secs(60);

/// What was seen of the lock so far.
#[derive(Debug, Default)]
pub(super) struct Exclusive {
    held: Option<Held>,
}

/// A program is alone with the database.
#[derive(Debug)]
struct Held {
    last: Holder,
    since: Instant,
    /// It is no transaction.
    is_proved: bool,
    /// Between two looks nothing changed.
    stood_still: bool,
}

impl Held {
    fn since(now: Instant, holder: Holder) -> Held {
        Held { since: now, is_proved: holder.is_wal, stood_still: false, last: holder }
    }

    /// By the next look at the same holder.
    fn goes_on(self, holder: Holder) -> Held {
        let is_blank = |holder: &Holder| matches!(holder.journal, Journal::Blank(_));
        let has_committed =
            is_blank(&self.last) && is_blank(&holder) && self.last.size_and_time != holder.size_and_time;
        let stands_still = self.last == holder && holder.journal != Journal::Hot;
        Held {
            since: self.since,
            is_proved: self.is_proved || holder.is_wal || has_committed,
            stood_still: self.stood_still || stands_still,
            last: holder,
        }
    }

    fn is_for_good(&self, now: Instant) -> bool {
        let held_for = now.saturating_duration_since(self.since);
        self.is_proved && held_for >= PATIENCE || self.stood_still && held_for >= PATIENCE_IN_DOUBT
    }
}

impl Exclusive {
    /// Takes in a look at the lock; returns who is alone with the database for good, once for each
    /// [`PATIENCE`].
    pub fn see(&mut self, locked: Locked, now: Instant) -> Option<Holder> {
        let Locked::Exclusively(holder) = locked else {
            self.held = None;
            return None;
        };
        let held = match self.held.take() {
            Some(held) if held.last.name == holder.name => held.goes_on(holder),
            _ => Held::since(now, holder),
        };
        if held.is_for_good(now) {
            return Some(held.last);
        }
        self.held = Some(held);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(name: &str, is_wal: bool, journal: Journal, len: u64) -> Locked {
        Locked::Exclusively(Holder { name: name.into(), is_wal, journal, size_and_time: (len, 0, 0) })
    }

    /// Looks each second at what `at` shows; after how many of them a program is found.
    fn found_after(at: impl Fn(u64) -> Locked) -> Option<u64> {
        let (start, mut exclusive) = (Instant::now(), Exclusive::default());
        (0..100).find(|second| exclusive.see(at(*second), start + Duration::from_secs(*second)).is_some())
    }

    #[test]
    fn who_is_alone_for_good_is_told_from_a_transaction() {
        use Journal::{Hot, Missing};
        let blank = |len: u64| Journal::Blank((len, 0, 0));
        let wal = |name: &str| holder(name, true, Missing, 1);
        assert_eq!(found_after(|_| wal("a")), Some(10));
        assert_eq!(found_after(|s| holder("a", true, Missing, s)), Some(10), "it writes all the time");
        assert_eq!(found_after(|s| holder("a", false, blank(1), s)), Some(10), "it commits, and keeps the lock");
        assert_eq!(found_after(|_| holder("a", false, blank(1), 1)), Some(60), "or does nothing for long");
        assert_eq!(found_after(|_| Locked::No), None);
        assert_eq!(found_after(|s| holder("a", false, Hot, s)), None, "a transaction");
        assert_eq!(found_after(|s| holder("a", false, blank(s), 1)), None, "one that has not written to the database");
        assert_eq!(found_after(|s| holder("a", false, Missing, s)), None, "one without a journal");
        assert_eq!(found_after(|s| wal(if s < 8 { "a" } else { "b" })), Some(18), "another program");
        assert_eq!(found_after(|s| if s == 8 { Locked::No } else { wal("a") }), Some(19));
    }
}
