//! What a core asks for is carried out, or begins and comes later; and what must hold after every
//! step.

use std::time::Duration;

use super::super::broken::Broken;
use super::super::bucket::Weather;
use super::super::callers::{Here, Wants};
use super::super::node::{Node, Surroundings};
use super::super::oracle::Violation;
use super::requests::Request;
use super::{BUDGET, Due, FENCED_MS, LATE_MS, READER_AFTERMATH_MS, World};
use crate::ltx::Txid;
use crate::replicate::core::{Effect, Event, LocalOrder, Outcome, RemoteOrder, Report, StartOrder, SyncError, SyncId};

impl World {
    pub(super) fn with<T>(&mut self, node: usize, work: impl FnOnce(&mut Node, &mut Surroundings) -> T) -> (T, u64) {
        let mut around = Surroundings {
            bucket: &mut self.bucket,
            dice: &mut self.dice,
            oracle: &mut self.oracle,
            broken: self.broken,
            has_reader: self.now_ms < self.reader_until,
            now_ms: self.now_ms,
        };
        (work(&mut self.nodes[node], &mut around), self.now_ms)
    }

    /// Tells a core, and carries out what it asks for.
    pub(super) fn tell(&mut self, node: usize, event: Event) -> Result<(), Violation> {
        let now = self.now();
        self.say(|| format!("{node} <- {event:?}"));
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        let effects = process.core.on_event(event, now);
        for effect in effects {
            self.say(|| format!("{node} -> {effect:?}"));
            self.effect(node, effect)?;
        }
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        let (life, wake_at) = (self.nodes[node].life, process.core.wake_at());
        if let Some(outcome) = process.core.outcome() {
            let kept = match outcome {
                Outcome::Unsynced { kept, .. } => *kept,
                _ => None,
            };
            let (is_synced, outcome) = (*outcome == Outcome::Synced, format!("{outcome:?}"));
            let stopped_with = process.stopped_with;
            self.say(|| format!("node {node} ended: {outcome}"));
            self.ended(node, is_synced, stopped_with, kept)?;
        } else if let Some(at) = wake_at {
            let pause = at.saturating_duration_since(now.instant);
            let pause = u64::try_from(pause.as_nanos().div_ceil(1_000_000)).expect("not that long");
            self.later(pause, Due::Timer { node, life });
        }
        Ok(())
    }

    fn effect(&mut self, node: usize, effect: Effect) -> Result<(), Violation> {
        let life = self.nodes[node].life;
        if let Effect::Local(order) = &effect {
            self.lent[node] = Some(*order).filter(|order| order.is_lent());
            if self.lent[node].is_some() {
                self.lent_with[node] = self.nodes[node].backlog() as u64;
            }
        }
        self.must_be_permitted(node, &effect)?;
        match effect {
            Effect::Local(LocalOrder::Start(step @ (StartOrder::Ask(_) | StartOrder::SetAside(_)))) => {
                self.request(node, Request::Start(step));
            }
            Effect::Local(LocalOrder::Compare) => self.request(node, Request::Compare),
            Effect::Local(LocalOrder::Send) => {
                let batch = self.nodes[node].batch().ok_or("nothing is there to be sent")?;
                self.request(node, Request::Send(Box::new(batch)));
            }
            Effect::Local(order) => {
                let mut pause = self.dice.roll(4);
                if self.broken == Some(Broken::WaitsForTheBucket) && self.bucket.weather == Weather::Hanging {
                    pause += 3000;
                }
                self.later(pause, Due::Local { node, life, order });
            }
            Effect::Remote(RemoteOrder::Look) => self.request(node, Request::Look),
            Effect::Remote(RemoteOrder::Prove) => self.request(node, Request::Prove),
            Effect::Remote(RemoteOrder::SendBatch(txid) | RemoteOrder::SendFile(txid)) => {
                let batch = self.nodes[node].outgoing().filter(|batch| batch.txid == txid.get());
                let batch = batch.ok_or_else(|| format!("TXID {txid} is not what has to be sent next"))?;
                self.request(node, Request::Create(Box::new(batch)));
            }
            Effect::Sealed => self.is_sealed(node)?,
            Effect::Interrupt => self.interrupt(node),
            Effect::MeasureWal => self.later(0, Due::Measured { node, life }),
            Effect::ServeMirrors(is_served) => self.nodes[node].serve_mirror(is_served),
            Effect::Open => self.open(node),
            Effect::Fence => self.fence(node),
            // Where callers are told too early, they do not wait any more.
            Effect::Synced(id, answer) if self.callers.of(node).contains(&id) || self.broken.is_none() => {
                self.answered(node, id, &answer)?;
            }
            Effect::Report(Report::Captured(txid)) if self.broken == Some(Broken::AnswersSyncsWhenCaptured) => {
                for id in self.callers.that_sync(node) {
                    self.answered(node, id, &Ok(Some(txid)))?;
                }
            }
            Effect::Report(Report::Confirmed(txid))
                if self.bucket.objects.get(&txid.get()).is_none_or(|o| o.made_by.0 == node) =>
            {
                self.oracle.confirmed(node, txid, &self.bucket)?;
            }
            Effect::Report(_) | Effect::Say(_) | Effect::Maintain(_) | Effect::MissedEvent | Effect::Synced(..) => {}
        }
        Ok(())
    }

    /// A caller asks for a sync, or for a checkpoint.
    pub(super) fn ask(&mut self, node: usize, patience_ms: u64, is_in_peace: bool) -> Result<(), Violation> {
        if self.nodes[node].process.is_none() {
            return Ok(());
        }
        let by = self.now().instant + Duration::from_millis(patience_ms);
        let wants = match self.dice.roll(4) {
            0 => Wants::Checkpoint,
            1 => Wants::Position,
            _ => Wants::Sync,
        };
        let content = &self.nodes[node].disk.content;
        let id = self.callers.ask(node, wants, content, self.now_ms + patience_ms, is_in_peace);
        match (wants, self.broken) {
            (Wants::Position, Some(Broken::PromisesWithoutALook)) => {
                let newest = self.nodes[node].newest_captured();
                self.answered(node, id, &Ok(newest))
            }
            (Wants::Position, _) => self.tell(node, Event::Position(id, by)),
            (Wants::Sync, _) | (_, Some(Broken::SyncsInsteadOfCheckpointing)) => self.tell(node, Event::Sync(id, by)),
            (Wants::Checkpoint, _) => self.tell(node, Event::Checkpoint(id, by)),
        }
    }

    fn answered(&mut self, node: usize, id: SyncId, answer: &Result<Option<Txid>, SyncError>) -> Result<(), Violation> {
        let node = &mut self.nodes[node];
        let wal_from = node.process.as_ref().map_or(0, |process| process.wal_from);
        // Of a file that was replaced no other commits are left.
        let in_file = if wal_from < node.disk.content.len() { wal_from } else { usize::MAX };
        let is_settled = node.process.is_some() && node.lane().queue.is_empty();
        let here = Here { in_file, is_settled };
        self.callers.answered(id, answer, self.now_ms, &self.bucket, &self.oracle, here)
    }

    /// The application is told to stop.
    fn fence(&mut self, node: usize) {
        if self.broken != Some(Broken::IgnoresTheFence) {
            self.stop(node);
        }
        self.fenced_at[node] = Some(self.now_ms);
    }

    /// The application starts, unless it has.
    fn open(&mut self, node: usize) {
        if let Some(process) = &mut self.nodes[node].process {
            process.was_opened = true;
            process.is_open = !process.has_stopped;
        }
    }

    fn ended(
        &mut self,
        node: usize,
        is_synced: bool,
        stopped_with: Option<usize>,
        kept: Option<Txid>,
    ) -> Result<(), Violation> {
        let ended = &mut self.nodes[node];
        // The application of a standby may have gone on meanwhile.
        if let (Some(kept), None) = (kept, &ended.starting) {
            ended.mirror.has_all(kept, &ended.disk)?;
        }
        if is_synced {
            let acknowledged = stopped_with.unwrap_or(ended.disk.content.len()).min(ended.disk.content.len());
            self.oracle.synced(node, &ended.disk.content[..acknowledged], &self.bucket)?;
            ended.disk.was_cut_off = false;
        }
        ended.process = None;
        self.callers.forget_promises(node);
        match self.callers.of(node).is_empty() {
            true => Ok(()),
            false => Err(format!("node {node} ended, and somebody still waits for a sync")),
        }
    }

    /// What waits in the WAL is within the budget, and no node overstays a deadline.
    pub(super) fn check_limits(&mut self) -> Result<(), Violation> {
        self.callers.check(self.now_ms)?;
        (0..self.nodes.len()).try_for_each(|node| self.check_opening(node))?;
        for node in &mut self.nodes {
            node.mirror.agrees(node.number, &self.bucket)?;
            let Some(process) = &node.process else { continue };
            // Each commit is a millisecond at full speed: what an order, a measurement and a reset
            // take comes on top. Where nothing can be numbered yet, and a reader keeps the WAL,
            // nothing can be done. A file that is not open yet has a WAL that only its application
            // makes shorter.
            let is_kept = self.now_ms < self.reader_until + READER_AFTERMATH_MS || node.is_replaced();
            let backlog = node.backlog() as u64;
            if process.is_open && !is_kept && backlog > 3 * BUDGET + 200 + self.lent_with[node.number] {
                return Err(format!("{backlog} commits wait in the WAL of node {}", node.number));
            }
            let is_fenced = self.fenced_at[node.number].is_some_and(|at| self.now_ms > at + FENCED_MS);
            if is_fenced && !process.has_stopped {
                return Err(format!("the application on node {} outlives its fence", node.number));
            }
            if self.deadlines[node.number].is_some_and(|at| self.now_ms > at + LATE_MS) && !process.is_frozen {
                return Err(format!("node {} is still there after its deadline", node.number));
            }
        }
        Ok(())
    }
}
