//! Letting the WAL start over: a few milliseconds under the write lock.
//!
//! ```text
//! PASSIVE checkpoint up to our mark          no lock; a long tail is captured first
//! sync both files                            so that the checkpoint under the lock is short
//! BEGIN IMMEDIATE on the spare connection    the write lock: no commit until it ends
//! capture the tail                           usually nothing
//! end the read transaction
//! PASSIVE checkpoint                         copies the tail, usually nothing
//! rest                                       on slot 0: the next writer may restart the WAL once
//! end the write lock
//! ```
//!
//! Never RESTART, never FULL; TRUNCATE only while resting, when everything in the WAL is captured
//! and backfilled: if a writer slips in before it, it returns busy and nothing is lost. One party
//! checkpoints here, under the write lock.

use std::fmt;
use std::time::Duration;

use super::capture::Batch;
use super::error::DbError;
use super::follow::By;
use super::open::{Db, Progress};
use crate::clock::Clock;
use crate::sqlite::{Checkpoint, CheckpointMode, Mark, SqliteError, frame_len};

/// How long to try for the write lock: a reset can always be done later.
const WRITE_LOCK_TIMEOUT: Duration = Duration::from_millis(30);
const ASK_EVERY: Duration = Duration::from_micros(50);

/// A longer tail than this part of the WAL is captured and checkpointed without the lock first. Of
/// a long WAL more is worth a wait: a writer at full speed makes some megabytes in the time of one
/// sync, so that a fixed limit would never be met.
const TAIL_PART: u64 = 8;
const TAIL_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=16 << 20;
/// The tail is encoded in memory.
const TAIL_CONTENT_MAX: u64 = 32 << 20;
/// How long nothing may have been written before a huge WAL is truncated: while that lasts, which
/// is long for a huge file, nothing can.
const QUIET_BEFORE_TRUNCATE: Duration = Duration::from_millis(20);

/// How long to wait until a writer starts the WAL over: SQLite's busy handler sleeps no longer than
/// that at a time.
const NEW_WAL_TIME: Duration = Duration::from_millis(100);

/// How long to try for a checkpoint: the application may be in one of its own.
const PATIENCE: Duration = Duration::from_millis(30);
/// The same under the write lock, where the application's has nothing left to copy.
const PATIENCE_UNDER_LOCK: Duration = Duration::from_millis(2);

/// Of a WAL that is beyond its budget all of the tail is taken: better a writer that waits once
/// than a disk that fills up.
fn tail_max(wal: u64, budget: u64) -> u64 {
    match wal > budget.saturating_add(budget / 4) {
        true => u64::MAX,
        false => (wal / TAIL_PART).clamp(*TAIL_BYTES.start(), *TAIL_BYTES.end()),
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Reset {
    /// The next writer starts the WAL over.
    Done,
    /// Nothing was lost and nothing changed; try later.
    Deferred(Obstacle),
    /// More was committed meanwhile than is good to capture under the lock: capture, then try
    /// again.
    CaptureFirst,
}

/// What is in the way of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    Writer,
    /// Lasts as long as a disk needs for it.
    Checkpoint,
    Reader,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Obstacle::Writer => "the application holds the write lock",
            Obstacle::Checkpoint => "the application is in a checkpoint of its own",
            Obstacle::Reader => "a reader of the application keeps old pages in the WAL",
        })
    }
}

impl Db {
    /// Resets the WAL. Everything captured so far must be safe elsewhere (in the bucket, or in
    /// spill files); the tail that is captured here is handed to `save`, which must keep it before
    /// it returns.
    pub fn reset_wal<E: From<DbError>>(
        &mut self,
        clock: Clock,
        save: impl FnOnce(Batch, Vec<u8>) -> Result<(), E>,
    ) -> Result<Reset, E> {
        let copied = self.checkpoint_within(PATIENCE, By::Spare, clock).map_err(DbError::from)?;
        if let Some(not_yet) = self.too_much_left(&copied)? {
            return Ok(not_yet);
        }
        let was_held = self.checkpoint_lock.is_held();
        // The application's automatic checkpoint, after each of its commits, must not be in the way
        // now.
        self.checkpoint_lock.hold();
        let result = self.reset_with_checkpoint_lock(clock, save);
        if !was_held {
            self.checkpoint_lock.release();
        }
        let result = result?;
        if result == Reset::Done {
            if !self.has_position() {
                self.wait_for_new_wal(clock)?;
            }
            self.truncate_if_huge(clock)?;
        }
        Ok(result)
    }

    fn reset_with_checkpoint_lock<E: From<DbError>>(
        &mut self,
        clock: Clock,
        save: impl FnOnce(Batch, Vec<u8>) -> Result<(), E>,
    ) -> Result<Reset, E> {
        self.spare.sync_ahead();
        if !self.take_write_lock(clock)? {
            return Ok(Reset::Deferred(Obstacle::Writer));
        }
        let result = self.reset_under_write_lock(clock, save);
        self.spare.end().map_err(DbError::from)?;
        result
    }

    /// How much may be captured and copied under the write lock, with the WAL up to `mark`.
    fn tail_max(&self, mark: &Mark) -> u64 {
        let wal = u64::from(mark.wal.map_or(0, |wal| wal.frames)) * frame_len(mark.page_size);
        tail_max(wal, self.tuning.max_sync_wal_bytes)
    }

    fn checkpoint_within(&mut self, patience: Duration, by: By, clock: Clock) -> Result<Checkpoint, SqliteError> {
        let began = clock.blocking_instant();
        loop {
            match self.checkpoint(by, CheckpointMode::Passive) {
                Ok(done) if done.busy && clock.blocking_instant() - began < patience => clock.block_for(ASK_EVERY),
                done => return done,
            }
        }
    }

    /// What is left to capture or to copy now would be so under the write lock.
    fn too_much_left(&self, copied: &Checkpoint) -> Result<Option<Reset>, DbError> {
        if copied.busy {
            return Ok(Some(Reset::Deferred(Obstacle::Checkpoint)));
        }
        if !self.has_position() {
            // Nothing can be captured under the lock either.
            return Ok(None);
        }
        let tail_max = self.tail_max(&self.mark);
        if self.backlog_bytes()? > tail_max {
            return Ok(Some(Reset::CaptureFirst));
        }
        let left = u64::from(copied.frames - copied.backfilled) * frame_len(self.mark.page_size);
        Ok((left > tail_max).then_some(Reset::Deferred(Obstacle::Reader)))
    }

    /// Asks often instead of waiting in SQLite's busy handler, whose pauses of milliseconds never
    /// meet the short gaps between the commits of a busy writer.
    fn take_write_lock(&self, clock: Clock) -> Result<bool, DbError> {
        self.spare.set_busy_timeout(Duration::ZERO)?;
        let began = clock.blocking_instant();
        let taken = loop {
            match self.spare.begin_write() {
                Ok(false) if clock.blocking_instant() - began < WRITE_LOCK_TIMEOUT => clock.block_for(ASK_EVERY),
                done => break done,
            }
        };
        self.spare.set_busy_timeout(self.tuning.busy_timeout)?;
        Ok(taken?)
    }

    fn reset_under_write_lock<E: From<DbError>>(
        &mut self,
        clock: Clock,
        save: impl FnOnce(Batch, Vec<u8>) -> Result<(), E>,
    ) -> Result<Reset, E> {
        // Without a known position there is no history to keep whole: the next capture is an image
        // in any case.
        if self.has_position() {
            // Between these two no process can restart the WAL: that takes the write lock.
            self.reader.end().map_err(DbError::from)?;
            let mark = self.reader.pin().map_err(DbError::from)?;
            self.mark = mark;
            let tail_max = self.tail_max(&mark);
            if self.uncaptured_bytes(&mark) > tail_max {
                return Ok(Reset::CaptureFirst);
            }
            if let Some(batch) = self.plan(mark, clock.unix_ms())? {
                if batch.image.is_some() || batch.content_len() > tail_max.min(TAIL_CONTENT_MAX) {
                    return Ok(Reset::CaptureFirst);
                }
                let encoded = self.encode(&batch, Vec::new())?;
                self.adopt(mark, &batch);
                save(batch, encoded.writer)?;
            }
        }
        Ok(self.checkpoint_and_rest(clock)?)
    }

    fn checkpoint_and_rest(&mut self, clock: Clock) -> Result<Reset, DbError> {
        self.reader.end()?;
        let checkpoint = self.checkpoint_within(PATIENCE_UNDER_LOCK, By::Reader, clock);
        if matches!(&checkpoint, Ok(done) if done.is_complete()) {
            self.reader.rest()?;
            self.compare_with_file()?;
            match &mut self.progress {
                Progress::Known(position) => position.sealed = true,
                Progress::Unknown { .. } => self.was_reset_unread = true,
            }
            return Ok(Reset::Done);
        }
        self.mark = self.reader.pin()?;
        Ok(Reset::Deferred(if checkpoint?.busy { Obstacle::Checkpoint } else { Obstacle::Reader }))
    }

    /// What is captured next is an image, and that pins the WAL where it stands. So a writer that
    /// the reset kept waiting, and who sleeps in its busy handler, starts the WAL over first: else
    /// it could not for as long as the image is read.
    fn wait_for_new_wal(&self, clock: Clock) -> Result<(), DbError> {
        let old = self.mark.wal.map(|wal| wal.salts);
        let began = clock.blocking_instant();
        while self.open_wal()?.map(|wal| wal.header()).transpose()?.flatten().map(|header| header.salts) == old
            && clock.blocking_instant() - began < NEW_WAL_TIME
        {
            clock.block_for(Duration::from_millis(1));
        }
        Ok(())
    }

    fn truncate_if_huge(&mut self, clock: Clock) -> Result<(), DbError> {
        let limit = u64::from(self.tuning.truncate_page_n) * u64::from(self.mark.page_size.get());
        if limit == 0 || self.wal_len()? <= limit {
            return Ok(());
        }
        clock.block_for(QUIET_BEFORE_TRUNCATE);
        if self.glance()? {
            return Ok(());
        }
        match self.truncate()? {
            true => tracing::info!(db = %self.path.display(), "truncated the WAL file"),
            false => tracing::debug!(db = %self.path.display(), "the WAL is in use again: not truncated"),
        }
        Ok(())
    }

    /// Only while resting. `false` when the WAL is in use again.
    pub(super) fn truncate(&mut self) -> Result<bool, DbError> {
        self.spare.set_busy_timeout(Duration::ZERO)?;
        let truncated = self.checkpoint(By::Spare, CheckpointMode::Truncate);
        self.spare.set_busy_timeout(self.tuning.busy_timeout)?;
        match truncated {
            Ok(done) => Ok(!done.busy),
            Err(error) if error.is_busy() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    #[test]
    fn the_longer_the_wal_the_more_is_worth_a_wait() {
        let budget = 64 * MB;
        assert_eq!(tail_max(4 * MB, budget), MB);
        assert_eq!(tail_max(40 * MB, budget), 5 * MB);
        assert_eq!(tail_max(80 * MB, budget), 10 * MB);
        assert_eq!(tail_max(81 * MB, budget), u64::MAX, "beyond the budget the writer has to wait");
        assert_eq!(tail_max(1000 * MB, u64::MAX), 16 * MB);
    }
}
