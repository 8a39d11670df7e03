//! Fast-forward: a disk that is exactly an earlier state of the history, and has no commit of its own, is brought to the newest
//! state before the application starts.
//!
//! ```text
//! look (replicate/behind.rs) → the WAL goes into the file, which nobody else may have open → restore beside it → rename over it
//! ```
//!
//! Until the rename the old file is what it was, and a note says which TXID that is: an interrupted run begins again. What is
//! replaced is in the history, so no copy of it is kept.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::connect;
use super::exit::{CANNOT_WRITE, Failure};
use super::revive::{Revival, announce_progress, restore_and_note, restore_failure};
use crate::config::Database;
use crate::db::{History, Lock, Origin, Own};
use crate::fsx::{self, FsError};
use crate::remote::{ReadPolicy, Remote};
use crate::replicate::{Behind, Place, look_behind};
use crate::restore::{FileOwner, Reached};
use crate::sqlite::{Presence, fold_wal, look_at_file};

/// Brings a database forward if it is behind. An error means that the application must not start.
pub async fn forward_one(database: &Database, remote: &Remote, cancel: &CancellationToken) -> Result<(), Failure> {
    // Nothing of ours is open yet whose locks could be lost.
    let Ok(path) = std::fs::canonicalize(&database.path) else { return Ok(()) };
    if !matches!(look_at_file(&path), Ok(Presence::Database(_))) {
        return Ok(());
    }
    // Another process that replicates it knows better; what else is wrong is said where the replication begins.
    let Ok(Some(_lock)) = Lock::try_take(&path, &database.meta_path) else { return Ok(()) };
    let place = Place { path: path.clone(), meta_path: database.meta_path.clone(), tuning: connect::tuning(database) };
    let impatient = remote.clone().with_policy(ReadPolicy::impatient());
    let looked = cancel.run_until_cancelled(look_behind(&place, &impatient)).await;
    let behind = match looked {
        Some(Ok(Some(behind))) => behind,
        Some(Ok(None)) | None => return Ok(()),
        Some(Err(error)) => {
            tracing::debug!(db = %path.display(), "could not find out whether it is behind: {error}");
            return Ok(());
        }
    };
    let (here, end, address) = (behind.here, behind.end, remote.address());
    match fold(&path).await {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!(
                db = %path.display(),
                "the database is TXID {here} of the history in {address}, which goes on to TXID {end}, but another program has it \
                 open: it is not brought forward"
            );
            return Ok(());
        }
        Err(error) => return Err(Failure::new(CANNOT_WRITE, error)),
    }
    tracing::warn!(
        db = %path.display(),
        "the database is TXID {here} of the history in {address} and has no commit of its own, and the history goes on to TXID \
         {end} (another node's turn, or a power loss here): bringing it forward before anything is started"
    );
    replace(&Forward { database, remote, path, behind }, cancel).await
}

async fn fold(path: &Path) -> anyhow::Result<bool> {
    let path = path.to_owned();
    Ok(tokio::task::spawn_blocking(move || fold_wal(&path)).await??)
}

/// A database to bring forward.
struct Forward<'a> {
    database: &'a Database,
    remote: &'a Remote,
    /// Behind symbolic links.
    path: PathBuf,
    behind: Behind,
}

/// What changes when somebody uses the file.
fn stamp(path: &Path) -> Result<(u64, u64, i64, i64, bool), FsError> {
    let file = fsx::metadata(path)?;
    let has_wal = fsx::metadata_if_exists(&fsx::with_suffix(path, "-wal"))?.is_some();
    Ok((file.ino(), file.len(), file.mtime(), file.mtime_nsec(), has_wal))
}

async fn replace(forward: &Forward<'_>, cancel: &CancellationToken) -> Result<(), Failure> {
    let Forward { database, remote, path, behind } = forward;
    let cannot_write = |error: FsError| Failure::new(CANNOT_WRITE, error);
    let (meta, address) = (&database.meta_path, remote.address());
    let before = stamp(path).map_err(cannot_write)?;
    let note = Origin::of(path, behind.here, behind.page_size, behind.pages, address);
    note.and_then(|note| note.save(meta)).map_err(cannot_write)?;
    let mut revival = Revival::of_database(database, true);
    let staged = staging(path);
    fsx::remove_file_if_exists(&staged).map_err(cannot_write)?;
    keep_owner_and_mode(&mut revival, path, database).map_err(cannot_write)?;
    revival.request.output = staged.clone();
    let restored =
        match restore_and_note(remote, &revival, cancel, async |p| announce_progress(p, Some(path)).await).await {
            Ok(restored) => restored,
            Err(error) => return Err(restore_failure(error)),
        };
    if stamp(path).map_err(cannot_write)? != before {
        // Best effort: the next look removes it.
        let _ = std::fs::remove_file(&staged);
        let why = "another program used the database while its newest state was restored: close it and start again";
        return Err(Failure::new(CANNOT_WRITE, anyhow::anyhow!("{}: {why}", path.display())));
    }
    fsx::rename(&staged, path).and_then(|()| fsx::sync_dir(fsx::parent(path))).map_err(cannot_write)?;
    if let Reached::Ltx { txid, .. } = restored.reached
        && let Err(error) = History::load(meta, address).in_step(Own::up_to(Some(txid)))
    {
        tracing::debug!(db = %path.display(), "{error}");
    }
    Ok(())
}

/// The file that the newest state is restored to, beside the database.
fn staging(path: &Path) -> PathBuf {
    // The restore makes a longer temporary name of it.
    let name = fsx::framed(".", path.file_name().unwrap_or_default(), ".millstream-forward", 64);
    fsx::parent(path).join(name)
}

/// The new file belongs to whom the old one belonged to, unless the configuration says otherwise.
fn keep_owner_and_mode(revival: &mut Revival, path: &Path, database: &Database) -> Result<(), FsError> {
    let old = fsx::metadata(path)?;
    if database.file_mode.is_none() {
        revival.request.mode = Some(old.mode() & 0o777);
    }
    // Only root can give a file away.
    if database.file_owner.is_none() && nix::unistd::geteuid().is_root() {
        revival.request.owner = Some(FileOwner { uid: old.uid(), gid: old.gid() });
    }
    Ok(())
}
