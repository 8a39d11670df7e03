//! What is known of the writes to the database file. Pure.

use std::os::unix::fs::MetadataExt;

use super::samples::Samples;
use super::settled::Settled;
use crate::sqlite::Backfill;

/// Time and length of the file: what every write changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LengthAndTime {
    pub len: u64,
    modified: (i64, i64),
}

impl From<&std::fs::Metadata> for LengthAndTime {
    fn from(file: &std::fs::Metadata) -> LengthAndTime {
        LengthAndTime { len: file.len(), modified: (file.mtime(), file.mtime_nsec()) }
    }
}

/// What is known of the writes to the file.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// How far the checkpoints were, and the file after that.
    pub known: Option<(CheckpointProgress, LengthAndTime)>,
    /// The file after a change that no checkpoint explains.
    pub suspected: Option<LengthAndTime>,
    pub samples: Samples,
    pub settled: Settled,
    /// A checkpoint has changed the file since pages were compared with it.
    pub is_unsure: bool,
}

impl Writes {
    /// What is captured does not follow from the frames of one WAL any more.
    pub fn forget_pages(&mut self) {
        self.samples.clear();
        self.settled.clear();
    }
}

/// How far the checkpoints are, and whether one is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CheckpointProgress {
    pub backfill: Backfill,
    pub is_under_way: bool,
}

impl CheckpointProgress {
    /// Whether a checkpoint may have written between the two. `self` was read before the first look
    /// at the file, and `now` after the last one: a checkpoint stores what it wants to do before it
    /// writes, and what it has done after that.
    pub fn explains(&self, now: &CheckpointProgress) -> bool {
        self.is_under_way || now.is_under_way || self.backfill.has_moved(&now.backfill)
    }
}
