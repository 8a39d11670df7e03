//! One clock, one queue of what is under way, one bucket, two nodes: and everything that can happen
//! to them.

mod effects;
mod files;
mod opening;
mod requests;
mod sealing;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use self::requests::{Answer, Request};
use self::sealing::NO_COMMITS_MS;
use super::broken::Broken;
use super::bucket::{Bucket, Fate, Weather};
use super::callers::Callers;
use super::node::Node;
use super::oracle::{Oracle, Violation};
use crate::clock::Dice;
use crate::replicate::core::opening::Order;
use crate::replicate::core::{Event, LocalDone, LocalOrder, Now};

/// The same for every world, so that traces can be compared.
static START: OnceLock<Instant> = OnceLock::new();

const NODES: usize = 2;
/// Commits that may wait in the WAL.
const BUDGET: u64 = 60;
/// Things that happen to a world before it is left in peace.
const TURNS: u64 = 60;
/// With nothing in the way, everything must be in the bucket after this time.
const PEACE_MS: u64 = 120_000;
/// A request without an answer fails after this time.
const GIVEN_UP_MS: u64 = 20_000;
/// Until a WAL that a reader has kept is reset.
const READER_AFTERMATH_MS: u64 = 500;
/// Between a fence and the end of the application.
const FENCED_MS: u64 = 500;
/// One commit of so many is followed by a request to sync.
const COMMITS_PER_SYNC: u64 = 40;
/// Between the deadline and the end.
const LATE_MS: u64 = 200;

/// Something that comes at its time. `life` tells whether the process that asked for it still
/// lives.
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
    /// The same for a process that does not replicate yet, which `start` names.
    Opening {
        node: usize,
        start: u32,
        order: Order,
    },
    OpeningTimer {
        node: usize,
        start: u32,
    },
    EarlyCommit {
        node: usize,
        start: u32,
    },
    StoppedEarly {
        node: usize,
        start: u32,
    },
    /// Another part of the file that is copied there.
    Copied {
        node: usize,
        more: u64,
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
    /// Commits in the WAL when it began: a reader may have kept them, and its end alone does not
    /// interrupt the order.
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
        match self.dice.roll(22) {
            0..3 => self.bucket.weather = Weather::Rough,
            3 => self.bucket.weather = Weather::Hanging,
            4 => self.bucket.weather = Weather::Down,
            5..8 => self.bucket.weather = Weather::Fine,
            8 => self.reader_until = self.now_ms + self.dice.roll(2000),
            9 => self.commit_every_ms = 1,
            10 => self.commit_every_ms = 1 + self.dice.roll(500),
            11 => self.commit_every_ms = 1_000_000,
            12 if self.nodes[node].process.is_some() => self.kill(node),
            12 if self.nodes[node].starting.is_some() => self.kill_opening(node),
            13 if self.nodes[node].process.is_some() => self.stop(node),
            13 if self.nodes[node].starting.is_some() => self.stop_opening(node),
            12..14 => self.start(node)?,
            14 if self.nodes[node].is_down() && self.dice.roll(3) == 0 => {
                self.say(|| format!("node {node} loses its disk"));
                self.nodes[node].disk = Default::default();
                self.nodes[node].mirror = Default::default();
            }
            15 if self.nodes[node].is_down() && self.dice.roll(2) == 0 => self.replace_file(node),
            // Beside one that replicates: it stands by.
            16 if self.nodes[node].process.is_some() => self.start(node)?,
            17 => {
                let this = &mut self.nodes[node];
                this.busy_until = self.now_ms + (1 << self.dice.roll(17));
                this.is_exclusive = self.dice.roll(2) == 0;
            }
            20 | 21 => self.permission_changes(node)?,
            18 => self.copy_begins(node),
            19 => self.replace_running(node),
            15 => {
                let patience = self.dice.roll(5000);
                self.ask(node, patience, false)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Nothing is in the way any more: everything must get into the bucket, and be said so.
    fn end_in_peace(&mut self) -> Result<(), Violation> {
        self.say(|| "peace".into());
        self.bucket.weather = Weather::Fine;
        (self.reader_until, self.commit_every_ms) = (self.reader_until.min(self.now_ms), NO_COMMITS_MS);
        self.due.retain(|_, due| !matches!(due, Due::Commit { .. } | Due::EarlyCommit { .. }));
        self.nodes.iter_mut().for_each(|node| node.busy_until = node.busy_until.min(self.now_ms));
        self.permit_all_to_seal()?;
        (0..NODES).try_for_each(|node| self.ask(node, PEACE_MS - 1000, true))?;
        self.go_on_for(PEACE_MS)?;
        for node in 0..NODES {
            self.must_have_opened(node)?;
            self.stop_opening(node);
            let Some(process) = &self.nodes[node].process else { continue };
            if process.is_open && !process.is_frozen {
                self.oracle.synced(node, &self.nodes[node].disk.content, &self.bucket)?;
                self.must_have_sealed(node)?;
            }
            self.stop(node);
        }
        self.go_on_for(PEACE_MS)?;
        match self.nodes.iter().position(|node| !node.is_down()) {
            Some(node) => Err(format!("node {node} never ended")),
            None => Ok(()),
        }
    }

    fn kill(&mut self, node: usize) {
        self.say(|| format!("node {node} is killed"));
        self.nodes[node].process = None;
        self.callers.gone(node);
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
            Due::Stopped { node, life } if self.lives(node, life) => self.stopped(node),
            Due::Opening { node, start, order } if self.begins(node, start) => self.carry_out_opening(node, order),
            Due::OpeningTimer { node, start } if self.begins(node, start) => self.opening_timer(node),
            Due::EarlyCommit { node, start } if self.begins(node, start) => self.commit_early(node, start),
            Due::StoppedEarly { node, start } if self.begins(node, start) => self.stopped_early(node),
            // It has armed its database meanwhile.
            Due::StoppedEarly { node, start } if self.has_begun(node, start) => self.stopped(node),
            Due::Copied { node, more } => self.copied(node, more),
            _ => Ok(()),
        }
    }

    /// The application has stopped, and the process is told to end.
    fn stopped(&mut self, node: usize) -> Result<(), Violation> {
        let grace = 200 + self.dice.roll(3000);
        self.say(|| format!("the application on node {node} has stopped; {grace} ms are left"));
        let committed = self.nodes[node].disk.content.len();
        if let Some(process) = &mut self.nodes[node].process {
            (process.has_stopped, process.is_open) = (true, false);
            process.stopped_with.get_or_insert(committed);
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
        let is_restarted = process.replaced.is_some_and(|how| self.now_ms < how.missing_until.max(how.in_use_until));
        if !process.is_open || process.is_frozen || is_restarted {
            return Ok(());
        }
        if !process.was_opened {
            return Err(format!("the application on node {node} was started before it was allowed to"));
        }
        if self.now_ms < process.pinned_from_ms {
            return Err(format!("a commit on node {node} may be gone: the WAL is not pinned"));
        }
        self.commits += 1;
        let number = self.commits;
        self.nodes[node].commit(number);
        if self.dice.roll(10) == 0 {
            self.nodes[node].checkpoint_of_application();
        }
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
}
