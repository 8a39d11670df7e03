//! What is noted of a database whose connections are closed, and what it proves. The table is in
//! `idle.rs`.

use std::path::Path;
use std::time::Duration;

use super::identity::Identity;
use super::position::Position;
use super::writes::LengthAndTime;
use crate::clock::Clock;
use crate::fsx;
use crate::sqlite::Backfill;

/// What every write to a file changes, whatever the writer does to its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub identity: Identity,
    written: LengthAndTime,
    changed: (i64, i64),
}

impl Stamp {
    /// `None` when nothing is at the path.
    pub fn of(path: &Path) -> fsx::Result<Option<Stamp>> {
        Ok(fsx::metadata_if_exists(path)?.map(|file| Stamp::from(&file)))
    }

    fn from(file: &std::fs::Metadata) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        Stamp {
            identity: Identity::from(file),
            written: LengthAndTime::from(file),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    /// Whether the next change cannot have the same time.
    pub fn is_older_than(&self, age: Duration, clock: Clock) -> bool {
        let changed_ms = self.changed.0.saturating_mul(1000).saturating_add(self.changed.1 / 1_000_000);
        u128::try_from(clock.unix_ms().saturating_sub(changed_ms)).is_ok_and(|passed| passed > age.as_millis())
    }
}

/// What was true when the connections were closed.
#[derive(Clone, Copy, Debug)]
pub struct WhenClosed {
    pub position: Position,
    pub file: Stamp,
    pub wal: Option<Stamp>,
    /// All of it is in the file.
    pub copied: Backfill,
}

impl WhenClosed {
    /// Whether checkpoints explain that the file was written to, by how far they are now. All of
    /// the WAL was in the file before.
    pub fn is_explained_by(&self, now: &Backfill) -> bool {
        let copied_before = match now.salts.0.wrapping_sub(self.copied.salts.0) {
            0 if now.salts == self.copied.salts => self.copied.done,
            // SQLite counts them up by one each time: nothing had to be copied before that.
            1 => 0,
            _ => return true,
        };
        now.done > copied_before || now.is_incomplete()
    }
}
