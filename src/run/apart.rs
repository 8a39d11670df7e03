//! A database with commits that are in no history, because another instance went on with it: it is
//! kept as it is, beside its place, where the newest state is restored then.

use std::path::PathBuf;

use super::exit::{CANNOT_WRITE, Failure};
use crate::clock::MACHINE;
use crate::config::Database;
use crate::fsx::{self, FsError};
use crate::replicate::blocking;
use crate::sqlite::{Presence, checkpoint_and_close, look_at_file};
use crate::state::Lock;

/// What became of it.
enum Moved {
    To(PathBuf),
    /// There is none, or another process replicates it.
    Not,
    /// Another program has it open.
    InUse,
}

/// Nothing of ours may have the database open.
pub async fn set_apart(database: &Database) -> Result<(), Failure> {
    let (given, meta_path) = (database.path.clone(), database.meta_path.clone());
    let shown = given.display().to_string();
    let moved = blocking(move || -> anyhow::Result<Moved> {
        let Ok(path) = std::fs::canonicalize(&given) else { return Ok(Moved::Not) };
        if !matches!(look_at_file(&path)?, Presence::Database(_)) {
            return Ok(Moved::Not);
        }
        let Some(_lock) = Lock::try_take(&path, &meta_path)? else { return Ok(Moved::Not) };
        if !checkpoint_and_close(&path)? {
            return Ok(Moved::InUse);
        }
        let kept = fsx::with_suffix(&path, &format!(".orphaned-{}", MACHINE.unix_ms()));
        let moved: Result<(), FsError> = fsx::rename(&path, &kept).and_then(|()| fsx::sync_dir(fsx::parent(&path)));
        moved?;
        Ok(Moved::To(kept))
    });
    match moved.await {
        Ok(Moved::Not) => Ok(()),
        Ok(Moved::To(kept)) => {
            tracing::error!(
                db = %shown,
                "another instance went on with the history, and commits that were made here are not part of it: the database is kept \
                 as {}, and the newest state restored in its place",
                kept.display()
            );
            Ok(())
        }
        Ok(Moved::InUse) => {
            let why = "another instance went on with the history, and a program that is not ours has the database open: end it";
            Err(Failure::told(CANNOT_WRITE, format!("{shown}: {why}")))
        }
        Err(error) => Err(Failure::new(CANNOT_WRITE, error)),
    }
}
