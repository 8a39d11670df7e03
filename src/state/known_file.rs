//! Which file at the database's path belongs to the history in a replica.
//!
//! A file of another identity may be the same database (a volume was copied), an older one, or a
//! stranger's; its content has to tell (`replicate/difference.rs`). A lost note costs a comparison.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::ReplicaState;
use super::note_file::NoteFile;
use crate::fsx;

pub(super) const KNOWN_FILE: &str = "known-file.json";
pub(super) const EARLIER_KNOWN_FILE: &str = "known-file.json";

/// Which file it is, whatever it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFile {
    device: u64,
    inode: u64,
    /// Inodes are used again; a file's time of birth is its own. Zero where the file system does
    /// not tell.
    born_ns: u64,
}

impl KnownFile {
    /// The file that is at the path now.
    pub fn at(path: &Path) -> fsx::Result<KnownFile> {
        let file = fsx::metadata(path)?;
        let born = file.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        Ok(KnownFile { device: file.dev(), inode: file.ino(), born_ns })
    }
}

impl ReplicaState {
    fn known_file(&self) -> NoteFile {
        self.note(KNOWN_FILE, EARLIER_KNOWN_FILE)
    }

    /// Whether the file at the database's path is the one that is known to belong to the history in
    /// this replica.
    pub fn is_known_file(&self) -> bool {
        let noted: Option<KnownFile> = self.known_file().load();
        noted.is_some() && noted == KnownFile::at(&self.database).ok()
    }

    /// This file belongs to the history in this replica from now on.
    pub fn note_known_file(&self, file: &KnownFile) -> fsx::Result<()> {
        self.known_file().replace(file)
    }

    /// Its content has to show whether the file belongs to the history.
    pub fn forget_known_file(&self) -> fsx::Result<()> {
        self.known_file().remove()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::LocalState;

    #[test]
    fn a_known_file_is_that_file_and_not_a_copy_of_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let state = |address: &str| LocalState::open(&path, &dir.path().join("meta")).replica(address);
        let is_known = |address: &str| state(address).is_known_file();
        let note = |address: &str| {
            let file = KnownFile::at(&path).expect("stat");
            state(address).note_known_file(&file).expect("save");
        };
        std::fs::write(&path, b"content").expect("write");
        assert!(!is_known("r"));
        note("r");
        assert!(is_known("r") && !is_known("other"));
        std::fs::write(&path, b"changed").expect("write");
        assert!(is_known("r"), "content is not identity");
        let copy = dir.path().join("copy");
        std::fs::copy(&path, &copy).and_then(|_| std::fs::rename(&copy, &path)).expect("replace");
        assert!(!is_known("r"));
        note("other");
        assert!(is_known("other") && !is_known("r"), "each replica has its own note");
        note("r");
        assert!(is_known("other") && is_known("r"));
        state("r").forget_known_file().expect("remove");
        assert!(is_known("other") && !is_known("r"));
    }

    #[test]
    fn the_note_of_an_earlier_build_is_believed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        std::fs::write(&path, b"content").expect("write");
        let KnownFile { device, inode, born_ns } = KnownFile::at(&path).expect("stat");
        let text = format!("{{\"replica\":\"r\",\"device\":{device},\"inode\":{inode},\"born_ns\":{born_ns}}}");
        std::fs::write(dir.path().join("known-file.json"), text).expect("write");
        let is_known = |address: &str| LocalState::open(&path, dir.path()).replica(address).is_known_file();
        assert!(is_known("r") && !is_known("other"));
    }
}
