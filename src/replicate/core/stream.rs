//! Capture, upload, confirm: one object after the other, in the order of the history.
//!
//! The WAL is the queue: while an upload is under way, or the pace holds the next one back, commits
//! gather in the WAL and leave as one batch. A commit that meets neither leaves at once.

mod commits;
mod idle;

use std::time::Duration;

use tokio::time::Instant;

use super::batch::{BatchKind, Front};
use super::event::{
    Effect, Event, Examined, LocalDone, LocalOrder, Notice, Outcome, RemoteDone, RemoteOrder, Reopened, Report,
    SyncError, Trouble,
};
use super::examine::Examination;
use super::reopen::Reopening;
use super::seal::{Seal, SealPermit};
use super::start::{Begin, Seen};
use super::{Common, Now, Pace, Plan, State};
use crate::ltx::Txid;
use commits::{Wal, report_captured};
use idle::ClosedState;

/// What the bucket's side is at.
#[derive(Debug)]
enum Upload {
    Idle,
    /// It is listed again before the next object is created.
    Proving,
    /// The history is ours, as was seen a moment ago.
    Proved,
    /// Objects of the history are gone from it: the database has to begin anew.
    Gone,
    /// The unverified image in the queue is compared with it.
    Comparing,
    /// The file has to be opened anew.
    Reopening(Reopening),
    /// An object is being created.
    Sending {
        since: Instant,
    },
    /// After a failure.
    Waiting(Instant),
}

pub(super) struct Streaming {
    /// The newest TXID that the bucket has.
    confirmed: Option<Txid>,
    /// Boot-clock time of the last proof that the history is ours.
    proved_at: Duration,
    /// Another node may have gone on: this is known once the unverified image is compared.
    is_suspected: bool,
    upload: Upload,
    wal: Wal,
    pace: Pace,
    examination: Examination,
    seal: Seal,
}

impl Streaming {
    pub fn begin(seen: &Seen, begin: Begin, common: &mut Common, plan: &mut Plan) -> Streaming {
        let streaming = Streaming {
            confirmed: seen.end,
            proved_at: seen.at,
            is_suspected: begin.is_suspected(),
            upload: Upload::Idle,
            wal: Wal::Changed,
            pace: Pace::new(common.config.sync_interval),
            examination: Examination::default(),
            seal: Seal::begin(common.permit, seen.end.max(common.lane.queue.files.map(|(_, last)| last))),
        };
        streaming.let_start(common, plan);
        streaming
    }

    pub fn on_event(&mut self, event: Event, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        match event {
            Event::Woke => self.woke(),
            Event::Finish(_) => self.look_again(),
            Event::Permit(SealPermit::Free) => {
                self.seal = Seal::NotWanted;
                self.let_start(common, plan);
            }
            Event::Local(done, _) => return self.on_local(done, common, now, plan),
            Event::Remote(RemoteDone::Sent(sent)) => return self.on_sent(sent, common, now, plan),
            Event::Remote(RemoteDone::Proved(Ok(newest))) => return self.on_proved(newest, common, now, plan),
            Event::Remote(RemoteDone::Proved(Err(trouble))) => return self.on_trouble(trouble, common, now, plan),
            Event::Remote(RemoteDone::Looked(_)) | Event::Timer | Event::WalMeasured(_) => {}
            Event::Sync(..) | Event::Checkpoint(..) | Event::Position(..) | Event::Permit(_) => {}
        }
        None
    }

    fn woke(&mut self) {
        match &mut self.wal {
            Wal::Quiet { .. } | Wal::Glancing { .. } => self.wal = Wal::Changed,
            Wal::Closed(closed) => closed.woke(),
            Wal::Changed | Wal::Ahead { .. } => {}
        }
    }

    /// Whatever was found, it is looked once more.
    fn look_again(&mut self) {
        match &mut self.wal {
            Wal::Closed(closed) => closed.woke(),
            wal => *wal = Wal::Changed,
        }
    }

    fn on_local(&mut self, done: LocalDone, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        match done {
            LocalDone::Glanced(Ok(is_ahead)) => self.glanced(is_ahead, common, now, plan),
            LocalDone::Captured(Ok(found)) => self.on_captured(found, common, now, plan),
            LocalDone::Sealing(Ok(true)) => self.captured(true, common, now, plan),
            LocalDone::Sealing(Ok(false)) => self.is_sealed(common, plan),
            LocalDone::Compared(Ok(())) => {
                self.upload = Upload::Idle;
                self.is_suspected = false;
                common.is_back(now, plan);
                self.let_start(common, plan);
                report_captured(common, plan);
            }
            LocalDone::Closed(Ok(is_closed)) => self.closed(is_closed, common, now),
            LocalDone::OpenedAgain(Ok(())) => self.begin_again(common),
            LocalDone::OpenedAgain(Err(trouble)) => {
                self.wal = Wal::Closed(ClosedState::Wanted);
                return self.on_trouble(trouble, common, now, plan);
            }
            LocalDone::BegunAnew(Ok(())) => (self.upload, self.proved_at) = (Upload::Proved, now.boot),
            LocalDone::Reopened(Ok(Reopened::Done)) => {
                self.upload = Upload::Idle;
                self.begin_again(common);
            }
            LocalDone::Reopened(Ok(reopened)) => {
                if let Upload::Reopening(reopening) = &mut self.upload {
                    return reopening.failed(reopened, common, now, plan);
                }
            }
            LocalDone::Examined(Ok(Examined::Ready)) => self.begin_again(common),
            LocalDone::Examined(Ok(Examined::NotYet)) => {}
            LocalDone::Examined(Ok(Examined::Closed { why })) => {
                self.upload = Upload::Reopening(Reopening::overwritten(why, now));
            }
            LocalDone::Sent(sent) => return self.on_sent(sent, common, now, plan),
            LocalDone::Relieved(_) => self.relieved(common, plan),
            // The answer to what is being sent comes first; then it is found again.
            LocalDone::Glanced(Err(trouble)) if self.is_sending() => {
                common.positions.fail(&SyncError::Unknown(trouble.why().to_owned()), plan);
            }
            LocalDone::Glanced(Err(trouble))
            | LocalDone::Captured(Err(trouble))
            | LocalDone::Sealing(Err(trouble))
            | LocalDone::Closed(Err(trouble)) => {
                // Nothing is known of the WAL, and no event may come that asks for another look.
                self.woke();
                common.begin_requests_again();
                return self.on_trouble(trouble, common, now, plan);
            }
            LocalDone::Compared(Err(trouble))
            | LocalDone::BegunAnew(Err(trouble))
            | LocalDone::Reopened(Err(trouble))
            | LocalDone::Examined(Err(trouble))
            | LocalDone::Spilled(Err(trouble))
            | LocalDone::Dropped(Err(trouble)) => return self.on_trouble(trouble, common, now, plan),
            LocalDone::Spilled(Ok(())) | LocalDone::Dropped(Ok(())) | LocalDone::Followed(_) | LocalDone::LetGo => {}
            LocalDone::Start(_) | LocalDone::Frozen(_) | LocalDone::Thawed | LocalDone::TailKept => {}
        }
        None
    }

    fn is_sending(&self) -> bool {
        matches!(self.upload, Upload::Sending { .. } | Upload::Proving)
    }

    fn relieved(&mut self, common: &Common, plan: &mut Plan) {
        if !common.lane.queue.is_empty() {
            plan.push(Effect::Report(Report::Noticed));
            report_captured(common, plan);
        }
        // What was not captured under the lock is captured now.
        self.wal = Wal::Changed;
    }

    fn on_captured(&mut self, found: bool, common: &mut Common, now: Now, plan: &mut Plan) {
        self.captured(found, common, now, plan);
        // It has no page yet, and there is no history that others could continue.
        if !found && !common.lane.has_position && self.confirmed.is_none() && self.seal.is_wanted() {
            self.is_sealed(common, plan);
        }
    }

    fn on_sent(
        &mut self,
        sent: Result<Txid, Trouble>,
        common: &mut Common,
        now: Now,
        plan: &mut Plan,
    ) -> Option<State> {
        let txid = match sent {
            Ok(txid) => txid,
            Err(trouble) => return self.on_trouble(trouble, common, now, plan),
        };
        self.upload = Upload::Idle;
        self.confirmed = self.confirmed.max(Some(txid));
        self.proved_at = now.boot;
        plan.push(Effect::Report(Report::Confirmed(txid)));
        common.is_back(now, plan);
        match self.seal.is_done_by(txid) {
            true => self.is_sealed(common, plan),
            false => self.let_start(common, plan),
        }
        if let Wal::Quiet { .. } = self.wal {
            self.wal = Wal::Changed;
        }
        None
    }

    fn on_proved(&mut self, newest: Option<Txid>, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        let next = common.lane.queue.front().map(Front::txid);
        if newest > next {
            let txid = newest.map_or_else(String::new, |txid| txid.to_string());
            let why = format!("TXIDs up to {txid} are in the replica, written by another writer");
            return self.on_trouble(Trouble::Foreign(why), common, now, plan);
        }
        if newest < self.confirmed {
            plan.push(Effect::Say(Notice::HistoryGone));
            self.upload = Upload::Gone;
        } else {
            (self.upload, self.proved_at) = (Upload::Proved, now.boot);
        }
        None
    }

    fn on_trouble(&mut self, trouble: Trouble, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        let trouble = match trouble {
            Trouble::Replaced(why) if !common.config.once => {
                self.upload = Upload::Reopening(Reopening::replaced(why, common, now, plan));
                return None;
            }
            trouble => trouble,
        };
        match common.failed(trouble, now, plan) {
            Ok(again_at) => {
                self.upload = Upload::Waiting(again_at);
                None
            }
            Err(next) => Some(next),
        }
    }

    /// Nothing is known of what the database holds now.
    fn begin_again(&mut self, common: &mut Common) {
        self.wal = Wal::Changed;
        common.begin_requests_again();
    }

    /// The application may start, and the replica be maintained, unless another node may have gone
    /// on.
    fn let_start(&self, common: &mut Common, plan: &mut Plan) {
        if !self.is_suspected {
            common.open_gate(plan);
            if !self.seal.is_wanted() {
                plan.push(Effect::Maintain(true));
            }
        }
    }

    fn is_sealed(&mut self, common: &mut Common, plan: &mut Plan) {
        self.seal = Seal::NotWanted;
        plan.push(Effect::Sealed);
        self.let_start(common, plan);
    }

    pub fn plan(&mut self, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        if let Upload::Reopening(reopening) = &mut self.upload {
            return reopening.plan(common, now, plan);
        }
        if let Some(ended) = common.out_of_time(now, plan) {
            return Some(ended);
        }
        if let Upload::Waiting(until) = self.upload
            && plan.is_due(until, now)
        {
            self.upload = Upload::Idle;
        }
        if !common.lane.is_overwritten {
            common.syncs.settle(&common.lane.queue, self.confirmed, plan);
        }
        let front = common.lane.queue.front();
        if front.is_none() {
            self.seal.nothing_waits(self.confirmed);
        } else if common.finish.is_called_for() && self.seal.is_wanted() && common.permit == Some(SealPermit::No) {
            let why = "another instance may hold the history, so nothing is uploaded from here";
            return Some(State::Ended(common.unsynced(why.into())));
        }
        match (&self.upload, front) {
            (_, Some(front)) if self.confirmed >= Some(front.txid()) && common.is_free() => {
                common.order(LocalOrder::Drop(self.confirmed.unwrap_or(front.txid())), now, plan);
            }
            (Upload::Gone, _) if common.is_free() => {
                let last = self.confirmed.unwrap_or(Txid::FIRST);
                common.order(LocalOrder::BeginAnew(last), now, plan);
            }
            (Upload::Idle | Upload::Proved, Some(front)) if self.confirmed < Some(front.txid()) => {
                self.send(front, common, now, plan);
            }
            (Upload::Idle | Upload::Proved, None) if common.is_free() => {
                if let Some(ended) = self.look_for_commits(common, now, plan) {
                    return Some(ended);
                }
            }
            _ => {}
        }
        if let Wal::Closed(_) = self.wal {
            return None;
        }
        self.plan_maintenance(common, now, plan);
        self.answer_positions(common, now, plan);
        None
    }

    fn plan_maintenance(&self, common: &mut Common, now: Now, plan: &mut Plan) {
        let sending_since = match self.upload {
            Upload::Sending { since } => Some(since),
            _ => None,
        };
        if !self.seal.is_wanted() {
            common.serve_mirrors(sending_since, now, plan);
        }
        if self.is_held_up(common) {
            common.relieve(now, plan);
        }
    }

    /// Whether commits wait for something else than the database's lane.
    fn is_held_up(&self, common: &Common) -> bool {
        !matches!(self.upload, Upload::Idle | Upload::Proved)
            || !common.lane.queue.is_empty()
            || matches!(self.wal, Wal::Ahead { .. })
    }

    /// Sends the front of the queue, if that may begin now.
    fn send(&mut self, front: Front, common: &mut Common, now: Now, plan: &mut Plan) {
        if !matches!(front, Front::Unverified(_)) && !common.may_create(self.seal, now) {
            return;
        }
        let is_old = now.boot.saturating_sub(self.proved_at) >= common.config.proof_lasts;
        if is_old && !matches!(self.upload, Upload::Proved) {
            self.upload = Upload::Proving;
            plan.push(Effect::Remote(RemoteOrder::Prove));
            return;
        }
        if let (Front::File(_), false) = (front, common.finish.is_called_for() || common.syncs.is_any())
            && !plan.is_due(self.pace.next_at(now.instant), now)
        {
            return;
        }
        match front {
            Front::File(txid) => {
                self.upload = Upload::Sending { since: now.instant };
                plan.push(Effect::Remote(RemoteOrder::SendFile(txid)));
            }
            Front::Memory(txid) => {
                self.upload = Upload::Sending { since: now.instant };
                plan.push(Effect::Remote(RemoteOrder::SendBatch(txid)));
            }
            Front::Unverified(_) | Front::Database(_) if !common.is_free() || common.relief.is_urgent(now.instant) => {
                return;
            }
            Front::Unverified(_) => {
                self.upload = Upload::Comparing;
                return common.order(LocalOrder::Compare, now, plan);
            }
            // From a local file it is sent as well, and the database is free meanwhile.
            Front::Database(_) if common.lane.queue.batch.is_some_and(|batch| batch.kind == BatchKind::Delta) => {
                return common.order(LocalOrder::Spill, now, plan);
            }
            Front::Database(_) => {
                self.upload = Upload::Sending { since: now.instant };
                common.order(LocalOrder::Send, now, plan);
            }
        }
        self.pace.begin(now.instant);
    }
}
