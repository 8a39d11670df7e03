//! The notes that let a later start trust what this one has found out.
//!
//! *Standing*: a comparison found the database equal to TXID n, so nothing was uploaded, and no object in the bucket says where
//! in this WAL TXID n ends. The note does. It is believed only for the same replica and TXID, and only if the WAL still holds
//! that generation up to that frame with the very checksum, which covers every byte before it.
//!
//! *Known file*: which file at the database's path belongs to the history in the replica. A file of another identity may be the
//! same database (a volume was copied), an older one, or a stranger's; its content has to tell (`replicate/difference.rs`).
//!
//! Neither is synced: a lost note costs a comparison.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::notes;
use super::position::Position;
use crate::fsx::{self, Context};
use crate::ltx::{Header, Txid, WalPosition};
use crate::page::PageSize;
use crate::sqlite::{FrameChecksum, WalMark, frame_offset};

pub(super) const STANDING_FILE: &str = "standing.json";
pub(super) const KNOWN_FILE: &str = "known-file.json";

/// The frame of the WAL at which the database is a TXID of the replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// A TXID means nothing in another replica.
    replica: String,
    /// 16 hex digits.
    txid: String,
    page_size: u32,
    pages: u32,
    salt1: u32,
    salt2: u32,
    frames: u32,
    checksum1: u32,
    checksum2: u32,
}

impl Standing {
    /// `None` when the position is not a frame of a WAL.
    pub fn of(position: &Position, replica: &str) -> Option<Standing> {
        let wal = position.wal.filter(|wal| wal.frames > 0)?;
        Some(Standing {
            replica: replica.to_owned(),
            txid: position.txid.to_string(),
            page_size: position.page_size.get(),
            pages: position.pages,
            salt1: wal.salts.0,
            salt2: wal.salts.1,
            frames: wal.frames,
            checksum1: wal.checksum.0,
            checksum2: wal.checksum.1,
        })
    }

    pub fn save(&self, directory: &Path) -> fsx::Result<()> {
        save(self, directory, STANDING_FILE)
    }

    /// Whether it speaks of this TXID of this replica.
    pub fn is_of(&self, replica: &str, txid: Txid) -> bool {
        self.replica == replica && Txid::parse_hex(&self.txid) == Some(txid)
    }

    /// The note in `directory`, if it speaks of this TXID of this replica.
    pub fn load(directory: &Path, replica: &str, txid: Txid) -> Option<Standing> {
        let note: Standing = load(directory, STANDING_FILE)?;
        note.is_of(replica, txid).then_some(note)
    }

    /// The header that an object at this place would have; `None` when the note was damaged.
    pub fn header(&self) -> Option<Header> {
        let (txid, page_size) = (Txid::parse_hex(&self.txid)?, PageSize::new(self.page_size)?);
        let wal =
            WalPosition { offset: frame_offset(self.frames, page_size), size: 0, salt1: self.salt1, salt2: self.salt2 };
        Some(Header { page_size, commit: self.pages, min_txid: txid, max_txid: txid, timestamp_ms: 0, wal })
    }

    /// Whether a position found by [`Standing::header`] is this place. In a later generation of the WAL there is no checksum to
    /// compare: what is left of this one has proved that it went no further.
    pub fn vouches_for(&self, position: &Position, current: Option<WalMark>) -> bool {
        let same_generation = position.wal.map(|wal| wal.salts) == current.map(|wal| wal.salts);
        let checksum = FrameChecksum(self.checksum1, self.checksum2);
        !same_generation || position.wal.is_some_and(|wal| wal.checksum == checksum)
    }
}

/// Which file it is, whatever it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
    /// Inodes are used again; a file's time of birth is its own. Zero where the file system does not tell.
    born_ns: u64,
}

impl FileIdentity {
    pub fn of(path: &Path) -> fsx::Result<FileIdentity> {
        let file = fsx::metadata(path)?;
        let born = file.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        Ok(FileIdentity { device: file.dev(), inode: file.ino(), born_ns })
    }
}

/// The file that is known to belong to the history in a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFile {
    replica: String,
    #[serde(flatten)]
    file: FileIdentity,
}

impl KnownFile {
    pub fn of(path: &Path, replica: &str) -> fsx::Result<KnownFile> {
        Ok(KnownFile { replica: replica.to_owned(), file: FileIdentity::of(path)? })
    }

    pub fn save(&self, directory: &Path) -> fsx::Result<()> {
        save(self, directory, KNOWN_FILE)
    }

    /// Whether the file at `path` is the one that the note in `directory` speaks of.
    pub fn is_at(path: &Path, directory: &Path, replica: &str) -> bool {
        let note: Option<KnownFile> = load(directory, KNOWN_FILE);
        note.is_some() && note == KnownFile::of(path, replica).ok()
    }
}

pub(super) fn save<T: Serialize>(note: &T, directory: &Path, name: &str) -> fsx::Result<()> {
    let text = serde_json::to_vec(note).map_err(std::io::Error::other).on("encode", &directory.join(name))?;
    notes::write(directory, name, &text)
}

pub(super) fn load<T: DeserializeOwned>(directory: &Path, name: &str) -> Option<T> {
    serde_json::from_slice(&std::fs::read(directory.join(name)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Salts;

    fn position(frames: u32) -> Position {
        let wal = WalMark { salts: Salts(4, 7), frames, checksum: FrameChecksum(1, frames) };
        Position { txid: Txid::FIRST, page_size: PageSize::MAX, pages: 3, wal: Some(wal), sealed: false }
    }

    #[test]
    fn a_standing_is_believed_for_its_txid_in_its_replica_and_its_very_frames() {
        let dir = tempfile::tempdir().expect("tempdir");
        assert_eq!(Standing::load(dir.path(), "s3://b/p", Txid::FIRST), None);
        assert_eq!(Standing::of(&position(0), "s3://b/p"), None);
        let note = Standing::of(&position(5), "s3://b/p").expect("frames");
        note.save(dir.path()).expect("save");
        assert_eq!(Standing::load(dir.path(), "s3://b/p", Txid::FIRST), Some(note.clone()));
        assert_eq!(Standing::load(dir.path(), "s3://b/other", Txid::FIRST), None);
        assert_eq!(Standing::load(dir.path(), "s3://b/p", Txid::new(2).expect("2")), None);
        let header = note.header().expect("valid");
        assert_eq!((header.wal.end(), header.commit), (frame_offset(5, PageSize::MAX), 3));
        let now = position(9).wal;
        assert!(note.vouches_for(&position(5), now));
        let mut rewritten = position(5);
        rewritten.wal = rewritten.wal.map(|wal| WalMark { checksum: FrameChecksum(9, 9), ..wal });
        assert!(!note.vouches_for(&rewritten, now));
        let restarted = now.map(|wal| WalMark { salts: Salts(5, 1), ..wal });
        assert!(note.vouches_for(&rewritten, restarted));
    }

    #[test]
    fn a_known_file_is_that_file_and_not_a_copy_of_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        std::fs::write(&path, b"content").expect("write");
        assert!(!KnownFile::is_at(&path, dir.path(), "r"));
        KnownFile::of(&path, "r").and_then(|note| note.save(dir.path())).expect("save");
        assert!(KnownFile::is_at(&path, dir.path(), "r") && !KnownFile::is_at(&path, dir.path(), "other"));
        std::fs::write(&path, b"changed").expect("write");
        assert!(KnownFile::is_at(&path, dir.path(), "r"), "content is not identity");
        let copy = dir.path().join("copy");
        std::fs::copy(&path, &copy).and_then(|_| std::fs::rename(&copy, &path)).expect("replace");
        assert!(!KnownFile::is_at(&path, dir.path(), "r"));
    }
}
