//! Fast-forward: a disk that is exactly an earlier state of the history, and has no commit of its
//! own, is brought to the newest state before the application starts.
//!
//! ```text
//! check (replicate/behind.rs) → the file is locked, and its WAL checkpointed → restore beside it
//!                             → rename over it
//! ```
//!
//! Until the rename the old file is unchanged, and a note says which TXID it has, so that an
//! interrupted run begins again. The replaced state is part of the history, so no copy is kept.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::connect;
use super::exit::{CANNOT_WRITE, Failure};
use super::restore_missing::{Recovery, announce_progress, restore_and_note, restore_failure};
use crate::config::Database;
use crate::fsx::{self, FsError};
use crate::remote::{ReadPolicy, Remote};
use crate::replicate::{Behind, Place, blocking, look_behind};
use crate::restore::{Backup, FileOwner, Reached, SameHistory, same_history};
use crate::sqlite::{Presence, checkpoint_and_close, look_at_file};
use crate::state::{LocalState, Lock, RestoreMarker, SyncedTo};
use crate::status::Restores;

/// How long a replica may take to say where its history ends.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// Brings a database forward if it is behind one of its replicas. An error means that the
/// application must not start.
pub async fn forward_one(
    database: &Database,
    backups: &[Backup],
    restores: &Restores,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    // No file of the database is open yet, so no lock can be lost by closing one.
    let (given, meta_path) = (database.path.clone(), database.meta_path.clone());
    // If another process replicates it, that one decides. Other problems are reported when the
    // replication begins.
    let Some((path, _lock)) = blocking(move || locked(&given, &meta_path)).await else { return Ok(()) };
    let Some(remotes) = cancel.run_until_cancelled(furthest_first(backups)).await else { return Ok(()) };
    for remote in &remotes {
        if forward_to((database, restores), remote, &path, cancel).await? {
            break;
        }
    }
    Ok(())
}

/// The first replica, preceded by the mirror with the highest TXID if that is higher: it has what
/// the first did not accept. A replica that does not answer in time is left out.
async fn furthest_first(backups: &[Backup]) -> Vec<&Remote> {
    let opened: Vec<&Remote> = backups.iter().filter_map(|backup| backup.remote.as_ref().ok()).collect();
    let [first, mirrors @ ..] = opened.as_slice() else { return opened };
    if mirrors.is_empty() {
        return opened;
    }
    let impatient = |remote: &Remote| remote.clone().with_policy(ReadPolicy::impatient());
    let newest = async |remote: &&Remote| {
        tokio::time::timeout(LOOK_TIME, impatient(remote).listing()).await.ok()?.ok()?.newest_txid()
    };
    let ends = join_all(opened.iter().map(newest)).await;
    // Of equal ones take the earlier.
    let furthest = mirrors.iter().zip(ends.iter().skip(1)).rev().max_by_key(|(_, end)| **end);
    let Some((mirror, _)) = furthest.filter(|(_, end)| **end > ends[0]) else { return vec![first] };
    let (one, other) = (impatient(first), impatient(mirror));
    match tokio::time::timeout(LOOK_TIME, same_history(&one, &other)).await {
        Ok(Ok(SameHistory::No(_))) => vec![first],
        // Whether the disk is an earlier state of it is checked in any case.
        _ => vec![mirror, first],
    }
}

/// Restores the newest state of this replica if the disk is an earlier one. Returns whether it did.
async fn forward_to(
    (database, restores): (&Database, &Restores),
    remote: &Remote,
    path: &Path,
    cancel: &CancellationToken,
) -> Result<bool, Failure> {
    let path = path.to_owned();
    let place = Place { path: path.clone(), meta_path: database.meta_path.clone(), tuning: connect::tuning(database) };
    let impatient = remote.clone().with_policy(ReadPolicy::impatient());
    let looked = cancel.run_until_cancelled(look_behind(&place, &impatient)).await;
    let behind = match looked {
        Some(Ok(Some(behind))) => behind,
        Some(Ok(None)) | None => return Ok(false),
        Some(Err(error)) => {
            tracing::debug!(db = %path.display(), "could not find out whether it is behind: {error}");
            return Ok(false);
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
            return Ok(true);
        }
        Err(error) => return Err(Failure::new(CANNOT_WRITE, error)),
    }
    tracing::warn!(
        db = %path.display(),
        "the database is TXID {here} of the history in {address} and has no commit of its own, and the history goes on to TXID \
         {end} (another node's turn, or a power loss here): bringing it forward before anything is started"
    );
    replace(&Forward { database, restores, remote, path, behind }, cancel).await?;
    Ok(true)
}

/// The database behind symbolic links, with its lock; `None` if there is no database, or another
/// process has the lock.
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
    restores: &'a Restores,
    remote: &'a Remote,
    /// With symbolic links resolved.
    path: PathBuf,
    behind: Behind,
}

/// Changes whenever another program writes to the file.
type LastUse = (u64, u64, i64, i64, bool);

fn last_use(path: &Path) -> Result<LastUse, FsError> {
    let file = fsx::metadata(path)?;
    let has_wal = fsx::metadata_if_exists(&fsx::with_suffix(path, "-wal"))?.is_some();
    Ok((file.ino(), file.len(), file.mtime(), file.mtime_nsec(), has_wal))
}

async fn replace(forward: &Forward<'_>, cancel: &CancellationToken) -> Result<(), Failure> {
    let Forward { database, restores, remote, path, behind } = forward;
    let cannot_write = |error: FsError| Failure::new(CANNOT_WRITE, error);
    let state = LocalState::open(path, &database.meta_path);
    let mut recovery = Recovery::of_database(database, true, restores);
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
            // Best effort: the next attempt removes it.
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

/// The file that is to be replaced.
struct OldFile {
    last_use: LastUse,
    mode: u32,
    owner: FileOwner,
}

/// Writes the note that says which TXID the file has, and removes an earlier attempt.
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
    // The restore appends to this name for its temporary file.
    let name = fsx::framed(".", path.file_name().unwrap_or_default(), ".millstream-forward", 64);
    fsx::parent(path).join(name)
}

/// The new file gets the owner of the old one, unless the configuration names another.
fn keep_owner_and_mode(recovery: &mut Recovery, old: &OldFile, database: &Database) {
    if database.file_mode.is_none() {
        recovery.request.mode = Some(old.mode);
    }
    // Only root can give a file away.
    if database.file_owner.is_none() && nix::unistd::geteuid().is_root() {
        recovery.request.owner = Some(old.owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::testing::history::History;
    use crate::store::memory::{Fault, Op};

    async fn history(transactions: u32, pages: u32) -> History {
        let mut history = History::new(512);
        for at in 1..=transactions {
            history.write(pages, [at % pages + 1]).await;
        }
        history
    }

    fn backups(histories: &[&History]) -> Vec<Backup> {
        let backup =
            |(at, history): (usize, &&History)| Backup { name: at.to_string(), remote: Ok(history.remote.clone()) };
        histories.iter().enumerate().map(backup).collect()
    }

    /// The replicas that are looked at, by their places in the configuration.
    async fn order(histories: &[&History]) -> Vec<usize> {
        let backups = backups(histories);
        let place = |remote: &&Remote| {
            backups.iter().position(|backup| backup.remote.as_ref().is_ok_and(|known| std::ptr::eq(known, *remote)))
        };
        furthest_first(&backups).await.iter().map(|remote| place(remote).expect("one of them")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_mirror_that_goes_on_further_is_looked_at_before_the_first() {
        let (three, five, also_five, none) =
            (history(3, 4).await, history(5, 4).await, history(5, 4).await, History::new(512));
        assert_eq!(order(&[&three]).await, [0]);
        assert_eq!(order(&[&five, &three]).await, [0]);
        assert_eq!(order(&[&five, &also_five]).await, [0]);
        assert_eq!(order(&[&three, &none, &five, &also_five]).await, [2, 0]);
        let foreign = history(7, 6).await;
        assert_eq!(order(&[&three, &foreign]).await, [0], "another history is no newer state");
        five.store.inject(Op::List, Fault::Hang, 1);
        assert_eq!(order(&[&three, &five]).await, [0], "it does not answer");
        three.store.inject(Op::List, Fault::Hang, 1);
        assert_eq!(order(&[&three, &five]).await, [1, 0], "the first does not answer");
    }
}
