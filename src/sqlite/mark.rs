//! On which WAL frame a read transaction stands.
//!
//! A read transaction that is begun by `sqlite3_snapshot_get` always sits on a read slot of its own (1 to 4), even when the
//! WAL is completely backfilled: nobody can restart or truncate the WAL while it lasts. And the snapshot *is* the wal-index
//! header that the transaction froze, so it names the last frame it sees, that frame's checksum, and the size of the database
//! at that commit. Together: what we read up to a mark is one exact commit, and it cannot be overwritten under our hands.
//!
//! `sqlite3_snapshot` is opaque by contract; its layout (`WalIndexHdr` in SQLite's `wal.c`, unchanged since 3.7.0) is read
//! here from the one library version that is compiled in, and every field is checked before it is believed.

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

/// What the wal-index header says that a read transaction froze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frozen {
    pub wal: WalMark,
    /// Page size and pages; `None` in a WAL that was emptied before anything was committed to it: only the file knows then.
    pub size: Option<(PageSize, u32)>,
}

impl Frozen {
    /// `None` when the header does not look as this SQLite version writes it.
    pub(super) fn read(snapshot: &ffi::sqlite3_snapshot) -> Option<Frozen> {
        let bytes = &snapshot.hidden;
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let salt = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if word(0) != WAL_INDEX_VERSION || bytes[12] != 1 {
            return None;
        }
        let wal =
            WalMark { salts: Salts(salt(32), salt(36)), frames: word(16), checksum: FrameChecksum(word(24), word(28)) };
        let (page_size, pages) = (u16::from_ne_bytes([bytes[14], bytes[15]]), word(20));
        if (page_size, pages, wal.frames) == (0, 0, 0) {
            return Some(Frozen { wal, size: None });
        }
        Some(Frozen { wal, size: Some((PageSize::from_db_header(page_size)?, pages)) })
    }
}
