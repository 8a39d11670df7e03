//! The note that a restore leaves: this very file is the state at TXID n.
//!
//! The replica knows what a TXID contains but not which file on which disk it became. With the
//! note, replication continues after a restore without uploading the database again. It is believed
//! only while device, inode, length and modification time are exactly those of the restored file:
//! then no checkpoint has touched it, and whatever the WAL holds comes on top.
//!
//! It is left for a file with an empty WAL, too, that was found to be that TXID, or that
//! replication ended with.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::LocalState;
use super::file_attributes::FileAttributes;
use super::note_file::NoteFile;
use crate::fsx;
use crate::ltx::Txid;
use crate::page::PageSize;

pub(super) const RESTORE_MARKER_FILE: &str = "restore-marker.json";
pub(super) const EARLIER_RESTORE_MARKER_FILE: &str = "origin.json";

/// The file at the database's path is that TXID of that replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreMarker {
    /// A TXID means nothing in another one.
    pub replica: String,
    pub txid: Txid,
    pub page_size: PageSize,
    /// Size of the database in pages.
    pub pages: u32,
    file: FileAttributes,
}

/// As it is written.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    /// 16 hex digits.
    txid: String,
    page_size: u32,
    pages: u32,
    replica: String,
    #[serde(flatten)]
    file: FileAttributes,
}

impl RestoreMarker {
    /// Of the file that is at the path now. It is for the caller to know that it is the right
    /// one.
    pub fn of(path: &Path, replica: &str, txid: Txid, page_size: PageSize, pages: u32) -> fsx::Result<RestoreMarker> {
        let file = FileAttributes::of(path)?;
        Ok(RestoreMarker { replica: replica.to_owned(), txid, page_size, pages, file })
    }
}

impl LocalState {
    fn restore_marker_file(&self) -> NoteFile {
        self.note(RESTORE_MARKER_FILE).or_earlier(self.directory.join(EARLIER_RESTORE_MARKER_FILE))
    }

    /// What the file at the database's path still is; `None` when it was touched, or nothing is
    /// noted.
    pub fn restore_marker(&self) -> Option<RestoreMarker> {
        let stored: Stored = self.restore_marker_file().load()?;
        let (txid, page_size) = (Txid::parse_hex(&stored.txid)?, PageSize::new(stored.page_size)?);
        let now = RestoreMarker::of(&self.database, &stored.replica, txid, page_size, stored.pages).ok()?;
        (now.file == stored.file).then_some(now)
    }

    pub fn mark_restored(&self, marker: &RestoreMarker) -> fsx::Result<()> {
        let RestoreMarker { replica, txid, page_size, pages, file } = marker.clone();
        let (txid, page_size) = (txid.to_string(), page_size.get());
        self.restore_marker_file().replace(&Stored { txid, page_size, pages, replica, file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_is_believed_only_for_the_untouched_file() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let state = LocalState::open(&path, &dir.path().join("meta"));
        std::fs::write(&path, b"content").expect("write");
        let marker = RestoreMarker::of(&path, "s3://b/p", Txid::FIRST, PageSize::MAX, 3).expect("stat");
        assert_eq!(state.restore_marker(), None);
        state.mark_restored(&marker).expect("save");
        assert_eq!(state.restore_marker(), Some(marker));
        let copy = dir.path().join("copy");
        std::fs::copy(&path, &copy).expect("copy");
        std::fs::rename(&copy, &path).expect("rename");
        assert_eq!(state.restore_marker(), None, "another inode");
    }

    #[test]
    fn the_note_of_an_earlier_build_is_read() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        std::fs::write(&path, b"content").expect("write");
        let FileAttributes { device, inode, size, modified_ns } = FileAttributes::of(&path).expect("stat");
        let text = format!(
            "{{\n  \"txid\": \"0000000000000001\",\n  \"page_size\": 512,\n  \"pages\": 3,\n  \"replica\": \"r\",\n  \"device\": {device},\n  \
             \"inode\": {inode},\n  \"size\": {size},\n  \"modified_ns\": {modified_ns}\n}}"
        );
        std::fs::write(dir.path().join("origin.json"), text).expect("write");
        let marker = LocalState::open(&path, dir.path()).restore_marker().expect("believed");
        assert_eq!((marker.replica.as_str(), marker.txid, marker.pages), ("r", Txid::FIRST, 3));
    }
}
