//! Starting over by order of a human: the local notes go, and one note stays that says "this
//! database is the newest state".
//!
//! The order is for the file that was at the path when it was given, and for one start: it goes
//! when the image that it caused is in the replica. Captured commits that were not uploaded are the
//! database's too, but what else they are good for is unknown: they are moved to `orphaned`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::known_file::{EARLIER_KNOWN_FILE, KNOWN_FILE, KnownFile};
use super::last_synced::{EARLIER_LAST_SYNCED_FILE, LAST_SYNCED_FILE};
use super::note_file::NoteFile;
use super::restore_marker::{EARLIER_RESTORE_MARKER_FILE, RESTORE_MARKER_FILE};
use super::resume_point::{EARLIER_RESUME_POINT_FILE, RESUME_POINT_FILE};
use super::spill::ltx_files;
use super::{LocalState, ORPHANED_DIRECTORY, REPLICAS_DIRECTORY, SPILL_DIRECTORY};
use crate::fsx::{self, Context};

const RESET_ORDER_FILE: &str = "reset-order.json";
const EARLIER_RESET_ORDER_FILE: &str = "accepted.json";

/// What the note of an earlier order says about the file at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetOrder {
    None,
    ThisFile,
    /// What is there now is not what the order was given for.
    AnotherFile,
}

/// As it is written.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    file: KnownFile,
}

/// What becomes of one file of the local state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResetStep {
    Remove(PathBuf),
    Move { from: PathBuf, to: PathBuf },
}

impl fmt::Display for ResetStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResetStep::Remove(path) => write!(f, "remove {}", path.display()),
            ResetStep::Move { from, to } => write!(f, "move {} to {}", from.display(), to.display()),
        }
    }
}

impl LocalState {
    fn reset_order_file(&self) -> NoteFile {
        self.note(RESET_ORDER_FILE).or_earlier(self.directory.join(EARLIER_RESET_ORDER_FILE))
    }

    pub fn reset_order(&self) -> ResetOrder {
        match self.reset_order_file().load::<Stored>() {
            None => ResetOrder::None,
            Some(stored) if KnownFile::at(&self.database).is_ok_and(|file| file == stored.file) => ResetOrder::ThisFile,
            Some(_) => ResetOrder::AnotherFile,
        }
    }

    /// Takes the order back: it was obeyed, or what it was for is gone.
    pub fn forget_reset_order(&self) -> fsx::Result<()> {
        self.reset_order_file().remove()
    }

    /// What has to be done before the database can become the newest state. `branch` names what is
    /// moved.
    pub fn plan_reset(&self, branch: &str) -> fsx::Result<Vec<ResetStep>> {
        let mut steps = Vec::new();
        for path in self.notes_about_the_past()? {
            if fsx::metadata_if_exists(&path)?.is_some() {
                steps.push(ResetStep::Remove(path));
            }
        }
        for from in ltx_files(&self.directory.join(SPILL_DIRECTORY))? {
            let name = from.file_name().unwrap_or_default().to_string_lossy();
            let to = self.directory.join(ORPHANED_DIRECTORY).join(format!("{branch}-{name}"));
            steps.push(ResetStep::Move { from, to });
        }
        Ok(steps)
    }

    /// Does these, and leaves the order to take the file at the path as the newest state. The order
    /// is given last: without it the next start compares.
    pub fn order_reset(&self, steps: &[ResetStep]) -> fsx::Result<()> {
        for step in steps {
            match step {
                ResetStep::Remove(path) => fsx::remove_file(path)?,
                ResetStep::Move { from, to } => {
                    self.orphaned()?;
                    fsx::rename(from, to)?;
                }
            }
        }
        self.reset_order_file().replace(&Stored { file: KnownFile::at(&self.database)? })
    }

    /// Every note that lets a start continue a history, of whatever replica.
    fn notes_about_the_past(&self) -> fsx::Result<Vec<PathBuf>> {
        let earlier =
            [EARLIER_RESUME_POINT_FILE, EARLIER_RESTORE_MARKER_FILE, EARLIER_KNOWN_FILE, EARLIER_LAST_SYNCED_FILE];
        let mut paths = vec![self.directory.join(RESTORE_MARKER_FILE)];
        paths.extend(earlier.map(|name| self.directory.join(name)));
        for replica in directories_in(&self.directory.join(REPLICAS_DIRECTORY))? {
            paths.extend([RESUME_POINT_FILE, KNOWN_FILE, LAST_SYNCED_FILE].map(|name| replica.join(name)));
        }
        Ok(paths)
    }
}

/// In the order of their names.
fn directories_in(directory: &Path) -> fsx::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.on("list", directory)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.on("list", directory)?;
        if entry.file_type().on("list", directory)?.is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::SyncedTo;

    #[test]
    fn the_notes_go_the_spilled_files_are_moved_and_the_order_is_for_that_file() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, meta) = (dir.path().join("app.db"), dir.path().join("meta"));
        let state = LocalState::open(&path, &meta);
        std::fs::write(&path, b"content").expect("write");
        assert_eq!(state.plan_reset("b").expect("list"), []);
        std::fs::create_dir_all(meta.join("spill")).expect("create");
        for name in ["standing.json", "own-history.json", "lock", "spill/1-1.ltx", "spill/2-2.ltx", "spill/2-2.ltx.tmp"]
        {
            std::fs::write(meta.join(name), name).expect("write");
        }
        for replica in ["r", "mirror"] {
            state.replica(replica).last_synced().in_step(SyncedTo::up_to(None)).expect("write");
            let file = KnownFile::at(&path).expect("stat");
            state.replica(replica).note_known_file(&file).expect("write");
        }
        let steps = state.plan_reset("b").expect("list");
        let moved = |name: &str| ResetStep::Move {
            from: meta.join("spill").join(name),
            to: meta.join("orphaned").join(format!("b-{name}")),
        };
        let mut replicas = ["r", "mirror"].map(|address| state.replica(address).directory);
        replicas.sort();
        let of_replicas =
            replicas.iter().flat_map(|of| ["known-file.json", "last-synced.json"].map(|name| of.join(name)));
        let earlier = ["standing.json", "own-history.json"].map(|name| meta.join(name));
        let removed: Vec<_> = earlier.into_iter().chain(of_replicas).map(ResetStep::Remove).collect();
        assert_eq!(steps, [removed, vec![moved("1-1.ltx"), moved("2-2.ltx")]].concat());
        assert!(meta.join("spill/2-2.ltx.tmp").exists(), "a plan changes nothing");
        assert_eq!(state.reset_order(), ResetOrder::None);

        state.order_reset(&steps).expect("reset");
        assert_eq!(state.reset_order(), ResetOrder::ThisFile);
        assert_eq!(state.plan_reset("c").expect("list"), []);
        assert_eq!(std::fs::read_to_string(meta.join("orphaned/b-2-2.ltx")).expect("kept"), "spill/2-2.ltx");
        assert!(meta.join("lock").exists());
        let copy = dir.path().join("copy");
        std::fs::copy(&path, &copy).and_then(|_| std::fs::rename(&copy, &path)).expect("replace");
        assert_eq!(state.reset_order(), ResetOrder::AnotherFile);
        state.forget_reset_order().expect("remove");
        assert_eq!(state.reset_order(), ResetOrder::None);
    }

    #[test]
    fn the_order_of_an_earlier_build_is_obeyed_and_goes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        std::fs::write(&path, b"content").expect("write");
        let state = LocalState::open(&path, dir.path());
        let file = serde_json::to_string(&KnownFile::at(&path).expect("stat")).expect("encode");
        std::fs::write(dir.path().join("accepted.json"), format!("{{\"file\":{file}}}")).expect("write");
        assert_eq!(state.reset_order(), ResetOrder::ThisFile);
        state.forget_reset_order().expect("remove");
        assert_eq!(state.reset_order(), ResetOrder::None);
    }

    #[test]
    fn what_becomes_of_a_file_is_said() {
        let (from, to) = (PathBuf::from("/a"), PathBuf::from("/b"));
        let said = [ResetStep::Remove(from.clone()), ResetStep::Move { from, to }].map(|step| step.to_string());
        assert_eq!(said, ["remove /a", "move /a to /b"]);
    }
}
