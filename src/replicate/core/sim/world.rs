//! One clock, one queue of what is under way, one bucket, two nodes: and everything that can happen to them.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use super::broken::Broken;
use super::bucket::{Bucket, Created, Fate, Weather};
use super::node::{Batch, COMMIT_BYTES, Node, Surroundings};
use super::oracle::{Oracle, Violation};
use crate::clock::Dice;
use crate::replicate::core::{
    Config, Core, Effect, Event, LocalDone, LocalOrder, Now, Outcome, RemoteDone, RemoteOrder, Report, StartOrder,
    Trouble,
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

#[derive(Clone, Debug)]
enum Request {
    Look,
    Prove,
    Start(StartOrder),
    Compare,
    /// From memory or a file.
    Create(Box<Batch>),
    /// From the database.
    Send(Box<Batch>),
}

impl Request {
    fn is_lent(&self) -> bool {
        matches!(self, Request::Start(_) | Request::Compare | Request::Send(_))
    }
}

#[derive(Debug)]
enum Answer {
    Remote(RemoteDone),
    Local(LocalDone),
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
    commits: u32,
    commit_every_ms: u64,
    reader_until: u64,
    deadlines: [Option<u64>; NODES],
    fenced_at: [Option<u64>; NODES],
    /// The order that has the database and waits for the bucket.
    lent: [Option<LocalOrder>; NODES],
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
            commits: 0,
            commit_every_ms: 20,
            reader_until: 0,
            deadlines: [None; NODES],
            fenced_at: [None; NODES],
            lent: [None; NODES],
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
            }
            15 if self.nodes[node].process.is_none() => self.replace_file(node),
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
        let disk = &mut self.nodes[node].disk;
        (disk.content, disk.is_known, disk.restored_to) = (content.into(), false, None);
    }

    /// Nothing is in the way any more: everything must get into the bucket, and be said so.
    fn end_in_peace(&mut self) -> Result<(), Violation> {
        self.say(|| "peace".into());
        self.bucket.weather = Weather::Fine;
        (self.reader_until, self.commit_every_ms) = (self.reader_until.min(self.now_ms), 1_000_000_000);
        self.due.retain(|_, due| !matches!(due, Due::Commit { .. }));
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
        self.tell(node, Event::Woke)
    }

    fn done(&mut self, node: usize, done: LocalDone) -> Result<(), Violation> {
        let lane = self.nodes[node].lane();
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
            let (is_synced, outcome) = (*outcome == Outcome::Synced, format!("{outcome:?}"));
            self.say(|| format!("node {node} ended: {outcome}"));
            if is_synced {
                self.oracle.synced(node, &self.nodes[node].disk.content, &self.bucket)?;
            }
            self.nodes[node].process = None;
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
            Effect::Open => self.open(node)?,
            Effect::Fence => {
                if self.broken != Some(Broken::IgnoresTheFence) {
                    self.stop(node);
                }
                self.fenced_at[node] = Some(self.now_ms);
            }
            Effect::Report(Report::Confirmed(txid))
                if self.bucket.objects.get(&txid.get()).is_none_or(|o| o.made_by.0 == node) =>
            {
                self.oracle.confirmed(node, txid, &self.bucket)?;
            }
            Effect::Report(_) | Effect::Say(_) | Effect::Maintain(_) | Effect::MissedEvent => {}
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

    fn request(&mut self, node: usize, request: Request) {
        let life = self.nodes[node].life;
        let fate = self.bucket.fate(&mut self.dice);
        if self.broken == Some(Broken::ConfirmsBeforeTheAnswer)
            && let Request::Create(batch) = &request
        {
            let txid = crate::ltx::Txid::new(batch.txid).expect("not zero");
            self.later(0, Due::Answer { node, life, answer: Answer::Remote(RemoteDone::Sent(Ok(txid))) });
        }
        let pause = 1 + self.dice.roll(10);
        self.later(pause, Due::Request { node, life, request, fate });
    }

    fn interrupt(&mut self, node: usize) {
        let life = self.nodes[node].life;
        // Whatever was asked for goes on in the bucket, but no answer of it counts any more.
        for due in self.due.values_mut() {
            match due {
                Due::Request { node: n, life: l, request, .. } if *n == node && *l == life && request.is_lent() => {
                    *l = u32::MAX
                }
                Due::Answer { node: n, life: l, answer: Answer::Local(_) } if *n == node && *l == life => *l = u32::MAX,
                _ => {}
            }
        }
        let done = match self.lent[node] {
            Some(LocalOrder::Start(_)) => LocalDone::Start(Err(Trouble::Interrupted)),
            Some(LocalOrder::Compare) => LocalDone::Compared(Err(Trouble::Interrupted)),
            _ => LocalDone::Sent(Err(Trouble::Interrupted)),
        };
        self.later(1, Due::Answer { node, life, answer: Answer::Local(done) });
    }

    /// The bucket carries out a request, or not, and answers, or not.
    fn carry_out(&mut self, node: usize, life: u32, request: Request, fate: Fate) -> Result<(), Violation> {
        let is_carried_out = !matches!(fate, Fate::Failed | Fate::Refused | Fate::Hangs { carried_out: false });
        let mut created = None;
        if let (true, Request::Create(batch) | Request::Send(batch)) = (is_carried_out, &request) {
            created = Some(self.create(batch)?);
        }
        if !self.lives(node, life) {
            return Ok(());
        }
        let failed = || Trouble::Passing { why: format!("{fate:?}"), refused: fate == Fate::Refused };
        let is_answered = fate == Fate::Answered;
        let answer = match request {
            Request::Look if is_answered => {
                let seen = self.nodes[node].seen(&self.bucket, self.now().boot);
                Answer::Remote(RemoteDone::Looked(Ok(seen)))
            }
            Request::Look => Answer::Remote(RemoteDone::Looked(Err(failed()))),
            Request::Prove if is_answered => {
                let newest = self.bucket.newest().and_then(|(txid, _)| crate::ltx::Txid::new(txid));
                Answer::Remote(RemoteDone::Proved(Ok(newest)))
            }
            Request::Prove => Answer::Remote(RemoteDone::Proved(Err(failed()))),
            Request::Start(order) if is_answered => {
                Answer::Local(LocalDone::Start(Ok(self.with(node, |node, around| node.start_step(order, around)).0?)))
            }
            Request::Start(_) => Answer::Local(LocalDone::Start(Err(failed()))),
            Request::Compare if is_answered => {
                Answer::Local(LocalDone::Compared(self.with(node, |node, around| node.compare(around)).0))
            }
            Request::Compare => Answer::Local(LocalDone::Compared(Err(failed()))),
            Request::Create(batch) => {
                Answer::Remote(RemoteDone::Sent(self.sent(node, &batch, created, is_answered, failed)))
            }
            Request::Send(batch) => {
                Answer::Local(LocalDone::Sent(self.sent(node, &batch, created, is_answered, failed)))
            }
        };
        // What is never answered is given up in the end (`upload.rs`, and the stores themselves).
        let pause = if let Fate::Hangs { .. } = fate { GIVEN_UP_MS } else { self.dice.roll(5) };
        self.later(pause, Due::Answer { node, life, answer });
        Ok(())
    }

    fn sent(
        &mut self,
        node: usize,
        batch: &Batch,
        created: Option<Created>,
        is_answered: bool,
        failed: impl Fn() -> Trouble,
    ) -> Result<crate::ltx::Txid, Trouble> {
        let txid = crate::ltx::Txid::new(batch.txid).expect("not zero");
        match created {
            Some(created) if is_answered => self.with(node, |node, around| node.settle(batch, created, around)).0,
            _ if self.broken == Some(Broken::ConfirmsFailures) => Ok(txid),
            _ => {
                if self.broken == Some(Broken::DropsFailedFiles) {
                    self.nodes[node].disk.spill.pop_front();
                }
                Err(failed())
            }
        }
    }

    fn create(&mut self, batch: &Batch) -> Result<Created, Violation> {
        if self.broken == Some(Broken::Overwrites) {
            let is_new = self.bucket.objects.get(&batch.txid).is_none_or(|there| there.made_by == batch.object.made_by);
            if !is_new {
                self.oracle.created(batch.txid, &batch.object, &self.bucket)?;
            }
        }
        if !self.bucket.objects.contains_key(&batch.txid) {
            self.oracle.created(batch.txid, &batch.object, &self.bucket)?;
            self.say(|| format!("bucket: TXID {} by {:?}", batch.txid, batch.object.made_by));
        }
        Ok(self.bucket.create(batch.txid, &batch.object))
    }

    /// What waits in the WAL is within the budget, and nobody overstays a deadline.
    fn check_limits(&self) -> Result<(), Violation> {
        for node in &self.nodes {
            let Some(process) = &node.process else { continue };
            // Each commit is a millisecond at full speed: what an order, a measurement and a reset take comes on top.
            // Where nothing can be numbered yet, and a reader keeps the WAL, nothing can be done.
            let has_reader = self.now_ms < self.reader_until + READER_AFTERMATH_MS;
            let backlog = node.backlog() as u64;
            if process.is_open && !has_reader && backlog > 3 * BUDGET + 200 {
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
