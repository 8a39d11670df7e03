//! [`Db`]: the two connections to one database, and the hand-over between them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::closed::WhenClosed;
use super::error::DbError;
use super::identity::{Files, Identity};
use super::position::{ImageReason, Position};
use super::writes::Writes;
use crate::fsx::{self, FsError};
use crate::ltx::{Flavour, Txid};
use crate::page::PageSize;
use crate::sqlite::{CheckpointLock, Connection, Mark, Wal, check_access};

/// How a database is treated; defaults and meaning are Litestream's.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// How long to wait for a lock of the application.
    pub busy_timeout: Duration,
    /// The WAL is reset when it holds this many pages.
    pub min_checkpoint_page_count: u32,
    /// A WAL file that grew beyond this many pages is truncated after a reset.
    pub truncate_page_n: u32,
    /// WAL bytes that may wait for the bucket before they are spilled to local files; beyond it, an
    /// application that writes all the time may have to wait for a reset.
    pub max_sync_wal_bytes: u64,
}

/// What is known about how far the database is captured.
#[derive(Clone, Copy, Debug)]
pub(super) enum Progress {
    Known(Position),
    /// The next capture is a full image, as the TXID after `last`.
    Unknown {
        last: Option<Txid>,
        reason: ImageReason,
    },
}

/// An armed database: as long as this value lives, no commit can be overwritten before it is
/// captured.
pub struct Db {
    pub(super) path: PathBuf,
    pub(super) wal_path: PathBuf,
    pub(super) tuning: Tuning,
    pub(super) files: Files,
    pub(super) writes: Writes,
    /// In a read transaction at all times, except for moments under the write lock.
    pub(super) reader: Connection,
    /// Idle between calls: begins the next read transaction, or holds the write lock.
    pub(super) spare: Connection,
    pub(super) checkpoint_lock: CheckpointLock,
    /// What `reader` sees.
    pub(super) mark: Mark,
    pub(super) progress: Progress,
    /// Of what is captured from now on.
    pub(super) flavour: Flavour,
    /// The WAL was reset before it was known how far it is captured: what it held is in the file,
    /// and what comes next proves nothing of it.
    pub(super) was_reset_unread: bool,
    /// The connections are closed until something changes.
    pub(super) closed: Option<WhenClosed>,
    /// Something happened while they were closed that could not be followed.
    pub(super) was_missed: bool,
}

impl AsMut<Db> for Db {
    fn as_mut(&mut self) -> &mut Db {
        self
    }
}

impl Db {
    /// Opens an existing database, converts it to WAL if it is not, and pins the WAL. Until told
    /// otherwise ([`Db::continue_from`]), the first capture is a full image.
    pub fn open(path: &Path, tuning: Tuning) -> Result<Db, DbError> {
        let path = std::fs::canonicalize(path).map_err(|source| FsError { verb: "open", path: path.into(), source })?;
        let missing = || DbError::Replaced { path: path.clone() };
        let identity = Identity::of(&path)?.ok_or_else(missing)?;
        check_access(&path)?;
        let reader = Connection::open(&path, tuning.busy_timeout)?;
        let spare = Connection::open(&path, tuning.busy_timeout)?;
        reader.check_page_access()?;
        ensure_wal_mode(&reader, &path)?;
        let mark = reader.pin()?;
        if Identity::of(&path)? != Some(identity) {
            return Err(missing());
        }
        // Only now: the first transaction creates the WAL and its index.
        reader.share_new_files();
        let files = Files::of(&path)?.ok_or_else(missing)?;
        let progress = Progress::Unknown { last: None, reason: ImageReason::FirstBackup };
        let wal_path = fsx::with_suffix(&path, "-wal");
        let checkpoint_lock = CheckpointLock::of(&path);
        let mut db = Db {
            path,
            wal_path,
            tuning,
            files,
            writes: Writes::default(),
            reader,
            spare,
            checkpoint_lock,
            mark,
            progress,
            flavour: Flavour::default(),
            was_reset_unread: false,
            closed: None,
            was_missed: false,
        };
        db.look_at_writes()?;
        Ok(db)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From here on captures continue what is proved to be at `position`.
    pub fn continue_from(&mut self, position: Position) {
        self.writes.forget_pages();
        self.progress = Progress::Known(position);
        self.sample_end_of_wal();
        // A file that is put over this one in the first moments is told by what is remembered now.
        if let Err(error) = self.compare_with_file() {
            tracing::debug!("{error}");
        }
    }

    /// The next capture is a full image, as the TXID after `last`.
    pub fn start_over(&mut self, last: Option<Txid>, reason: ImageReason) {
        self.writes.forget_pages();
        self.progress = Progress::Unknown { last, reason };
    }

    /// From here on captures are written in this flavour.
    pub fn write_in(&mut self, flavour: Flavour) {
        self.flavour = flavour;
    }

    /// The last captured TXID.
    pub fn txid(&self) -> Option<Txid> {
        match self.progress {
            Progress::Known(position) => Some(position.txid),
            Progress::Unknown { last, .. } => last,
        }
    }

    /// How far the database is captured, if that is known.
    pub fn position(&self) -> Option<Position> {
        match self.progress {
            Progress::Known(position) => Some(position),
            Progress::Unknown { .. } => None,
        }
    }

    /// Page size, and size in pages, of what the read transaction sees.
    pub fn size(&self) -> (PageSize, u32) {
        (self.mark.page_size, self.mark.pages)
    }

    /// Whether captures continue a known position, so that commits can be numbered.
    pub fn has_position(&self) -> bool {
        matches!(self.progress, Progress::Known(_))
    }

    /// Captured files were merged and their TXIDs moved up: the next capture follows `txid`.
    pub fn renumber(&mut self, txid: Txid) {
        match &mut self.progress {
            Progress::Known(position) => position.txid = txid,
            Progress::Unknown { last, .. } => *last = Some(txid),
        }
    }

    pub(super) fn next_txid(&self) -> Result<Txid, DbError> {
        match self.txid() {
            None => Ok(Txid::FIRST),
            Some(last) => last.next().ok_or(DbError::TxidsExhausted(last)),
        }
    }

    /// Frames in the current WAL generation, as far as they are captured; what a reset would free.
    pub fn wal_frames(&self) -> u32 {
        match self.progress {
            Progress::Known(Position { sealed: true, .. }) => 0,
            _ => self.mark.wal.map_or(0, |wal| wal.frames),
        }
    }

    /// Length of the `-wal` file in bytes.
    pub fn wal_len(&self) -> Result<u64, DbError> {
        Ok(fsx::metadata_if_exists(&self.wal_path)?.map_or(0, |m| m.len()))
    }

    /// Whether a capture might find something: reads two small headers of the WAL and takes no
    /// lock. Also notices when the database is no longer the file that was opened, or was written
    /// to past SQLite.
    pub fn glance(&mut self) -> Result<bool, DbError> {
        if let Some(closed) = &self.closed {
            return self.glance_at_closed(closed);
        }
        self.look_at_writes()?;
        let Progress::Known(position) = self.progress else { return Ok(true) };
        let wal = match self.open_wal()? {
            Some(wal) => wal.header()?.map(|header| (header, wal)),
            None => None,
        };
        match (position.wal, wal) {
            (_, None) => Ok(!position.sealed),
            (Some(ours), Some((header, wal))) if ours.salts == header.salts => {
                let next = wal.raw_frame(ours.frames + 1, header.page_size)?;
                Ok(next.is_some_and(|frame| frame.salts == header.salts))
            }
            (_, Some(_)) => Ok(true),
        }
    }

    /// Fails when the files at the paths are not those that were opened.
    pub fn check_identity(&self) -> Result<(), DbError> {
        self.files.check().map(drop)
    }

    /// Takes the write lock and keeps it until this value is dropped: no commit can happen any
    /// more. `false` when the application holds it right now.
    pub fn freeze(&self) -> Result<bool, DbError> {
        Ok(self.spare.begin_write()?)
    }

    /// Gives the write lock back.
    pub fn thaw(&self) -> Result<(), DbError> {
        Ok(self.spare.end()?)
    }

    pub(super) fn open_wal(&self) -> Result<Option<Wal>, FsError> {
        Wal::open_if_exists(&self.wal_path)
    }
}

fn ensure_wal_mode(connection: &Connection, path: &Path) -> Result<(), DbError> {
    let mode = connection.journal_mode()?;
    if mode == "wal" {
        return Ok(());
    }
    let now = match connection.set_wal_mode() {
        Ok(now) => now,
        Err(error) if error.is_busy() => mode.clone(),
        Err(error) => return Err(error.into()),
    };
    if now != "wal" {
        return Err(DbError::NotWal { path: path.to_owned(), mode: now });
    }
    tracing::info!(db = %path.display(), "converted from journal mode {mode} to WAL, which replication needs");
    Ok(())
}
