//! The local half of replication: the database, what is captured from it, and what is noted beside
//! it.
//!
//! Everything here blocks and is called on a thread for that (`on_thread.rs`). Nothing here waits
//! for the bucket.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;

use super::core::{BatchKind, Queue, Relief, Waiting};
use super::error::StepError;
use super::fingerprint::{Fingerprint, IN_MEMORY_BYTES};
use super::governor::Governor;
use crate::clock::Clock;
use crate::db::{Batch, Db, DbError, ImageReason, Reset};
use crate::fsx::FsError;
use crate::ltx::{Header, Txid};
use crate::state::{LastSynced, Lock, Spill, SpilledFile};
use crate::status::Counts;

/// A batch with this much content at most is encoded in memory and sent as one piece.
const IN_MEMORY_CONTENT: u64 = IN_MEMORY_BYTES;
/// Local files that the mirrors may have while the first replica is away, and which are not merged
/// therefore.
const KEPT_BYTES_MAX: u64 = 1 << 30;
/// Rounds of capturing before the tail is short enough for the write lock.
const ROUNDS_MAX: u32 = 6;

/// A captured batch that is not known to be in the bucket.
#[derive(Clone)]
pub(super) enum Pending {
    /// Encoded at once, so that the read transaction may move on.
    Encoded { ours: Fingerprint, bytes: Bytes, kind: BatchKind },
    /// Encoded while it is sent, from the WAL or the database itself: too large for memory, or
    /// needed twice.
    Streamed(Batch),
    /// An image for no other reason than doubt: compared with the bucket first.
    Unverified(Batch),
}

impl Pending {
    pub fn header(&self) -> &Header {
        match self {
            Pending::Encoded { ours, .. } => &ours.header,
            Pending::Streamed(batch) | Pending::Unverified(batch) => &batch.header,
        }
    }

    fn waiting(&self) -> Waiting {
        let (kind, in_memory) = match self {
            Pending::Encoded { kind, .. } => (*kind, true),
            Pending::Streamed(batch) => (BatchKind::verified(batch), false),
            Pending::Unverified(batch) => (BatchKind::captured(batch), false),
        };
        Waiting { txid: self.header().min_txid, kind, in_memory }
    }
}

/// What is sent next, for whoever sends it.
#[derive(Clone, Default)]
pub(super) struct Outbox {
    pub file: Option<SpilledFile>,
    /// The file is an image to which nothing leads: a snapshot of it has to follow.
    pub is_rebase: bool,
    pub batch: Option<(Fingerprint, Bytes, BatchKind)>,
    /// Files that have their numbers for good since the last time, for the mirrors.
    pub kept: Vec<SpilledFile>,
}

pub(super) struct Disk {
    pub db: Db,
    pub spill: Spill,
    pub batch: Option<Pending>,
    pub last_synced: LastSynced,
    pub governor: Governor,
    /// Local files up to so many bytes keep their numbers, for the mirrors.
    kept_bytes_max: u64,
    pub clock: Clock,
    counts: Arc<Counts>,
    /// A spilled image to which nothing leads.
    rebase: Option<Txid>,
    /// The header that is noted as the next to be sent.
    noted_sending: Option<Header>,
    /// The note could not be written, and that was said.
    has_complained: bool,
    /// Kept for as long as any thread works with the database.
    lock: Option<Arc<Lock>>,
}

impl AsMut<Db> for Disk {
    fn as_mut(&mut self) -> &mut Db {
        &mut self.db
    }
}

impl Disk {
    pub fn new(db: Db, spill: Spill, last_synced: LastSynced, governor: Governor, clock: Clock) -> Disk {
        Disk {
            db,
            spill,
            batch: None,
            last_synced,
            governor,
            kept_bytes_max: 0,
            clock,
            counts: Arc::default(),
            rebase: None,
            noted_sending: None,
            has_complained: false,
            lock: None,
        }
    }

    /// The lock of the database is ours until this value, and the last thread that works with it,
    /// are gone.
    pub fn keep_lock(&mut self, lock: Option<Arc<Lock>>) {
        self.lock = lock;
    }

    /// What is done here is counted there.
    pub fn count_in(&mut self, counts: Arc<Counts>) {
        self.counts = counts;
    }

    /// How much waits in local files.
    pub fn count_spilled(&self) {
        self.counts.spilled_bytes.store(self.spill.bytes(), Relaxed);
    }

    /// There are mirrors: local files may be sent to them, those of an earlier run, too.
    pub fn keep_for_mirrors(&mut self) {
        self.kept_bytes_max = KEPT_BYTES_MAX;
    }

    pub fn queue(&self) -> Queue {
        let files = self.spill.front().zip(self.spill.back());
        Queue {
            files: files.map(|(first, last)| (first.header.min_txid, last.header.max_txid)),
            batch: self.batch.as_ref().map(Pending::waiting),
        }
    }

    pub fn outbox(&mut self) -> Outbox {
        let kept = if self.kept_bytes_max > 0 { self.spill.keep(self.kept_bytes_max) } else { Vec::new() };
        let file = self.spill.front().cloned();
        let is_rebase = file.as_ref().is_some_and(|file| self.rebase == Some(file.header.min_txid));
        let batch = match &self.batch {
            Some(Pending::Encoded { ours, bytes, kind }) => Some((*ours, bytes.clone(), *kind)),
            _ => None,
        };
        Outbox { file, is_rebase, batch, kept }
    }

    /// Captures what is committed into the empty queue. Whether there was something.
    pub fn capture(&mut self) -> Result<bool, DbError> {
        self.db.let_go();
        let Some(batch) = self.capture_batch()? else { return Ok(false) };
        self.batch = Some(match batch.doubt() {
            Some(_) => Pending::Unverified(batch),
            None => pending_of(&self.db, batch, &self.governor)?,
        });
        Ok(true)
    }

    /// The same; if nothing has changed, what takes the next TXID is in the queue.
    pub fn seal(&mut self) -> Result<bool, DbError> {
        if self.capture()? {
            return Ok(true);
        }
        let Some(batch) = self.db.seal(|| self.clock.unix_ms())? else { return Ok(false) };
        self.batch = Some(pending_of(&self.db, batch, &self.governor)?);
        Ok(true)
    }

    /// What only takes a TXID holds no commit.
    pub fn drop_seal(&mut self) {
        self.batch.take_if(|batch| batch.waiting().kind == BatchKind::Seal);
    }

    fn capture_batch(&mut self) -> Result<Option<Batch>, DbError> {
        let began = self.clock.blocking_instant();
        let captured = self.db.capture(|| self.clock.unix_ms());
        self.counts.syncs.add(self.since(began), captured.is_ok());
        if let Ok(Some(batch)) = &captured {
            self.counts.wal_bytes.fetch_add(batch.header.wal.size, Relaxed);
        }
        captured
    }

    fn since(&self, began: std::time::Instant) -> Duration {
        self.clock.blocking_instant().saturating_duration_since(began)
    }

    /// Moves the read transaction on, unless what waits is still read from where it stands. Returns
    /// the WAL bytes that hold commits which are not captured.
    pub fn follow(&mut self) -> Result<u64, DbError> {
        match &self.batch {
            Some(Pending::Streamed(_) | Pending::Unverified(_)) => self.db.backlog_bytes(),
            Some(Pending::Encoded { .. }) | None => self.db.follow(),
        }
    }

    /// Makes the WAL shorter; with [`Relief::Spill`], by local files for what the bucket does not
    /// have.
    pub fn relieve(&mut self, relief: Relief) -> Result<Reset, StepError> {
        let relieved = self.try_to_relieve(relief);
        let is_full = matches!(&relieved, Err(error) if error.is_disk_full());
        self.counts.disk_full.store(u64::from(is_full), Relaxed);
        relieved
    }

    fn try_to_relieve(&mut self, relief: Relief) -> Result<Reset, StepError> {
        self.put_doubt_back();
        // Where nothing is known of the history's end, commits cannot be numbered. The image that
        // is taken in the end holds them too.
        if relief == Relief::Spill && self.db.has_position() {
            self.spill_batch()?;
            self.spill_new_commits()?;
        }
        self.relieve_fully()
    }

    /// Resets the WAL, whatever has to be kept in local files for that.
    pub fn relieve_fully(&mut self) -> Result<Reset, StepError> {
        let began = self.clock.blocking_instant();
        let reset = self.reset();
        if !matches!(reset, Ok(Reset::Deferred(_) | Reset::CaptureFirst)) {
            self.counts.checkpoints.add(self.since(began), reset.is_ok());
        }
        self.spill.sync()?;
        if let Some(last) = self.spill.back() {
            self.db.renumber(last.header.max_txid);
        }
        reset
    }

    fn reset(&mut self) -> Result<Reset, StepError> {
        for _ in 0..ROUNDS_MAX {
            // What a reset frees must be safe elsewhere.
            self.spill_batch()?;
            let (spill, counts) = (&mut self.spill, &self.counts);
            let save = |batch: Batch, bytes: Vec<u8>| -> Result<(), StepError> {
                counts.wal_bytes.fetch_add(batch.header.wal.size, Relaxed);
                Ok(spill.append_bytes(&batch.header, &bytes)?)
            };
            match self.db.reset_wal(self.clock, save)? {
                Reset::CaptureFirst if self.spill.is_empty() => {
                    self.capture()?;
                    if matches!(self.batch, Some(Pending::Unverified(_))) {
                        // Whether all of the database has to be shipped is found out before the
                        // next upload.
                        return Ok(Reset::CaptureFirst);
                    }
                }
                Reset::CaptureFirst => self.spill_new_commits()?,
                done => return Ok(done),
            }
        }
        Ok(Reset::CaptureFirst)
    }

    /// Writes the batch that waits to a local file.
    pub fn spill_batch(&mut self) -> Result<(), StepError> {
        match &self.batch {
            None => {}
            Some(Pending::Encoded { ours, bytes, kind }) => {
                // Perhaps it is already there, and is being sent from memory.
                if self.spill.back().is_none_or(|file| file.header.max_txid < ours.header.min_txid) {
                    self.spill.append_bytes(&ours.header, bytes)?;
                }
                self.note_rebase(*kind, ours.header.min_txid);
            }
            Some(Pending::Streamed(batch) | Pending::Unverified(batch)) => {
                let (kind, txid) = (BatchKind::verified(batch), batch.header.min_txid);
                spill(&self.db, &mut self.spill, batch)?;
                self.note_rebase(kind, txid);
            }
        }
        self.batch = None;
        Ok(())
    }

    fn note_rebase(&mut self, kind: BatchKind, txid: Txid) {
        if let BatchKind::Rebase(_) = kind {
            self.rebase = Some(txid);
        }
    }

    /// Captures what is committed straight into a local file.
    pub fn spill_new_commits(&mut self) -> Result<(), StepError> {
        if let Some(batch) = self.capture_batch()? {
            spill(&self.db, &mut self.spill, &batch)?;
        }
        Ok(())
    }

    /// The bucket has everything up to `txid`.
    pub fn drop_up_to(&mut self, txid: Txid) -> Result<(), StepError> {
        while self.spill.front().is_some_and(|file| file.header.max_txid <= txid) {
            self.spill.pop_front()?;
        }
        self.batch.take_if(|batch| batch.header().max_txid <= txid);
        self.rebase.take_if(|rebase| *rebase <= txid);
        Ok(())
    }

    /// A doubt that waits keeps the WAL. Giving it up costs nothing: the next capture meets it
    /// again.
    pub fn put_doubt_back(&mut self) {
        if let Some(Pending::Unverified(batch)) = &self.batch {
            let last = Txid::new(batch.header.min_txid.get() - 1);
            self.db.start_over(last, batch.image.unwrap_or(ImageReason::LocalChanges));
            self.batch = None;
        }
    }

    /// Objects of the history after which the database stands are gone: takes an image as the TXID
    /// after `last`.
    pub fn begin_anew(&mut self, last: Txid) -> Result<(), StepError> {
        while !self.spill.is_empty() {
            self.spill.pop_front()?;
        }
        self.batch = None;
        self.db.start_over(Some(last), ImageReason::HistoryGone);
        self.capture()?;
        Ok(())
    }

    /// Notes what is sent next: a header holds the salts of our WAL and a time, so an object with
    /// that header is ours, also if we end before the reply comes.
    pub fn note_sending(&mut self) {
        let batch = match &self.batch {
            Some(Pending::Encoded { ours, .. }) => Some(ours.header),
            Some(Pending::Streamed(batch)) => Some(batch.header),
            Some(Pending::Unverified(_)) | None => None,
        };
        let next = self.spill.front().map(|file| file.header).or(batch);
        if let Some(header) = next
            && self.noted_sending != Some(header)
        {
            self.noted_sending = Some(header);
            let noted = self.last_synced.sending(&header);
            self.complain_of(noted);
        }
    }

    pub fn complain_of(&mut self, noted: Result<(), FsError>) {
        if let Err(error) = noted
            && !std::mem::replace(&mut self.has_complained, true)
        {
            tracing::warn!(
                db = %self.db.path().display(),
                "{error}: should the history go on elsewhere, a later start here cannot tell"
            );
        }
    }
}

/// Small batches are encoded at once, so that the read transaction may move on, if there is memory
/// for them.
pub(super) fn pending_of(db: &Db, batch: Batch, governor: &Governor) -> Result<Pending, DbError> {
    let kind = BatchKind::verified(&batch);
    // What becomes a snapshot as well is encoded twice.
    if matches!(kind, BatchKind::Rebase(_)) || batch.content_len() > IN_MEMORY_CONTENT {
        return Ok(Pending::Streamed(batch));
    }
    let Some(memory) = governor.memory(batch.content_len()) else { return Ok(Pending::Streamed(batch)) };
    let encoded = db.encode(&batch, Vec::new())?;
    let ours = Fingerprint { header: batch.header, size: encoded.size, checksum: encoded.checksum };
    Ok(Pending::Encoded { ours, bytes: memory.hold(encoded.writer), kind })
}

fn spill(db: &Db, spill: &mut Spill, batch: &Batch) -> Result<(), StepError> {
    spill.append(&batch.header, |writer| {
        let encoded = db.encode(batch, writer)?;
        Ok((encoded.size, encoded.checksum))
    })
}
