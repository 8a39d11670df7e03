//! One clock, one queue of what is under way, one bucket, two nodes: and everything that can happen to them.

mod requests;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use self::requests::{Answer, Request};
use super::broken::Broken;
use super::bucket::{Bucket, Fate, Weather};
use super::callers::Callers;
use super::node::{COMMIT_BYTES, Node, Surroundings};
use super::oracle::{Oracle, Violation};
use crate::clock::Dice;
use crate::replicate::core::{
    Config, Core, Effect, Event, LocalDone, LocalOrder, Now, Outcome, RemoteOrder, Report, StartOrder,
};

/// The same for every world, so that traces can be compared.
static START: OnceLock<Instant> = OnceLock::new();

const NODES: usize = 2;
/// Commits that may wait in the WAL.
const BUDGET: u64 = 60;
/// Things that happen to a world before it is left in peace.
const TURNS: u64 = 60;
/// With nothing in the way, everything must be in the bucket after this time.
const PEACE_MS: u64 = 120_000;
/// A request that nobody answers fails after this time.
const GIVEN_UP_MS: u64 = 20_000;
/// Until a WAL that a reader has kept is reset.
const READER_AFTERMATH_MS: u64 = 500;
/// Between a fence and the end of the application.
const FENCED_MS: u64 = 500;
/// One commit of so many is followed by a request to sync.
const COMMITS_PER_SYNC: u64 = 40;
/// Between the deadline and the end.
const LATE_MS: u64 = 200;

/// Something that comes at its time. `life` tells whether the process that asked for it still lives.
#[derive(Debug)]
enum Due {
    Timer {
        node: usize,
        life: u32,
    },
    Local {
        node: usize,
        life: u32,
        order: LocalOrder,
    },
    /// The bucket carries a request out; its answer comes later.
    Request {
        node: usize,
        life: u32,
        request: Request,
        fate: Fate,
    },
    Answer {
        node: usize,
        life: u32,
        answer: Answer,
    },
    Measured {
        node: usize,
        life: u32,
    },
    Commit {
        node: usize,
        life: u32,
    },
    /// The application has stopped, and it is time to end.
    Stopped {
        node: usize,
        life: u32,
    },
}

pub struct World {
    dice: Dice,
    broken: Option<Broken>,
    start: Instant,
    now_ms: u64,
    due: BTreeMap<(u64, u64), Due>,
    serial: u64,
    bucket: Bucket,
    nodes: Vec<Node>,
    oracle: Oracle,
    callers: Callers,
    commits: u32,
    commit_every_ms: u64,
    reader_until: u64,
    deadlines: [Option<u64>; NODES],
    fenced_at: [Option<u64>; NODES],
    /// The order that has the database and waits for the bucket.
    lent: [Option<LocalOrder>; NODES],
    /// Commits in the WAL when it began: a reader may have kept them, and its end alone does not interrupt the order.
    lent_with: [u64; NODES],
    /// Events at the same moment: a core that never rests is a defect.
    at_once: u32,
    is_traced: bool,
    pub trace: Vec<String>,
}

impl World {
    pub fn new(seed: u64, broken: Option<Broken>, is_traced: bool) -> World {
        World {
            dice: Dice::of(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1)),
            broken,
            start: *START.get_or_init(Instant::now),
            now_ms: 1_000_000,
            due: BTreeMap::new(),
            serial: 0,
            bucket: Bucket::new(),
            nodes: (0..NODES).map(Node::new).collect(),
            oracle: Oracle::default(),
            callers: Callers::default(),
            commits: 0,
            commit_every_ms: 20,
            reader_until: 0,
            deadlines: [None; NODES],
            fenced_at: [None; NODES],
            lent: [None; NODES],
            lent_with: [0; NODES],
            at_once: 0,
            is_traced,
            trace: Vec::new(),
        }
    }

    pub fn run(&mut self) -> Result<(), Violation> {
        self.start(0)?;
        for _ in 0..TURNS {
            self.happen()?;
            let pause = 1 << self.dice.roll(11);
            self.go_on_for(pause)?;
        }
        self.end_in_peace()
    }

    /// Something happens to the world.
    fn happen(&mut self) -> Result<(), Violation> {
        let node = usize::try_from(self.dice.roll(NODES as u64)).expect("small");
        match self.dice.roll(16) {
            0..3 => self.bucket.weather = Weather::Rough,
            3 => self.bucket.weather = Weather::Hanging,
            4 => self.bucket.weather = Weather::Down,
            5..8 => self.bucket.weather = Weather::Fine,
            8 => self.reader_until = self.now_ms + self.dice.roll(2000),
            9 => self.commit_every_ms = 1,
            10 => self.commit_every_ms = 1 + self.dice.roll(500),
            11 => self.commit_every_ms = 1_000_000,
            12 if self.nodes[node].process.is_some() => self.kill(node),
            13 if self.nodes[node].process.is_some() => self.stop(node),
            12..14 => self.start(node)?,
            14 if self.nodes[node].process.is_none() && self.dice.roll(3) == 0 => {
                self.say(|| format!("node {node} loses its disk"));
                self.nodes[node].disk = Default::default();
                self.nodes[node].mirror = Default::default();
            }
            15 if self.nodes[node].process.is_none() && self.dice.roll(2) == 0 => self.replace_file(node),
            15 => {
                let patience = self.dice.roll(5000);
                self.ask(node, patience, false)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Somebody puts another file in the place of the database, while nothing runs; the notes beside it stay.
    fn replace_file(&mut self, node: usize) {
        let len = u64::try_from(self.nodes[node].disk.content.len()).expect("few");
        if len == 0 || self.bucket.newest().is_none() {
            return;
        }
        let content = match self.dice.roll(2) {
            0 => {
                self.say(|| format!("node {node} has an older copy"));
                let left = usize::try_from(1 + self.dice.roll(len)).expect("few");
                self.nodes[node].disk.content[..left].to_vec()
            }
            _ => {
                self.say(|| format!("node {node} has another database"));
                let first = self.commits + 1;
                self.commits += 1 + u32::try_from(self.dice.roll(2 * len)).expect("few");
                self.oracle.strange.extend(first..=self.commits);
                (first..=self.commits).collect()
            }
        };
        self.nodes[node].mirror = Default::default();
        let disk = &mut self.nodes[node].disk;
        (disk.content, disk.is_known, disk.restored_to) = (content.into(), false, None);
    }

    /// Nothing is in the way any more: everything must get into the bucket, and be said so.
    fn end_in_peace(&mut self) -> Result<(), Violation> {
        self.say(|| "peace".into());
        self.bucket.weather = Weather::Fine;
        (self.reader_until, self.commit_every_ms) = (self.reader_until.min(self.now_ms), 1_000_000_000);
        self.due.retain(|_, due| !matches!(due, Due::Commit { .. }));
        (0..NODES).try_for_each(|node| self.ask(node, PEACE_MS - 1000, true))?;
        self.go_on_for(PEACE_MS)?;
        for node in 0..NODES {
            let Some(process) = &self.nodes[node].process else { continue };
            if process.is_open && !process.is_frozen {
                self.oracle.synced(node, &self.nodes[node].disk.content, &self.bucket)?;
            }
            self.stop(node);
        }
        self.go_on_for(PEACE_MS)?;
        match self.nodes.iter().position(|node| node.process.is_some()) {
            Some(node) => Err(format!("node {node} never ended")),
            None => Ok(()),
        }
    }

    fn start(&mut self, node: usize) -> Result<(), Violation> {
        self.say(|| format!("node {node} starts"));
        let config = Config {
            monitor_interval: Duration::from_secs(1),
            checkpoint_interval: Duration::from_secs(60),
            min_checkpoint_page_count: 40,
            truncate_page_n: 1000,
            sync_interval: Duration::from_millis([0, 100, 1000][self.dice.roll(3) as usize]),
            max_sync_wal_bytes: BUDGET * COMMIT_BYTES,
            final_retry_interval: Duration::from_millis(500),
            proof_lasts: Duration::from_secs(30),
            once: false,
            mirror_interval: (node == 0).then_some(Duration::from_secs(1)),
        };
        let now = self.now();
        let lane = self.nodes[node].arm(&self.bucket);
        let core = Core::new(config, self.dice.roll(1 << 30), lane, now, now.instant + Duration::from_secs(2));
        self.nodes[node].start(core, self.broken);
        (self.deadlines[node], self.fenced_at[node]) = (None, None);
        let life = self.nodes[node].life;
        self.request(node, Request::Look);
        let pause = self.commit_every_ms;
        self.later(pause, Due::Commit { node, life });
        self.tell(node, Event::Woke)
    }

    fn kill(&mut self, node: usize) {
        self.say(|| format!("node {node} is killed"));
        self.nodes[node].process = None;
        self.callers.gone(node);
    }

    /// Somebody asks for a sync.
    fn ask(&mut self, node: usize, patience_ms: u64, is_in_peace: bool) -> Result<(), Violation> {
        if self.nodes[node].process.is_none() {
            return Ok(());
        }
        let by = self.now().instant + Duration::from_millis(patience_ms);
        let id = self.callers.ask(node, &self.nodes[node].disk.content, self.now_ms + patience_ms, is_in_peace);
        self.tell(node, Event::Sync(id, by))
    }

    fn stop(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let pause = self.dice.roll(100);
        self.later(pause, Due::Stopped { node, life });
    }

    fn now(&self) -> Now {
        let passed = Duration::from_millis(self.now_ms);
        Now { instant: self.start + passed, boot: passed }
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.is_traced {
            self.trace.push(format!("{:>9} {}", self.now_ms, what()));
        }
    }

    fn later(&mut self, pause_ms: u64, due: Due) {
        self.serial += 1;
        self.due.insert((self.now_ms + pause_ms, self.serial), due);
    }

    fn go_on_for(&mut self, time_ms: u64) -> Result<(), Violation> {
        let until = self.now_ms + time_ms;
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), due) = entry.remove_entry();
            if at > self.now_ms {
                self.at_once = 0;
            }
            self.at_once += 1;
            if self.at_once > 2000 {
                return Err("something is done again and again without a pause".into());
            }
            self.now_ms = at;
            self.come(due)?;
            self.check_limits()?;
        }
        self.now_ms = until;
        Ok(())
    }

    fn lives(&self, node: usize, life: u32) -> bool {
        self.nodes[node].life == life && self.nodes[node].process.is_some()
    }

    fn come(&mut self, due: Due) -> Result<(), Violation> {
        match due {
            Due::Timer { node, life } if self.lives(node, life) => self.timer(node),
            Due::Local { node, life, order } if self.lives(node, life) => {
                let (done, _) = self.with(node, |node, around| node.carry_out(order, around));
                self.done(node, done?)
            }
            Due::Request { node, life, request, fate } => self.carry_out(node, life, request, fate),
            Due::Answer { node, life, answer } if self.lives(node, life) => match answer {
                Answer::Remote(done) => self.tell(node, Event::Remote(done)),
                Answer::Local(done) => self.done(node, done),
            },
            Due::Measured { node, life } if self.lives(node, life) => {
                let len = self.nodes[node].wal_bytes();
                self.tell(node, Event::WalMeasured(len))
            }
            Due::Commit { node, life } if self.lives(node, life) => self.commit(node, life),
            Due::Stopped { node, life } if self.lives(node, life) => {
                let grace = 200 + self.dice.roll(3000);
                self.say(|| format!("the application on node {node} has stopped; {grace} ms are left"));
                if let Some(process) = &mut self.nodes[node].process {
                    (process.has_stopped, process.is_open) = (true, false);
                }
                if self.broken == Some(Broken::MissesTheDeadline) {
                    self.deadlines[node] = Some(self.now_ms + grace);
                    let late = self.now().instant + Duration::from_millis(grace + 5000);
                    return self.tell(node, Event::Finish(late));
                }
                self.deadlines[node] = Some(self.now_ms + grace);
                let deadline = self.now().instant + Duration::from_millis(grace);
                self.tell(node, Event::Finish(deadline))
            }
            _ => Ok(()),
        }
    }

    fn timer(&mut self, node: usize) -> Result<(), Violation> {
        let now = self.now();
        let is_due = self.nodes[node]
            .process
            .as_ref()
            .and_then(|process| process.core.wake_at())
            .is_some_and(|at| at <= now.instant);
        if is_due { self.tell(node, Event::Timer) } else { Ok(()) }
    }

    fn commit(&mut self, node: usize, life: u32) -> Result<(), Violation> {
        let pause = self.commit_every_ms;
        self.later(pause, Due::Commit { node, life });
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        if !process.is_open || process.is_frozen {
            return Ok(());
        }
        if !process.was_opened {
            return Err(format!("the application on node {node} was started before it was allowed to"));
        }
        self.commits += 1;
        let number = self.commits;
        self.nodes[node].commit(number);
        self.tell(node, Event::Woke)?;
        match self.dice.roll(COMMITS_PER_SYNC) {
            0 => {
                let patience = 1 << self.dice.roll(13);
                self.ask(node, patience, false)
            }
            _ => Ok(()),
        }
    }

    fn done(&mut self, node: usize, done: LocalDone) -> Result<(), Violation> {
        if let LocalDone::Relieved(_) = done {
            self.lent_with[node] = 0;
        }
        let lane = self.nodes[node].lane();
        self.nodes[node].give_to_mirror();
        self.tell(node, Event::Local(done, lane))
    }

    fn with<T>(&mut self, node: usize, work: impl FnOnce(&mut Node, &mut Surroundings) -> T) -> (T, u64) {
        let mut around = Surroundings {
            bucket: &mut self.bucket,
            dice: &mut self.dice,
            oracle: &mut self.oracle,
            broken: self.broken,
            has_reader: self.now_ms < self.reader_until,
        };
        (work(&mut self.nodes[node], &mut around), self.now_ms)
    }

    /// Tells a core, and carries out what it asks for.
    fn tell(&mut self, node: usize, event: Event) -> Result<(), Violation> {
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
            self.say(|| format!("node {node} ended: {outcome}"));
            if let Some(kept) = kept {
                self.nodes[node].mirror.has_all(kept, &self.nodes[node].disk)?;
            }
            if is_synced {
                self.oracle.synced(node, &self.nodes[node].disk.content, &self.bucket)?;
            }
            self.nodes[node].process = None;
            if !self.callers.of(node).is_empty() {
                return Err(format!("node {node} ended, and somebody still waits for a sync"));
            }
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
            Effect::Interrupt => self.interrupt(node),
            Effect::MeasureWal => self.later(0, Due::Measured { node, life }),
            Effect::ServeMirrors(is_served) => self.nodes[node].serve_mirror(is_served),
            Effect::Open => self.open(node)?,
            Effect::Fence => {
                if self.broken != Some(Broken::IgnoresTheFence) {
                    self.stop(node);
                }
                self.fenced_at[node] = Some(self.now_ms);
            }
            // Where callers are told too early, they do not wait any more.
            Effect::Synced(id, answer) if self.callers.of(node).contains(&id) || self.broken.is_none() => {
                self.callers.answered(id, &answer, self.now_ms, &self.bucket, &self.oracle)?;
            }
            Effect::Report(Report::Captured(txid)) if self.broken == Some(Broken::AnswersSyncsWhenCaptured) => {
                for id in self.callers.of(node) {
                    self.callers.answered(id, &Ok(Some(txid)), self.now_ms, &self.bucket, &self.oracle)?;
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

    /// The application starts: never on a disk that another node has left behind, if the bucket has said so.
    fn open(&mut self, node: usize) -> Result<(), Violation> {
        if let Some(process) = &mut self.nodes[node].process {
            process.was_opened = true;
            process.is_open = !process.has_stopped;
        }
        Ok(())
    }

    /// What waits in the WAL is within the budget, and nobody overstays a deadline.
    fn check_limits(&mut self) -> Result<(), Violation> {
        self.callers.check(self.now_ms)?;
        for node in &mut self.nodes {
            node.mirror.agrees(node.number, &self.bucket)?;
            let Some(process) = &node.process else { continue };
            // Each commit is a millisecond at full speed: what an order, a measurement and a reset take comes on top.
            // Where nothing can be numbered yet, and a reader keeps the WAL, nothing can be done.
            let has_reader = self.now_ms < self.reader_until + READER_AFTERMATH_MS;
            let backlog = node.backlog() as u64;
            if process.is_open && !has_reader && backlog > 3 * BUDGET + 200 + self.lent_with[node.number] {
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
