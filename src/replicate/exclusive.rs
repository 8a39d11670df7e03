//! A program keeps the database to itself with `PRAGMA locking_mode=EXCLUSIVE`: it cannot be replicated. Pure but for the note.
//!
//! At the first start of such an application there is no database yet: it takes the lock, and arming waits for it. At the next
//! start arming would come first, and the application would die of "database is locked" without a word why. Both shall go alike:
//! when the lock is found, it is noted for the next start, which then lets the application open the database first; and each time the
//! application that has the lock is stopped and named, because it runs without a backup.
//!
//! A transaction in a rollback mode may be alone with the database for a long time too. It is told apart by its journal, or, where it has none,
//! because it writes.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::db::{note_exclusive, was_exclusive};
use crate::fsx;
use crate::sqlite::{Holder, Locked};

/// How long somebody must have been alone with the database without a break.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the start waits for the application to open the database first.
const OPENS_WITHIN: Duration = Duration::from_secs(60);

/// What was seen of the lock so far.
#[derive(Debug, Default)]
pub(super) struct Exclusive {
    /// Who has it, since when, and whether no transaction explains it.
    held: Option<(Holder, Instant, bool)>,
}

impl Exclusive {
    /// Takes in a look at the lock; returns who is alone with the database for good, once for each [`PATIENCE`].
    pub fn see(&mut self, locked: Locked, now: Instant) -> Option<Holder> {
        let Locked::Exclusively(holder) = locked else {
            self.held = None;
            return None;
        };
        let (since, was_idle) = match &self.held {
            Some((before, since, was_idle)) if before.name == holder.name => {
                let is_idle = !before.has_journal && !holder.has_journal && before.stamp == holder.stamp;
                (*since, *was_idle || holder.is_wal || is_idle)
            }
            _ => (now, holder.is_wal),
        };
        if was_idle && now.saturating_duration_since(since) >= PATIENCE {
            self.held = None;
            return Some(holder);
        }
        self.held = Some((holder, since, was_idle));
        None
    }
}

/// The application opens the database before we do, as the note of an earlier start asks.
#[derive(Debug)]
pub(super) struct After {
    until: Instant,
}

impl After {
    /// By the note in `directory`.
    pub fn by_note(directory: &Path, now: Instant) -> Option<After> {
        was_exclusive(directory).then(|| After { until: now + OPENS_WITHIN })
    }

    /// Whether the database may be opened now: somebody is alone with it, so that opening it changes nothing, or nobody will be.
    pub fn is_over(&self, locked: &Locked, now: Instant) -> bool {
        *locked != Locked::No || now >= self.until
    }
}

/// Leaves the note for the next start, or removes it.
pub(super) fn note(directory: &Path, is_exclusive: bool) {
    let noted: fsx::Result<()> = note_exclusive(directory, is_exclusive);
    if let Err(error) = noted {
        tracing::debug!("{error}");
    }
}

/// What is said of it, and what to do.
pub(super) fn refusal(path: &str, holder: &Holder) -> String {
    format!(
        "{path} cannot be replicated: {} keeps it to itself with PRAGMA locking_mode=EXCLUSIVE, and runs without a backup; remove that \
         pragma from the application",
        holder.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(name: &str, is_wal: bool, has_journal: bool, len: u64) -> Locked {
        Locked::Exclusively(Holder { name: name.into(), is_wal, has_journal, stamp: (len, 0, 0) })
    }

    /// Looks each second at what `at` shows; after how many of them somebody is found.
    fn found_after(at: impl Fn(u64) -> Locked) -> Option<u64> {
        let (start, mut exclusive) = (Instant::now(), Exclusive::default());
        (0..40).find(|second| exclusive.see(at(*second), start + Duration::from_secs(*second)).is_some())
    }

    #[test]
    fn who_is_alone_for_good_is_told_from_a_transaction() {
        assert_eq!(found_after(|_| holder("a", true, false, 1)), Some(10));
        assert_eq!(found_after(|_| holder("a", false, false, 1)), Some(10));
        assert_eq!(found_after(|s| holder("a", true, false, s)), Some(10), "an application that writes all the time");
        assert_eq!(found_after(|_| Locked::No), None);
        assert_eq!(found_after(|_| holder("a", false, true, 1)), None, "its journal is there");
        assert_eq!(found_after(|s| holder("a", false, false, s)), None, "it writes, and keeps no journal");
        assert_eq!(found_after(|s| holder("a", false, s % 5 > 1, s / 2)), Some(10), "between two transactions");
        let other = |s: u64| holder(if s < 8 { "a" } else { "b" }, true, false, 1);
        assert_eq!(found_after(other), Some(18), "another program");
        assert_eq!(found_after(|s| if s == 8 { Locked::No } else { holder("a", true, false, 1) }), Some(19));
    }

    #[tokio::test(start_paused = true)]
    async fn the_application_comes_first_when_the_note_says_so() {
        let dir = tempfile::tempdir().expect("tempdir");
        let now = Instant::now();
        assert!(After::by_note(dir.path(), now).is_none());
        note(dir.path(), true);
        let after = After::by_note(dir.path(), now).expect("noted");
        assert!(!after.is_over(&Locked::No, now) && after.is_over(&holder("a", true, false, 1), now));
        assert!(after.is_over(&Locked::No, now + OPENS_WITHIN));
        note(dir.path(), false);
        assert!(After::by_note(dir.path(), now).is_none());
    }
}
