//! Starting over by order of a human: the local notes go, and one note stays that says "this database is the newest state".
//!
//! The order is for the file that lay at the path when it was given, and for one start: it goes when the image that it caused is in
//! the replica. Captured commits that were not uploaded are the database's too, but nobody can know what else they are good for:
//! they are moved aside.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::history::HISTORY_FILE;
use super::notes::create_dir_within;
use super::origin::NOTE_FILE;
use super::proof::{FileIdentity, KNOWN_FILE, STANDING_FILE, load, save};
use super::spill::{ASIDE_DIRECTORY, SPILL_DIRECTORY, ltx_files};
use crate::fsx::{self, FsError};

const ACCEPTANCE_FILE: &str = "accepted.json";

/// What the note of an earlier order says about the file at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    No,
    ThisFile,
    /// What lies there now is not what the order was given for.
    AnotherFile,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Acceptance {
    file: FileIdentity,
}

/// What becomes of one file of the local state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Remove(PathBuf),
    Move { from: PathBuf, to: PathBuf },
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Remove(path) => write!(f, "remove {}", path.display()),
            Act::Move { from, to } => write!(f, "move {} to {}", from.display(), to.display()),
        }
    }
}

/// What has to be done to the state in `directory` before the database can be accepted. `branch` names what is moved aside.
pub fn plan_reset(directory: &Path, branch: &str) -> fsx::Result<Vec<Act>> {
    let mut acts = Vec::new();
    for name in [STANDING_FILE, NOTE_FILE, KNOWN_FILE, HISTORY_FILE] {
        let path = directory.join(name);
        if fsx::metadata_if_exists(&path)?.is_some() {
            acts.push(Act::Remove(path));
        }
    }
    for from in ltx_files(&directory.join(SPILL_DIRECTORY))? {
        let name = from.file_name().unwrap_or_default().to_string_lossy();
        let to = directory.join(ASIDE_DIRECTORY).join(format!("{branch}-{name}"));
        acts.push(Act::Move { from, to });
    }
    Ok(acts)
}

/// Does these, and leaves the order to take the file at `path` as the newest state. The order is given last: without it the next
/// start compares.
pub fn accept(path: &Path, directory: &Path, acts: &[Act]) -> Result<(), FsError> {
    for act in acts {
        match act {
            Act::Remove(path) => fsx::remove_file(path)?,
            Act::Move { from, to } => {
                create_dir_within(fsx::parent(to))?;
                fsx::rename(from, to)?;
            }
        }
    }
    save(&Acceptance { file: FileIdentity::of(path)? }, directory, ACCEPTANCE_FILE)?;
    let note = directory.join(ACCEPTANCE_FILE);
    fsx::sync_file(&fsx::open(&note)?, &note)?;
    fsx::sync_dir(directory)
}

impl Accepted {
    pub fn look(path: &Path, directory: &Path) -> Accepted {
        match load::<Acceptance>(directory, ACCEPTANCE_FILE) {
            None => Accepted::No,
            Some(note) if FileIdentity::of(path).is_ok_and(|file| file == note.file) => Accepted::ThisFile,
            Some(_) => Accepted::AnotherFile,
        }
    }

    /// Takes the order back: it was obeyed, or what it was for is gone.
    pub fn forget(directory: &Path) -> fsx::Result<()> {
        fsx::remove_file_if_exists(&directory.join(ACCEPTANCE_FILE)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notes_go_the_spilled_files_are_moved_and_the_order_is_for_that_file() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, meta) = (dir.path().join("app.db"), dir.path().join("meta"));
        std::fs::write(&path, b"content").expect("write");
        assert_eq!(plan_reset(&meta, "b").expect("list"), []);
        std::fs::create_dir_all(meta.join("spill")).expect("create");
        for name in ["standing.json", "own-history.json", "lock", "spill/1-1.ltx", "spill/2-2.ltx", "spill/2-2.ltx.tmp"]
        {
            std::fs::write(meta.join(name), name).expect("write");
        }
        let acts = plan_reset(&meta, "b").expect("list");
        let moved = |name: &str| Act::Move {
            from: meta.join("spill").join(name),
            to: meta.join("orphaned").join(format!("b-{name}")),
        };
        let removed = ["standing.json", "own-history.json"].map(|name| Act::Remove(meta.join(name)));
        assert_eq!(acts, [removed.to_vec(), vec![moved("1-1.ltx"), moved("2-2.ltx")]].concat());
        assert!(meta.join("spill/2-2.ltx.tmp").exists(), "a plan changes nothing");
        assert_eq!(Accepted::look(&path, &meta), Accepted::No);

        accept(&path, &meta, &acts).expect("reset");
        assert_eq!(Accepted::look(&path, &meta), Accepted::ThisFile);
        assert_eq!(plan_reset(&meta, "c").expect("list"), []);
        assert_eq!(std::fs::read_to_string(meta.join("orphaned/b-2-2.ltx")).expect("kept"), "spill/2-2.ltx");
        assert!(meta.join("lock").exists());
        let copy = dir.path().join("copy");
        std::fs::copy(&path, &copy).and_then(|_| std::fs::rename(&copy, &path)).expect("replace");
        assert_eq!(Accepted::look(&path, &meta), Accepted::AnotherFile);
        Accepted::forget(&meta).expect("remove");
        assert_eq!(Accepted::look(&path, &meta), Accepted::No);
    }

    #[test]
    fn what_becomes_of_a_file_is_said() {
        let (from, to) = (PathBuf::from("/a"), PathBuf::from("/b"));
        let said = [Act::Remove(from.clone()), Act::Move { from, to }].map(|act| act.to_string());
        assert_eq!(said, ["remove /a", "move /a to /b"]);
    }
}
