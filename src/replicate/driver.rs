//! Waits for events and carries out what the core makes of them. Nothing is decided here, and
//! nothing is waited for in between.
//!
//! ```text
//!   watch, timer, stop,
//!   mailbox ─────────────▶ ┌──────┐ ──▶ the database's lane   local.rs
//!   done ────────────────▶ │ core │ ──▶ the bucket's lane     remote_lane.rs
//!                          └──────┘ ──▶ status, log, maintenance, the program
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::mpsc;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::core::{
    Core, Effect, Event as CoreEvent, LocalDone, LocalOrder, Outcome, RemoteDone, RemoteOrder, Report, SealPermit,
    Seen as CoreSeen, SyncId,
};
use super::disk::Outbox;
use super::error::StepError;
use super::governor::Governor;
use super::kept_files::KeptFiles;
use super::lifecycle::{Lifecycle, Shipped};
use super::local::{Done, LocalSide, Noted};
use super::look::{End, LedBy, Seen};
use super::mailbox::{Request, SnapshotError, SyncReply, next_permit};
use super::mirror::{Mirror, Mirrors};
use super::remote_lane::{Arrived, FirstLook, RemoteLane};
use super::{Ended, Event, Events, Ready, Settings, Stop, say};
use crate::clock::Clock;
use crate::db::Watch;
use crate::ltx::Txid;
use crate::remote::Remote;
use crate::state::SyncedTo;
use crate::status::StatusWriter;

/// What is in the first replica is safe: at the end a mirror gets so much time to follow.
const MIRROR_TIME: Duration = Duration::from_secs(5);
/// Where the first replica does not have it, or nothing follows later (`-once`).
const MIRROR_TIME_ALONE: Duration = Duration::from_secs(30);
/// Where replication ends for another reason, that is to be said soon.
const MIRROR_TIME_BRIEF: Duration = Duration::from_millis(500);

/// What a driver has from the start.
pub(super) struct Parts {
    pub settings: Arc<Settings>,
    pub remote: Remote,
    /// What the other replicas are, and what keeps them.
    pub mirrors: (Vec<Mirror>, Mirrors),
    pub writer: StatusWriter,
    pub stop: watch::Receiver<Stop>,
    pub events: Events,
    pub watch: Watch,
    pub requests: mpsc::UnboundedReceiver<Request>,
    pub governor: Governor,
}

pub(super) struct Driver {
    parts: Parts,
    core: Core,
    /// The database's lane, while it has no order.
    idle: Option<Box<LocalSide>>,
    local: JoinSet<(Box<LocalSide>, Box<Done>)>,
    interrupt: CancellationToken,
    bucket: JoinSet<Arrived>,
    outbox: Outbox,
    /// The last look at the bucket, until it is verified.
    seen: Option<Box<Seen>>,
    noted: Noted,
    has_uploaded: bool,
    kept: KeptFiles,
    /// Runs while the history is ours.
    lifecycle: Option<Lifecycle>,
    /// Who waits for a sync, a checkpoint or a position.
    callers: BTreeMap<SyncId, SyncReply>,
    syncs: u64,
    permit: Option<watch::Receiver<SealPermit>>,
}

impl Driver {
    pub fn new(
        parts: Parts,
        core: Core,
        local: Box<LocalSide>,
        look: FirstLook,
        noted: Noted,
        mut outbox: Outbox,
    ) -> Driver {
        let mut kept = KeptFiles::default();
        kept.come(std::mem::take(&mut outbox.kept), &parts.mirrors.1);
        let permit = parts.settings.seal.clone();
        Driver {
            permit,
            parts,
            core,
            idle: Some(local),
            local: JoinSet::new(),
            interrupt: CancellationToken::new(),
            bucket: look.under_way(),
            outbox,
            seen: None,
            noted,
            has_uploaded: false,
            kept,
            lifecycle: None,
            callers: BTreeMap::new(),
            syncs: 0,
        }
    }

    /// Replicates until it is time to end.
    pub async fn run(mut self: Box<Self>) -> Ended {
        let stopping = *self.parts.stop.borrow_and_update();
        let mut event = stopping.map_or(CoreEvent::Woke, CoreEvent::Finish);
        loop {
            for effect in self.core.on_event(event, self.clock().now()) {
                self.carry_out(effect);
            }
            if self.core.outcome().is_some() {
                return Box::pin(self.end()).await;
            }
            event = self.next_event().await;
        }
    }

    async fn end(&mut self) -> Ended {
        let ended = self.ended().await;
        self.bucket.shutdown().await;
        // The lock of the database is given back after this: no thread of ours may work with it any
        // more.
        self.interrupt.cancel();
        while let Some(done) = self.local.join_next().await {
            self.idle = Some(super::on_thread::joined(done).await.0);
        }
        if let (Ended::Synced(_), Some(local)) = (&ended, &mut self.idle) {
            local.close_history().await;
        }
        ended
    }

    fn clock(&self) -> Clock {
        self.parts.settings.clock
    }

    async fn next_event(&mut self) -> CoreEvent {
        let (wake_at, clock) = (self.core.wake_at(), self.clock());
        tokio::select! {
            biased;
            Some(arrived) = self.bucket.join_next() => self.arrived(super::on_thread::joined(arrived).await),
            Some(done) = self.local.join_next() => self.done(super::on_thread::joined(done).await),
            changed = self.parts.stop.changed() => CoreEvent::Finish(match changed {
                Ok(()) => self.parts.stop.borrow_and_update().unwrap_or_else(|| clock.instant()),
                // Whoever could wait for the end is gone.
                Err(_) => clock.instant(),
            }),
            permit = next_permit(&mut self.permit) => CoreEvent::Permit(permit),
            Some(request) = self.parts.requests.next() => self.asked(request),
            () = tokio::time::sleep_until(wake_at.unwrap_or_else(|| clock.instant())), if wake_at.is_some() => CoreEvent::Timer,
            () = self.parts.watch.changed() => CoreEvent::Woke,
        }
    }

    fn asked(&mut self, request: Request) -> CoreEvent {
        match request {
            Request::Sync { by, reply } => CoreEvent::Sync(self.caller(reply), by),
            Request::Checkpoint { by, reply } => CoreEvent::Checkpoint(self.caller(reply), by),
            Request::Position { by, reply } => CoreEvent::Position(self.caller(reply), by),
            Request::Snapshot { reply } => {
                match (&mut self.lifecycle, self.parts.writer.get().confirmed) {
                    (Some(lifecycle), Some(newest)) => lifecycle.snapshot(newest, reply),
                    (Some(_), None) => drop(reply.send(Err(SnapshotError::Nothing))),
                    (None, _) => drop(reply.send(Err(SnapshotError::NotMaintained))),
                }
                // It is nothing to the core.
                CoreEvent::Timer
            }
        }
    }

    fn caller(&mut self, reply: SyncReply) -> SyncId {
        self.syncs += 1;
        let id = SyncId(self.syncs);
        self.callers.insert(id, reply);
        id
    }

    fn arrived(&mut self, arrived: Arrived) -> CoreEvent {
        CoreEvent::Remote(match arrived {
            Arrived::WalMeasured(len) => return CoreEvent::WalMeasured(len),
            Arrived::Looked(looked) => RemoteDone::Looked(looked.map(|seen| self.seen(seen))),
            Arrived::Proved(proved) => RemoteDone::Proved(proved),
            Arrived::Sent(sent) => RemoteDone::Sent(sent.map(|shipped| self.shipped(shipped))),
        })
    }

    fn done(&mut self, (local, done): (Box<LocalSide>, Box<Done>)) -> CoreEvent {
        let done = *done;
        if let LocalDone::Closed(Ok(true)) = done.done {
            self.parts.governor.came_to_rest();
        }
        if let LocalDone::Start(_) = done.done {
            self.noted.last_synced = local.disk.here().last_synced.clone();
        }
        self.idle = Some(local);
        self.outbox = done.outbox;
        self.kept.come(std::mem::take(&mut self.outbox.kept), &self.parts.mirrors.1);
        if let Some(shipped) = done.shipped {
            self.shipped(shipped);
        }
        let mut lane = done.lane;
        lane.woken_reliably = self.parts.watch.is_reliable();
        CoreEvent::Local(done.done, lane)
    }

    /// Keeps the answer for the orders that begin with it.
    fn seen(&mut self, seen: Box<Seen>) -> CoreSeen {
        let Noted { last_synced, is_reset, is_known, is_new } = &self.noted;
        let end = seen.end.as_ref();
        let synced_to = match &seen.led_by {
            // It was in step with the mirror that the end came from.
            Some(LedBy { is_in_step: true, .. }) => end.map(|end| SyncedTo::up_to(Some(end.txid))),
            _ => last_synced.synced_to(end.and_then(End::header)),
        };
        let (end, at) = (end.map(|end| end.txid), seen.at);
        self.seen = Some(seen);
        CoreSeen { end, synced_to, is_known: *is_known, is_reset: *is_reset, is_new: *is_new, at }
    }

    fn shipped(&mut self, shipped: Shipped) -> Txid {
        let txid = shipped.header.max_txid;
        let (db, address, size) = (self.parts.settings.path.display(), self.parts.remote.address(), shipped.size);
        match std::mem::replace(&mut self.has_uploaded, true) {
            false => {
                tracing::info!(db = %db, "the first upload of this run is made: TXID {txid} is in {address} ({size} bytes)");
            }
            true => tracing::debug!(db = %db, "TXID {txid} is in {address} ({size} bytes)"),
        }
        if let Some(confirmed) = &self.parts.settings.confirmed {
            confirmed.confirmed(&shipped);
        }
        self.parts.mirrors.1.shipped(&shipped);
        if let Some(lifecycle) = &mut self.lifecycle {
            lifecycle.shipped(shipped);
        }
        txid
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Local(order) => self.order(order),
            Effect::Remote(order) => self.order_remote(order),
            Effect::Interrupt => self.interrupt.cancel(),
            Effect::MeasureWal => {
                let wal = crate::fsx::with_suffix(&self.parts.settings.path, "-wal");
                self.bucket.spawn_blocking(move || {
                    Arrived::WalMeasured(std::fs::metadata(&wal).map_or(0, |metadata| metadata.len()))
                });
            }
            Effect::Open => self.parts.events.send(Event::Ready(Ready::Armed)),
            Effect::Maintain(false) => self.lifecycle = None,
            Effect::Maintain(true) => self.maintain(),
            Effect::ServeMirrors(is_served) => {
                self.kept.is_served = is_served;
                self.parts.mirrors.1.first_is_away(is_served);
                self.kept.serve(&self.parts.mirrors.1);
            }
            Effect::Fence => self.parts.events.send(Event::Fenced),
            Effect::Sealed => self.parts.events.send(Event::Sealed),
            Effect::Synced(id, answer) => {
                if let Some(reply) = self.callers.remove(&id) {
                    // Who has asked may be gone.
                    let _ = reply.send(answer);
                }
            }
            Effect::Report(report) => self.report(report),
            Effect::Say(notice) => {
                let now = self.clock().instant();
                say::note_outage(&notice, &self.parts.writer, now);
                say::say(&notice, &self.parts.settings.path, self.parts.remote.address(), &self.parts.writer.get(), now)
            }
            Effect::MissedEvent => self.parts.watch.missed(),
        }
    }

    fn order(&mut self, order: LocalOrder) {
        let Some(mut local) = self.idle.take() else {
            debug_assert!(false, "{order:?} was ordered while the database was busy");
            return;
        };
        if let LocalOrder::Start(_) = order
            && let Some(seen) = self.seen.take()
        {
            local.take_in(*seen);
        }
        self.interrupt = CancellationToken::new();
        self.local.spawn(local.carry_out(order, self.interrupt.clone()));
    }

    fn order_remote(&mut self, order: RemoteOrder) {
        let lane = RemoteLane {
            settings: self.parts.settings.clone(),
            remote: self.parts.remote.clone(),
            mirrors: self.parts.mirrors.0.clone(),
            governor: self.parts.governor.clone(),
        };
        self.bucket.spawn(lane.carry_out(order, self.outbox.clone()));
    }

    /// The history is ours.
    fn maintain(&mut self) {
        if let Some(confirmed) = self.parts.writer.get().confirmed {
            self.parts.mirrors.1.are_final(confirmed);
        }
        if let (None, None, Some(policy)) = (&self.lifecycle, self.parts.settings.once, &self.parts.settings.lifecycle)
        {
            let (remote, stop) = (self.parts.remote.clone(), self.parts.stop.clone());
            let (writer, governor) = (self.parts.writer.refusals(), self.parts.governor.clone());
            self.lifecycle = Some(Lifecycle::start(policy.clone(), remote, writer, stop, governor));
        }
    }

    fn report(&mut self, report: Report) {
        let now = self.clock().instant();
        match report {
            Report::Noticed => self.parts.writer.noticed(now),
            Report::Captured(txid) => self.parts.writer.captured(txid, now),
            Report::Confirmed(txid) => self.parts.writer.confirmed(txid, self.clock().unix_ms()),
            Report::Idle => self.parts.writer.idle(),
        }
    }

    /// What the end is called, after the mirrors had their time.
    async fn ended(&mut self) -> Ended {
        let status = self.parts.writer.get();
        let (now, stop) = (self.parts.settings.clock.instant(), *self.parts.stop.borrow());
        let (wanted, latest) = match self.core.outcome() {
            Some(Outcome::Unsynced { kept, .. }) => (*kept, stop.unwrap_or(now + MIRROR_TIME_ALONE)),
            Some(Outcome::Synced) if self.parts.settings.once.is_some() => (None, now + MIRROR_TIME_ALONE),
            Some(Outcome::Synced) => (None, now + MIRROR_TIME),
            _ => (None, now + MIRROR_TIME_BRIEF),
        };
        let mirrors = std::mem::take(&mut self.parts.mirrors.1);
        let complete = mirrors.finish(latest, &mut self.parts.stop, wanted).await;
        let Some(outcome) = self.core.outcome() else { return Ended::Synced(status.confirmed) };
        match outcome {
            Outcome::Synced => Ended::Synced(status.confirmed),
            Outcome::Fenced(_) => Ended::Fenced,
            Outcome::Halted(why) => Ended::Failed { why: why.clone() },
            Outcome::NewDatabase(txid) => {
                let (path, address) =
                    (self.parts.settings.path.display().to_string(), self.parts.remote.address().to_owned());
                Ended::Failed { why: StepError::NewDatabase { path, address, txid: *txid }.to_string() }
            }
            Outcome::Unsynced { why, kept } => {
                let show = |txid: Option<Txid>| txid.map_or_else(|| "none".to_owned(), |txid| txid.to_string());
                let (captured, confirmed) = (show(status.captured), show(status.confirmed));
                let why = format!("{why} (captured TXID {captured}, in the replica {confirmed})");
                match (kept, complete) {
                    (Some(txid), Some(replica)) => Ended::SyncedElsewhere { txid: *txid, replica, why },
                    _ => Ended::Unsynced { why },
                }
            }
        }
    }
}
