//! Keeping the WAL small: reset it when everything in it is safe, spill what is not when it grows beyond its budget.

use tokio::time::{Duration, Instant};

use super::error::StepError;
use super::road::Traveller;
use super::ship::Pending;
use crate::clock;
use crate::db::{Batch, Db, Obstacle, Reset, Spill, SpillError};

/// Rounds of capturing before the tail is short enough for the write lock.
const ROUNDS_MAX: u32 = 6;
/// After the application's own checkpoint was in the way.
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(5);
const COMPLAIN_EVERY: Duration = Duration::from_secs(300);

impl Traveller {
    /// Resets the WAL when it is long, or when its time has come. Everything captured must be in the bucket.
    pub async fn maintain(&mut self, pending: &mut Option<Pending>) -> Result<(), StepError> {
        let frames = self.db().wal_frames();
        let is_long = frames >= self.settings.tuning.min_checkpoint_page_count.max(1);
        let may_try = Instant::now() >= self.no_reset_before;
        if may_try && (is_long || self.reset_is_due_by_time()) {
            self.reset(pending).await?;
        }
        Ok(())
    }

    pub fn reset_is_due_by_time(&mut self) -> bool {
        self.db().wal_frames() > 0 && self.until_reset_is_due().is_zero()
    }

    pub fn until_reset_is_due(&self) -> Duration {
        self.settings.checkpoint_interval.saturating_sub(self.last_reset.elapsed())
    }

    /// While the bucket does not take what is captured, or not yet: moves frames beyond the budget to local files and resets the WAL.
    pub async fn relieve_wal(&mut self, pending: &mut Option<Pending>) -> Result<(), StepError> {
        let budget = self.settings.max_sync_wal_bytes;
        let backlog = match pending {
            // Its pages are read from where the read transaction stands.
            Some(Pending::Streamed(_) | Pending::Doubted(_)) => self.with_db(|db| db.backlog_bytes()).await?,
            _ => self.with_db(|db| db.follow()).await?,
        };
        if backlog <= budget {
            return Ok(());
        }
        if !self.db().has_position() {
            // Nobody knows yet where the history ends, so these frames cannot be numbered. The image that is taken in the
            // end holds them too.
            return self.reset(pending).await;
        }
        if matches!(pending, Some(Pending::Doubted(_))) {
            return self.reset(pending).await;
        }
        tracing::debug!(db = %self.name(), "the WAL holds {backlog} bytes that are not in the replica: spilling to local files");
        self.spill_pending(pending).await?;
        self.spill_new_commits().await?;
        self.reset(pending).await
    }

    async fn reset(&mut self, pending: &mut Option<Pending>) -> Result<(), StepError> {
        self.put_doubt_back(pending);
        for _ in 0..ROUNDS_MAX {
            // What a reset frees must be safe elsewhere.
            self.spill_pending(pending).await?;
            match self.try_reset().await? {
                Reset::Done => {
                    self.last_reset = Instant::now();
                    self.last_reset_complaint = None;
                    break;
                }
                Reset::CaptureFirst if self.spill.is_empty() => {
                    *pending = self.capture().await?;
                    if matches!(pending, Some(Pending::Doubted(_))) {
                        // Whether all of the database has to be shipped is found out before the next upload.
                        break;
                    }
                }
                Reset::CaptureFirst => self.spill_new_commits().await?,
                Reset::Deferred(why) => {
                    // Each attempt costs a checkpoint and may cost a writer a moment.
                    let pause = match why {
                        Obstacle::Checkpoint => CHECKPOINT_PAUSE,
                        Obstacle::Writer | Obstacle::Reader => self.settings.monitor_interval,
                    };
                    self.no_reset_before = Instant::now() + pause;
                    self.complain(why);
                    break;
                }
            }
        }
        self.sync_spill().await
    }

    async fn try_reset(&mut self) -> Result<Reset, StepError> {
        let reset = self
            .with_db_and_spill(move |db, spill| {
                db.reset_wal(clock::unix_ms, |batch, bytes| -> Result<(), SpillError> {
                    spill.append_bytes(&batch.header, &bytes)
                })
            })
            .await;
        self.note_spilled();
        Ok(reset?)
    }

    /// Writes the batch that waits for its upload to a local file.
    pub async fn spill_pending(&mut self, pending: &mut Option<Pending>) -> Result<(), StepError> {
        match pending.take() {
            None => {}
            Some(Pending::Encoded { ours, bytes, .. }) => {
                self.with_db_and_spill(move |_, spill| spill.append_bytes(&ours.header, &bytes)).await?;
            }
            Some(Pending::Streamed(batch) | Pending::Doubted(batch)) => {
                self.with_db_and_spill(move |db, spill| spill_batch(db, spill, &batch)).await?;
            }
        }
        self.note_spilled();
        Ok(())
    }

    /// Captures what is committed straight into a local file.
    pub async fn spill_new_commits(&mut self) -> Result<(), StepError> {
        self.with_db_and_spill(move |db, spill| match db.capture(clock::unix_ms)? {
            Some(batch) => spill_batch(db, spill, &batch),
            None => Ok(()),
        })
        .await?;
        self.note_spilled();
        Ok(())
    }

    /// Makes spilled files durable and merges them; the next capture is numbered after what is left.
    async fn sync_spill(&mut self) -> Result<(), StepError> {
        self.with_db_and_spill(|db, spill| {
            spill.sync()?;
            if let Some(last) = spill.back() {
                db.renumber(last.header.max_txid);
            }
            Ok::<_, SpillError>(())
        })
        .await?;
        Ok(())
    }

    fn note_spilled(&mut self) {
        if let Some(last) = self.spill.back() {
            let now = Instant::now();
            self.board.noticed(now);
            self.board.captured(last.header.max_txid, now);
        }
    }

    fn complain(&mut self, why: Obstacle) {
        let is_due = self.last_reset_complaint.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY);
        let limit = match why {
            // It passes: worth a word when it does so often enough for the file to become huge.
            Obstacle::Checkpoint => self.settings.tuning.truncate_page_n.max(1),
            Obstacle::Writer | Obstacle::Reader => self.settings.tuning.min_checkpoint_page_count.saturating_mul(10),
        };
        let is_long = self.db().wal_frames() > limit;
        if is_due && is_long {
            self.last_reset_complaint = Some(Instant::now());
            tracing::warn!(db = %self.name(), "the WAL cannot be reset and keeps growing: {why}");
        }
    }

    async fn with_db_and_spill<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Db, &mut Spill) -> T + Send + 'static,
    ) -> T {
        let mut spill = self.spill.take();
        let (spill, result) = self
            .with_db(move |db| {
                let result = work(db, &mut spill);
                (spill, result)
            })
            .await;
        self.spill = spill;
        result
    }
}

fn spill_batch(db: &Db, spill: &mut Spill, batch: &Batch) -> Result<(), SpillError> {
    spill.append(&batch.header, |writer| {
        let encoded = db.encode(batch, writer)?;
        Ok((encoded.size, encoded.checksum))
    })
}
