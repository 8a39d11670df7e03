//! One node: its disk, its application, and its core. Effects are carried out as `driver.rs`, `disk.rs`, `start.rs` and
//! `difference/` do it, on a model of the database.

use std::collections::VecDeque;
use std::rc::Rc;

use super::broken::Broken;
use super::bucket::{Bucket, Content, Created, Object};
use super::oracle::{Oracle, Violation};
use crate::clock::Dice;
use crate::db::{ImageReason, Reset};
use crate::ltx::Txid;
use crate::replicate::core::{
    BatchKind, Core, Lane, LocalDone, LocalOrder, Queue, Relief, Seen, Start, Trouble, Waiting,
};

/// Bytes of WAL for each commit.
pub const COMMIT_BYTES: u64 = 1000;

#[derive(Clone, Debug)]
pub struct Batch {
    pub txid: u64,
    pub kind: BatchKind,
    pub object: Object,
    pub in_memory: bool,
}

/// What survives a kill.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Every commit that was acknowledged to the application.
    pub content: Content,
    pub spill: VecDeque<Batch>,
    /// The newest TXID that the disk was in step with.
    pub in_step: Option<u64>,
    /// Which batch was about to be sent.
    pub sending: Option<(usize, u64)>,
}

/// How far the database is captured.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// The first so many commits are captured, up to this TXID.
    Known(u64, usize),
    Unknown {
        last: u64,
        reason: ImageReason,
    },
}

/// What a kill ends.
pub struct Process {
    pub core: Core,
    /// The application may commit.
    pub is_open: bool,
    pub is_frozen: bool,
    pub has_stopped: bool,
    progress: Progress,
    batch: Option<Batch>,
    /// Commits before this one are not in the WAL any more.
    pub wal_from: usize,
    /// The core has let the application start.
    pub was_opened: bool,
}

pub struct Node {
    pub number: usize,
    pub disk: Disk,
    pub process: Option<Process>,
    /// Counts processes, so that answers for an earlier one are told from those for this.
    pub life: u32,
    serial: u64,
}

/// The part of a world that carrying out an order needs.
pub struct Surroundings<'a> {
    pub bucket: &'a mut Bucket,
    pub dice: &'a mut Dice,
    pub oracle: &'a mut Oracle,
    pub broken: Option<Broken>,
    /// A reader of the application keeps the WAL from being reset.
    pub has_reader: bool,
}

fn txid(number: u64) -> Txid {
    Txid::new(number).expect("TXIDs begin with one")
}

impl Node {
    pub fn new(number: usize) -> Node {
        Node { number, disk: Disk::default(), process: None, life: 0, serial: 0 }
    }

    /// The database is armed. A disk that has nothing takes what the bucket has.
    pub fn start(&mut self, core: Core, bucket: &Bucket, broken: Option<Broken>) {
        if self.disk.content.is_empty()
            && let Some((txid, newest)) = bucket.newest()
        {
            (self.disk.content, self.disk.in_step) = (newest.content.clone(), Some(txid));
        }
        self.life += 1;
        self.process = Some(Process {
            core,
            is_open: broken == Some(Broken::StartsTheApplicationFirst),
            is_frozen: false,
            has_stopped: false,
            progress: Progress::Unknown { last: 0, reason: ImageReason::FirstBackup },
            batch: None,
            // Nothing is left of what an earlier life had in the WAL.
            wal_from: self.disk.content.len(),
            was_opened: false,
        });
    }

    pub fn commit(&mut self, number: u32) {
        Rc::make_mut(&mut self.disk.content).push(number);
    }

    pub fn wal_bytes(&self) -> u64 {
        let from = self.process.as_ref().map_or(0, |process| process.wal_from);
        (self.disk.content.len() - from) as u64 * COMMIT_BYTES
    }

    /// The newest TXID that is this disk's own, given the newest object.
    fn own(&self, newest: Option<(u64, &Object)>) -> Option<u64> {
        let sent = newest.filter(|(_, object)| self.disk.sending == Some(object.made_by)).map(|(txid, _)| txid);
        self.disk.in_step.max(self.disk.in_step.and(sent))
    }

    pub fn seen(&self, bucket: &Bucket, at: std::time::Duration) -> Seen {
        let newest = bucket.newest();
        let is_ahead = newest.is_some_and(|(txid, _)| self.own(newest).is_some_and(|own| own < txid));
        Seen { is_ahead, is_foreign: false, at }
    }

    /// What waits to be sent from memory or a file.
    pub fn outgoing(&self) -> Option<Batch> {
        let process = self.process.as_ref()?;
        self.disk.spill.front().or(process.batch.as_ref()).cloned()
    }

    /// The batch in memory, for an upload that begins before it may be moved to a file.
    pub fn batch(&self) -> Option<Batch> {
        self.process.as_ref()?.batch.clone()
    }

    pub fn lane(&mut self) -> Lane {
        self.note_sending();
        let Some(process) = &self.process else { return Lane::default() };
        let files = self.disk.spill.front().zip(self.disk.spill.back());
        let files = files.map(|(first, last)| (txid(first.txid), txid(last.txid)));
        let batch = process.batch.as_ref();
        let batch = batch.map(|b| Waiting { txid: txid(b.txid), kind: b.kind, in_memory: b.in_memory });
        let wal_frames = match process.progress {
            Progress::Known(..) => u32::try_from(self.disk.content.len() - process.wal_from).expect("few"),
            Progress::Unknown { .. } => 0,
        };
        Lane { queue: Queue { files, batch }, wal_frames, woken_reliably: true }
    }

    fn note_sending(&mut self) {
        let Some(next) = self.outgoing().filter(|batch| !matches!(batch.kind, BatchKind::Unverified(_))) else {
            return;
        };
        if self.disk.in_step.is_some() {
            self.disk.sending = Some(next.object.made_by);
        }
    }

    /// Carries out an order that waits for nothing but the disk; the others come with the bucket's answer.
    pub fn carry_out(&mut self, order: LocalOrder, around: &mut Surroundings) -> Result<LocalDone, Violation> {
        Ok(match order {
            LocalOrder::Glance => LocalDone::Glanced(Ok(self.is_ahead())),
            LocalOrder::Capture => LocalDone::Captured(Ok(self.capture(around))),
            LocalOrder::Follow => LocalDone::Followed(Ok(self.backlog() as u64 * COMMIT_BYTES)),
            LocalOrder::LetGo => LocalDone::LetGo,
            LocalOrder::Relieve(relief) => LocalDone::Relieved(Ok(self.relieve(relief, around)?)),
            LocalOrder::Spill => {
                self.spill_batch();
                LocalDone::Spilled(Ok(()))
            }
            LocalOrder::Drop(up_to) => {
                self.drop_up_to(up_to.get(), around)?;
                LocalDone::Dropped(Ok(()))
            }
            LocalOrder::BeginAnew(last) => {
                self.disk.spill.clear();
                self.start_over(last.get(), ImageReason::HistoryGone);
                self.capture(around);
                LocalDone::BegunAnew(Ok(()))
            }
            LocalOrder::Freeze => {
                let is_frozen = around.dice.roll(4) > 0;
                self.process_mut().is_frozen |= is_frozen;
                LocalDone::Frozen(is_frozen)
            }
            LocalOrder::Thaw => {
                if !self.process_mut().has_stopped {
                    return Err("the database was thawed while the application runs".into());
                }
                LocalDone::Thawed
            }
            LocalOrder::KeepTail(_) => {
                self.put_doubt_back();
                self.spill_batch();
                self.disk.spill.clear();
                LocalDone::TailKept
            }
            LocalOrder::TakeUp => return Err("nothing was replaced".into()),
            LocalOrder::Verify | LocalOrder::Compare | LocalOrder::Send => unreachable!("it waits for the bucket"),
        })
    }

    /// Finds the place in the history (`start.rs`), as the bucket stands now.
    pub fn verify(&mut self, around: &mut Surroundings) -> Result<Start, Trouble> {
        let newest = around.bucket.newest().map(|(txid, object)| (txid, object.clone()));
        let confirmed = newest.as_ref().map_or(0, |(txid, _)| *txid);
        self.sort_spill(confirmed, around.bucket);
        // Only a WAL that has all that came after can prove it, and not always.
        let wal_from = self.process_mut().wal_from;
        let is_lucky = around.dice.roll(5) > 0;
        let proves = |len: usize| is_lucky && len >= wal_from;
        let start = |suspected| Start { confirmed: Txid::new(confirmed), suspected };
        if let Some(last) = self.disk.spill.back().cloned() {
            match proves(last.object.content.len()) {
                true => self.continue_from(last.txid, last.object.content.len()),
                false => self.start_over(last.txid, ImageReason::LocalChanges),
            }
            return Ok(start(false));
        }
        let Some((number, object)) = newest else {
            self.start_over(0, ImageReason::FirstBackup);
            return Ok(start(false));
        };
        let is_ours = self.disk.content.starts_with(&object.content);
        if is_ours && proves(object.content.len()) || around.broken == Some(Broken::ContinuesAnything) {
            self.continue_from(number, object.content.len().min(self.disk.content.len()));
            self.disk.in_step = Some(number);
            return Ok(start(false));
        }
        let is_behind = self.own(Some((number, &object))).is_some_and(|own| own < number);
        self.start_over(number, ImageReason::LocalChanges);
        Ok(start(is_behind && !is_ours))
    }

    fn sort_spill(&mut self, confirmed: u64, bucket: &Bucket) {
        while let Some(file) = self.disk.spill.front().filter(|file| file.txid <= confirmed) {
            let is_ours = bucket.objects.get(&file.txid).is_some_and(|there| there.made_by == file.object.made_by);
            if !is_ours {
                self.disk.in_step = self.disk.in_step.min(Some(file.txid - 1));
                self.disk.spill.clear();
                return;
            }
            self.disk.in_step = Some(file.txid);
            self.disk.spill.pop_front();
        }
        if self.disk.spill.front().is_some_and(|file| file.txid != confirmed + 1) {
            self.disk.spill.clear();
        }
    }

    /// Compares the unverified image with the end of the history (`difference/`).
    pub fn compare(&mut self, around: &mut Surroundings) -> Result<(), Trouble> {
        let Some(image) = self.process_mut().batch.clone() else { return Ok(()) };
        let last = image.txid - 1;
        let Some((_, there)) = around.bucket.newest().filter(|(txid, _)| *txid == last) else {
            // The store's objects, or the spilled ones, are not what they were.
            return match around.bucket.newest() {
                Some((newest, _)) if newest > last => Err(Trouble::Foreign("another writer has gone on".into())),
                _ => self.prepare(Batch { kind: BatchKind::Image(ImageReason::LocalChanges), ..image }),
            };
        };
        let base = there.content.clone();
        if base == image.object.content {
            self.continue_from(last, base.len());
            self.disk.in_step = Some(last);
            self.process_mut().batch = None;
            return Ok(());
        }
        let is_descendant = image.object.content.starts_with(&base);
        if !is_descendant && self.own(around.bucket.newest()).is_some_and(|own| own < last) {
            return Err(Trouble::Foreign("the history went on elsewhere".into()));
        }
        if !is_descendant && self.disk.in_step.is_none() && !base.starts_with(&image.object.content) {
            return Err(Trouble::Halt("it has nothing to do with the history".into()));
        }
        // What is not known here and equals an earlier state is taken for an older copy that somebody has put there on purpose.
        around.oracle.older_copy_won |= !is_descendant;
        let object = Object { base: Some(base), ..image.object };
        self.prepare(Batch { kind: BatchKind::Delta, object, ..image })
    }

    fn prepare(&mut self, batch: Batch) -> Result<(), Trouble> {
        self.process_mut().batch = Some(batch);
        Ok(())
    }

    /// What creating an object came to, read back where it exists already.
    pub fn settle(&self, batch: &Batch, created: Created, around: &Surroundings) -> Result<Txid, Trouble> {
        let there = around.bucket.objects.get(&batch.txid).map(|object| object.made_by);
        match created {
            Created::Exists if there != Some(batch.object.made_by) && around.broken != Some(Broken::NeverReadsBack) => {
                Err(Trouble::Foreign(format!("TXID {} is somebody else's", batch.txid)))
            }
            _ => Ok(txid(batch.txid)),
        }
    }

    fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("orders are given by a process")
    }

    fn captured_len(&self) -> usize {
        match self.process.as_ref().map(|process| process.progress) {
            Some(Progress::Known(_, len)) => len,
            _ => self.process.as_ref().map_or(0, |process| process.wal_from),
        }
    }

    /// Commits that are captured nowhere.
    pub fn backlog(&self) -> usize {
        self.disk.content.len() - self.captured_len()
    }

    fn is_ahead(&self) -> bool {
        let is_known = matches!(self.process.as_ref().map(|p| p.progress), Some(Progress::Known(..)));
        !is_known || self.backlog() > 0
    }

    fn continue_from(&mut self, number: u64, len: usize) {
        self.process_mut().progress = Progress::Known(number, len);
    }

    fn start_over(&mut self, last: u64, reason: ImageReason) {
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

    fn capture(&mut self, around: &mut Surroundings) -> bool {
        let Some(mut batch) = self.next_batch() else { return false };
        batch.in_memory = !matches!(batch.kind, BatchKind::Unverified(_)) && around.dice.roll(5) > 0;
        self.process_mut().batch = Some(batch);
        true
    }

    fn relieve(&mut self, relief: Relief, around: &mut Surroundings) -> Result<Reset, Violation> {
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
        self.merge_spill();
        let process = self.process.as_mut().expect("orders are given by a process");
        process.wal_from = self.disk.content.len();
        if is_careless {
            process.batch = None;
        }
        Ok(Reset::Done)
    }

    /// What was never sent becomes one file, and later TXIDs move up.
    fn merge_spill(&mut self) {
        if self.disk.spill.len() <= 2 {
            return;
        }
        let last = self.disk.spill.back().cloned().expect("several");
        self.disk.spill.truncate(2);
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

    fn spill_batch(&mut self) {
        let Some(batch) = self.process_mut().batch.take() else { return };
        if self.disk.spill.back().is_none_or(|file| file.txid < batch.txid) {
            self.disk.spill.push_back(batch);
        }
    }

    fn put_doubt_back(&mut self) {
        if let Some(Batch { txid, kind: BatchKind::Unverified(reason), .. }) = self.process_mut().batch {
            self.start_over(txid - 1, reason);
        }
    }

    fn drop_up_to(&mut self, up_to: u64, around: &Surroundings) -> Result<(), Violation> {
        let process = self.process.as_mut().expect("orders are given by a process");
        let dropped = self.disk.spill.iter().chain(&process.batch).filter(|batch| batch.txid <= up_to);
        for batch in dropped {
            around.oracle.is_safe(batch, around.bucket)?;
        }
        self.disk.spill.retain(|batch| batch.txid > up_to);
        process.batch.take_if(|batch| batch.txid <= up_to);
        self.disk.in_step = Some(up_to);
        Ok(())
    }
}
