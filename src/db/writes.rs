//! What is known of the writes to a database file: pure, for `overwritten.rs`.

use std::os::unix::fs::MetadataExt;

use super::samples::Samples;
use crate::sqlite::Backfill;

/// Time and length of the file: what every write changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub len: u64,
    modified: (i64, i64),
}

impl From<&std::fs::Metadata> for Stamp {
    fn from(file: &std::fs::Metadata) -> Stamp {
        Stamp { len: file.len(), modified: (file.mtime(), file.mtime_nsec()) }
    }
}

/// What is known of the writes to the file.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// How far the checkpoints were, and the file after that.
    pub known: Option<(Progress, Stamp)>,
    /// The file after a change that no checkpoint explains.
    pub suspected: Option<Stamp>,
    pub samples: Samples,
    /// A checkpoint has changed the file since the samples were compared with it.
    pub is_unsure: bool,
}

impl Writes {
    /// What is captured does not follow from the frames of one WAL any more.
    pub fn forget_samples(&mut self) {
        self.samples.clear();
    }
}

/// How far the checkpoints are, and whether one is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub backfill: Backfill,
    pub is_under_way: bool,
}

impl Progress {
    /// Whether a checkpoint may have written between the two. `self` was read before the first look at the file, and `now` after
    /// the last one: a checkpoint stores what it wants to do before it writes, and what it has done after that. (A wal-index that was
    /// built anew and backfilled exactly as far as before looks untouched: that costs a comparison.)
    pub fn explains(&self, now: &Progress) -> bool {
        self.is_under_way || now.is_under_way || self.backfill.has_moved(&now.backfill)
    }
}
