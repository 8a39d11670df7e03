//! Restoring one database: the decision, the lock, the log lines, and the note for replication. Of
//! several replicas the one with the newest state is taken.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connect::store_failure;
use super::exit::{BACKUP, CANNOT_WRITE, Failure, INTERNAL};
use crate::clock::Clock;
use crate::config::Database;
use crate::figures;
use crate::fsx;
use crate::remote::Remote;
use crate::replicate::blocking;
use crate::restore::{
    Backup, FileOwner, Prepared, Progress, Reached, Request, RestoreError, Restored, Target, newest, of_replica,
    prepare,
};
use crate::sqlite::{Content, Presence, look_at_file};
use crate::state::{LocalState, Lock, RestoreMarker};
use crate::status::{RestoreMade, Restores};

const LOCK_RETRY: Duration = Duration::from_millis(200);
const LOG_EVERY: Duration = Duration::from_secs(5);

/// How often a restore is repeated if the bucket cannot be reached. Each request has its own
/// retries.
const ATTEMPTS: u32 = 2;

/// What to restore, where to, and whether a missing backup is an error.
pub struct Recovery {
    pub request: Request,
    /// Where the note for replication goes, if the database is one that may be replicated.
    pub meta_path: Option<PathBuf>,
    pub require_backup: bool,
    /// Where it is noted, as that of which database.
    pub noted: Option<(PathBuf, Restores)>,
}

impl Recovery {
    pub fn of_database(database: &Database, require_backup: bool, restores: &Restores) -> Recovery {
        let mut request = Request::new(&database.path);
        request.overwrite_empty = true;
        request.owner = database.file_owner.map(|(uid, gid)| FileOwner { uid, gid });
        request.mode = database.file_mode;
        let noted = Some((database.path.clone(), restores.clone()));
        Recovery { request, meta_path: Some(database.meta_path.clone()), require_backup, noted }
    }
}

/// Restores the database if there is none. An error means that the application must not start.
pub async fn restore_missing(
    backups: &[Backup],
    recovery: &Recovery,
    cancel: CancellationToken,
) -> Result<(), Failure> {
    let path = &recovery.request.output;
    let cannot_write = |error: fsx::FsError| Failure::told(CANNOT_WRITE, error);
    let looked = path.clone();
    if blocking(move || exists(&looked)).await? {
        tracing::debug!(db = %path.display(), "the database exists: not restored");
        return Ok(());
    }
    let owner = recovery.request.owner.map(|owner| (owner.uid, owner.gid));
    let made = path.clone();
    blocking(move || fsx::create_dir_all_for(fsx::parent(&made), owner)).await.map_err(cannot_write)?;
    // Another process on this volume may be restoring it right now.
    let _lock = loop {
        let Some(meta_path) = recovery.meta_path.clone() else { break None };
        let path = path.clone();
        let taken = blocking(move || {
            let lock = Lock::try_take(&path, &meta_path).map_err(|error| Failure::told(CANNOT_WRITE, error))?;
            exists(&path).map(|exists| (lock, exists))
        });
        match taken.await? {
            (_, true) => return Ok(()),
            (Some(lock), false) => break Some(lock),
            (None, false) => tokio::time::sleep(LOCK_RETRY).await,
        }
        if cancel.is_cancelled() {
            return Ok(());
        }
    };
    let mut attempt = 1;
    let done = loop {
        match restore_newest(backups, recovery, &cancel, async |p| announce_progress(p, Some(path)).await).await {
            Err(error) if is_transient(&error) && attempt < ATTEMPTS => {
                attempt += 1;
                tracing::warn!("{}; trying again before the application is started", error.cause());
            }
            done => break done,
        }
    };
    match done {
        Ok(_) => Ok(()),
        Err(RestoreError::NoBackup { address }) if !recovery.require_backup => {
            tracing::warn!(db = %path.display(), "no backup in {address}: starting fresh, with an empty database");
            Ok(())
        }
        Err(error) => {
            let Failure { code, error } = restore_failure(error);
            Err(Failure::new(code, error.context("not started")))
        }
    }
}

fn is_transient(error: &RestoreError) -> bool {
    matches!(error.cause(), RestoreError::CannotTell(error) if error.is_transient())
}

fn exists(path: &Path) -> Result<bool, Failure> {
    match look_at_file(path) {
        Ok(Presence::Missing | Presence::Empty) => Ok(false),
        Ok(Presence::Database(_)) => Ok(true),
        Ok(Presence::NoDatabase(content)) => Err(no_database(path, content)),
        Err(error) => Err(Failure::told(CANNOT_WRITE, error)),
    }
}

/// A file at a database's path may be valuable data: it is never replaced.
pub(super) fn no_database(path: &Path, content: Content) -> Failure {
    let error = anyhow!(
        "{} is not a SQLite database ({content}): it is left as it is, and nothing is restored over it; set the right path, or move it away",
        path.display()
    );
    Failure::new(CANNOT_WRITE, error)
}

/// Restores from the replica that has the newest state, and says which that was.
pub async fn restore_newest(
    backups: &[Backup],
    recovery: &Recovery,
    cancel: &CancellationToken,
    show: impl AsyncFn(&Progress) -> Infallible,
) -> Result<(String, Restored), RestoreError> {
    prepare_newest(backups, recovery, cancel, show).await?.put_in_place(recovery).await
}

/// A restored database that waits for its name, beside its place.
pub struct Waiting {
    /// The replica that it comes from.
    pub name: String,
    address: String,
    clock: Clock,
    began: Instant,
    prepared: Prepared,
}

/// The same up to the moment at which the database gets its name. Another replica that has the same
/// state is tried when the one that has the newest turns out to be unreadable.
pub async fn prepare_newest(
    backups: &[Backup],
    recovery: &Recovery,
    cancel: &CancellationToken,
    show: impl AsyncFn(&Progress) -> Infallible,
) -> Result<Waiting, RestoreError> {
    let (mut from, others) = newest(backups, recovery.request.target, cancel).await?;
    let mut done = prepare_from(from, recovery, cancel, &show).await;
    for other in others {
        let Err(error) = &done else { break };
        if !error.is_about_its_source() {
            break;
        }
        tracing::warn!("could not restore from the replica {}: {error}; {} has the same state", from.0, other.0);
        from = other;
        done = prepare_from(from, recovery, cancel, &show).await;
    }
    done.map_err(|error| if backups.len() > 1 { of_replica(from.0.to_owned(), error, None) } else { error })
}

/// Restores, logs and shows how it goes.
async fn prepare_from(
    (name, remote): (&str, &Remote),
    recovery: &Recovery,
    cancel: &CancellationToken,
    show: impl AsyncFn(&Progress) -> Infallible,
) -> Result<Waiting, RestoreError> {
    let (path, address, clock) = (recovery.request.output.display(), remote.address().to_owned(), remote.clock());
    tracing::info!(db = %path, "restoring from {address}");
    let began = clock.instant();
    let progress = Arc::new(Progress::default());
    let work = prepare(remote, &recovery.request, cancel, &progress);
    tokio::pin!(work);
    let prepared = tokio::select! {
        done = &mut work => done,
        never = show(&progress) => match never {},
    }?;
    Ok(Waiting { name: name.to_owned(), address, clock, began, prepared })
}

/// Restores from this replica.
pub async fn restore_and_note(
    remote: &Remote,
    recovery: &Recovery,
    cancel: &CancellationToken,
    show: impl AsyncFn(&Progress) -> Infallible,
) -> Result<Restored, RestoreError> {
    let waiting = prepare_from(("", remote), recovery, cancel, show).await?;
    waiting.put_in_place(recovery).await.map(|(_, restored)| restored)
}

impl Waiting {
    /// Gives the database its name, and leaves the note that lets replication continue from it.
    pub async fn put_in_place(self, recovery: &Recovery) -> Result<(String, Restored), RestoreError> {
        let Waiting { name, address, clock, began, prepared } = self;
        let restored = prepared.install().await?;
        for orphan in &restored.orphaned {
            tracing::warn!(
                "a file that an older database left beside the restored one was moved to {}",
                orphan.display()
            );
        }
        note_for_replication(recovery, address, &restored).await;
        let Restored { reached, database_bytes, files, bytes, .. } = &restored;
        let took = clock.instant() - began;
        if let Some((database, restores)) = &recovery.noted {
            restores.note(database, RestoreMade { took, bytes: *database_bytes });
        }
        tracing::info!(
            db = %recovery.request.output.display(),
            "restored {reached}: {database_bytes} bytes, from {} with {bytes} bytes, in {:.2?}",
            figures::count(*files, "file"),
            took
        );
        Ok((name, restored))
    }
}

/// A state of the past, or of a history that is not LTX, is not continued: replication begins with
/// an image.
async fn note_for_replication(recovery: &Recovery, replica: String, restored: &Restored) {
    let (Some(meta_path), Target::Latest, Reached::Ltx { txid, header }) =
        (&recovery.meta_path, recovery.request.target, restored.reached)
    else {
        return;
    };
    let output = recovery.request.output.clone();
    let state = LocalState::open(&output, meta_path);
    // The restored file may have another owner than the directory was made for.
    let marked = blocking(move || {
        let marker = RestoreMarker::of(&output, &replica, txid, header.page_size, header.commit)?;
        state.prepare().and_then(|()| state.mark_restored(&marker))
    });
    // Without the marker replication begins with an image: slower, never wrong.
    if let Err(error) = marked.await {
        tracing::warn!("{error}: the first upload will be the whole database");
    }
}

/// Logs the progress every few seconds. Never returns.
pub async fn announce_progress(progress: &Progress, db: Option<&Path>) -> Infallible {
    let db = db.map(|path| tracing::field::display(path.display()));
    loop {
        tokio::time::sleep(LOG_EVERY).await;
        let done = progress.now();
        if let Some(percent) = (done.bytes_done * 100).checked_div(done.bytes_total) {
            tracing::info!(db, "restoring: {percent} % ({} of {} bytes)", done.bytes_done, done.bytes_total);
        }
    }
}

/// The exit code for a failed restore.
pub fn restore_failure(error: RestoreError) -> Failure {
    let code = match error.cause() {
        RestoreError::CannotTell(store) => return Failure { error: error_text(&error), ..store_failure(store) },
        RestoreError::Io(_)
        | RestoreError::TargetExists { .. }
        | RestoreError::NoDatabase { .. }
        | RestoreError::InUse(_) => CANNOT_WRITE,
        RestoreError::Cancelled => INTERNAL,
        _ => BACKUP,
    };
    Failure::told(code, error)
}

fn error_text(error: &RestoreError) -> anyhow::Error {
    anyhow!("cannot tell whether there is a backup: {error}")
}
