//! The target of `restore`: a regular file that no program has open, or a new name.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use crate::cli::destination::Destination;
use crate::config::{Options, default_meta_path};
use crate::fsx::{self, FsError};
use crate::restore::{FileOwner, RestoreError, check_target};
use crate::run::exit::{CANNOT_WRITE, Failure, USAGE};
use crate::run::restore_failure;
use crate::sqlite::{Presence, look_at_file};
use crate::state::Lock;

/// Refuses a device, a FIFO, a directory: a rename would put a file in its place.
pub(super) fn check_kind(destination: &Destination) -> Result<(), Failure> {
    let path = match destination {
        Destination::Database(path) | Destination::Gzip(path) => path,
        Destination::Stdout if destination.is_terminal() => {
            let why = "a database cannot be shown on a terminal: redirect stdout to a file or a pipe";
            return Err(Failure::new(USAGE, anyhow!(why)));
        }
        Destination::Stdout => return Ok(()),
    };
    let hint = "to try a restore without keeping it there is `millstream verify -deep`, and `-o -` writes to stdout";
    match fsx::regular_file_if_exists(path) {
        Err(error) if error.verb == "use" => Err(Failure::new(CANNOT_WRITE, anyhow!("{error}; {hint}"))),
        found => found.map(drop).map_err(cannot_look),
    }
}

/// An existing file is replaced only with `force`. `Some` is the exit code if it is to be skipped.
pub(super) fn refuse_existing(destination: &Destination, force: bool, skip: bool) -> Result<Option<u8>, Failure> {
    let path = destination.path();
    let exists = match destination {
        Destination::Stdout => false,
        Destination::Gzip(path) => fsx::metadata_if_exists(path).map_err(cannot_look)?.is_some(),
        Destination::Database(path) => matches!(look_at_file(path).map_err(cannot_look)?, Presence::Database(_)),
    };
    if exists && skip {
        tracing::info!("database already exists, skipping: {}", path.display());
        return Ok(Some(0));
    }
    match destination {
        Destination::Database(path) => check_target(path, force, true).map(drop).map_err(restore_failure)?,
        _ if exists && !force => {
            return Err(restore_failure(RestoreError::TargetExists { path: path.to_owned() }));
        }
        _ => {}
    }
    Ok(None)
}

fn cannot_look(error: FsError) -> Failure {
    restore_failure(error.into())
}

/// The directory of the note for the replication; `None` if the file is not going to be replicated.
pub(super) fn meta_path(destination: &Destination, options: Option<&Options>) -> Option<PathBuf> {
    let Destination::Database(path) = destination else { return None };
    let target = real(path);
    let listed = |options: &Options| options.databases.iter().find(|d| real(&d.path) == target).cloned();
    match options.and_then(|options| listed(options).or_else(|| options.find(path))) {
        Some(database) => Some(database.meta_path),
        None => beside(path).find(|directory| directory.is_dir()),
    }
}

/// Takes the locks that keep replicators away from the target; the error names the process that has
/// one.
pub(super) fn lock(
    destination: &Destination,
    owner: Option<FileOwner>,
    meta_path: Option<PathBuf>,
) -> Result<Vec<Lock>, Failure> {
    let Destination::Database(path) = destination else { return Ok(Vec::new()) };
    let owner = owner.map(|owner| (owner.uid, owner.gid));
    fsx::create_dir_all_for(fsx::parent(path), owner).map_err(cannot_look)?;
    let mut directories: Vec<PathBuf> = beside(path).filter(|directory| directory.is_dir()).collect();
    directories.extend(meta_path);
    directories.sort();
    directories.dedup();
    let mut locks = Vec::new();
    for directory in directories {
        match Lock::try_take(path, &directory) {
            Ok(Some(lock)) => locks.push(lock),
            // The notes belong to another user. A running replicator is found by its open files
            // then.
            Err(error) => tracing::debug!("{error}"),
            Ok(None) => {
                let (path, holder) = (path.display(), Lock::holder(&directory));
                let error = anyhow!("not restored: {path} is being replicated by {holder}: stop it first");
                return Err(Failure::new(CANNOT_WRITE, error));
            }
        }
    }
    Ok(locks)
}

/// The directories of notes beside a database: for the given path, and for the path without links.
fn beside(path: &Path) -> impl Iterator<Item = PathBuf> {
    let (given, real) = (default_meta_path(path), default_meta_path(&real(path)));
    let other = (real != given).then_some(real);
    std::iter::once(given).chain(other)
}

/// The path with all links resolved; the file need not exist.
fn real(path: &Path) -> PathBuf {
    let new = || Some(std::fs::canonicalize(fsx::parent(path)).ok()?.join(path.file_name()?));
    std::fs::canonicalize(path).ok().or_else(new).unwrap_or_else(|| path.to_owned())
}
