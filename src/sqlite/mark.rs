//! On which WAL frame a read transaction stands.
//!
//! A read transaction that is begun by `sqlite3_snapshot_get` always sits on a read slot of its own
//! (1 to 4), even when the WAL is completely backfilled: no process can restart or truncate the WAL
//! while it lasts. And the snapshot *is* the wal-index header that the transaction froze, so it
//! names the last frame it sees, that frame's checksum, and the size of the database at that
//! commit. Together: what we read up to a mark is one exact commit, and it cannot be overwritten
//! under our hands.
//!
//! `sqlite3_snapshot` is opaque by contract; its layout (`WalIndexHdr` in SQLite's `wal.c`,
//! unchanged since 3.7.0) is read here from the one library version that is compiled in, and every
//! field is checked before it is believed.

use rusqlite::ffi;

use super::wal::{FrameChecksum, Salts};
use crate::page::PageSize;

/// The version number that the wal-index header begins with.
const WAL_INDEX_VERSION: u32 = 3_007_000;

/// The state of the database that a read transaction sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub page_size: PageSize,
    /// Size of the database in pages.
    pub pages: u32,
    /// `None` when the WAL has held no frame since it was created or truncated.
    pub wal: Option<WalMark>,
}

/// The end of what a read transaction sees of the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalMark {
    pub salts: Salts,
    /// Number of frames, counted from the start of the WAL; 0 right after a restart.
    pub frames: u32,
    /// Cumulative checksum of the last of them.
    pub checksum: FrameChecksum,
}

impl Mark {
    /// Whether the frozen wal-index header is that of a WAL without even a header: recovered from
    /// an empty or missing file, and then perhaps truncated once more, which gives it salts but no
    /// page size.
    pub(super) fn names_no_wal(snapshot: &ffi::sqlite3_snapshot) -> bool {
        const PAGE_SIZE_AND_LAST_FRAME: std::ops::Range<usize> = 14..20;
        snapshot.hidden[PAGE_SIZE_AND_LAST_FRAME].iter().all(|byte| *byte == 0)
    }

    /// Reads the frozen wal-index header; `None` when it does not look as this SQLite version
    /// writes it.
    pub(super) fn from_snapshot(snapshot: &ffi::sqlite3_snapshot) -> Option<Mark> {
        let bytes = &snapshot.hidden;
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let salt = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if word(0) != WAL_INDEX_VERSION || bytes[12] != 1 {
            return None;
        }
        let page_size = PageSize::from_db_header(u16::from_ne_bytes([bytes[14], bytes[15]]))?;
        let wal =
            WalMark { salts: Salts(salt(32), salt(36)), frames: word(16), checksum: FrameChecksum(word(24), word(28)) };
        Some(Mark { page_size, pages: word(20), wal: Some(wal) })
    }
}
