//! Capture, upload, confirm: one object after the other, in the order of the history.
//!
//! The WAL is the queue: while an upload is under way, or the pace holds the next one back, commits gather in the WAL and leave as
//! one batch. A commit that meets neither leaves at once.

use std::time::Duration;

use tokio::time::Instant;

use super::batch::{BatchKind, Front};
use super::event::{Effect, Event, LocalDone, LocalOrder, Notice, Outcome, RemoteDone, RemoteOrder, Report, Trouble};
use super::start::{Begin, Seen};
use super::{Common, Now, Pace, Plan, State};
use crate::clock::Backoff;
use crate::ltx::Txid;

/// From the last byte of a commit in the WAL to its publication in the wal-index, at most, if nothing has to be synced.
const PUBLISH_TIME: Duration = Duration::from_micros(500);
/// Where every change is told, only every so-many'th poll is made.
const QUIET_INTERVALS: u32 = 15;

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
    /// Another file lies in the database's place: it is taken up.
    Replaced,
    /// An object is being created.
    Sending {
        since: Instant,
    },
    /// After a failure.
    Waiting(Instant),
}

/// What is known of the WAL.
#[derive(Debug)]
enum Wal {
    /// Nothing is known to have happened since the last capture.
    Quiet { poll_at: Instant },
    /// Something has.
    Changed,
    /// It is looked whether there are frames beyond the last capture.
    Glancing { by_poll: bool },
    /// There are. Where a capture finds no commit in them, the writer has not published it yet, and when it does, in the wal-index,
    /// no event tells: look again very soon, and less and less often if it is a long transaction.
    Ahead { again_at: Instant, backoff: Backoff },
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
        };
        streaming.let_start(common, plan);
        streaming
    }

    pub fn on_event(&mut self, event: Event, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        match event {
            Event::Woke => self.woke(),
            Event::Finish(_) => self.wal = Wal::Changed,
            Event::Local(done, _) => return self.on_local(done, common, now, plan),
            Event::Remote(RemoteDone::Sent(sent)) => return self.on_sent(sent, common, now, plan),
            Event::Remote(RemoteDone::Proved(Ok(newest))) => return self.on_proved(newest, common, now, plan),
            Event::Remote(RemoteDone::Proved(Err(trouble))) => return self.on_trouble(trouble, common, now, plan),
            Event::Remote(RemoteDone::Looked(_)) | Event::Timer | Event::WalMeasured(_) | Event::Sync(..) => {}
        }
        None
    }

    fn woke(&mut self) {
        match self.wal {
            Wal::Quiet { .. } | Wal::Glancing { .. } => self.wal = Wal::Changed,
            Wal::Changed | Wal::Ahead { .. } => {}
        }
    }

    fn on_local(&mut self, done: LocalDone, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        match done {
            LocalDone::Glanced(Ok(is_ahead)) => self.glanced(is_ahead, common, now, plan),
            LocalDone::Captured(Ok(found)) => {
                common.syncs.captured(found, &common.lane.queue, self.confirmed, plan);
                self.captured(found, common, now, plan);
            }
            LocalDone::Compared(Ok(())) => {
                self.upload = Upload::Idle;
                self.is_suspected = false;
                common.is_back(now, plan);
                self.let_start(common, plan);
                report_captured(common, plan);
            }
            LocalDone::BegunAnew(Ok(())) => (self.upload, self.proved_at) = (Upload::Proved, now.boot),
            LocalDone::TakenUp(Ok(())) => {
                (self.upload, self.wal) = (Upload::Idle, Wal::Changed);
                common.syncs.begin_again();
            }
            LocalDone::Sent(sent) => return self.on_sent(sent, common, now, plan),
            LocalDone::Relieved(_) => {
                if !common.lane.queue.is_empty() {
                    plan.push(Effect::Report(Report::Noticed));
                    report_captured(common, plan);
                }
                // What was not captured under the lock is captured now.
                self.wal = Wal::Changed;
            }
            LocalDone::Glanced(Err(trouble)) | LocalDone::Captured(Err(trouble)) => {
                // Nothing is known of the WAL, and no event may come that asks for another look.
                self.woke();
                common.syncs.begin_again();
                return self.on_trouble(trouble, common, now, plan);
            }
            LocalDone::Compared(Err(trouble))
            | LocalDone::BegunAnew(Err(trouble))
            | LocalDone::TakenUp(Err(trouble))
            | LocalDone::Spilled(Err(trouble))
            | LocalDone::Dropped(Err(trouble)) => return self.on_trouble(trouble, common, now, plan),
            LocalDone::Spilled(Ok(())) | LocalDone::Dropped(Ok(())) | LocalDone::Followed(_) | LocalDone::LetGo => {}
            LocalDone::Start(_) | LocalDone::Frozen(_) | LocalDone::Thawed | LocalDone::TailKept => {}
        }
        None
    }

    fn glanced(&mut self, is_ahead: bool, common: &Common, now: Now, plan: &mut Plan) {
        match (&self.wal, is_ahead) {
            (Wal::Glancing { by_poll }, true) => {
                if *by_poll && common.lane.woken_reliably {
                    plan.push(Effect::MissedEvent);
                }
                self.is_ahead(common, now, plan);
            }
            (Wal::Changed, true) => self.is_ahead(common, now, plan),
            (Wal::Glancing { .. }, false) => self.settled(common, now, plan),
            _ => {}
        }
    }

    fn is_ahead(&mut self, common: &Common, now: Now, plan: &mut Plan) {
        plan.push(Effect::Report(Report::Noticed));
        let backoff = Backoff::new(PUBLISH_TIME, common.config.monitor_interval);
        self.wal = Wal::Ahead { again_at: now.instant, backoff };
    }

    fn captured(&mut self, found: bool, common: &mut Common, now: Now, plan: &mut Plan) {
        match &mut self.wal {
            _ if found => {
                plan.push(Effect::Report(Report::Noticed));
                report_captured(common, plan);
                self.wal = Wal::Changed;
            }
            Wal::Ahead { again_at, backoff } if !common.finish.is_called_for() => {
                *again_at = now.instant + backoff.next_pause(&mut common.dice);
            }
            Wal::Ahead { .. } | Wal::Glancing { .. } => self.settled(common, now, plan),
            Wal::Changed | Wal::Quiet { .. } => {}
        }
    }

    /// Everything that is committed is captured.
    fn settled(&mut self, common: &Common, now: Now, plan: &mut Plan) {
        let intervals = if common.lane.woken_reliably { QUIET_INTERVALS } else { 1 };
        self.wal = Wal::Quiet { poll_at: now.instant + common.config.monitor_interval * intervals };
        if common.lane.queue.is_empty() {
            plan.push(Effect::Report(Report::Idle));
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
        self.let_start(common, plan);
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
        if let (Trouble::Replaced(_), false) = (&trouble, common.config.once) {
            self.upload = Upload::Replaced;
            return None;
        }
        match common.failed(trouble, now, plan) {
            Ok(again_at) => {
                self.upload = Upload::Waiting(again_at);
                None
            }
            Err(next) => Some(next),
        }
    }

    /// The application may start, and the replica be maintained, unless another node may have gone on.
    fn let_start(&self, common: &mut Common, plan: &mut Plan) {
        if !self.is_suspected {
            common.open_gate(plan);
            plan.push(Effect::Maintain(true));
        }
    }

    pub fn plan(&mut self, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        if let Some(ended) = common.out_of_time(now, plan) {
            return Some(ended);
        }
        if let Upload::Waiting(until) = self.upload
            && plan.is_due(until, now)
        {
            self.upload = Upload::Idle;
        }
        common.syncs.settle(&common.lane.queue, self.confirmed, plan);
        let front = common.lane.queue.front();
        match (&self.upload, front) {
            (_, Some(front)) if self.confirmed >= Some(front.txid()) && common.is_free() => {
                common.order(LocalOrder::Drop(self.confirmed.unwrap_or(front.txid())), now, plan);
            }
            (Upload::Gone, _) if common.is_free() => {
                let last = self.confirmed.unwrap_or(Txid::FIRST);
                common.order(LocalOrder::BeginAnew(last), now, plan);
            }
            (Upload::Replaced, _) if common.is_free() => common.order(LocalOrder::TakeUp, now, plan),
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
        let sending_since = match self.upload {
            Upload::Sending { since } => Some(since),
            _ => None,
        };
        common.serve_mirrors(sending_since, now, plan);
        if self.is_held_up(common) {
            common.relieve(now, plan);
        }
        None
    }

    /// Whether commits wait for something else than the database's lane.
    fn is_held_up(&self, common: &Common) -> bool {
        !matches!(self.upload, Upload::Idle | Upload::Proved)
            || !common.lane.queue.is_empty()
            || matches!(self.wal, Wal::Ahead { .. })
    }

    /// Sends the front of the queue, if that may begin now.
    fn send(&mut self, front: Front, common: &mut Common, now: Now, plan: &mut Plan) {
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

    /// The queue is empty and the database free: resets the WAL if that is due, else looks for commits. `Some` at the end.
    fn look_for_commits(&mut self, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        let is_ending = common.finish.is_called_for();
        if !is_ending && common.reset_if_due(now, plan) {
            return None;
        }
        let is_asked = common.syncs.is_capture_wanted();
        match &self.wal {
            Wal::Quiet { .. } if is_ending && !is_asked => return Some(State::Ended(Outcome::Synced)),
            Wal::Quiet { .. } | Wal::Changed if is_ending || is_asked => {
                self.wal = Wal::Glancing { by_poll: false };
                capture(common, now, plan);
            }
            Wal::Changed => {
                self.wal = Wal::Glancing { by_poll: false };
                common.order(LocalOrder::Glance, now, plan);
            }
            Wal::Quiet { poll_at } if plan.is_due(*poll_at, now) => {
                self.wal = Wal::Glancing { by_poll: true };
                common.order(LocalOrder::Glance, now, plan);
            }
            Wal::Ahead { again_at, .. } => {
                let turn =
                    if is_ending || is_asked { now.instant } else { self.pace.next_at(now.instant).max(*again_at) };
                if plan.is_due(turn, now) {
                    capture(common, now, plan);
                }
            }
            Wal::Quiet { .. } | Wal::Glancing { .. } => {}
        }
        None
    }
}

fn capture(common: &mut Common, now: Now, plan: &mut Plan) {
    common.syncs.capture_begins();
    common.order(LocalOrder::Capture, now, plan);
}

/// The newest TXID that has its number, for the status.
fn report_captured(common: &Common, plan: &mut Plan) {
    if let Some(txid) = common.lane.queue.last() {
        plan.push(Effect::Report(Report::Captured(txid)));
    }
}
