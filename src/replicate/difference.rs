//! Doubt: the WAL cannot prove that the database continues the history. Then the database itself is
//! compared with it.
//!
//! ```text
//!   bucket   newest restore plan ── merged page by page ──┐
//!                                                         ├── join in page order ──▶ equal:    nothing to upload, go on after TXID n
//!   disk     one pinned read snapshot ── sqlite_dbpage ───┘                          differs:  TXID n+1 = the pages that differ
//!                                                                                    too much: TXID n+1 = all pages, an image
//! ```
//!
//! Memory is bounded: the ranges of the merge (8 MB in all, 64 KiB for each file at least), one
//! page for each file, one bit for each page of the database. Nothing is believed of the bucket's
//! side before the checksum of every file was verified.
//!
//! *No lock is held against anybody*, but the pinned snapshot keeps the WAL from being reset: it
//! grows while the comparison reads. An image has the same effect for as long as it is uploaded.
//!
//! *Whose is it?* A file that is not the one that was replicated before (`state/known_file.rs`) has
//! to show by its content that it is of the same lineage: enough pages that are the same in the
//! same place, or more than half of the history's rows. An older backup that an admin put there
//! shows that, and becomes the newest state, with a warning; the states before it stay restorable.
//! A stranger or a database created anew does not: replication stops and the history stays as it
//! is. The same file is believed to be the same database (a VACUUM leaves no page where it was),
//! unless it has no table any more, none of the names of the history's tables, or only a few pages
//! where the history has many.
//!
//! *Has the history gone on without it?* If the bucket is beyond what this disk was ever in step
//! with, that has to be shown by content too, or nothing is uploaded (`start.rs`). Then no shortcut
//! is taken and no limit ends the comparison early.
//!
//! *When an image is shipped all the same*: the page size changed, or the files of the bucket do
//! not make a database (then it becomes a snapshot too: nothing leads from what came before to it,
//! and restores begin with it); the files are much more than the database, or too many; the
//! database is so small that an image costs less than looking; more than half of the pages differ;
//! the objects could not be read several times in a row.
//!
//! *At the end*, when it is time to stop, a comparison may use half of the time that is left; then
//! it is interrupted, nothing is proved, and the other half belongs to an image. Not for a file of
//! unknown lineage: it is compared or not shipped at all.
//!
//! *What a later start needs*: an object n+1 says where in the WAL it ends, as always. If nothing
//! was uploaded, a local note says where TXID n is found in the WAL
//! ([`ResumePoint`](crate::state::ResumePoint)), or, if the WAL is empty, that the file is TXID n
//! ([`RestoreMarker`](crate::state::RestoreMarker)).

mod exactly;
mod join;
pub(super) mod judge;
mod limit;

pub(super) use exactly::is_exactly;

use tokio::sync::watch;
use tokio::time::Instant;

use self::join::{CompareError, How, compare};
use self::judge::{Found, Local, SMALL_BYTES, Scope, Size, Verdict, files_apart, judge, refuse, skip};
use self::limit::within;
use super::Stop;
use super::by_note::{mark_file, note_known_file, resume_point};
use super::disk::{Pending, pending_of};
use super::error::StepError;
use super::local::LocalSide;
use super::on_thread::blocking;
use crate::clock::Clock;
use crate::db::{Batch, Comparison, Db, DbError, ImageReason, Rows};
use crate::ltx::{Header, Txid};
use crate::remote::{LtxObject, ReadError, ReadPolicy, Remote, plan};
use crate::state::SyncedTo;
use crate::store::StoreError;

const NO_TIME: &str = "there was no time left to compare it";

impl LocalSide {
    /// Looks into the doubt that waits in the queue, and puts there what is to be uploaded instead;
    /// nothing if the database is proved to be what the bucket has. On an error it waits there
    /// again.
    pub async fn settle_doubt(&mut self) -> Result<(), StepError> {
        let batch = match &self.disk.here().batch {
            Some(Pending::Unverified(batch)) => batch.clone(),
            _ => return Ok(()),
        };
        let next = self.settle(&batch).await?;
        self.doubt.failures = 0;
        self.doubt.suspicion = None;
        self.disk.here().batch = next;
        Ok(())
    }

    async fn settle(&mut self, batch: &Batch) -> Result<Option<Pending>, StepError> {
        let Some(txid) = before(batch) else { return self.prepare(batch.clone()).await.map(Some) };
        let reason = batch.image.unwrap_or(ImageReason::LocalChanges);
        let address = self.remote.address().to_owned();
        self.say_doubt(txid, reason).await;
        let local = Local {
            pages: batch.header.commit,
            is_small: batch.content_len() <= SMALL_BYTES,
            is_known: self.is_known_file().await,
            is_blank: self.with_db(|db| db.is_blank()).await?,
            suspected: self.doubt.suspicion,
        };
        let found = match skip(local, reason, self.doubt.failures) {
            Some(found) => found,
            None => self.look(batch, txid, local).await?,
        };
        let verdict = judge(local, &found);
        if matches!(verdict, Verdict::Difference | Verdict::Image(_) | Verdict::Beginning(..)) {
            self.check_overwritten(reason).await?;
        }
        match (verdict, found) {
            (Verdict::MovedOn(synced_to, why), _) => {
                let path = self.name();
                Err(StepError::MovedOn { path, address, txid, synced_to, why })
            }
            (Verdict::Stranger(why), _) => {
                let path = self.name();
                Err(StepError::AnotherDatabase { path, address, txid, why })
            }
            (Verdict::Equal, Found::Compared(comparison, scope)) => {
                self.go_on_after(batch, txid, comparison.compared, scope).await?;
                Ok(None)
            }
            (Verdict::Difference, Found::Compared(comparison, scope)) => {
                self.say_what_it_is(local, comparison.rows);
                self.ship_difference(batch, txid, comparison, scope).await.map(Some)
            }
            (Verdict::Beginning(reason, why), found) => {
                if let Found::PageSize(rows) = found {
                    self.say_what_it_is(local, rows);
                }
                let image = batch.clone().because(reason);
                self.ship_image(&image, &why).await.map(Some)
            }
            (Verdict::Image(why), found) => {
                if let Found::Compared(comparison, _) = found {
                    self.say_what_it_is(local, comparison.rows);
                }
                self.ship_image(batch, &why).await.map(Some)
            }
            (Verdict::Equal | Verdict::Difference, _) => unreachable!("only a comparison says so"),
        }
    }

    async fn say_doubt(&mut self, txid: Txid, reason: ImageReason) {
        if self.doubt.said.replace(txid) == Some(txid) {
            return;
        }
        let address = self.remote.address();
        let hint = match reason {
            ImageReason::CommitsLost => {
                format!("; they can be restored with -txid {txid}, and what lies here is going to be newer")
            }
            _ => String::new(),
        };
        let text = format!(
            "the history in {address} ends with TXID {txid}, but {reason}: comparing the database with it{hint}"
        );
        match self.is_harmless(reason).await {
            true => tracing::info!(db = %self.name(), "{text}"),
            false => tracing::warn!(db = %self.name(), "{text}"),
        }
    }

    /// Compares the database with TXID `txid`.
    async fn look(&mut self, batch: &Batch, txid: Txid, local: Local) -> Result<Found, StepError> {
        if let Some(deadline) = self.deadline() {
            let now = self.settings.clock.instant();
            let until = *self.doubt.until.get_or_insert(half_way(now, deadline));
            if local.may_skip() && until <= now {
                return Ok(Found::Skipped(NO_TIME.into()));
            }
        }
        // This replication tries again by itself, but not for every byte that is late.
        let remote = self.remote.clone().with_policy(ReadPolicy::default());
        let limit = local.may_skip().then(|| time_is_up(self.stop.clone(), self.doubt.until, self.settings.clock));
        let Some(found) = within(limit, files_of(&self.remote, txid, local.suspected)).await else {
            return Ok(Found::Skipped(NO_TIME.into()));
        };
        let (files, newest) = found?;
        let newest = match newest {
            Ok(header) if header.page_size != batch.header.page_size && local.is_known => {
                return Ok(Found::PageSize(Rows::default()));
            }
            Ok(header) => header,
            Err(why) => return Ok(Found::Broken(why)),
        };
        if let Some(why) = refuse(&files, newest.commit, batch.content_len(), local) {
            return Ok(Found::Skipped(why));
        }
        let limit = local.may_skip().then(|| time_is_up(self.stop.clone(), self.doubt.until, self.settings.clock));
        let how = local.suspected.map_or(How::Bounded, How::Since);
        match compare(&self.disk, batch.clone(), &remote, &files, (how, !local.is_known), limit).await {
            Ok((comparison, scope)) => Ok(Found::Compared(comparison, scope)),
            Err(CompareError::Interrupted) => Ok(Found::Skipped(NO_TIME.into())),
            Err(CompareError::PageSize(rows)) => Ok(Found::PageSize(rows)),
            Err(CompareError::Damaged(why)) => Ok(Found::Broken(why)),
            Err(CompareError::Db(error)) => Err(error.into()),
            Err(CompareError::Read(ReadError::Store(error @ StoreError::Permanent { .. }))) => {
                Ok(Found::Broken(error.to_string()))
            }
            Err(CompareError::Read(error)) => {
                self.doubt.failures += 1;
                Err(error.into())
            }
        }
    }

    fn say_what_it_is(&self, local: Local, rows: Rows) {
        if local.is_known {
            return;
        }
        let by = match rows {
            Rows { theirs: 0, .. } => String::new(),
            Rows { theirs, shared } => format!(" (it has {shared} of {theirs} rows that were looked for)"),
        };
        tracing::warn!(
            db = %self.name(),
            "this is another file than the one that was replicated to {} before, but of the same history{by}",
            self.remote.address()
        );
    }

    /// Whether it happens to a database that nothing happened to: another program closed it, or a
    /// checkpoint came between.
    async fn is_harmless(&self, reason: ImageReason) -> bool {
        self.doubt.suspicion.is_none() && reason.is_ordinary() && self.is_known_file().await
    }

    /// Whether the file at the path now is known to belong to the history.
    async fn is_known_file(&self) -> bool {
        let (_, replica) = self.notes();
        blocking(move || replica.is_known_file()).await
    }

    async fn prepare(&mut self, batch: Batch) -> Result<Pending, StepError> {
        Ok(self.disk.with(move |disk| pending_of(&disk.db, batch, &disk.governor)).await?)
    }

    async fn ship_image(&mut self, batch: &Batch, why: &str) -> Result<Pending, StepError> {
        let (size, name, txid) = (Size(batch.content_len()), self.name(), batch.header.min_txid);
        let is_harmless = self.is_harmless(batch.image.unwrap_or(ImageReason::HistoryBroken)).await;
        match is_harmless && batch.content_len() <= SMALL_BYTES {
            true => tracing::info!(db = %name, "uploading the whole database ({size}) as TXID {txid}: {why}"),
            false => tracing::warn!(db = %name, "uploading the whole database ({size}) as TXID {txid}: {why}"),
        }
        self.prepare(batch.clone()).await
    }

    async fn ship_difference(
        &mut self,
        batch: &Batch,
        txid: Txid,
        comparison: Comparison,
        scope: Scope,
    ) -> Result<Pending, StepError> {
        let (pages, differing, image) = (comparison.compared, comparison.differing, Size(batch.content_len()));
        let batch = batch.clone();
        let pending = self.disk.with(move |disk| {
            let narrow = disk.db.narrow(&batch, comparison)?;
            pending_of(&disk.db, narrow, &disk.governor)
        });
        let pending = pending.await?;
        let size = match &pending {
            Pending::Encoded { ours, .. } => Size(ours.size),
            Pending::Streamed(batch) | Pending::Unverified(batch) => Size(batch.content_len()),
        };
        tracing::warn!(
            db = %self.name(),
            "compared {pages} pages with TXID {txid} ({} read): {differing} differ, uploading {size} instead of {image}",
            Size(scope.bytes)
        );
        Ok(pending)
    }

    /// The database is proved to be what TXID `txid` is.
    async fn go_on_after(&mut self, batch: &Batch, txid: Txid, pages: u32, scope: Scope) -> Result<(), StepError> {
        let image = batch.clone();
        let position = self.with_db(move |db| db.continue_at_mark(&image, txid)).await;
        let (state, replica) = self.notes();
        let note = move |db: &mut Db| match resume_point(&position) {
            Some(point) => Ok(replica.note_resume_point(&point)?),
            // While the snapshot is pinned no checkpoint can reach the file, so with an empty WAL
            // it is TXID n as it lies there.
            None => mark_file(db, (&state, &replica), &position),
        };
        let noted: Result<(), DbError> = self.with_db(note).await;
        if let Err(error) = noted {
            tracing::warn!(db = %self.name(), "{error}: the next start compares again");
        }
        tracing::info!(
            db = %self.name(),
            "compared {pages} pages with TXID {txid} ({} read): proved equal to TXID {txid}, nothing to upload",
            Size(scope.bytes)
        );
        self.note_known_file().await;
        self.is_in_step_with(SyncedTo::up_to(Some(txid))).await;
        Ok(())
    }

    /// The file at the path belongs to the history from now on. Noted once in a run.
    pub async fn note_known_file(&mut self) {
        if self.doubt.is_noted {
            return;
        }
        let (_, replica) = self.notes();
        match self.with_db(move |db| note_known_file(db, &replica)).await {
            Ok(()) => self.doubt.is_noted = true,
            Err(error) => tracing::debug!(db = %self.name(), "{error}"),
        }
    }
}

/// The last TXID before a batch; `None` for the first of a history.
fn before(batch: &Batch) -> Option<Txid> {
    Txid::new(batch.header.min_txid.get() - 1)
}

fn half_way(now: Instant, deadline: Instant) -> Instant {
    now + deadline.saturating_duration_since(now) / 2
}

/// The files that make the database as it was at `txid`, and the header of the newest; an inner
/// `Err` says why there are none.
async fn files_of(
    remote: &Remote,
    txid: Txid,
    suspected: Option<SyncedTo>,
) -> Result<(Vec<LtxObject>, Result<Header, String>), StepError> {
    let listing = remote.listing().await?;
    let apart = suspected.and_then(|own| files_apart(&listing, own, txid));
    let files = apart.unwrap_or_else(|| plan::files_up_to(&listing, txid).into_iter().cloned().collect());
    let newest = match files.last().filter(|newest| newest.max_txid == txid) {
        Some(newest) => remote.check_header(newest).await?,
        None => Err(format!("no file reaches TXID {txid}")),
    };
    Ok((files, newest))
}

/// Returns half-way between the moment at which it became time to end and the deadline.
async fn time_is_up(mut stop: watch::Receiver<Stop>, until: Option<Instant>, clock: Clock) {
    let until = match until {
        Some(until) => until,
        None => loop {
            if let Some(deadline) = *stop.borrow_and_update() {
                break half_way(clock.instant(), deadline);
            }
            if stop.changed().await.is_err() {
                // It can only be ended by dropping it now.
                std::future::pending::<()>().await;
            }
        },
    };
    tokio::time::sleep_until(until).await;
}

#[cfg(test)]
mod tests;
