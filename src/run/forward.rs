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
use super::restore_missing::{Recovery, announce_progress, restore_and_note, restore_failure};
use crate::config::Database;
use crate::fsx::{self, FsError};
use crate::remote::{ReadPolicy, Remote};
use crate::replicate::{Behind, Place, blocking, look_behind};
use crate::restore::{FileOwner, Reached};
use crate::sqlite::{Presence, checkpoint_and_close, look_at_file};
use crate::state::{LocalState, Lock, RestoreMarker, SyncedTo};

/// Brings a database forward if it is behind. An error means that the application must not start.
pub async fn forward_one(database: &Database, remote: &Remote, cancel: &CancellationToken) -> Result<(), Failure> {
    // Nothing of ours is open yet whose locks could be lost.
    let (given, meta_path) = (database.path.clone(), database.meta_path.clone());
    // Another process that replicates it knows better; what else is wrong is said where the replication begins.
    let Some((path, _lock)) = blocking(move || locked(&given, &meta_path)).await else { return Ok(()) };
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

/// The database behind symbolic links, with its lock; `None` when there is none, or somebody else has the lock.
fn locked(path: &Path, meta_path: &Path) -> Option<(PathBuf, Lock)> {
    let path = std::fs::canonicalize(path).ok()?;
    let is_there = matches!(look_at_file(&path), Ok(Presence::Database(_)));
    let lock = is_there.then(|| Lock::try_take(&path, meta_path))?.ok()??;
    Some((path, lock))
}

async fn fold(path: &Path) -> anyhow::Result<bool> {
    let path = path.to_owned();
    Ok(tokio::task::spawn_blocking(move || checkpoint_and_close(&path)).await??)
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
type LastUse = (u64, u64, i64, i64, bool);

fn last_use(path: &Path) -> Result<LastUse, FsError> {
    let file = fsx::metadata(path)?;
    let has_wal = fsx::metadata_if_exists(&fsx::with_suffix(path, "-wal"))?.is_some();
    Ok((file.ino(), file.len(), file.mtime(), file.mtime_nsec(), has_wal))
}

async fn replace(forward: &Forward<'_>, cancel: &CancellationToken) -> Result<(), Failure> {
    let Forward { database, remote, path, behind } = forward;
    let cannot_write = |error: FsError| Failure::new(CANNOT_WRITE, error);
    let state = LocalState::open(path, &database.meta_path);
    let mut recovery = Recovery::of_database(database, true);
    let staged = staging(path);
    let old = {
        let (path, staged, state, behind) = (path.clone(), staged.clone(), state.clone(), *behind);
        let replica = remote.address().to_owned();
        let began = blocking(move || begin(&path, &staged, &state, behind, replica));
        began.await.map_err(cannot_write)?
    };
    keep_owner_and_mode(&mut recovery, &old, database);
    recovery.request.output = staged.clone();
    let restored =
        match restore_and_note(remote, &recovery, cancel, async |p| announce_progress(p, Some(path)).await).await {
            Ok(restored) => restored,
            Err(error) => return Err(restore_failure(error)),
        };
    let reached = match restored.reached {
        Reached::Ltx { txid, .. } => Some(txid),
        Reached::Old { .. } => None,
    };
    let (path, address) = (path.clone(), remote.address().to_owned());
    let shown = path.display().to_string();
    let ended = blocking(move || {
        if last_use(&path)? != old.last_use {
            // Best effort: the next look removes it.
            let _ = std::fs::remove_file(&staged);
            return Ok(false);
        }
        fsx::rename(&staged, &path).and_then(|()| fsx::sync_dir(fsx::parent(&path)))?;
        if let Some(txid) = reached
            && let Err(error) = state.replica(&address).last_synced().in_step(SyncedTo::up_to(Some(txid)))
        {
            tracing::debug!(db = %path.display(), "{error}");
        }
        Ok(true)
    });
    if !ended.await.map_err(cannot_write)? {
        let why = "another program used the database while its newest state was restored: close it and start again";
        return Err(Failure::new(CANNOT_WRITE, anyhow::anyhow!("{shown}: {why}")));
    }
    Ok(())
}

/// The file that is replaced, before anything was done.
struct OldFile {
    last_use: LastUse,
    mode: u32,
    owner: FileOwner,
}

/// Notes which TXID the file is, and makes room for the new one.
fn begin(path: &Path, staged: &Path, state: &LocalState, behind: Behind, replica: String) -> Result<OldFile, FsError> {
    let last_use = last_use(path)?;
    let Behind { here, page_size, pages, .. } = behind;
    state.mark_restored(&RestoreMarker::of(path, &replica, here, page_size, pages)?)?;
    fsx::remove_file_if_exists(staged)?;
    let file = fsx::metadata(path)?;
    Ok(OldFile { last_use, mode: file.mode() & 0o777, owner: FileOwner { uid: file.uid(), gid: file.gid() } })
}

/// The file that the newest state is restored to, beside the database.
fn staging(path: &Path) -> PathBuf {
    // The restore makes a longer temporary name of it.
    let name = fsx::framed(".", path.file_name().unwrap_or_default(), ".millstream-forward", 64);
    fsx::parent(path).join(name)
}

/// The new file belongs to whom the old one belonged to, unless the configuration says otherwise.
fn keep_owner_and_mode(recovery: &mut Recovery, old: &OldFile, database: &Database) {
    if database.file_mode.is_none() {
        recovery.request.mode = Some(old.mode);
    }
    // Only root can give a file away.
    if database.file_owner.is_none() && nix::unistd::geteuid().is_root() {
        recovery.request.owner = Some(old.owner);
    }
}
