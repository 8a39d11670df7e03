//! One node: its disk, its application, and its core. Effects are carried out as `open.rs`,
//! `driver.rs` and what they call do it, on a model of the database.

mod idle;
mod opening;
mod orders;
mod queue;
mod replaced;

use std::collections::VecDeque;
use std::rc::Rc;

use super::broken::Broken;
use super::bucket::{Bucket, Content, Object};
use super::mirror::Mirror;
use super::oracle::Oracle;
use crate::clock::Dice;
use crate::db::ImageReason;
use crate::ltx::Txid;
use crate::replicate::core::{BatchKind, Core, Lane, Queue, SealPermit, Seen, Waiting};
use crate::state::SyncedTo;
pub use opening::{Application, Starting};

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

/// What lies where the database should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum File {
    #[default]
    Missing,
    /// It is being copied there, and so much has come.
    Part(u64),
    Database,
}

/// What survives a kill.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub file: File,
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
    /// A run ended in the middle.
    pub was_cut_off: bool,
    /// The note that a program kept the database to itself.
    pub was_exclusive: bool,
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

/// How a file is put in the place of another while it is replicated.
#[derive(Clone, Copy, Debug)]
pub struct Replaced {
    /// Nothing lies there until then.
    pub missing_until: u64,
    /// The application, which must be restarted, has the old one open until then.
    pub in_use_until: u64,
    /// Something keeps the new one busy until then.
    pub busy_until: u64,
    /// The connections to the old one have ended.
    pub is_closed: bool,
}

/// What a kill ends.
pub struct Process {
    pub core: Core,
    /// How it began.
    pub start: u32,
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
    /// The database did not exist when the process began.
    is_new: bool,
    /// Since when no checkpoint of the application can take a commit away that is not captured.
    pub pinned_from_ms: u64,
    /// How many commits there were when the application had stopped.
    pub stopped_with: Option<usize>,
    /// Another file lies in the place of the one that was opened.
    pub replaced: Option<Replaced>,
    /// The connections are closed, because nothing happened.
    pub closed: Option<SinceClosed>,
    /// It is to seal the history: whether it may, and whether it has said that it did.
    pub permit: Option<SealPermit>,
    pub is_sealed: bool,
    /// Batches with later numbers are its own.
    pub first_serial: u64,
}

/// What has happened since the connections were closed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SinceClosed {
    /// The application has started the WAL over, and commits went with it that are captured
    /// nowhere.
    pub has_lost_commits: bool,
}

pub struct Node {
    pub number: usize,
    pub disk: Disk,
    /// The process that replicates.
    pub process: Option<Process>,
    /// A process that does not replicate yet, perhaps beside one that does.
    pub starting: Option<Starting>,
    /// Something else than a replication has the database until then.
    pub busy_until: u64,
    /// It is a program that keeps it to itself.
    pub is_exclusive: bool,
    starts: u32,
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
    pub now_ms: u64,
}

fn txid(number: u64) -> Txid {
    Txid::new(number).expect("TXIDs begin with one")
}

impl Node {
    pub fn new(number: usize) -> Node {
        Node {
            number,
            disk: Disk::default(),
            process: None,
            starting: None,
            busy_until: 0,
            is_exclusive: false,
            starts: 0,
            life: 0,
            mirror: Mirror::default(),
            serial: 0,
        }
    }

    /// No process runs here.
    pub fn is_down(&self) -> bool {
        self.process.is_none() && self.starting.is_none()
    }

    /// Before replication: a disk that has nothing takes what the bucket has.
    pub fn restore(&mut self, bucket: &Bucket) {
        if self.disk.content.is_empty()
            && self.process.is_none()
            && let Some((txid, newest)) = bucket.newest()
        {
            let (content, in_step, restored_to) = (newest.content.clone(), Some(txid), Some(txid));
            self.disk = Disk { file: File::Database, content, in_step, restored_to, ..Disk::default() };
        }
    }

    /// Returns what waits on the disk when the database is armed.
    pub fn left_here(&mut self) -> Lane {
        // What lies here may have been given to the mirror by an earlier life.
        self.disk.kept_to = self.disk.spill.back().map_or(0, |last| last.txid);
        self.mirror.is_served = false;
        let files = self.disk.spill.front().zip(self.disk.spill.back());
        let files = files.map(|(first, last)| (txid(first.txid), txid(last.txid)));
        Lane { queue: Queue { files, batch: None }, woken_reliably: true, ..Lane::default() }
    }

    /// The database is armed, by the process that began like this.
    pub fn armed(
        &mut self,
        core: Core,
        permit: Option<SealPermit>,
        is_new: bool,
        starting: &Starting,
        pinned_from_ms: u64,
    ) {
        let application = starting.application;
        self.life += 1;
        self.disk.was_cut_off = true;
        self.process = Some(Process {
            core,
            start: starting.start,
            is_open: application == Application::Runs,
            is_frozen: false,
            has_stopped: application == Application::Stopped,
            progress: Progress::Unknown { last: 0, reason: ImageReason::FirstBackup },
            batch: None,
            suspected: None,
            // Nothing is left of what an earlier life had in the WAL, and what was committed before
            // it was pinned may be gone.
            wal_from: self.disk.content.len(),
            was_opened: application == Application::Runs,
            is_new,
            pinned_from_ms,
            stopped_with: None,
            replaced: None,
            closed: None,
            permit,
            is_sealed: false,
            first_serial: self.serial,
        });
    }

    pub fn commit(&mut self, number: u32) {
        Rc::make_mut(&mut self.disk.content).push(number);
        self.disk.file = File::Database;
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
            is_new: self.process.as_ref().is_some_and(|process| process.is_new),
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

    fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("orders are given by a process")
    }
}
