//! The note that a restore leaves beside the database: this very file is the state at TXID n.
//!
//! The replica knows what a TXID contains but not which file on which disk it became. With the note, replication continues
//! after a restore without uploading the database again. It is believed only while device, inode, length and modification
//! time are exactly those of the restored file: then no checkpoint has touched it, and whatever the WAL holds comes on top.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::notes;
use super::position::Position;
use crate::fsx::{self, Context};
use crate::ltx::Txid;
use crate::page::PageSize;

pub(super) const NOTE_FILE: &str = "origin.json";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// TXID of the state, 16 hex digits.
    txid: String,
    page_size: u32,
    /// Size of the database in pages.
    pages: u32,
    /// The replica it came from; a TXID means nothing in another one.
    replica: String,
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i64,
}

impl Origin {
    /// Describes the file at `path`, just restored from `replica` to `txid`, with that many pages of that size.
    pub fn of(path: &Path, txid: Txid, page_size: PageSize, pages: u32, replica: &str) -> fsx::Result<Origin> {
        let file = fsx::metadata(path)?;
        Ok(Origin {
            txid: txid.to_string(),
            page_size: page_size.get(),
            pages,
            replica: replica.to_owned(),
            device: file.dev(),
            inode: file.ino(),
            size: file.len(),
            modified_ns: file.mtime() * 1_000_000_000 + file.mtime_nsec(),
        })
    }

    /// A lost note only costs an upload.
    pub fn save(&self, directory: &Path) -> fsx::Result<()> {
        let text =
            serde_json::to_vec_pretty(self).map_err(std::io::Error::other).on("encode", &directory.join(NOTE_FILE))?;
        notes::write(directory, NOTE_FILE, &text)
    }

    /// The position that the file at `path` still is, by the note in `directory`; `None` without a note that can be believed.
    pub fn position_of(path: &Path, directory: &Path, replica: &str) -> Option<Position> {
        let note: Origin = serde_json::from_slice(&std::fs::read(directory.join(NOTE_FILE)).ok()?).ok()?;
        let (txid, page_size) = (Txid::parse_hex(&note.txid)?, PageSize::new(note.page_size)?);
        let now = Origin::of(path, txid, page_size, note.pages, replica).ok()?;
        // Whatever the WAL holds was written on top of the restored file.
        (now == note).then_some(Position { txid, page_size, pages: note.pages, wal: None, sealed: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_is_believed_only_for_the_untouched_file_of_that_replica() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let meta = dir.path().join("meta");
        let note = || Origin::of(&path, Txid::FIRST, PageSize::MAX, 3, "s3://b/p").expect("stat");
        let believed = |replica| Origin::position_of(&path, &meta, replica).map(|p| (p.txid, p.pages));
        std::fs::write(&path, b"content").expect("write");
        assert_eq!(believed("s3://b/p"), None);
        note().save(&meta).expect("save");
        assert_eq!(believed("s3://b/p"), Some((Txid::FIRST, 3)));
        assert_eq!(believed("s3://b/other"), None);
        let copy = dir.path().join("copy");
        std::fs::copy(&path, &copy).expect("copy");
        std::fs::rename(&copy, &path).expect("rename");
        assert_eq!(believed("s3://b/p"), None, "another inode");
    }
}
