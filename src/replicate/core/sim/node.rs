//! One node: its disk, its application, and its core. Effects are carried out as `driver.rs`, `disk.rs`, `start.rs` and
//! `difference/` do it, on a model of the database.

use std::collections::VecDeque;
use std::rc::Rc;

use super::broken::Broken;
use super::bucket::{Bucket, Content, Created, Object};
use super::mirror::Mirror;
use super::oracle::{Oracle, Violation};
use crate::clock::Dice;
use crate::db::{Comparison, ImageReason, Reset};
use crate::ltx::Txid;
use crate::replicate::core::{
    Answer, Aside, BatchKind, Begin, Core, Lane, LocalDone, LocalOrder, Question, Queue, Relief, Seen, StartDone,
    StartOrder, Trouble, Waiting,
};
use crate::replicate::difference::judge::{Found, Local, Scope, Verdict, judge};
use crate::state::SyncedTo;

/// Bytes of WAL for each commit.
pub const COMMIT_BYTES: u64 = 1000;
/// Local files that may wait without being merged, because a mirror may have them.
const KEPT_MAX: usize = 5;

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
    /// Local files up to there keep their numbers, because a mirror may have them.
    pub kept_to: u64,
    /// The newest TXID that the disk was in step with.
    pub in_step: Option<u64>,
    /// Which batch was about to be sent.
    pub sending: Option<(usize, u64)>,
    /// The file is the one that was replicated before.
    pub is_known: bool,
    /// The file was restored to this TXID, and nothing else was put in its place.
    pub restored_to: Option<u64>,
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
    suspected: Option<SyncedTo>,
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
    /// What it gives its mirror while the bucket is away.
    pub mirror: Mirror,
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
        Node { number, disk: Disk::default(), process: None, life: 0, mirror: Mirror::default(), serial: 0 }
    }

    /// A disk that has nothing takes what the bucket has. Returns what waits on it.
    pub fn arm(&mut self, bucket: &Bucket) -> Lane {
        if self.disk.content.is_empty()
            && let Some((txid, newest)) = bucket.newest()
        {
            let (content, in_step, restored_to) = (newest.content.clone(), Some(txid), Some(txid));
            self.disk = Disk { content, in_step, restored_to, ..Disk::default() };
        }
        // What lies here may have been given to the mirror by an earlier life.
        self.disk.kept_to = self.disk.spill.back().map_or(0, |last| last.txid);
        self.mirror.is_served = false;
        let files = self.disk.spill.front().zip(self.disk.spill.back());
        let files = files.map(|(first, last)| (txid(first.txid), txid(last.txid)));
        Lane { queue: Queue { files, batch: None }, woken_reliably: true, ..Lane::default() }
    }

    /// The database is armed.
    pub fn start(&mut self, core: Core, broken: Option<Broken>) {
        self.life += 1;
        self.process = Some(Process {
            core,
            is_open: broken == Some(Broken::StartsTheApplicationFirst),
            is_frozen: false,
            has_stopped: false,
            progress: Progress::Unknown { last: 0, reason: ImageReason::FirstBackup },
            batch: None,
            suspected: None,
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
        Seen {
            end: newest.and_then(|(txid, _)| Txid::new(txid)),
            synced_to: self.own(newest).map(|own| SyncedTo::up_to(Txid::new(own))),
            is_known: self.disk.is_known,
            is_reset: false,
            is_new: false,
            at,
        }
    }

    pub fn serve_mirror(&mut self, is_served: bool) {
        self.mirror.is_served = is_served;
        self.give_to_mirror();
    }

    pub fn give_to_mirror(&mut self) {
        self.mirror.take(&self.disk);
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
        // The others are merged; so many are kept at a time.
        let kept = self.disk.spill.iter().take(KEPT_MAX).next_back().map_or(0, |last| last.txid);
        self.disk.kept_to = self.disk.kept_to.max(kept);
        let Some(process) = &self.process else { return Lane::default() };
        let files = self.disk.spill.front().zip(self.disk.spill.back());
        let files = files.map(|(first, last)| (txid(first.txid), txid(last.txid)));
        let batch = process.batch.as_ref();
        let batch = batch.map(|b| Waiting { txid: txid(b.txid), kind: b.kind, in_memory: b.in_memory });
        let wal_frames = match process.progress {
            Progress::Known(..) => u32::try_from(self.disk.content.len() - process.wal_from).expect("few"),
            Progress::Unknown { .. } => 0,
        };
        let has_position = matches!(process.progress, Progress::Known(..));
        Lane { queue: Queue { files, batch }, has_position, wal_frames, woken_reliably: true, is_overwritten: false }
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
                self.forget_files();
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
                self.forget_files();
                LocalDone::TailKept
            }
            LocalOrder::TakeUp => return Err("nothing was replaced".into()),
            LocalOrder::Examine => return Err("nothing was overwritten".into()),
            LocalOrder::Start(order @ (StartOrder::Uploaded(_) | StartOrder::Begin(_))) => {
                LocalDone::Start(Ok(self.start_step(order, around)?))
            }
            LocalOrder::Start(_) | LocalOrder::Compare | LocalOrder::Send => unreachable!("it waits for the bucket"),
        })
    }

    /// A step of the search for the place from which to go on (`start.rs`), as the bucket stands now.
    pub fn start_step(&mut self, order: StartOrder, around: &mut Surroundings) -> Result<StartDone, Violation> {
        match order {
            StartOrder::Ask(question) => return Ok(StartDone::Told(self.answer(question, around))),
            StartOrder::Uploaded(_) => {
                let file = self.disk.spill.pop_front().ok_or("no file waits")?;
                around.oracle.is_safe(&file, around.bucket)?;
                self.disk.in_step = Some(file.txid);
            }
            StartOrder::SetAside(aside) => {
                if let Aside::Taken(_, synced_to) = aside {
                    self.disk.in_step = synced_to.txid().map(Txid::get);
                }
                self.forget_files();
            }
            StartOrder::Begin(Begin::InStep(txid)) => {
                (self.disk.in_step, self.disk.is_known) = (Some(txid.get()), true);
            }
            StartOrder::Begin(Begin::AfterFiles) => {}
            StartOrder::Begin(Begin::Image { after, reason, suspected, .. }) => {
                self.process_mut().suspected = suspected;
                self.start_over(after.map_or(0, Txid::get), reason);
            }
        }
        Ok(StartDone::Done)
    }

    fn answer(&mut self, question: Question, around: &mut Surroundings) -> Answer {
        let newest = around.bucket.newest().map(|(txid, object)| (txid, object.clone()));
        let came_after = |content: &Content| self.disk.content.starts_with(content);
        match question {
            Question::IsOurs(_) => {
                let waits = self.disk.spill.front();
                let is_ours = waits.is_some_and(|file| {
                    around.bucket.objects.get(&file.txid).is_some_and(|there| there.made_by == file.object.made_by)
                });
                Answer::IsOurs(is_ours || around.broken == Some(Broken::TakesFilesForOurs))
            }
            Question::Continues(txid) => {
                let there = match self.disk.spill.back() {
                    Some(last) => Some(last.object.content.clone()),
                    None => newest.filter(|(number, _)| *number == txid.get()).map(|(_, object)| object.content),
                };
                let Some(content) = there else { return Answer::Continues(Err(ImageReason::LocalChanges)) };
                // Only a WAL that has all that came after can prove it, and not always; a note can, of a restored file.
                let is_lucky = around.dice.roll(5) > 0 || self.disk.restored_to == Some(txid.get());
                let has_all = content.len() >= self.process_mut().wal_from;
                let is_proved = is_lucky && has_all && self.disk.content.starts_with(&content);
                if !is_proved && around.broken != Some(Broken::ContinuesAnything) {
                    return Answer::Continues(Err(ImageReason::LocalChanges));
                }
                self.continue_from(txid.get(), content.len().min(self.disk.content.len()));
                Answer::Continues(Ok(()))
            }
            Question::MadeHere(_) => {
                let came_after = newest.is_some_and(|(_, object)| came_after(&object.content));
                Answer::MadeHere(came_after && around.dice.roll(2) == 0)
            }
        }
    }

    /// Compares the unverified image with the end of the history, as `difference/` does: by the same verdict.
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
        let suspected = self.process_mut().suspected;
        let is_known = self.disk.is_known;
        let pages = u32::try_from(image.object.content.len()).expect("few");
        let is_blank = image.object.content.is_empty();
        let local = Local { pages, is_small: false, is_known, is_blank, suspected };
        let found = self.found(&image.object.content, &base, around.bucket);
        let verdict = judge(local, &found);
        if !image.object.content.starts_with(&base) && matches!(verdict, Verdict::Difference | Verdict::Image(_)) {
            // What equals an earlier state is taken for an older copy that somebody has put there on purpose.
            around.oracle.older_copy_won = true;
        }
        match verdict {
            Verdict::Stranger(_) if around.broken == Some(Broken::ShipsStrangers) => self.prepare(image)?,
            Verdict::Stranger(why) => return Err(Trouble::Halt(why)),
            Verdict::MovedOn(_, why) => return Err(Trouble::Foreign(why)),
            Verdict::Equal => {
                self.continue_from(last, base.len());
                (self.disk.in_step, self.process_mut().batch) = (Some(last), None);
            }
            Verdict::Difference => {
                let object = Object { base: Some(base), ..image.object };
                self.prepare(Batch { kind: BatchKind::Delta, object, ..image })?;
            }
            Verdict::Image(_) => self.prepare(Batch { kind: BatchKind::Image(ImageReason::LocalChanges), ..image })?,
            Verdict::Beginning(reason, _) => self.prepare(Batch { kind: BatchKind::Rebase(reason), ..image })?,
        }
        (self.process_mut().suspected, self.disk.is_known) = (None, true);
        Ok(())
    }

    /// What a comparison finds, with a commit for a page.
    fn found(&self, live: &[u32], other: &[u32], bucket: &Bucket) -> Found {
        let count = |found: usize| u32::try_from(found).expect("few");
        let is_equal = |at: &usize| live.get(*at) == other.get(*at);
        let differing = (0..live.len()).filter(|at| !is_equal(at)).count();
        let related = (0..live.len().min(other.len())).filter(is_equal).count();
        let own = self.disk.in_step.and_then(|own| bucket.objects.get(&own)).map_or(0, |object| object.content.len());
        let moved = own.min(other.len())..other.len();
        let kept = moved.clone().filter(is_equal).count();
        let (related, moved) = ((count(related), count(other.len())), (count(moved.len()), count(kept)));
        let comparison = Comparison::modelled(count(live.len()), count(differing), related, moved);
        Found::Compared(comparison, Scope { bytes: 0, other_pages: count(other.len()) })
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

    fn spill_batch(&mut self) {
        let Some(batch) = self.process_mut().batch.take() else { return };
        if self.disk.spill.back().is_none_or(|file| file.txid < batch.txid) {
            self.disk.spill.push_back(batch);
        }
    }

    /// What waited is in no history. A mirror that has it is refused from now on.
    fn forget_files(&mut self) {
        self.disk.spill.clear();
        (self.disk.kept_to, self.mirror) = (0, Mirror::default());
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
        let is_proved = matches!(process.progress, Progress::Known(..)) || around.broken == Some(Broken::KnowsTooEarly);
        self.disk.in_step = Some(up_to);
        self.disk.is_known |= is_proved;
        Ok(())
    }
}
