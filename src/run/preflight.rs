//! Checks that come before any request and before any file is opened: can the database at this path
//! be replicated at all?

use super::exit::{CANNOT_WRITE, Failure};
use super::restore_missing::no_database;
use crate::config::Database;
use crate::fsx::{Context, FsError};
use crate::replicate::blocking;
use crate::sqlite::{Presence, check_access, look_at_file};

/// Checks each of them on a blocking thread, because a file system may not answer at once.
pub(super) async fn check_all(databases: &[Database]) -> Result<(), Failure> {
    let databases = databases.to_vec();
    blocking(move || databases.iter().try_for_each(check)).await
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
