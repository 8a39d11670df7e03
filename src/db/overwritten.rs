//! Has a program written to the database file past SQLite (`cp`, `dd`, `rsync --inplace`)?
//!
//! The file is the same then, and the WAL goes on as if nothing had happened: what is captured from
//! it would be put on top of pages that are not there any more. In WAL mode only checkpoints write
//! to the file, and each leaves a trace in the wal-index ([`Backfill`](crate::sqlite::Backfill)).
//! So a file whose time or length changes without one is suspected; whether its content did change
//! is for a comparison to say. While nothing changes this costs no more than the `stat` that is
//! made anyway. Where a checkpoint does explain it, a few pages are compared with the file:
//! some that it has copied (`samples.rs`), and some that it has left alone (`settled.rs`).

use std::collections::BTreeMap;

use super::capture::{Batch, Pages};
use super::error::DbError;
use super::open::{Db, Progress};
use super::position::Position;
use super::writes::{CheckpointProgress, LengthAndTime};
use crate::fsx;
use crate::page::PageSize;
use crate::sqlite::Salts;

/// Changes of the file while it is looked at, before the next look has to go on from there.
const LOOKS_MAX: u32 = 8;

/// Frames at the end of the WAL of which the pages are remembered.
const END_OF_WAL: usize = 4;

impl Db {
    /// Whether the file was written to past SQLite, and its content is to be compared.
    pub fn is_overwritten(&self) -> bool {
        self.writes.suspected.is_some()
    }

    /// Looks at the file, which must be the one that was opened.
    pub(super) fn look_at_writes(&mut self) -> Result<(), DbError> {
        let now = self.checkpoints();
        let mut stamp = self.files.check()?;
        let Some(now) = now else { return Ok(()) };
        let Some((before, known)) = self.writes.known else {
            self.writes.known = Some((now, stamp));
            return Ok(());
        };
        if known == stamp {
            self.writes.known = Some((now, stamp));
            return Ok(());
        }
        let mut is_explained = true;
        for _ in 0..LOOKS_MAX {
            let Some(now) = self.checkpoints() else { break };
            is_explained &= before.explains(&now);
            let again = self.files.check()?;
            self.writes.known = Some((now, again));
            if std::mem::replace(&mut stamp, again) == again {
                break;
            }
        }
        self.writes.is_unsure = true;
        if !is_explained {
            self.suspect(stamp);
        }
        Ok(())
    }

    fn suspect(&mut self, stamp: LengthAndTime) {
        if self.writes.suspected.replace(stamp).is_none() {
            tracing::warn!(
                db = %self.path.display(),
                "a program wrote to the database file past SQLite while it is replicated (cp, dd, rsync?): it is compared with the \
                 replica before anything more is called safe"
            );
        }
    }

    /// Remembers some pages of a batch that is being adopted.
    pub(super) fn sample(&mut self, batch: &Batch) {
        let continued = match self.progress {
            Progress::Known(position) => position.wal.map(|wal| wal.salts) == batch.position.wal.map(|wal| wal.salts),
            Progress::Unknown { .. } => false,
        };
        if !continued {
            self.writes.samples.clear();
        }
        match &batch.pages {
            Pages::Listed(pages) => {
                self.writes.samples.add(pages, batch.header.commit);
                self.writes.settled.captured(pages, batch.header.commit);
            }
            Pages::All | Pages::Set(_) => self.writes.forget_pages(),
        }
    }

    /// Remembers the pages that the WAL got last, where none are remembered: what is captured does
    /// not say then which frames its pages are in.
    pub(super) fn sample_end_of_wal(&mut self) {
        let Progress::Known(position) = self.progress else { return };
        let (true, Some(end), Ok(Some(wal))) = (self.writes.samples.is_empty(), position.wal, self.open_wal()) else {
            return;
        };
        let mut pages = BTreeMap::new();
        for number in (1..=end.frames).rev().take(END_OF_WAL) {
            match wal.raw_frame(number, position.page_size) {
                Ok(Some(frame)) if frame.salts == end.salts => {
                    // The first one that is met is the newest of its page.
                    frame.pgno.map(|pgno| pages.entry(pgno).or_insert(number));
                }
                _ => return,
            }
        }
        let pages: Vec<_> = pages.into_iter().filter(|(pgno, _)| pgno.get() <= position.pages).collect();
        self.writes.samples.add(&pages, position.pages);
    }

    /// After a checkpoint: whether the file holds what the checkpoints have copied, and what they
    /// have left alone. Everything that is committed must be captured: a checkpoint that a reader
    /// stops does not copy a page at all if that page has a newer frame beyond the reader's mark
    /// (`walIteratorInit` in SQLite's `wal.c` hands out the newest frames only).
    pub(super) fn compare_with_file(&mut self) -> Result<(), DbError> {
        let (Progress::Known(position), Some(before)) = (self.progress, self.checkpoints()) else { return Ok(()) };
        // Asked after the checkpoint, so that none of its time is newer.
        let committed = self.reader.committed_frames().or_else(|| self.spare.committed_frames());
        let is_captured = match position.wal {
            Some(wal) => wal.salts == before.backfill.salts && committed == Some(wal.frames),
            None => committed == Some(0),
        };
        if !is_captured || before.backfill.is_incomplete() {
            return Ok(());
        }
        // Once everything is copied, the file is as long as the database.
        let is_all = position.wal.is_none_or(|wal| wal.frames == before.backfill.done);
        if self.writes.is_unsure {
            let differs = (is_all && self.files.check()?.len < position.page_size.database_len(position.pages))
                || !self.holds_settled(position.page_size)
                || !self.holds_samples(position.page_size, before.backfill.done)?;
            // Otherwise a checkpoint or a new beginning of the WAL came in between.
            if self.checkpoints() == Some(before) {
                self.writes.is_unsure = false;
                if differs {
                    let stamp = self.files.check()?;
                    self.suspect(stamp);
                }
            }
        }
        if is_all {
            self.settle(position, before)?;
        }
        Ok(())
    }

    /// Whether the file has what was copied to it, as far as it is remembered.
    fn holds_samples(&self, page_size: PageSize, done: u32) -> Result<bool, DbError> {
        let Some(wal) = self.open_wal()? else { return Ok(true) };
        let (mut there, mut copied) = (vec![0; page_size.bytes()], vec![0; page_size.bytes()]);
        Ok(self.writes.samples.copied(done).all(|(pgno, frame)| {
            // The database may have become shorter since.
            !self.reader.read_file(page_size.database_len(pgno.get() - 1), &mut there)
                || wal.read_page(frame, &mut copied, page_size).is_err()
                || there == copied
        }))
    }

    /// Whether the file has what no checkpoint has changed.
    fn holds_settled(&self, page_size: PageSize) -> bool {
        let mut there = vec![0; page_size.bytes()];
        self.writes.settled.iter().all(|(pgno, hash)| {
            self.reader.read_file(page_size.database_len(pgno.get() - 1), &mut there) && fsx::hash(&there) == hash
        })
    }

    /// Remembers pages of a file that holds the whole database, as it was captured.
    fn settle(&mut self, position: Position, before: CheckpointProgress) -> Result<(), DbError> {
        let wanted = self.writes.settled.wanted(position.pages);
        if wanted.is_empty() || self.writes.is_unsure || self.is_overwritten() {
            return Ok(());
        }
        let mut page = vec![0; position.page_size.bytes()];
        let mut pages = Vec::new();
        for pgno in wanted {
            if self.reader.read_file(position.page_size.database_len(pgno.get() - 1), &mut page) {
                pages.push((pgno, fsx::hash(&page)));
            }
        }
        // Not if the file was written to meanwhile, by whatever program.
        let now = self.checkpoints().zip(Some(self.files.check()?));
        if now == self.writes.known && now.is_some_and(|(now, _)| now == before) {
            self.writes.settled.add(pages);
        }
        Ok(())
    }

    /// The same for a checkpoint of our own, which is not kept from its work by what is found.
    pub(super) fn look_around_checkpoint(&mut self) {
        if let Err(error) = self.look_at_writes() {
            tracing::debug!("{error}");
        }
    }

    fn checkpoints(&mut self) -> Option<CheckpointProgress> {
        // Under the write lock it is the other one that has a transaction.
        let backfill = self.reader.backfill().or_else(|| self.spare.backfill())?;
        // Killed in the middle, or before the wal-index was built anew: no checkpoint is at work
        // then.
        let is_under_way = backfill.is_incomplete() && self.checkpoint_lock.is_held_elsewhere();
        Some(CheckpointProgress { backfill, is_under_way })
    }

    /// Frames of the WAL that checkpoints have copied into the file.
    pub fn backfilled(&self) -> Option<u32> {
        Some(self.reader.backfill()?.done)
    }

    /// Whether a checkpoint may have written to the file since so many frames of that generation of
    /// the WAL were copied. A wal-index that was built anew says that none was.
    pub fn was_backfilled_since(&self, salts: Salts, done: u32) -> bool {
        self.reader.backfill().is_none_or(|now| now.salts != salts || now.done > done)
    }

    /// Whether the suspected file was not written to since the last look.
    pub fn is_quiet(&mut self) -> Result<bool, DbError> {
        let before = self.writes.suspected;
        self.look_at_writes()?;
        Ok(self.writes.suspected == before)
    }

    /// Empties the WAL after a reset, so that SQLite reads the file and nothing else. `false` when
    /// a reader or a writer is in the way.
    pub fn empty_wal(&mut self) -> Result<bool, DbError> {
        Ok(self.truncate()? && self.wal_len()? == 0)
    }

    /// What is wrong with the database that the last capture saw, if it is malformed.
    pub fn damage(&self) -> Result<Option<String>, DbError> {
        match self.reader.damage() {
            // Only what SQLite says of the file itself: a schema may need what this program does
            // not have.
            Err(error) if error.is_malformed() => Ok(Some(error.to_string())),
            Err(error) => {
                tracing::debug!("{error}");
                Ok(None)
            }
            Ok(damage) => Ok(damage),
        }
    }
}
