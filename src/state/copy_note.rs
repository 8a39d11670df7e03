//! The note that a database is a live copy: of which replica, and at which TXID.
//!
//! It has two uses. While it exists the database is a copy and no database of its own: it is not
//! replicated (`run/`), and nothing but its follower may write to it. And it says which state the
//! copy can be in: before an install is committed, the state before it and the one after it are
//! both noted, durably, so that whichever a crash leaves is known by its checksum.
//!
//! The header of the newest file that was installed is kept: a TXID alone is also one of other
//! histories.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::LocalState;
use super::note_file::NoteFile;
use crate::fsx;
use crate::ltx::Txid;

pub(super) const COPY_NOTE_FILE: &str = "follows.json";

/// A state of a copy, and how it is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyState {
    pub txid: Txid,
    /// When it was captured, Unix milliseconds, by the file that ends with it.
    pub timestamp_ms: i64,
    /// Size of the database in pages.
    pub pages: u32,
    /// Over all pages.
    pub checksum: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyNote {
    /// The address of the replica.
    pub replica: String,
    /// The states that the copy can be in; none while it is being healed.
    pub states: Vec<CopyState>,
}

/// As it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    replica: String,
    states: Vec<StoredState>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredState {
    /// 16 hex digits, as the checksum.
    txid: String,
    timestamp_ms: i64,
    pages: u32,
    checksum: String,
}

impl LocalState {
    fn copy_note_file(&self) -> NoteFile {
        self.note(COPY_NOTE_FILE)
    }

    /// Where the note is, if there is one: also one that cannot be read says that this is a copy.
    pub fn copy_note_path(&self) -> fsx::Result<Option<PathBuf>> {
        Ok(self.copy_note_file().paths_there()?.pop())
    }

    /// What it says; `None` when that is not known.
    pub fn copy_note(&self) -> Option<CopyNote> {
        let Stored { replica, states } = self.copy_note_file().load()?;
        let state = |stored: StoredState| {
            let (txid, checksum) = (Txid::parse_hex(&stored.txid)?, u64::from_str_radix(&stored.checksum, 16).ok()?);
            Some(CopyState { txid, timestamp_ms: stored.timestamp_ms, pages: stored.pages, checksum })
        };
        Some(CopyNote { replica, states: states.into_iter().map(state).collect::<Option<_>>()? })
    }

    /// Durable when it returns.
    pub fn note_copy(&self, note: &CopyNote) -> fsx::Result<()> {
        self.copy_note_file().replace(&Stored::of(note))
    }

    /// It is a database of its own from now on.
    pub fn forget_copy(&self) -> fsx::Result<()> {
        self.copy_note_file().remove()
    }

    /// The same, for a note that says no more than the one before it together with the copy does: a
    /// power loss may take it back.
    pub fn settle_copy(&self, note: &CopyNote) -> fsx::Result<()> {
        self.copy_note_file().overwrite(&Stored::of(note))
    }
}

impl Stored {
    fn of(note: &CopyNote) -> Stored {
        let state = |state: &CopyState| StoredState {
            txid: state.txid.to_string(),
            timestamp_ms: state.timestamp_ms,
            pages: state.pages,
            checksum: format!("{:016x}", state.checksum),
        };
        Stored { replica: note.replica.clone(), states: note.states.iter().map(state).collect() }
    }
}

/// Whether the database at this path is a live copy, by the note in one of these directories: where
/// the note is.
pub fn live_copy(database: &Path, directories: &[PathBuf]) -> fsx::Result<Option<PathBuf>> {
    for directory in directories {
        if let Some(note) = LocalState::open(database, directory).copy_note_path()? {
            return Ok(Some(note));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_one_as_long_as_there_is_a_note() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, notes) = (dir.path().join("copy.db"), dir.path().join("notes"));
        let state = LocalState::open(&path, &notes);
        assert_eq!((state.copy_note(), state.copy_note_path().expect("look")), (None, None));
        let one = CopyState { txid: Txid::FIRST, timestamp_ms: -5, pages: 7, checksum: u64::MAX };
        let note = CopyNote { replica: "s3://b/p".into(), states: vec![one, CopyState { checksum: 0, ..one }] };
        state.note_copy(&note).expect("write");
        assert_eq!(state.copy_note(), Some(note.clone()));
        let settled = CopyNote { states: Vec::new(), ..note };
        state.settle_copy(&settled).expect("write");
        assert_eq!(state.copy_note(), Some(settled));
        let there = live_copy(&path, &[dir.path().join("other"), notes.clone()]).expect("look");
        assert_eq!(there, Some(notes.join("follows.json")));
        std::fs::write(notes.join("follows.json"), "torn").expect("write");
        assert_eq!((state.copy_note(), live_copy(&path, &[notes]).expect("look").is_some()), (None, true));
    }
}
