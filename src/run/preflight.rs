//! Checks that come before any request and before any file is opened: can the database at this path
//! be replicated at all?

use std::path::PathBuf;

use super::exit::{CANNOT_WRITE, Failure};
use super::restore_missing::no_database;
use crate::config::Database;
use crate::fsx::{Context, FsError};
use crate::replicate::blocking;
use crate::sqlite::{Presence, check_access, look_at_file};

/// Checks each of them, on a thread: a file system may not answer at once. Those that fail are
/// told.
pub(super) async fn check_each(databases: &[Database]) -> Vec<(PathBuf, Failure)> {
    let databases = databases.to_vec();
    let failed = |database: &Database| Some((database.path.clone(), check(database).err()?));
    blocking(move || databases.iter().filter_map(failed).collect()).await
}

/// Fails if the path is not a regular file, is not a database, or cannot be written by this user. A
/// missing file is fine.
fn check(database: &Database) -> Result<(), Failure> {
    let cannot_use = |error: FsError| Failure::told(CANNOT_WRITE, error);
    match look_at_file(&database.path).map_err(cannot_use)? {
        Presence::Missing | Presence::Empty => Ok(()),
        Presence::NoDatabase(content) => Err(no_database(&database.path, content)),
        Presence::Database(_) => {
            let path = std::fs::canonicalize(&database.path).on("open", &database.path).map_err(cannot_use)?;
            check_access(&path).map_err(|error| Failure::told(CANNOT_WRITE, error))
        }
    }
}
