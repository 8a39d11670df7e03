//! Is the file at the path still the file that was opened?
//!
//! A database that was deleted, renamed over or recreated has a new inode; our connections would go on reading the old
//! one, and shipping either over a good history would be wrong. Only `stat` is used: opening the file would be the POSIX
//! lock trap (see `sqlite/`).

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::fsx;

/// Device and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// `None` when nothing is at the path.
    pub fn of(path: &Path) -> fsx::Result<Option<Identity>> {
        Ok(fsx::metadata_if_exists(path)?.map(|m| Identity { device: m.dev(), inode: m.ino() }))
    }
}
