//! What a node captures, what waits for the bucket in memory and in local files, and when the WAL
//! is reset.

use std::rc::Rc;

use super::super::broken::Broken;
use super::super::bucket::Object;
use super::super::mirror::Mirror;
use super::super::oracle::Violation;
use super::{Batch, Node, Progress, Surroundings};
use crate::db::{ImageReason, Reset};
use crate::ltx::Txid;
use crate::replicate::core::{BatchKind, Relief};

impl Node {
    fn captured_len(&self) -> usize {
        match self.process.as_ref().map(|process| process.progress) {
            Some(Progress::Known(_, len)) if !self.is_replaced() => len,
            _ => self.process.as_ref().map_or(0, |process| process.wal_from),
        }
    }

    pub fn is_replaced(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.replaced.is_some())
    }

    /// Commits that are captured nowhere.
    pub fn backlog(&self) -> usize {
        self.disk.content.len() - self.captured_len()
    }

    pub(super) fn is_ahead(&self) -> bool {
        let is_known = matches!(self.process.as_ref().map(|p| p.progress), Some(Progress::Known(..)));
        !is_known || self.backlog() > 0
    }

    pub fn newest_captured(&self) -> Option<Txid> {
        match self.process.as_ref()?.progress {
            Progress::Known(number, _) => Txid::new(number),
            Progress::Unknown { last, .. } => Txid::new(last),
        }
    }

    pub(super) fn continue_from(&mut self, number: u64, len: usize) {
        self.process_mut().progress = Progress::Known(number, len);
    }

    /// What waits in memory is kept.
    pub(super) fn start_over_keeping(&mut self, last: u64, reason: ImageReason) {
        self.process_mut().progress = Progress::Unknown { last, reason };
    }

    pub(super) fn start_over(&mut self, last: u64, reason: ImageReason) {
        let process = self.process_mut();
        process.batch = None;
        process.progress = Progress::Unknown { last, reason };
    }

    fn next_batch(&mut self) -> Option<Batch> {
        let content = self.disk.content.clone();
        self.serial += 1;
        let made_by = (self.number, self.serial);
        let (number, kind, base) = match self.process_mut().progress {
            Progress::Known(_, len) if len == content.len() => return None,
            Progress::Known(number, len) => (number + 1, BatchKind::Delta, Some(Rc::new(content[..len].to_vec()))),
            Progress::Unknown { .. } if content.is_empty() => return None,
            Progress::Unknown { last, reason } => {
                let kind = if reason.is_doubt() { BatchKind::Unverified(reason) } else { BatchKind::Image(reason) };
                (last + 1, kind, None)
            }
        };
        self.process_mut().progress = Progress::Known(number, content.len());
        Some(Batch { txid: number, kind, object: Object { base, content, made_by }, in_memory: true })
    }

    pub(super) fn capture(&mut self, around: &mut Surroundings) -> bool {
        let Some(mut batch) = self.next_batch() else { return false };
        batch.in_memory = !matches!(batch.kind, BatchKind::Unverified(_)) && around.dice.roll(5) > 0;
        self.process_mut().batch = Some(batch);
        true
    }

    pub(super) fn seal(&mut self, around: &mut Surroundings) -> bool {
        if around.broken == Some(Broken::SaysSealedTooEarly) {
            return false;
        }
        if self.capture(around) {
            return true;
        }
        let Progress::Known(number, len) = self.process_mut().progress else { return false };
        let content = self.disk.content.clone();
        self.serial += 1;
        let object = Object { base: Some(content.clone()), content, made_by: (self.number, self.serial) };
        let process = self.process_mut();
        process.progress = Progress::Known(number + 1, len);
        process.batch = Some(Batch { txid: number + 1, kind: BatchKind::Seal, object, in_memory: true });
        true
    }

    pub(super) fn relieve(&mut self, relief: Relief, around: &mut Surroundings) -> Result<Reset, Violation> {
        self.put_doubt_back();
        let is_known = matches!(self.process_mut().progress, Progress::Known(..));
        let is_careless = around.broken == Some(Broken::ResetsTooEarly);
        if relief == Relief::Spill && is_known && !is_careless {
            self.spill_batch();
            let tail = self.next_batch();
            self.disk.spill.extend(tail);
        }
        if around.has_reader {
            return Ok(Reset::Deferred(crate::db::Obstacle::Reader));
        }
        if is_known && !is_careless {
            // The tail that the write lock lets us capture.
            self.spill_batch();
            if let Some(tail) = self.next_batch()
                && around.broken != Some(Broken::ForgetsTheTail)
            {
                self.disk.spill.push_back(tail);
            }
        }
        self.merge_spill(around.broken == Some(Broken::MergesWhatMirrorsHave));
        let process = self.process.as_mut().expect("orders are given by a process");
        process.wal_from = self.disk.content.len();
        if is_careless {
            process.batch = None;
        }
        Ok(Reset::Done)
    }

    /// What was never sent becomes one file, and later TXIDs move up.
    fn merge_spill(&mut self, forgets_mirrors: bool) {
        let kept = self.disk.spill.iter().filter(|file| file.txid <= self.disk.kept_to && !forgets_mirrors).count();
        let unchanged = kept.max(1);
        if self.disk.spill.len() <= unchanged + 1 {
            return;
        }
        let last = self.disk.spill.back().cloned().expect("several");
        self.disk.spill.truncate(unchanged + 1);
        self.serial += 1;
        let made_by = (self.number, self.serial);
        let merged = self.disk.spill.back_mut().expect("two");
        merged.object.content = last.object.content.clone();
        merged.object.made_by = made_by;
        let number = merged.txid;
        match &mut self.process_mut().progress {
            Progress::Known(txid, _) => *txid = number,
            Progress::Unknown { last, .. } => *last = number,
        }
    }

    pub(super) fn spill_batch(&mut self) {
        let Some(batch) = self.process_mut().batch.take() else { return };
        if self.disk.spill.back().is_none_or(|file| file.txid < batch.txid) {
            self.disk.spill.push_back(batch);
        }
    }

    /// What waited is in no history. A mirror that has it is refused from now on.
    pub(super) fn forget_files(&mut self) {
        self.disk.spill.clear();
        (self.disk.kept_to, self.mirror) = (0, Mirror::default());
    }

    pub(super) fn put_doubt_back(&mut self) {
        if let Some(Batch { txid, kind: BatchKind::Unverified(reason), .. }) = self.process_mut().batch {
            self.start_over(txid - 1, reason);
        }
    }

    pub(super) fn drop_up_to(&mut self, up_to: u64, around: &Surroundings) -> Result<(), Violation> {
        let is_replaced = self.is_replaced();
        let process = self.process.as_mut().expect("orders are given by a process");
        let dropped = self.disk.spill.iter().chain(&process.batch).filter(|batch| batch.txid <= up_to);
        for batch in dropped {
            around.oracle.is_safe(batch, around.bucket)?;
        }
        self.disk.spill.retain(|batch| batch.txid > up_to);
        process.batch.take_if(|batch| batch.txid <= up_to);
        let is_proved = matches!(process.progress, Progress::Known(..)) || around.broken == Some(Broken::KnowsTooEarly);
        self.disk.in_step = Some(up_to);
        self.disk.is_known |= is_proved && !is_replaced;
        Ok(())
    }
}
