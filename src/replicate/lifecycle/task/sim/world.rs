//! Three clocks, one queue of what is under way, one writer, one bucket, restores under way: and
//! all that can happen to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Done, Work};
use super::broken::Broken;
use super::bucket::{Bucket, Fate, Object, Weather};
use super::marked::Made;
use super::oracle::{self, Restore, Times, Violation};
use super::process::{Moment, Process, now};
use super::request::{Next, Request};
use crate::clock::Dice;
use crate::ltx::Txid;
use crate::remote::{Layout, Level, LtxObject, plan};
use crate::replicate::lifecycle::Policy;

/// The same for every world, so that traces can be compared.
static START: OnceLock<Instant> = OnceLock::new();

/// A day in November 2023, Unix milliseconds.
pub const EPOCH_MS: i64 = 1_700_000_000_000;
pub const MINUTE_MS: u64 = 60_000;
/// Things that happen to a world before it is left in peace.
const TURNS: u64 = 40;
/// A request without an answer fails after this time.
const GIVEN_UP_MS: u64 = 30_000;
/// With nothing in the way, all that is due is done after this time.
const PEACE_MS: u64 = 24 * 60 * MINUTE_MS;
/// LISTs in peace that may lead to nothing: what is due at some time is said without knowing what
/// others do.
const IN_VAIN_MAX: u32 = 10;

fn policy() -> Policy {
    let seconds = Duration::from_secs;
    Policy {
        levels: vec![seconds(30), seconds(300)],
        snapshot_interval: seconds(1800),
        snapshot_retention: seconds(7200),
        snapshot_check_interval: seconds(300),
        l0_retention: seconds(300),
        l0_check_interval: seconds(15),
        grace: seconds(60),
        delete: true,
        listing_lasts: seconds(300),
        spread: 0,
    }
}

/// Something that comes at its time. `life` tells whether the process that asked for it still
/// lives.
enum Due {
    Commit,
    Timer { life: u32, serial: u64 },
    Request { life: u32, request: Request, fate: Fate },
    Answer { life: u32, done: Box<Done> },
}

/// What a history was made of.
#[derive(Debug, Default)]
pub struct Count {
    pub commits: usize,
    pub written: usize,
    pub torn: usize,
    pub deleted: usize,
    pub kills: usize,
    pub jumps: usize,
    pub restores: usize,
    pub marks: usize,
    pub requests: usize,
}

impl Count {
    pub fn add(&mut self, other: &Count) {
        self.commits += other.commits;
        self.written += other.written;
        self.torn += other.torn;
        self.deleted += other.deleted;
        self.kills += other.kills;
        self.jumps += other.jumps;
        self.restores += other.restores;
        self.marks += other.marks;
        self.requests += other.requests;
    }

    /// Of a hundred histories.
    pub fn is_eventful(&self) -> bool {
        self.commits > 5_000
            && self.written > 2_000
            && self.deleted > 4_000
            && [self.torn, self.kills, self.jumps, self.restores, self.marks].iter().all(|count| *count > 50)
    }
}

pub struct World {
    pub dice: Dice,
    pub broken: Option<Broken>,
    pub policy: Policy,
    pub layout: Layout,
    pub bucket: Bucket,
    pub times: Times,
    /// What the process's wall clock said at every commit.
    pub stamps_ms: Vec<i64>,
    pub images: BTreeSet<Txid>,
    pub restores: Vec<Restore>,
    pub marks: Vec<Made>,
    pub count: Count,
    /// The time that has really passed.
    pub boot_ms: u64,
    /// How far the process's wall clock is from the bucket's.
    pub skew_ms: i64,
    due: BTreeMap<(u64, u64), Due>,
    serial: u64,
    timer: u64,
    pub process: Option<Process>,
    life: u32,
    commit_every_ms: u64,
    pub in_peace: bool,
    /// The last piece of work was a LIST.
    has_listed: bool,
    /// LISTs that led to nothing.
    in_vain: u32,
    is_traced: bool,
    pub trace: Vec<String>,
}

impl World {
    pub fn new(seed: u64, broken: Option<Broken>, is_traced: bool) -> World {
        let mut dice = Dice::of(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1));
        let layout = if dice.roll(3) == 0 { Layout::Directories } else { Layout::S3 };
        World {
            dice,
            broken,
            policy: policy(),
            layout,
            bucket: Bucket::new(),
            times: Times { committed_ms: Vec::new(), latest_ms: EPOCH_MS, jumps: 0 },
            stamps_ms: Vec::new(),
            images: BTreeSet::new(),
            restores: Vec::new(),
            marks: Vec::new(),
            count: Count::default(),
            boot_ms: MINUTE_MS,
            skew_ms: 0,
            due: BTreeMap::new(),
            serial: 0,
            timer: 0,
            process: None,
            life: 0,
            commit_every_ms: 15_000,
            in_peace: false,
            has_listed: false,
            in_vain: 0,
            is_traced,
            trace: Vec::new(),
        }
    }

    pub fn run(&mut self) -> Result<(), Violation> {
        self.start();
        self.at(1, Due::Commit);
        self.go_on_for(10)?;
        self.strangers();
        for _ in 0..TURNS {
            self.happen();
            let pause = (1000 << self.dice.roll(10)) + self.dice.roll(1000);
            self.go_on_for(pause)?;
        }
        self.end_in_peace()
    }

    /// Something happens to the world.
    fn happen(&mut self) {
        match self.dice.roll(20) {
            0..3 => self.bucket.weather = Weather::Rough,
            3 => self.bucket.weather = Weather::Down,
            4..8 => self.bucket.weather = Weather::Fine,
            8 => self.commit_every_ms = 3_000,
            9..11 => self.commit_every_ms = 5_000 + self.dice.roll(120_000),
            11 => self.commit_every_ms = 100 * 60 * MINUTE_MS,
            12..14 => match self.process.is_some() {
                true => self.kill(),
                false => self.start(),
            },
            14 if self.process.is_none() => self.start(),
            15 => self.jump(),
            16..18 => self.begin_restore(),
            18 => self.make_a_mark(),
            _ => match self.dice.roll(3) {
                0 => self.drop_a_mark(),
                _ => self.make_a_mark(),
            },
        }
    }

    /// Nothing is in the way any more: what is due is done, and then nothing.
    fn end_in_peace(&mut self) -> Result<(), Violation> {
        self.say(|| "peace".into());
        self.in_peace = true;
        self.bucket.weather = Weather::Fine;
        self.commit_every_ms = 1_000_000 * MINUTE_MS;
        if self.process.is_none() {
            self.start();
        }
        self.due.retain(|_, due| !matches!(due, Due::Commit));
        self.at(1, Due::Commit);
        self.in_vain = 0;
        self.go_on_for(PEACE_MS)?;
        if self.in_vain > IN_VAIN_MAX {
            return Err(format!("{} LISTs led to nothing", self.in_vain));
        }
        let before = self.count.requests;
        self.go_on_for(PEACE_MS)?;
        let requests = self.count.requests - before;
        if !self.process.as_ref().expect("started").is_at_rest() {
            return Err("it never rests".into());
        }
        if requests > 0 {
            return Err(format!("{requests} requests were made although nothing was due"));
        }
        oracle::newest(&self.bucket, &self.times)?;
        self.check_marks()?;
        let newest = self.times.newest();
        let last = plan::files_up_to(&self.bucket.truth, newest);
        if last.len() != 1 {
            return Err(format!("a restore still takes {} files", last.len()));
        }
        Ok(())
    }

    fn go_on_for(&mut self, pause_ms: u64) -> Result<(), Violation> {
        let end = self.boot_ms + pause_ms;
        while let Some(((at, _), _)) = self.due.first_key_value()
            && *at <= end
        {
            let ((at, _), due) = self.due.pop_first().expect("there is one");
            self.boot_ms = self.boot_ms.max(at);
            self.take(due)?;
        }
        self.boot_ms = end;
        Ok(())
    }

    fn take(&mut self, due: Due) -> Result<(), Violation> {
        self.look_at_the_clocks();
        self.settle_marks();
        let moment = self.moment();
        match due {
            Due::Commit => {
                self.at(self.commit_every_ms, Due::Commit);
                self.commit();
            }
            Due::Timer { life, serial } if (life, serial) == (self.life, self.timer) => {
                let wakes = matches!(self.broken, Some(Broken::NeverRests | Broken::LooksAfterEveryNap));
                self.process.as_mut().expect("it lives").timer(moment, wakes);
            }
            Due::Request { life, request, fate } => self.request(life, request, fate)?,
            Due::Answer { life, done } if life == self.life => {
                self.process.as_mut().expect("it lives").done(*done, moment);
            }
            Due::Timer { .. } | Due::Answer { .. } => return Ok(()),
        }
        self.plan()
    }

    /// Lets the process decide what to do next.
    fn plan(&mut self) -> Result<(), Violation> {
        let moment = self.moment();
        let Some(process) = &mut self.process else { return Ok(()) };
        if let Some(work) = process.next(moment) {
            self.has_listed = matches!(work, Work::List);
            let work = self.spoil(work);
            let request = Request::of(work);
            self.send(self.life, request);
        } else if process.is_asleep() {
            self.in_vain += u32::from(std::mem::take(&mut self.has_listed));
            let nap = process.sleeps_for_ms(moment);
            let nap = nap.or((self.broken == Some(Broken::NeverRests)).then_some(10 * MINUTE_MS));
            self.timer += 1;
            if let Some(nap) = nap {
                let (life, serial) = (self.life, self.timer);
                self.at(nap, Due::Timer { life, serial });
            }
        }
        Ok(())
    }

    /// What a broken executor makes of its orders.
    fn spoil(&mut self, work: Work) -> Work {
        let Work::Delete(mut objects) = work else { return work };
        let newest = self.times.newest();
        let mut more = |wanted: &dyn Fn(&Object) -> bool| {
            let found = self.bucket.objects.values().filter(|object| wanted(object)).map(|object| object.ltx.clone());
            objects.extend(found.collect::<Vec<_>>());
        };
        match self.broken {
            Some(Broken::DropsTheNewestSnapshot) => {
                let last = self.bucket.truth.level(Level::SNAPSHOT).iter().map(|o| o.max_txid).max();
                more(&|o| !o.is_foreign && o.ltx.level == Level::SNAPSHOT && Some(o.ltx.max_txid) == last);
            }
            Some(Broken::DeletesStrangers) => more(&|o| o.is_foreign),
            Some(Broken::DeletesWhatNothingHolds) => {
                let wall_ms = EPOCH_MS + i64::try_from(self.boot_ms).expect("small") + self.skew_ms;
                let is_old = |o: &LtxObject| self.policy.l0_expires_ms(o.modified_ms) <= wall_ms;
                more(&|o| o.ltx.level == Level::L0 && o.ltx.max_txid < newest && is_old(&o.ltx));
            }
            _ => {}
        }
        Work::Delete(objects)
    }

    fn send(&mut self, life: u32, request: Request) {
        self.count.requests += 1;
        let fate = self.bucket.fate(&mut self.dice);
        let latency = 5 + self.dice.roll(100);
        self.at(latency, Due::Request { life, request, fate });
    }

    fn request(&mut self, life: u32, request: Request, fate: Fate) -> Result<(), Violation> {
        let is_dead = life != self.life;
        if is_dead && !(request.changes_something() && self.dice.roll(2) == 0) {
            return Ok(());
        }
        self.say(|| format!("{request}: {fate:?}"));
        let next = self.carry_out(request, fate)?;
        if is_dead {
            return Ok(());
        }
        match next {
            Next::Request(request) => self.send(life, request),
            Next::Done(done) => self.at(5, Due::Answer { life, done: Box::new(done) }),
            Next::Late(done) => self.at(GIVEN_UP_MS, Due::Answer { life, done: Box::new(done) }),
        }
        Ok(())
    }

    fn start(&mut self) {
        self.say(|| "start".into());
        let mut policy = policy();
        match self.broken {
            Some(Broken::DeletesWithoutGrace) => policy.grace = Duration::ZERO,
            Some(Broken::ForgetsTheWindow) => policy.snapshot_retention /= 4,
            _ => {}
        }
        let seed = self.dice.roll(u64::MAX);
        self.process = Some(Process::new(policy, self.layout, seed));
    }

    fn kill(&mut self) {
        self.say(|| "kill".into());
        self.count.kills += 1;
        self.process = None;
        self.life += 1;
    }

    fn at(&mut self, pause_ms: u64, due: Due) {
        self.serial += 1;
        self.due.insert((self.boot_ms + pause_ms, self.serial), due);
    }

    pub fn look_at_the_clocks(&mut self) {
        self.times.latest_ms = self.times.latest_ms.max(self.wall_ms()).max(self.true_ms());
    }

    pub fn moment(&self) -> Moment {
        Moment { wall_ms: self.wall_ms(), now: now(*START.get_or_init(Instant::now), self.boot_ms) }
    }

    /// By the bucket's clock.
    pub fn true_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.boot_ms).expect("small")
    }

    /// By the process's.
    pub fn wall_ms(&self) -> i64 {
        self.true_ms() + self.skew_ms
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if self.is_traced {
            self.trace.push(format!("{:>9} {}", self.boot_ms, what()));
        }
    }
}
