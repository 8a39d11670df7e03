//! Closing the connections to a database in which nothing happens, and opening them again.
//!
//! An open database costs two connections and five descriptors. One that rests needs none of them:
//! everything in its WAL is captured, and copied into the file. Whatever is committed while it is
//! closed stands in the file or in the WAL when it is opened again, and this proves whether
//! anything is missing in between:
//!
//! | the file | the WAL | it follows |
//! |---|---|---|
//! | was not written to | whatever it is | what it holds beyond the captured frames came after them: in WAL mode only checkpoints change the file |
//! | was written to | no checkpoint has copied from it | a program wrote to the file past SQLite |
//! | was written to | is still the same one, and proves the place (`resume.rs`) | it holds everything since |
//! | was written to | does not | something may be missing: the next capture is an image, which is compared with the replica |
//!
//! While another process has the database open, its WAL stays for us to find. Where none has, a
//! program that opens the database, writes and closes it faster than we can open it leaves a file
//! that was written to, and no WAL that shows what. So that the comparison which follows is cheap,
//! only a small database is closed then, and only until that has happened once.

use std::time::Duration;

use super::closed::{Stamp, WhenClosed};
use super::error::DbError;
use super::open::{Db, Progress};
use super::position::{ImageReason, Position};
use crate::clock::Clock;
use crate::sqlite::Connection;

/// File systems note the time of a change in steps; two seconds is FAT's. What changes a file again
/// within one of them leaves the same time.
const COARSEST_TIME: Duration = Duration::from_secs(3);

/// A database that no other process has open is closed up to this size.
const ALONE_BYTES_MAX: u64 = 64 << 20;

impl Db {
    /// Closes the connections, if everything is captured and copied into the file, and what comes
    /// can be expected to be found. Otherwise `false`, and nothing has changed. Only [`Db::glance`]
    /// and [`Db::open_again`] are possible then.
    pub fn close_idle(&mut self, clock: Clock) -> Result<bool, DbError> {
        let is_small = self.files.check()?.len <= ALONE_BYTES_MAX;
        let may_be = is_small && !self.was_missed || self.remains().user().is_some();
        Ok(may_be && self.close(clock, COARSEST_TIME)?)
    }

    /// The same, whatever is to be expected. `coarseness` is that of the file system's times.
    pub(super) fn close(&mut self, clock: Clock, coarseness: Duration) -> Result<bool, DbError> {
        if !self.is_resting() || self.is_overwritten() {
            return Ok(false);
        }
        // While we rest, nothing that a writer begins now can be copied into the file.
        let wal = Stamp::of(&self.wal_path)?;
        let (Some(file), Some(copied), Progress::Known(position)) =
            (Stamp::of(&self.path)?, self.reader.backfill(), self.progress)
        else {
            return Ok(false);
        };
        let position = match (self.reader.committed_frames(), position.wal) {
            // Whatever comes begins with its first frame.
            (Some(0), _) => Position { wal: None, ..position },
            (Some(frames), Some(wal)) if (wal.salts, wal.frames) == (copied.salts, frames) => position,
            _ => return Ok(false),
        };
        if copied.is_incomplete() || !file.is_older_than(coarseness, clock) {
            return Ok(false);
        }
        self.files.check()?;
        (self.reader, self.spare) = (Connection::none(), Connection::none());
        self.checkpoint_lock.close();
        self.closed = Some(WhenClosed { position, file, wal, copied });
        Ok(true)
    }

    /// Opens what was closed, and finds out from where captures go on. Where it fails, it is still
    /// closed.
    pub fn open_again(&mut self) -> Result<(), DbError> {
        let Some(closed) = self.closed else { return Ok(()) };
        self.check_closed(&closed)?;
        let opened = Db::open(&self.path, self.tuning)?;
        let file = self.check_closed(&closed)?;
        let progress = opened.progress_since(&closed, file)?;
        let was_missed = self.was_missed || matches!(progress, Progress::Unknown { .. });
        *self = Db { flavour: self.flavour, progress, was_missed, ..opened };
        Ok(())
    }

    /// From where captures go on, given the file as it is now.
    fn progress_since(&self, closed: &WhenClosed, file: Stamp) -> Result<Progress, DbError> {
        if file == closed.file {
            return Ok(Progress::Known(closed.position));
        }
        let last = Some(closed.position.txid);
        if self.reader.backfill().is_some_and(|now| !closed.is_explained_by(&now)) {
            return Ok(Progress::Unknown { last, reason: ImageReason::FileOverwritten });
        }
        // The generation was not over when we left it, so it has to show where it ended.
        let proved = self.resume_at(&closed.position)?;
        Ok(proved.map_or(Progress::Unknown { last, reason: ImageReason::LocalChanges }, Progress::Known))
    }

    /// Whether anything has happened to a closed database: a `stat` of the file, and of its WAL.
    pub(super) fn glance_at_closed(&self, closed: &WhenClosed) -> Result<bool, DbError> {
        Ok(self.check_closed(closed)? != closed.file || Stamp::of(&self.wal_path)? != closed.wal)
    }

    fn check_closed(&self, closed: &WhenClosed) -> Result<Stamp, DbError> {
        match Stamp::of(&self.path)?.filter(|file| file.identity == closed.file.identity) {
            Some(file) => Ok(file),
            None => Err(DbError::Replaced { path: self.path.clone() }),
        }
    }
}
