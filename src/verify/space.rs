//! Is there room for a temporary database? Asked before anything is read for it.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::fsx::{Context, FsError};

/// What stays free for everybody else: a full disk is worse than an unproven backup.
const RESERVE_MIN_BYTES: u64 = 16 << 20;

/// Fails when `dir` has no room for `need` bytes and a reserve of a twentieth.
pub(super) fn check(dir: &Path, need: u64) -> Result<(), FsError> {
    let free = statvfs(dir).map_err(io::Error::from).on("look for free space in", dir)?;
    #[expect(clippy::useless_conversion, reason = "these types differ between systems")]
    let free = u64::from(free.blocks_available()).saturating_mul(u64::from(free.fragment_size()));
    let wanted = need.saturating_add((need / 20).max(RESERVE_MIN_BYTES));
    if free >= wanted {
        return Ok(());
    }
    let why = format!(
        "the restored database needs {need} bytes and a reserve, {free} bytes are free: choose another directory"
    );
    Err(io::Error::new(io::ErrorKind::StorageFull, why)).on("verify in", dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_asked_for_and_named() {
        let dir = tempfile::tempdir().expect("tempdir");
        check(dir.path(), 4096).expect("room for a page");
        let error = check(dir.path(), u64::MAX).expect_err("no disk is that large").to_string();
        assert!(error.contains("choose another directory"), "{error}");
        assert!(check(&dir.path().join("missing"), 0).is_err());
    }
}
