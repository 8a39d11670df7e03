//! Which transaction a live database stands at, and a checksum of each of its pages at exactly that
//! one.
//!
//! A read transaction is pinned, which names the WAL frame that it sees. The level-0 object whose
//! WAL range ends there, or is the first to end behind it, is the transaction to restore; what is
//! between is laid over the pages from the WAL itself, which no process can restart under the pin.
//! So a database that is written to all the time is compared, too.
//!
//! ```text
//! WAL       ─────────────── mark ──── end of the batch that was uploaded as TXID n ───▶
//! pages at n = what the pinned transaction sees, with the frames behind the mark laid over it
//! ```
//!
//! The pin lasts until the batch is uploaded and the pages are read once, not for the whole
//! restore. The database is opened to read, and never written to. Not for a process that holds
//! other connections to the database: it looks at the file itself.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::compare::PageSums;
use crate::fsx::{self, FsError};
use crate::ltx::{HEADER_LEN, Header, Txid};
use crate::page::Pgno;
use crate::remote::{Level, ReadError, Remote, Seen};
use crate::restore::{RestoreError, scratch};
use crate::sqlite::{Connection, Mark, Presence, Salts, SqliteError, WAL_HEADER_LEN, Wal, WalError, frame_len};
use crate::sqlite::{check_access, frame_offset, look_at_file};
use crate::store::StoreError;

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A database whose WAL is empty stands at the newest transaction when no other came for so long.
const QUIET: Duration = Duration::from_millis(1500);

/// Why a database cannot be compared: said, and no damage.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error(transparent)]
    Io(#[from] FsError),
    #[error("{0}")]
    Not(String),
}

/// An open look at the live database.
struct Pinned {
    connection: Connection,
    view: LiveView,
}

/// What it looks at.
struct LiveView {
    mark: Mark,
    path: PathBuf,
    wal_path: PathBuf,
    /// No process had it open: how the file was then.
    at_rest: Option<FileState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

/// The uploaded transaction to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    txid: Txid,
    /// Size of the database in pages.
    pages: u32,
    /// Frames of the WAL that belong to it and are behind the mark: up to this one.
    end_frame: u32,
}

/// What came of the search for it.
enum Found {
    Batch(Batch),
    /// The database went on from an empty WAL: only a new pin can tell.
    Moved,
    Not(String),
}

/// Sums up the pages at the newest transaction that the replica has, or gets within `patience`. An
/// inner `Err` says why the database cannot be compared.
pub(super) async fn take(
    remote: &Remote,
    seen: &[Seen],
    path: &Path,
    dir: &Path,
    patience: Duration,
) -> Result<Result<PageSums, String>, RestoreError> {
    let clock = remote.clock();
    let deadline = clock.instant() + patience;
    let (pinned, batch) = loop {
        let path = path.to_owned();
        let pinned = match spawn_blocking(move || pin(&path)).await.map_err(|_| RestoreError::Cancelled)? {
            Ok(pinned) => pinned,
            Err(trouble) => return Ok(Err(trouble.to_string())),
        };
        match find(remote, seen, &pinned.view, deadline).await? {
            Found::Batch(batch) => break (pinned, batch),
            Found::Not(why) => return Ok(Err(why)),
            Found::Moved => {}
        }
    };
    let dir = dir.to_owned();
    let summed = spawn_blocking(move || sum_up(&pinned, batch, &dir)).await.map_err(|_| RestoreError::Cancelled)?;
    Ok(summed.map_err(|trouble| trouble.to_string()))
}

fn pin(path: &Path) -> Result<Pinned, Trouble> {
    let path = std::fs::canonicalize(path).map_err(|source| FsError { verb: "open", path: path.into(), source })?;
    match look_at_file(&path)? {
        Presence::Database(_) => {}
        _ => return Err(Trouble::Not(format!("{} holds no database", path.display()))),
    }
    let wal_path = fsx::with_suffix(&path, "-wal");
    let is_there = |suffix| fsx::metadata_if_exists(&fsx::with_suffix(&path, suffix)).map(|found| found.is_some());
    let at_rest = match is_there("-wal")? || is_there("-journal")? {
        true => None,
        false => Some(file_state(&path)?),
    };
    if at_rest.is_none() && !is_there("-shm")? {
        // Reading it creates the -shm, which the application must be able to use.
        check_access(&path)?;
    }
    let connection = Connection::open_to_read(&path, at_rest.is_some(), BUSY_TIMEOUT)?;
    connection.check_page_access()?;
    let mark = connection.pin()?;
    connection.share_new_files();
    if mark.pages == 0 {
        return Err(Trouble::Not(format!("{} is empty", path.display())));
    }
    Ok(Pinned { connection, view: LiveView { mark, path, wal_path, at_rest } })
}

fn file_state(path: &Path) -> Result<FileState, FsError> {
    let metadata = fsx::metadata(path)?;
    Ok(FileState { inode: metadata.ino(), len: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) })
}

impl LiveView {
    fn frames(&self) -> u32 {
        self.mark.wal.map_or(0, |wal| wal.frames)
    }

    /// Whether a file's WAL range is in the generation that the pin sees, and up to which frame
    /// it goes.
    fn end_frame(&self, header: &Header) -> Option<u32> {
        let wal = self.mark.wal?;
        let is_same = header.page_size == self.mark.page_size && Salts(header.wal.salt1, header.wal.salt2) == wal.salts;
        let frames = header.wal.end().checked_sub(WAL_HEADER_LEN).filter(|_| is_same)?;
        let (frames, rest) = (frames / frame_len(header.page_size), frames % frame_len(header.page_size));
        u32::try_from(frames).ok().filter(|_| rest == 0)
    }

    /// The batch, if this file is the first that holds everything up to the mark.
    fn reached_by(&self, header: &Header) -> Option<Batch> {
        let end_frame = self.end_frame(header).filter(|end| *end >= self.frames().max(1))?;
        Some(Batch { txid: header.max_txid, pages: header.commit, end_frame })
    }
}

/// Finds the first transaction that holds everything up to the mark, waiting for it to be uploaded.
async fn find(remote: &Remote, seen: &[Seen], view: &LiveView, deadline: Instant) -> Result<Found, StoreError> {
    let sound = || seen.iter().filter_map(|(object, found)| Some((object, found.as_ref().ok()?)));
    let mut level_0: Vec<&Header> = sound().filter(|(o, _)| o.level == Level::L0).map(|(_, header)| header).collect();
    level_0.sort_unstable_by_key(|header| header.max_txid);
    if let Some(batch) = level_0.iter().find_map(|header| view.reached_by(header)) {
        return Ok(Found::Batch(batch));
    }
    let newest = level_0.last().map(|header| header.max_txid);
    let Some(mut newest) = newest.or_else(|| sound().map(|(object, _)| object.max_txid).max()) else {
        return Ok(Found::Not("the replica has no sound file".into()));
    };
    // What came between the LIST and the pin is older than the pin.
    let clock = remote.clock();
    let began = clock.instant();
    let (mut quiet_since, is_empty) = (began, view.frames() == 0);
    loop {
        let Some(next) = newest.next() else {
            return Ok(Found::Not(format!("no transaction can follow {newest}")));
        };
        if let Some(header) = level_0_header(remote, next).await? {
            if let Some(batch) = view.reached_by(&header) {
                return Ok(Found::Batch(batch));
            }
            if is_empty && clock.instant() - began >= QUIET && clock.instant() < deadline {
                return Ok(Found::Moved);
            }
            (newest, quiet_since) = (next, clock.instant());
            continue;
        }
        if is_empty && clock.instant() - quiet_since >= QUIET {
            return Ok(Found::Batch(Batch { txid: newest, pages: view.mark.pages, end_frame: 0 }));
        }
        if clock.instant() >= deadline {
            let why = "the replication is behind, or does not run";
            return Ok(Found::Not(format!(
                "its last commits are not in the replica, which ends with TXID {newest}: {why}"
            )));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The header of a level-0 object, if it is there and is what it should be.
async fn level_0_header(remote: &Remote, txid: Txid) -> Result<Option<Header>, StoreError> {
    let bytes = match remote.read_range(&remote.l0_key(txid), 0, HEADER_LEN as u64).await {
        Ok(bytes) => bytes,
        Err(ReadError::Store(error)) => return Err(error),
        Err(ReadError::Gone { .. } | ReadError::Invalid { .. }) => return Ok(None),
    };
    let raw = bytes.as_ref().try_into().expect("that many bytes were read");
    Ok(Header::decode(raw).ok().filter(|header| header.max_txid == txid))
}

/// Reads every page once, and lets go of the database.
fn sum_up(pinned: &Pinned, batch: Batch, dir: &Path) -> Result<PageSums, Trouble> {
    let sums = scratch(&dir.join(super::TEMPORARY_NAME))?;
    let Pinned { connection, view } = pinned;
    let page_size = view.mark.page_size;
    let sums = PageSums::new(batch.txid, page_size, batch.pages, sums, dir)?;
    connection.for_each_page(page_size, |pgno, page| -> Result<(), Trouble> { Ok(sums.note(pgno, page)?) })?;
    if batch.end_frame > view.frames() {
        lay_over(view, batch, &sums)?;
    }
    connection.end()?;
    let untouched = |before| Ok::<bool, FsError>(file_state(&view.path)? == before && !view.wal_path.exists());
    match view.at_rest {
        Some(before) if !untouched(before)? => {
            Err(Trouble::Not(format!("{} was opened by another program while it was read", view.path.display())))
        }
        _ => Ok(sums),
    }
}

/// The pages in the frames behind the mark, up to the end of the batch.
fn lay_over(view: &LiveView, batch: Batch, sums: &PageSums) -> Result<(), Trouble> {
    let (Some(mark), page_size) = (view.mark.wal, view.mark.page_size) else { return Ok(()) };
    let wal = Wal::open_if_exists(&view.wal_path)?;
    let header = wal.as_ref().map(Wal::header).transpose()?.flatten().filter(|header| header.salts == mark.salts);
    let (Some(wal), Some(header)) = (wal, header) else {
        let offset = frame_offset(mark.frames, page_size);
        return Err(Trouble::Not(format!(
            "{} is not the WAL that was pinned at byte {offset}",
            view.wal_path.display()
        )));
    };
    let checksum = (mark.frames > 0).then_some(mark.checksum);
    let mut newest: HashMap<Pgno, u32> = HashMap::new();
    wal.scan(&header, mark.frames, checksum, batch.end_frame, |frame| {
        newest.insert(frame.pgno, frame.number);
    })?;
    let mut page = vec![0; page_size.bytes()];
    for (pgno, frame) in newest {
        wal.read_page(frame, &mut page, page_size)?;
        sums.note(pgno, &page)?;
    }
    Ok(())
}
