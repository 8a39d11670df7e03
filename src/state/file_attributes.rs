//! What changes when a file is written to, or is another one.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::fsx;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAttributes {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) modified_ns: i64,
}

impl FileAttributes {
    pub fn of(path: &Path) -> fsx::Result<FileAttributes> {
        let file = fsx::metadata(path)?;
        let modified_ns = file.mtime() * 1_000_000_000 + file.mtime_nsec();
        Ok(FileAttributes { device: file.dev(), inode: file.ino(), size: file.len(), modified_ns })
    }

    /// Whether `now` is the same file with other content. A database that is another file has to
    /// show by its content whose it is.
    pub fn was_written_to(&self, now: &FileAttributes) -> bool {
        (self.device, self.inode) == (now.device, now.inode) && self != now
    }
}

/// A database file at the end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftFile {
    #[serde(flatten)]
    pub stamp: FileAttributes,
    /// Frames of the WAL that checkpoints had copied into it.
    pub backfilled: u32,
}
