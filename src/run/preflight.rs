//! Checks that come before any request and before any file is opened: can the database at this path
//! be replicated at all?

use std::path::PathBuf;

use super::exit::{CANNOT_WRITE, Failure};
use super::restore_missing::no_database;
use crate::config::{Database, default_meta_path};
use crate::fsx::{Context, FsError};
use crate::replicate::blocking;
use crate::sqlite::{Presence, check_access, look_at_file};
use crate::state::{LocalState, live_copy};

/// Checks each of them, on a thread: a file system may not answer at once. Those that fail are
/// told.
pub(super) async fn check_each(databases: &[Database], may_be_copies: bool) -> Vec<(PathBuf, Failure)> {
    let databases = databases.to_vec();
    let failed = move |database: &Database| Some((database.path.clone(), check(database, may_be_copies).err()?));
    blocking(move || databases.iter().filter_map(failed).collect()).await
}

/// Fails if the path is not a regular file, is not a database, or cannot be written by this user. A
/// missing file is fine.
fn check(database: &Database, may_be_copies: bool) -> Result<(), Failure> {
    let cannot_use = |error: FsError| Failure::told(CANNOT_WRITE, error);
    if !may_be_copies {
        refuse_copy(database)?;
    }
    match look_at_file(&database.path).map_err(cannot_use)? {
        Presence::Missing | Presence::Empty => Ok(()),
        Presence::NoDatabase(content) => Err(no_database(&database.path, content)),
        Presence::Database(_) => {
            let path = std::fs::canonicalize(&database.path).on("open", &database.path).map_err(cannot_use)?;
            check_access(&path).map_err(|error| Failure::told(CANNOT_WRITE, error))
        }
    }
}

/// A live copy is its follower's, and its history is that of another database.
fn refuse_copy(database: &Database) -> Result<(), Failure> {
    let path = &database.path;
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let directories = [database.meta_path.clone(), default_meta_path(path), default_meta_path(&real)];
    let found = live_copy(path, &directories).map_err(|error| Failure::told(CANNOT_WRITE, error))?;
    let Some(note) = found else { return Ok(()) };
    let of = LocalState::open(path, note.parent().unwrap_or(&note)).copy_note();
    let of = of.map_or_else(|| "a replica".into(), |note| note.replica);
    let (path, note) = (path.display(), note.display());
    let why = format!(
        "{path} is a live copy of {of}, which `millstream follow` keeps, and is not replicated; to make it a database of its own, \
         end the follower and remove {note}"
    );
    Err(Failure::told(CANNOT_WRITE, why))
}
