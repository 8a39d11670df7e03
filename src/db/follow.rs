//! Under sustained writes, between two captures: our read transaction follows the writer, and we
//! checkpoint for it.
//!
//! A checkpoint, whoever runs it, reaches as far as our read transaction. Where that moves in long
//! strides, the next automatic checkpoint of the application has a long range to copy and to sync,
//! and the commit that triggered it waits for all of it. So we move on every few milliseconds, copy
//! the little there is ourselves, and spare the application its own tries.
//!
//! Nothing is lost by moving on without a capture: some read transaction is held at every moment,
//! so what is not captured stays in the WAL. And should the application be killed in the middle of
//! a commit, moving on is what finds the wal-index torn and builds it anew, which no other process
//! can while the application is kept from checkpoints.

use std::mem;

use super::error::DbError;
use super::open::{Db, Progress};
use super::position::Position;
use crate::sqlite::{Checkpoint, CheckpointMode, Connection, Mark, SqliteError, frame_len};

/// SQLite's default for `wal_autocheckpoint`: below it, the application does not think of
/// checkpoints.
const AUTOCHECKPOINT_FRAMES: u32 = 1000;

/// Which of the two connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Reader,
    Spare,
}

impl Db {
    /// Moves the read transaction on to the newest commit and returns how many bytes of WAL are not
    /// captured yet. The application does not checkpoint from here on until [`Db::let_go`]; follow
    /// again, or let go, within milliseconds. A batch whose pages are still to be read must not be
    /// pending.
    pub fn follow(&mut self) -> Result<u64, DbError> {
        // After a reset the next writer, who may be asleep in its busy handler still, starts the
        // WAL over only if no read transaction is pinned to its old frames.
        if self.is_resting() && !self.glance()? {
            return Ok(0);
        }
        let mark = self.spare.pin()?;
        mem::swap(&mut self.reader, &mut self.spare);
        self.mark = mark;
        self.spare.end()?;
        if mark.wal.is_some_and(|wal| wal.frames >= AUTOCHECKPOINT_FRAMES) {
            self.checkpoint(By::Spare, CheckpointMode::Passive)?;
            self.checkpoint_lock.hold();
        }
        Ok(self.uncaptured_bytes(&mark))
    }

    pub(super) fn is_resting(&self) -> bool {
        matches!(self.progress, Progress::Known(Position { sealed: true, .. }))
    }

    /// The application may checkpoint again.
    pub fn let_go(&mut self) {
        self.checkpoint_lock.release();
    }

    /// Bytes of WAL that hold commits which are not captured yet.
    pub fn backlog_bytes(&self) -> Result<u64, DbError> {
        let mark = self.spare.pin()?;
        self.spare.end()?;
        Ok(self.uncaptured_bytes(&mark))
    }

    pub(super) fn uncaptured_bytes(&self, mark: &Mark) -> u64 {
        let captured = match self.progress {
            Progress::Known(position) => position.wal,
            Progress::Unknown { .. } => None,
        };
        let frames = mark.wal.map_or(0, |wal| match captured {
            Some(ours) if ours.salts == wal.salts => wal.frames.saturating_sub(ours.frames),
            _ => wal.frames,
        });
        u64::from(frames) * frame_len(mark.page_size)
    }

    /// A checkpoint of our own, after which the application is kept from its own as before.
    pub(super) fn checkpoint(&mut self, by: By, mode: CheckpointMode) -> Result<Checkpoint, SqliteError> {
        // What it writes must not hide what another program wrote to the file.
        self.look_around_checkpoint();
        let connection: &Connection = match by {
            By::Reader => &self.reader,
            By::Spare => &self.spare,
        };
        let done = connection.checkpoint(mode);
        self.checkpoint_lock.renew();
        self.look_around_checkpoint();
        done
    }
}
