//! The note that a program kept the database to itself when it ran last (`PRAGMA
//! locking_mode=EXCLUSIVE`), for the next start (`replicate/core/opening/`).

use serde::{Deserialize, Serialize};

use super::LocalState;
use crate::fsx;

const EXCLUSIVE_FILE: &str = "exclusive.json";

#[derive(Serialize, Deserialize)]
struct KeptExclusively {}

impl LocalState {
    pub fn was_kept_exclusively(&self) -> bool {
        self.note(EXCLUSIVE_FILE).load::<KeptExclusively>().is_some()
    }

    /// Notes whether a program keeps the database to itself.
    pub fn note_exclusive(&self, is_exclusive: bool) -> fsx::Result<()> {
        match is_exclusive {
            true => self.note(EXCLUSIVE_FILE).replace(&KeptExclusively {}),
            false => self.note(EXCLUSIVE_FILE).remove(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_of_an_earlier_build_is_read_and_goes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let state = LocalState::open(&dir.path().join("app.db"), dir.path());
        assert!(!state.was_kept_exclusively());
        std::fs::write(dir.path().join(EXCLUSIVE_FILE), "{}").expect("write");
        assert!(state.was_kept_exclusively());
        state.note_exclusive(true).expect("write");
        assert!(state.was_kept_exclusively());
        state.note_exclusive(false).expect("remove");
        assert!(!state.was_kept_exclusively());
    }
}
