//! Capture → upload → confirm, until it is time to end; and the final sync.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::StepError;
use super::lifecycle::{Lifecycle, Shipped};
use super::look::newest_txid;
use super::road::Traveller;
use super::upload::{self, Fingerprint, create_from_database, create_from_file, create_from_memory, create_snapshot};
use super::{Ended, Ready, Stop};
use crate::clock::{self, Backoff};
use crate::db::{Accepted, Batch, Db, DbError, ImageReason, Own};
use crate::ltx::Txid;

/// A batch with this much content at most is encoded in memory and sent as one piece.
const IN_MEMORY_CONTENT: u64 = upload::IN_MEMORY_BYTES;

/// A captured batch that the bucket has not confirmed.
pub(super) enum Pending {
    Encoded {
        ours: Fingerprint,
        bytes: Bytes,
        image: bool,
    },
    /// Too large for memory: encoded while it is sent, from the WAL or the database itself.
    Streamed(Batch),
    /// An image for no other reason than doubt: to be compared with the bucket first.
    Doubted(Batch),
}

impl Pending {
    pub fn txid(&self) -> Txid {
        match self {
            Pending::Encoded { ours, .. } => ours.header.min_txid,
            Pending::Streamed(batch) | Pending::Doubted(batch) => batch.header.min_txid,
        }
    }
}

/// Small batches are encoded at once, so that the read transaction may move on.
pub(super) fn pending_of(db: &Db, batch: Batch) -> Result<Pending, DbError> {
    // What becomes a snapshot as well is encoded twice.
    let is_beginning = batch.image.is_some_and(ImageReason::begins_anew);
    if is_beginning || batch.content_len() > IN_MEMORY_CONTENT {
        return Ok(Pending::Streamed(batch));
    }
    let encoded = db.encode(&batch, Vec::new())?;
    let ours = Fingerprint { header: batch.header, size: encoded.size, checksum: encoded.checksum };
    Ok(Pending::Encoded { ours, bytes: encoded.writer.into(), image: batch.image.is_some() })
}

/// From the last byte of a commit in the WAL to its publication in the wal-index, at most, if nothing has to be synced.
const PUBLISH_TIME: Duration = Duration::from_micros(500);

/// At the end, a store that refuses (permissions, a bucket that does not exist) is asked this often; one that cannot be reached
/// until the deadline.
const FINAL_REFUSALS_MAX: u32 = 3;

/// Where every change is told, only every so-many'th poll is made.
const QUIET_INTERVALS: u32 = 15;

/// What a step did.
enum Did {
    /// Something; there may be more.
    Work,
    /// Everything that is committed is in the bucket.
    Nothing,
}

/// Returns when the deadline is set and has passed; it may be moved meanwhile.
pub(super) async fn deadline_passes(mut stop: watch::Receiver<Stop>) {
    loop {
        let deadline = *stop.borrow_and_update();
        let passed = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now));
        let changed = tokio::select! {
            () = passed, if deadline.is_some() => return,
            changed = stop.changed() => changed,
        };
        if changed.is_err() {
            // Nobody can move it any more.
            return tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)).await;
        }
    }
}

impl Traveller {
    /// Ships until it is time to end.
    pub async fn ship(mut self) -> Ended {
        let mut pending = None;
        let mut started = false;
        loop {
            let stopping = self.deadline().is_some();
            let stop = self.stop.clone();
            let step = tokio::select! {
                step = self.step(&mut started, &mut pending) => step,
                () = deadline_passes(stop) => {
                    return self.unsynced("the storage did not take the last commits in time");
                }
            };
            match step {
                // Under sustained writes there is never nothing to do, and the WAL must be kept small all the same.
                Ok(Did::Work) => self.maintain_or_warn(&mut pending).await,
                Ok(Did::Nothing) if stopping || self.settings.once.is_some() => {
                    self.close_history();
                    return Ended::Synced(self.confirmed);
                }
                Ok(Did::Nothing) => self.rest(&mut pending).await,
                Err(StepError::Foreign(message)) => return self.fenced(message, pending).await,
                Err(error @ StepError::MovedOn { .. }) => return self.fenced(error.to_string(), pending).await,
                Err(error @ (StepError::NewDatabase { .. } | StepError::AnotherDatabase { .. })) => {
                    return Ended::Failed { why: error.to_string() };
                }
                Err(StepError::Db(error)) if !error.is_busy() => {
                    let taken_up = match self.cause_of(error).await {
                        error @ DbError::Replaced { .. } => self.take_up(error, &mut pending).await,
                        error => Err(error.to_string()),
                    };
                    if let Err(why) = taken_up {
                        return Ended::Failed { why };
                    }
                }
                Err(error) => {
                    if let Some(ended) = self.failed(&error, &mut pending).await {
                        return ended;
                    }
                }
            }
        }
    }

    /// The next thing to do, in the order of the history.
    async fn step(&mut self, started: &mut bool, pending: &mut Option<Pending>) -> Result<Did, StepError> {
        if !*started {
            self.find_start().await?;
            self.outage_is_over();
            *started = true;
            if self.db().has_position() || self.confirmed.is_none() || self.accepted {
                self.doubts.belongs();
            }
            self.let_start().await;
        }
        self.wait_for_turn(pending).await?;
        if self.spill.is_empty() && pending.is_none() {
            *pending = self.capture().await?;
        }
        if self.spill.is_empty() && pending.is_none() {
            self.board.idle();
            return Ok(Did::Nothing);
        }
        self.prove_history_is_ours(pending).await?;
        self.settle_doubt(pending).await?;
        self.let_start().await;
        if let Some(file) = self.spill.front().cloned() {
            self.pace.begin(Instant::now());
            self.is_sending(&file.header);
            create_from_file(&self.remote, &file).await?;
            self.spill.pop_front()?;
            self.confirm_upload(Shipped { header: file.header, size: file.size, bytes: None, image: None });
        } else if let Some(batch) = pending.take() {
            self.pace.begin(Instant::now());
            self.upload(batch, pending).await?;
        }
        Ok(Did::Work)
    }

    /// Lets the application start, and the replica be cared for, unless it may turn out that the history went on elsewhere.
    async fn let_start(&mut self) {
        if self.doubts.is_suspected() {
            return;
        }
        self.ready.say(Ready::Armed).await;
        if let (None, None, Some(policy)) = (&self.lifecycle, self.settings.once, &self.settings.lifecycle) {
            let (remote, stop) = (self.remote.clone(), self.stop.clone());
            self.lifecycle = Some(Lifecycle::start(policy.clone(), remote, self.board.refusals(), stop));
        }
    }

    /// Uploads a batch; on failure it is pending again.
    async fn upload(&mut self, batch: Pending, pending: &mut Option<Pending>) -> Result<(), StepError> {
        let shipped = match batch {
            Pending::Encoded { ours, bytes, image } => {
                // Put back first: a future that is dropped at the deadline must not lose it.
                *pending = Some(Pending::Encoded { ours, bytes: bytes.clone(), image });
                self.is_sending(&ours.header);
                create_from_memory(&self.remote, &ours, bytes.clone()).await?;
                Shipped { header: ours.header, size: ours.size, bytes: Some(bytes), image: Some(image) }
            }
            Pending::Streamed(batch) | Pending::Doubted(batch) => {
                self.is_sending(&batch.header);
                let db = self.db.take().expect("the database is here between steps");
                let (db, batch, result) = create_from_database(&self.remote, db, batch).await;
                self.db = Some(db);
                let image = Some(batch.image.is_some());
                let beginning = batch.image.is_some_and(ImageReason::begins_anew).then(|| batch.clone());
                *pending = Some(Pending::Streamed(batch));
                let ours = result?;
                if let Some(batch) = beginning {
                    let db = self.db.take().expect("the database is here between steps");
                    let (db, result) = create_snapshot(&self.remote, db, batch).await;
                    self.db = Some(db);
                    result?;
                }
                Shipped { header: ours.header, size: ours.size, bytes: None, image }
            }
        };
        *pending = None;
        self.confirm_upload(shipped);
        Ok(())
    }

    /// Captures what is committed.
    pub async fn capture(&mut self) -> Result<Option<Pending>, StepError> {
        let captured = self
            .with_db(move |db| -> Result<Option<Pending>, DbError> {
                let Some(batch) = db.capture(clock::unix_ms)? else { return Ok(None) };
                if batch.doubt().is_some() {
                    return Ok(Some(Pending::Doubted(batch)));
                }
                pending_of(db, batch).map(Some)
            })
            .await?;
        if let Some(batch) = &captured {
            self.unpublished = None;
            let now = Instant::now();
            self.board.noticed(now);
            if !matches!(batch, Pending::Doubted(_)) {
                self.board.captured(batch.txid(), now);
            }
        }
        Ok(captured)
    }

    /// Waits until the pace allows an upload. Meanwhile commits gather in the WAL, which is kept within its budget.
    async fn wait_for_turn(&mut self, pending: &mut Option<Pending>) -> Result<(), StepError> {
        let waited = self.follow_until_turn(pending).await;
        self.db().let_go();
        waited
    }

    async fn follow_until_turn(&mut self, pending: &mut Option<Pending>) -> Result<(), StepError> {
        const SLICE: Duration = Duration::from_millis(20);
        loop {
            let now = Instant::now();
            let turn = self.pace.next_at(now);
            if turn <= now || self.deadline().is_some() {
                return Ok(());
            }
            self.pause_until(turn.min(now + SLICE)).await;
            self.relieve_wal(pending).await?;
        }
    }

    /// Looks at the history again if the last look was so long ago that another writer may have come and gone.
    async fn prove_history_is_ours(&mut self, pending: &mut Option<Pending>) -> Result<(), StepError> {
        if clock::since_boot().saturating_sub(self.proved_at) < self.settings.proof_lasts {
            return Ok(());
        }
        let mut listing = self.remote.listing().await?;
        let newest = newest_txid(&self.remote, &mut listing).await?;
        let next = self.spill.front().map(|file| file.header.min_txid).or(pending.as_ref().map(Pending::txid));
        if newest > next {
            let (txid, address) = (newest.unwrap_or(Txid::FIRST), self.remote.address());
            return Err(StepError::Foreign(format!("TXIDs up to {txid} are in {address}, written by another writer")));
        }
        if newest < self.confirmed {
            let last = self.confirmed.unwrap_or(Txid::FIRST);
            tracing::error!(db = %self.name(), "objects of the history are gone from {}", self.remote.address());
            while !self.spill.is_empty() {
                self.spill.pop_front()?;
            }
            *pending = None;
            tracing::warn!(db = %self.name(), "{}: uploading the whole database", ImageReason::HistoryGone);
            self.db().start_over(Some(last), ImageReason::HistoryGone);
            *pending = self.capture().await?;
        }
        self.proved_at = clock::since_boot();
        Ok(())
    }

    fn confirm_upload(&mut self, shipped: Shipped) {
        let (txid, size) = (shipped.header.max_txid, shipped.size);
        assert!(self.confirmed < Some(txid), "TXID {txid} was confirmed twice");
        self.confirmed = Some(txid);
        self.proved_at = clock::since_boot();
        self.board.confirmed(txid);
        self.note_known_file();
        self.is_in_step_with(Own::up_to(Some(txid)));
        if std::mem::take(&mut self.accepted)
            && let Err(error) = Accepted::forget(&self.settings.meta_path)
        {
            tracing::warn!(db = %self.name(), "{error}: the next start uploads the whole database once more");
        }
        let (name, address) = (self.name(), self.remote.address());
        match std::mem::replace(&mut self.is_first_said, true) {
            false => {
                tracing::info!(db = %name, "the first upload of this run is made: TXID {txid} is in {address} ({size} bytes)")
            }
            true => tracing::debug!(db = %name, "TXID {txid} is in {address} ({size} bytes)"),
        }
        if let Some(lifecycle) = &self.lifecycle {
            lifecycle.shipped(shipped);
        }
        self.outage_is_over();
    }

    fn outage_is_over(&mut self) {
        if let Some(lasted) = self.outage.ended(Instant::now()) {
            tracing::info!(db = %self.name(), "{} is back after {lasted:.1?}", self.remote.address());
        }
    }

    /// Between commits: reset the WAL if it is due, then sleep until something changes.
    async fn rest(&mut self, pending: &mut Option<Pending>) {
        self.maintain_or_warn(pending).await;
        // What the next look finds, no event has told.
        let mut untold = false;
        while self.deadline().is_none() && self.spill.is_empty() && pending.is_none() {
            // An error shows itself in the step that follows.
            let is_ahead = !matches!(self.with_db(|db| db.glance()).await, Ok(false));
            if is_ahead && untold {
                self.watch.missed();
            }
            if is_ahead && self.unpublished.is_none() {
                self.board.noticed(Instant::now());
                self.unpublished = Some(Backoff::new(PUBLISH_TIME, self.settings.monitor_interval));
                return;
            }
            // The last look found frames but no commit: the writer has not published it yet, and when it does, in the
            // wal-index, no event tells. Look again very soon, and less and less often if it is a long transaction.
            let nap = match &mut self.unpublished {
                Some(backoff) if is_ahead => backoff.next_pause(),
                _ if self.watch.is_reliable() => self.quiet_nap(),
                _ => self.settings.monitor_interval,
            };
            let woken = tokio::select! {
                () = self.watch.changed(), if !is_ahead => true,
                () = tokio::time::sleep(nap) => false,
                _ = self.stop.changed() => return,
            };
            if is_ahead {
                return;
            }
            self.unpublished = None;
            untold = !woken && self.watch.is_reliable();
            if woken {
                continue;
            }
            if self.reset_is_due_by_time() {
                self.maintain_or_warn(pending).await;
            }
        }
    }

    /// How long to sleep where every change is told: a thousand idle databases must cost nothing. What is due by time is due.
    fn quiet_nap(&mut self) -> Duration {
        let nap = self.settings.monitor_interval * QUIET_INTERVALS;
        match self.db().wal_frames() {
            0 => nap,
            _ => nap.min(self.until_reset_is_due().max(self.settings.monitor_interval)),
        }
    }

    async fn maintain_or_warn(&mut self, pending: &mut Option<Pending>) {
        if let Err(error) = self.maintain(pending).await {
            tracing::warn!(db = %self.name(), "{error}");
        }
    }

    /// Says it if it must be said, keeps the WAL within its budget, and waits. `Some` when there is no time left.
    async fn failed(&mut self, error: &StepError, pending: &mut Option<Pending>) -> Option<Ended> {
        let now = Instant::now();
        let failure = self.outage.failed(now, error.may_pass());
        if let Some(lasting) = failure.say {
            let age = self.board.get().unshipped_for(now).unwrap_or(lasting);
            tracing::error!(
                db = %self.name(),
                "cannot replicate to {}: {error}; oldest commit not shipped is {:.1} s old; trying on",
                self.remote.address(),
                age.as_secs_f64()
            );
        }
        let resume_at = match self.deadline() {
            None => now + failure.pause,
            Some(deadline) => {
                let next = now + failure.pause.min(self.settings.final_retry_interval);
                self.final_refusals += u32::from(!error.may_pass());
                if next >= deadline || self.final_refusals >= FINAL_REFUSALS_MAX {
                    return Some(self.unsynced(&error.to_string()));
                }
                next
            }
        };
        while Instant::now() < resume_at {
            let slice = resume_at.min(Instant::now() + self.settings.monitor_interval);
            let was_stopping = self.deadline().is_some();
            self.pause_until(slice).await;
            if let Err(error) = self.relieve_wal(pending).await {
                tracing::warn!(db = %self.name(), "{error}");
            }
            // The slices are too long to keep the application from its checkpoints.
            self.db().let_go();
            if !was_stopping && self.deadline().is_some() {
                break;
            }
        }
        None
    }

    fn unsynced(&self, why: &str) -> Ended {
        let status = self.board.get();
        let show = |txid: Option<Txid>| txid.map_or_else(|| "none".to_owned(), |txid| txid.to_string());
        let (captured, confirmed) = (show(status.captured), show(status.confirmed));
        Ended::Unsynced { why: format!("{why} (captured TXID {captured}, in the replica {confirmed})") }
    }
}
