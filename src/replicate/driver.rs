//! Waits for events and carries out what the core makes of them. Nothing is decided here, and nothing is waited for in between.
//!
//! ```text
//!   watch, timer, stop ──▶ ┌──────┐ ──▶ the database's lane   local.rs
//!   done ────────────────▶ │ core │ ──▶ the bucket's lane     upload.rs, look.rs
//!                          └──────┘ ──▶ status, log, maintenance, the program
//! ```

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::core::{
    Core, Effect, Event as CoreEvent, LocalDone, LocalOrder, Now, Outcome, RemoteDone, RemoteOrder, Report,
    Seen as CoreSeen, Trouble,
};
use super::disk::Outbox;
use super::error::StepError;
use super::lifecycle::{Lifecycle, Shipped};
use super::local::{Done, LocalSide, trouble};
use super::look::{End, Seen, look, newest_txid};
use super::open::Announce;
use super::upload::{create_from_file, create_from_memory, create_snapshot_from_file};
use super::{Ended, Event, Ready, Settings, Stop, say};
use crate::clock;
use crate::db::Watch;
use crate::ltx::Txid;
use crate::remote::Remote;
use crate::state::LastSynced;
use crate::status::Board;

/// What came of an order on the bucket's lane, or of a measurement.
enum Arrived {
    Looked(Result<Box<Seen>, Trouble>),
    Proved(Result<Option<Txid>, Trouble>),
    Sent(Result<Shipped, Trouble>),
    WalMeasured(u64),
}

pub(super) struct Driver {
    pub settings: Arc<Settings>,
    pub remote: Remote,
    pub board: Board,
    pub stop: watch::Receiver<Stop>,
    pub events: mpsc::Sender<Event>,
    pub watch: Watch,
    pub ready: Announce,
    pub core: Core,
    /// The database's lane, while it has no order.
    pub idle: Option<LocalSide>,
    local: JoinSet<(LocalSide, Done)>,
    interrupt: CancellationToken,
    bucket: JoinSet<Arrived>,
    outbox: Outbox,
    /// The last look at the bucket, until it is verified.
    seen: Option<Seen>,
    noted: Noted,
    has_uploaded: bool,
    /// Runs while the history is ours.
    lifecycle: Option<Lifecycle>,
}

/// A look at the bucket that is under way while the database is opened.
pub(super) struct FirstLook(JoinSet<Arrived>);

impl FirstLook {
    pub fn begin(remote: &Remote) -> FirstLook {
        let (mut bucket, remote) = (JoinSet::new(), remote.clone());
        bucket.spawn(async move {
            Arrived::Looked(look(&remote).await.map(Box::new).map_err(|error| trouble(error.into())))
        });
        FirstLook(bucket)
    }
}

/// What was noted beside the database when it was opened.
pub(super) struct Noted {
    pub last_synced: LastSynced,
    /// `millstream reset` was called for this very file.
    pub is_reset: bool,
    /// It is the file that was replicated before.
    pub is_known: bool,
    /// The database did not exist when we started: it is nobody's continuation.
    pub is_new: bool,
}

pub(super) struct Parts {
    pub settings: Arc<Settings>,
    pub remote: Remote,
    pub board: Board,
    pub stop: watch::Receiver<Stop>,
    pub events: mpsc::Sender<Event>,
    pub watch: Watch,
    pub ready: Announce,
}

impl Driver {
    pub fn new(parts: Parts, core: Core, local: LocalSide, look: FirstLook, noted: Noted) -> Driver {
        let Parts { settings, remote, board, stop, events, watch, ready } = parts;
        Driver {
            settings,
            remote,
            board,
            stop,
            events,
            watch,
            ready,
            core,
            idle: Some(local),
            local: JoinSet::new(),
            interrupt: CancellationToken::new(),
            bucket: look.0,
            outbox: Outbox::default(),
            seen: None,
            noted,
            has_uploaded: false,
            lifecycle: None,
        }
    }

    /// Replicates until it is time to end.
    pub async fn run(mut self) -> (Ended, Option<LocalSide>) {
        let stopping = *self.stop.borrow_and_update();
        let mut event = stopping.map_or(CoreEvent::Woke, CoreEvent::Finish);
        loop {
            for effect in self.core.on_event(event, now()) {
                self.carry_out(effect).await;
            }
            if let Some(outcome) = self.core.outcome() {
                let ended = self.ended(outcome);
                self.bucket.shutdown().await;
                self.leave_lane().await;
                return (ended, self.idle);
            }
            event = self.next_event().await;
        }
    }

    /// The lock of the database is given back after this: no thread of ours may work with it any more.
    async fn leave_lane(&mut self) {
        self.interrupt.cancel();
        while let Some(done) = self.local.join_next().await {
            self.idle = Some(super::on_thread::joined(done).await.0);
        }
    }

    async fn next_event(&mut self) -> CoreEvent {
        let wake_at = self.core.wake_at();
        tokio::select! {
            biased;
            Some(arrived) = self.bucket.join_next() => self.arrived(super::on_thread::joined(arrived).await),
            Some(done) = self.local.join_next() => self.done(super::on_thread::joined(done).await),
            changed = self.stop.changed() => CoreEvent::Finish(match changed {
                Ok(()) => self.stop.borrow_and_update().unwrap_or_else(Instant::now),
                // Nobody is left who could wait for the end.
                Err(_) => Instant::now(),
            }),
            () = tokio::time::sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => CoreEvent::Timer,
            () = self.watch.changed() => CoreEvent::Woke,
        }
    }

    fn arrived(&mut self, arrived: Arrived) -> CoreEvent {
        CoreEvent::Remote(match arrived {
            Arrived::WalMeasured(len) => return CoreEvent::WalMeasured(len),
            Arrived::Looked(looked) => RemoteDone::Looked(looked.map(|seen| self.seen(*seen))),
            Arrived::Proved(proved) => RemoteDone::Proved(proved),
            Arrived::Sent(sent) => RemoteDone::Sent(sent.map(|shipped| self.shipped(shipped))),
        })
    }

    fn done(&mut self, (local, done): (LocalSide, Done)) -> CoreEvent {
        if let LocalDone::Start(_) = done.done {
            self.noted.last_synced = local.disk.here().last_synced.clone();
        }
        self.idle = Some(local);
        self.outbox = done.outbox;
        if let Some(shipped) = done.shipped {
            self.shipped(shipped);
        }
        let mut lane = done.lane;
        lane.woken_reliably = self.watch.is_reliable();
        CoreEvent::Local(done.done, lane)
    }

    /// Keeps the answer for the orders that begin with it.
    fn seen(&mut self, seen: Seen) -> CoreSeen {
        let Noted { last_synced, is_reset, is_known, is_new } = &self.noted;
        let end = seen.end.as_ref();
        let synced_to = last_synced.synced_to(end.and_then(End::header));
        let (end, at) = (end.map(|end| end.txid), seen.at);
        self.seen = Some(seen);
        CoreSeen { end, synced_to, is_known: *is_known, is_reset: *is_reset, is_new: *is_new, at }
    }

    fn shipped(&mut self, shipped: Shipped) -> Txid {
        let txid = shipped.header.max_txid;
        let (db, address, size) = (self.settings.path.display(), self.remote.address(), shipped.size);
        match std::mem::replace(&mut self.has_uploaded, true) {
            false => {
                tracing::info!(db = %db, "the first upload of this run is made: TXID {txid} is in {address} ({size} bytes)");
            }
            true => tracing::debug!(db = %db, "TXID {txid} is in {address} ({size} bytes)"),
        }
        if let Some(lifecycle) = &self.lifecycle {
            lifecycle.shipped(shipped);
        }
        txid
    }

    async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Local(order) => self.order(order),
            Effect::Remote(order) => self.order_remote(order),
            Effect::Interrupt => self.interrupt.cancel(),
            Effect::MeasureWal => {
                let wal = crate::fsx::with_suffix(&self.settings.path, "-wal");
                self.bucket.spawn_blocking(move || {
                    Arrived::WalMeasured(std::fs::metadata(&wal).map_or(0, |metadata| metadata.len()))
                });
            }
            Effect::Open => self.ready.say(Ready::Armed).await,
            Effect::Maintain(false) => self.lifecycle = None,
            Effect::Maintain(true) => self.maintain(),
            // Nobody listens any more only while the program ends.
            Effect::Fence => drop(self.events.send(Event::Fenced).await),
            Effect::Report(report) => self.report(report),
            Effect::Say(notice) => say::say(&notice, &self.settings.path, self.remote.address(), &self.board.get()),
            Effect::MissedEvent => self.watch.missed(),
        }
    }

    fn order(&mut self, order: LocalOrder) {
        let Some(mut local) = self.idle.take() else {
            debug_assert!(false, "{order:?} was ordered while the database was busy");
            return;
        };
        if let (LocalOrder::Start(_), Some(seen)) =
            (order, self.seen.take_if(|_| matches!(order, LocalOrder::Start(_))))
        {
            local.take_in(seen);
        }
        self.interrupt = CancellationToken::new();
        self.local.spawn(local.carry_out(order, self.interrupt.clone()));
    }

    fn order_remote(&mut self, order: RemoteOrder) {
        let (remote, outbox) = (self.remote.clone(), self.outbox.clone());
        self.bucket.spawn(async move {
            match order {
                RemoteOrder::Look => {
                    Arrived::Looked(look(&remote).await.map(Box::new).map_err(|error| trouble(error.into())))
                }
                RemoteOrder::Prove => Arrived::Proved(prove(&remote).await.map_err(trouble)),
                RemoteOrder::SendBatch(_) | RemoteOrder::SendFile(_) => {
                    Arrived::Sent(send(&remote, order, outbox).await.map_err(trouble))
                }
            }
        });
    }

    fn maintain(&mut self) {
        if let (None, None, Some(policy)) = (&self.lifecycle, self.settings.once, &self.settings.lifecycle) {
            let (remote, stop) = (self.remote.clone(), self.stop.clone());
            self.lifecycle = Some(Lifecycle::start(policy.clone(), remote, self.board.refusals(), stop));
        }
    }

    fn report(&mut self, report: Report) {
        let now = Instant::now();
        match report {
            Report::Noticed => self.board.noticed(now),
            Report::Captured(txid) => self.board.captured(txid, now),
            Report::Confirmed(txid) => self.board.confirmed(txid),
            Report::Idle => self.board.idle(),
        }
    }

    fn ended(&self, outcome: &Outcome) -> Ended {
        let status = self.board.get();
        match outcome {
            Outcome::Synced => Ended::Synced(status.confirmed),
            Outcome::Fenced(message) => Ended::Fenced { message: message.clone() },
            Outcome::Halted(why) => Ended::Failed { why: why.clone() },
            Outcome::NewDatabase(txid) => {
                let (path, address) = (self.settings.path.display().to_string(), self.remote.address().to_owned());
                Ended::Failed { why: StepError::NewDatabase { path, address, txid: *txid }.to_string() }
            }
            Outcome::Unsynced(why) => {
                let show = |txid: Option<Txid>| txid.map_or_else(|| "none".to_owned(), |txid| txid.to_string());
                let (captured, confirmed) = (show(status.captured), show(status.confirmed));
                Ended::Unsynced { why: format!("{why} (captured TXID {captured}, in the replica {confirmed})") }
            }
        }
    }
}

pub(super) fn now() -> Now {
    Now { instant: Instant::now(), boot: clock::since_boot() }
}

async fn prove(remote: &Remote) -> Result<Option<Txid>, StepError> {
    let mut listing = remote.listing().await?;
    Ok(newest_txid(remote, &mut listing).await?)
}

/// Creates the next object from what lies in the outbox.
async fn send(remote: &Remote, order: RemoteOrder, outbox: Outbox) -> Result<Shipped, StepError> {
    match (order, outbox) {
        (RemoteOrder::SendBatch(txid), Outbox { batch: Some((ours, bytes, kind)), .. })
            if ours.header.min_txid == txid =>
        {
            create_from_memory(remote, &ours, bytes.clone()).await?;
            Ok(Shipped { header: ours.header, size: ours.size, bytes: Some(bytes), image: Some(kind.is_image()) })
        }
        (RemoteOrder::SendFile(txid), Outbox { file: Some(file), is_rebase, .. }) if file.header.min_txid == txid => {
            create_from_file(remote, &file).await?;
            if is_rebase {
                create_snapshot_from_file(remote, &file).await?;
            }
            Ok(Shipped { header: file.header, size: file.size, bytes: None, image: None })
        }
        (order, _) => Err(StepError::Missing(order)),
    }
}
