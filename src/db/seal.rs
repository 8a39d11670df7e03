//! The note that a reset of the WAL leaves: this generation is captured to its end.
//!
//! In memory that fact is [`super::Position::sealed`]; a killed process takes it along. With the note, the next start still knows
//! that the generation after this one, and only that, continues it, even when its first frames have overwritten the end
//! of the old one. A note is only believed for the generation and frame that the newest object names, so a stale one is
//! harmless. It is not synced: a lost note only costs a full image.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::fsx::{self, Context};
use crate::sqlite::{Salts, WalMark};

const NOTE_FILE: &str = "sealed.json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    salt1: u32,
    salt2: u32,
    /// Frames in the generation.
    frames: u32,
}

impl Seal {
    pub(super) fn of(wal: &WalMark) -> Seal {
        Seal { salt1: wal.salts.0, salt2: wal.salts.1, frames: wal.frames }
    }

    pub(super) fn closes(&self, salts: Salts, frames: u32) -> bool {
        (Salts(self.salt1, self.salt2), self.frames) == (salts, frames)
    }

    pub fn save(&self, directory: &Path) -> fsx::Result<()> {
        fsx::create_dir_all(directory)?;
        let path = directory.join(NOTE_FILE);
        let text = serde_json::to_vec(self).map_err(std::io::Error::other).on("encode", &path)?;
        let temporary = fsx::with_suffix(&path, ".tmp");
        std::fs::write(&temporary, text).on("write", &temporary)?;
        fsx::rename(&temporary, &path)
    }

    pub fn load(directory: &Path) -> Option<Seal> {
        serde_json::from_slice(&std::fs::read(directory.join(NOTE_FILE)).ok()?).ok()
    }
}
