//! The database's lane: carries out one order of the core at a time.
//!
//! Orders that need no answer of the bucket are a piece of work on a thread (`disk.rs`). Three wait
//! for the bucket, with the database at hand: whether it continues the end of the history
//! (`start.rs`), what differs (`difference.rs`), and sending what is too large for memory. Those
//! end early when the core asks for the database back.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::Stop;
use super::by_note::{mark_file, resume_point};
use super::cause::cause_of;
use super::core::{BatchKind, Lane, LocalDone, LocalOrder, Trouble};
use super::disk::{Disk, Outbox, Pending};
use super::doubt::DoubtState;
use super::error::StepError;
use super::lifecycle::Shipped;
use super::look::Seen;
use super::on_thread::{OnThread, blocking};
use super::upload::{create_from_database, create_snapshot};
use crate::db::{Db, DbError};
use crate::fsx::FsError;
use crate::ltx::Txid;
use crate::remote::Remote;
use crate::state::{FileAttributes, LastSynced, LeftFile, LocalState, ReplicaState, SyncedTo};

pub(super) struct LocalSide {
    pub settings: Arc<Settings>,
    pub remote: Remote,
    pub stop: watch::Receiver<Stop>,
    pub disk: OnThread<Disk>,
    /// The look at the bucket with which replication begins, until it has.
    pub seen: Option<Arc<Seen>>,
    /// A human has said that this database is the newest state.
    pub accepted: bool,
    /// The newest TXID of the history at the start.
    pub confirmed: Option<Txid>,
    /// The database cannot be proved to continue the history.
    pub doubt: DoubtState,
}

/// What was noted beside the database when it was opened.
pub(super) struct Noted {
    pub last_synced: LastSynced,
    /// `millstream reset` was called for this very file.
    pub is_reset: bool,
    /// It is the file that was replicated before.
    pub is_known: bool,
    /// The database did not exist when we started: it continues no history.
    pub is_new: bool,
}

/// What an order came to.
pub(super) struct Done {
    pub done: LocalDone,
    pub lane: Lane,
    pub outbox: Outbox,
    /// For maintenance: an object that was created from the database itself.
    pub shipped: Option<Shipped>,
}

impl LocalSide {
    pub async fn carry_out(
        mut self: Box<Self>,
        order: LocalOrder,
        interrupt: CancellationToken,
    ) -> (Box<LocalSide>, Box<Done>) {
        let mut shipped = None;
        let done = match order {
            LocalOrder::Start(order) => {
                let start = async |local: &mut LocalSide| Box::pin(local.start(order)).await;
                LocalDone::Start(self.interruptible(&interrupt, start).await)
            }
            LocalOrder::Compare => LocalDone::Compared(Box::pin(self.compare(&interrupt)).await),
            LocalOrder::Send => LocalDone::Sent(Box::pin(self.send(&interrupt)).await.map(|sent| {
                let txid = sent.header.max_txid;
                shipped = Some(sent);
                txid
            })),
            LocalOrder::TakeUp => LocalDone::Reopened(Box::pin(self.take_up()).await),
            LocalOrder::Reopen => LocalDone::Reopened(Box::pin(self.open_overwritten()).await),
            LocalOrder::Examine => LocalDone::Examined(Box::pin(self.examine()).await),
            LocalOrder::KeepTail(deadline) => {
                Box::pin(self.keep_tail(deadline)).await;
                LocalDone::TailKept
            }
            // Another part of this process sees to it.
            LocalOrder::Freeze if self.settings.is_held_elsewhere() => LocalDone::Frozen(true),
            LocalOrder::Drop(txid) => LocalDone::Dropped(self.note_confirmed(txid).await),
            order => self.disk.with(move |disk| carry_out(order, disk)).await,
        };
        let (lane, outbox) = self.disk.with(describe).await;
        (self, Box::new(Done { done, lane, outbox, shipped }))
    }

    /// Ends early, with the database at rest, when the interrupt comes.
    async fn interruptible<T>(
        &mut self,
        interrupt: &CancellationToken,
        work: impl AsyncFnOnce(&mut LocalSide) -> Result<T, StepError>,
    ) -> Result<T, Trouble> {
        let done = tokio::select! {
            done = work(self) => done,
            () = interrupt.cancelled() => {
                // A thread may still be in the middle of a piece of work.
                self.disk.with(|_| ()).await;
                return Err(Trouble::Interrupted);
            }
        };
        match done {
            Ok(done) => Ok(done),
            Err(error) => Err(self.trouble(error).await),
        }
    }

    async fn compare(&mut self, interrupt: &CancellationToken) -> Result<(), Trouble> {
        let compared = self.interruptible(interrupt, async |local| local.settle_doubt().await).await;
        if let Err(Trouble::Interrupted) = compared {
            self.disk.with(Disk::put_doubt_back).await;
        }
        compared
    }

    /// Sends the batch while it is read from the database; an image to which nothing leads is sent
    /// as a snapshot, too.
    async fn send(&mut self, interrupt: &CancellationToken) -> Result<Shipped, Trouble> {
        let batch = match &self.disk.here().batch {
            Some(Pending::Streamed(batch)) => batch.clone(),
            _ => return Err(Trouble::passing("there is no batch to send")),
        };
        let governor = self.disk.here().governor.clone();
        self.interruptible(interrupt, async |local| {
            let _turn = governor.upload().await;
            let ours = create_from_database(&local.remote, &local.disk, batch.clone()).await?;
            let kind = BatchKind::verified(&batch);
            if let BatchKind::Rebase(_) = kind {
                create_snapshot(&local.remote, &local.disk, batch).await?;
            }
            Ok(Shipped { header: ours.header, size: ours.size, bytes: None, image: Some(kind.is_image()) })
        })
        .await
    }

    /// The bucket has everything up to `txid`: local copies go, and it is noted that this disk is
    /// in step.
    async fn note_confirmed(&mut self, txid: Txid) -> Result<(), Trouble> {
        self.confirmed = Some(txid);
        self.is_in_step_with(SyncedTo::up_to(Some(txid))).await;
        // What waited beside the database says nothing of the file that lies there now: that is
        // still to be compared.
        if self.disk.here().db.has_position() {
            self.note_known_file().await;
        }
        if std::mem::take(&mut self.accepted) {
            let (state, _) = self.notes();
            if let Err(error) = blocking(move || state.forget_reset_order()).await {
                tracing::warn!(db = %self.name(), "{error}: the next start uploads the whole database once more");
            }
        }
        self.disk.with(move |disk| disk.drop_up_to(txid)).await.map_err(|error| Trouble::passing(&error))
    }

    /// What follows from an error.
    pub async fn trouble(&mut self, error: StepError) -> Trouble {
        match error {
            StepError::Db(error) if !error.may_pass() => self.disk.with(move |disk| cause(disk, error)).await,
            error => trouble(error),
        }
    }

    /// The database here is in step with the history up to there.
    pub async fn is_in_step_with(&mut self, synced_to: SyncedTo) {
        self.disk
            .with(move |disk| {
                let position = disk.db.position().filter(|position| synced_to.txid() == Some(position.txid));
                let noted = disk.last_synced.in_step_at(synced_to, position.as_ref().and_then(resume_point));
                disk.complain_of(noted);
            })
            .await;
    }

    /// Replication ends in order: everything committed here is in the replica.
    pub async fn close_history(&mut self) {
        let (confirmed, (state, replica)) = (self.confirmed, self.notes());
        self.disk
            .with(move |disk| {
                if let Some(txid) = confirmed.filter(|_| disk.db.has_position()) {
                    let left = |stamp| Some(LeftFile { stamp, backfilled: disk.db.backfilled()? });
                    let file = FileAttributes::of(disk.db.path()).ok().and_then(left);
                    let noted = disk.last_synced.close(txid, file);
                    disk.complain_of(noted);
                    note_empty_wal(&disk.db, txid, &state, &replica);
                }
            })
            .await;
    }

    /// Runs blocking work with the database.
    pub async fn with_db<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Db) -> T + Send + 'static) -> T {
        self.disk.with(move |disk| work(&mut disk.db)).await
    }

    /// What is noted beside the database. Reading or writing a note blocks.
    pub fn notes(&self) -> (LocalState, ReplicaState) {
        self.settings.notes(self.remote.address())
    }

    pub fn name(&self) -> String {
        self.settings.path.display().to_string()
    }

    /// The deadline, once it is time to end.
    pub fn deadline(&self) -> Option<Instant> {
        *self.stop.borrow()
    }
}

/// With an empty WAL the file itself is that TXID.
fn note_empty_wal(db: &Db, txid: Txid, state: &LocalState, replica: &ReplicaState) {
    let position = db.position().filter(|position| position.txid == txid && matches!(db.wal_len(), Ok(0)));
    let Some(position) = position else { return };
    if let Err(error) = mark_file(db, (state, replica), &position) {
        tracing::debug!(db = %db.path().display(), "{error}");
    }
}

pub(super) fn describe(disk: &mut Disk) -> (Lane, Outbox) {
    disk.note_sending();
    disk.count_spilled();
    // Before anything is captured a reset would gain nothing.
    let has_position = disk.db.has_position();
    let wal_frames = if has_position { disk.db.wal_frames() } else { 0 };
    let is_overwritten = disk.db.is_overwritten();
    let lane = Lane { queue: disk.queue(), has_position, wal_frames, woken_reliably: true, is_overwritten };
    (lane, disk.outbox())
}

/// Orders that wait for nothing but the disk.
fn carry_out(order: LocalOrder, disk: &mut Disk) -> LocalDone {
    match order {
        LocalOrder::Glance => LocalDone::Glanced(disk.db.glance().map_err(|error| cause(disk, error))),
        LocalOrder::Close => LocalDone::Closed(disk.db.close_idle(disk.clock).map_err(|error| cause(disk, error))),
        LocalOrder::OpenAgain => LocalDone::OpenedAgain(disk.db.open_again().map_err(|error| not_opened(disk, error))),
        LocalOrder::Capture => LocalDone::Captured(disk.capture().map_err(|error| cause(disk, error))),
        LocalOrder::Seal => LocalDone::Sealing(disk.seal().map_err(|error| cause(disk, error))),
        LocalOrder::Follow => LocalDone::Followed(disk.follow().map_err(Trouble::passing)),
        LocalOrder::Relieve(relief) => LocalDone::Relieved(disk.relieve(relief).map_err(Trouble::passing)),
        LocalOrder::Spill => LocalDone::Spilled(disk.spill_batch().map_err(|error| step_cause(disk, error))),
        LocalOrder::BeginAnew(last) => {
            LocalDone::BegunAnew(disk.begin_anew(last).map_err(|error| step_cause(disk, error)))
        }
        LocalOrder::Freeze => LocalDone::Frozen(disk.db.freeze().unwrap_or_else(|error| {
            tracing::debug!("{error}");
            false
        })),
        LocalOrder::Thaw => {
            if let Err(error) = disk.db.thaw() {
                tracing::warn!("{error}");
            }
            LocalDone::Thawed
        }
        _ => {
            disk.db.let_go();
            LocalDone::LetGo
        }
    }
}

fn cause(disk: &Disk, error: DbError) -> Trouble {
    if error.may_pass() {
        return Trouble::passing(error);
    }
    match cause_of(&disk.db, error, disk.clock) {
        error @ DbError::Replaced { .. } => Trouble::Replaced(error.to_string()),
        error => Trouble::Halt(error.to_string()),
    }
}

/// What keeps it closed may pass, such as a limit of descriptors, and nothing is lost meanwhile.
fn not_opened(disk: &Disk, error: DbError) -> Trouble {
    match cause(disk, error) {
        Trouble::Halt(why) => Trouble::passing(why),
        trouble => trouble,
    }
}

fn step_cause(disk: &Disk, error: StepError) -> Trouble {
    match error {
        StepError::Db(error) => cause(disk, error),
        error => trouble(error),
    }
}

pub(super) fn trouble(error: StepError) -> Trouble {
    match error {
        StepError::Foreign(why) => Trouble::Foreign(why),
        error @ StepError::MovedOn { .. } => Trouble::Foreign(error.to_string()),
        error @ (StepError::AnotherDatabase { .. } | StepError::Damaged { .. }) => Trouble::Halt(error.to_string()),
        StepError::Db(error) if !error.may_pass() => Trouble::Halt(error.to_string()),
        error => Trouble::Passing { why: error.to_string(), refused: !error.may_pass() },
    }
}

impl From<FsError> for Trouble {
    fn from(error: FsError) -> Trouble {
        Trouble::passing(error)
    }
}
