//! A process begins: its opening, and what the application and others do to the disk meanwhile.

use std::time::Duration;

use super::super::broken::Broken;
use super::super::node::{Application, COMMIT_BYTES, File};
use super::super::oracle::Violation;
use super::requests::Request;
use super::{BUDGET, Due, World};
use crate::replicate::Ready;
use crate::replicate::core::opening::{Armed, Config, Done, Effect, Event, Opening, Order, Outcome};
use crate::replicate::core::{AtArming, Config as CoreConfig, Core, Event as CoreEvent};

/// Between the deadline and the end: the database is tried once more.
const LATE_MS: u64 = 1000;
/// One order in so many meets a process that can open no more files.
const FILES_ARE_SHORT: u64 = 40;
/// The application of a process that does not replicate commits at this pace at most.
const EARLY_COMMIT_MS: u64 = 20;
/// From the moment the database is taken for armed to the pin, where that comes too late.
const PINNED_LATE_MS: u64 = 1000;

impl World {
    pub(super) fn start(&mut self, node: usize) -> Result<(), Violation> {
        if self.nodes[node].starting.is_some() {
            return Ok(());
        }
        self.say(|| format!("node {node} starts"));
        self.nodes[node].restore(&self.bucket);
        if self.nodes[node].disk.file == File::Missing && self.dice.roll(2) == 0 {
            // By a migration, for example.
            self.nodes[node].disk.file = File::Database;
        }
        let config = Config { optional: self.dice.roll(2) == 0, once: false, monitor_interval: Duration::from_secs(1) };
        let opening = Opening::new(config, self.now());
        let start = self.nodes[node].begin(opening, self.broken);
        self.later(self.commit_every_ms.max(EARLY_COMMIT_MS), Due::EarlyCommit { node, start });
        self.tell_opening(node, Event::Woke)
    }

    /// The process that does not replicate yet, if it is still this one.
    pub(super) fn begins(&self, node: usize, start: u32) -> bool {
        self.nodes[node].starting.as_ref().is_some_and(|starting| starting.start == start)
    }

    /// The process that replicates, if it began like this.
    pub(super) fn has_begun(&self, node: usize, start: u32) -> bool {
        self.nodes[node].process.as_ref().is_some_and(|process| process.start == start)
    }

    pub(super) fn kill_opening(&mut self, node: usize) {
        self.say(|| format!("node {node} is killed before it replicates"));
        self.nodes[node].starting = None;
    }

    /// The application of a process that does not replicate yet stops, if there is one, and then it
    /// is time to end.
    pub(super) fn stop_opening(&mut self, node: usize) {
        let pause = self.dice.roll(100);
        if let Some(starting) = &self.nodes[node].starting {
            let start = starting.start;
            self.later(pause, Due::StoppedEarly { node, start });
        }
    }

    pub(super) fn stopped_early(&mut self, node: usize) -> Result<(), Violation> {
        let grace = 200 + self.dice.roll(3000);
        self.say(|| format!("node {node} is told to end before it replicates; {grace} ms are left"));
        let deadline_ms = self.now_ms + grace;
        if let Some(starting) = &mut self.nodes[node].starting {
            starting.application = Application::Stopped;
            starting.deadline_ms = Some(deadline_ms);
        }
        let deadline = self.now().instant + Duration::from_millis(grace);
        self.tell_opening(node, Event::Finish(deadline))
    }

    pub(super) fn opening_timer(&mut self, node: usize) -> Result<(), Violation> {
        let (now, starting) = (self.now().instant, self.nodes[node].starting.as_ref());
        let is_due = starting.and_then(|starting| starting.opening.wake_at()).is_some_and(|at| at <= now);
        if is_due { self.tell_opening(node, Event::Timer) } else { Ok(()) }
    }

    pub(super) fn carry_out_opening(&mut self, node: usize, order: Order) -> Result<(), Violation> {
        let needs_files = !matches!(order, Order::LookAround | Order::ReadNote | Order::NoteExclusive);
        let done = match needs_files && self.dice.roll(FILES_ARE_SHORT) == 0 {
            true => Done::OutOfFiles("too many open files".into()),
            false => self.nodes[node].carry_out_opening(order, self.now_ms, self.broken)?,
        };
        self.tell_opening(node, Event::Done(done))
    }

    pub(super) fn tell_opening(&mut self, node: usize, event: Event<()>) -> Result<(), Violation> {
        self.say(|| format!("{node} <= {event:?}"));
        let now = self.now();
        let Some(starting) = &mut self.nodes[node].starting else { return Ok(()) };
        let (start, effects) = (starting.start, starting.opening.on_event(event, now));
        for effect in effects {
            self.say(|| format!("{node} => {effect:?}"));
            self.opening_effect(node, start, effect)?;
        }
        let wake_at = self.nodes[node].starting.as_ref().and_then(|starting| starting.opening.wake_at());
        if let Some(at) = wake_at {
            let pause = at.saturating_duration_since(now.instant).as_nanos().div_ceil(1_000_000);
            let pause = u64::try_from(pause).expect("not that long");
            self.later(pause, Due::OpeningTimer { node, start });
        }
        Ok(())
    }

    fn opening_effect(&mut self, node: usize, start: u32, effect: Effect<()>) -> Result<(), Violation> {
        match effect {
            Effect::Do(order) => {
                let pause = self.dice.roll(4);
                self.later(pause, Due::Opening { node, start, order });
            }
            Effect::LookAtBucket => {
                if let Some(starting) = &mut self.nodes[node].starting {
                    starting.has_asked_bucket = true;
                }
                if self.broken == Some(Broken::StartsBeforeArming) {
                    self.opening_effect(node, start, Effect::Ready(Ready::Armed))?;
                }
            }
            Effect::Ready(ready) => {
                self.nodes[node].may_start(ready)?;
                if let Some(starting) = &mut self.nodes[node].starting
                    && starting.application == Application::NotStarted
                {
                    (starting.may_run, starting.application) = (true, Application::Runs);
                }
            }
            Effect::Exclusive(_) => self.stop_opening(node),
            Effect::End(Outcome::Armed(armed)) => self.armed(node, armed)?,
            Effect::End(_) => self.nodes[node].starting = None,
            // There are no turns here.
            Effect::Say(_) | Effect::Hurry => {}
        }
        Ok(())
    }

    /// The opening hands over to the core.
    fn armed(&mut self, node: usize, armed: Armed<()>) -> Result<(), Violation> {
        let Some(starting) = self.nodes[node].starting.take() else { return Ok(()) };
        let permit = match self.dice.roll(2) {
            0 => None,
            _ => Some(self.permit()),
        };
        let config = CoreConfig {
            monitor_interval: Duration::from_secs(1),
            checkpoint_interval: Duration::from_millis([300, 60_000][self.dice.roll(2) as usize]),
            min_checkpoint_page_count: 40,
            truncate_page_n: 1000,
            sync_interval: Duration::from_millis([0, 100, 1000][self.dice.roll(3) as usize]),
            max_sync_wal_bytes: BUDGET * COMMIT_BYTES,
            final_retry_interval: Duration::from_millis(500),
            proof_lasts: Duration::from_secs(30),
            once: false,
            mirror_interval: (node == 0).then_some(Duration::from_secs(1)),
            close_after: [None, Some(Duration::from_millis(200))][self.dice.roll(2) as usize],
            may_vanish: false,
            seal: permit,
        };
        let disk = &self.nodes[node].disk;
        let (was_cut_off, is_known) = (disk.was_cut_off, disk.is_known);
        let known = AtArming { is_started: armed.is_started, was_cut_off, is_known };
        let lane = self.nodes[node].left_here();
        let core = Core::new(config, self.dice.roll(1 << 30), lane, known, self.now());
        let late = if self.broken == Some(Broken::PinsTheWalLater) { PINNED_LATE_MS } else { 0 };
        let deadline_ms = starting.deadline_ms;
        self.nodes[node].armed(core, permit, armed.is_new, &starting, self.now_ms + late);
        (self.deadlines[node], self.fenced_at[node]) = (deadline_ms, None);
        let life = self.nodes[node].life;
        if starting.has_asked_bucket {
            self.request(node, Request::Look);
        }
        self.later(self.commit_every_ms, Due::Commit { node, life });
        match deadline_ms {
            Some(at) => {
                let left = Duration::from_millis(at.saturating_sub(self.now_ms));
                self.tell(node, CoreEvent::Finish(self.now().instant + left))
            }
            None => self.tell(node, CoreEvent::Woke),
        }
    }

    /// The application commits, and nothing of its own process sees it yet.
    pub(super) fn commit_early(&mut self, node: usize, start: u32) -> Result<(), Violation> {
        self.later(self.commit_every_ms.max(EARLY_COMMIT_MS), Due::EarlyCommit { node, start });
        let this = &self.nodes[node];
        let Some(starting) = this.starting.as_ref().filter(|s| s.application == Application::Runs) else {
            return Ok(());
        };
        if !starting.may_run {
            return Err(format!("the application on node {node} was started before it was allowed to"));
        }
        let is_frozen = this.process.as_ref().is_some_and(|process| process.is_frozen);
        if is_frozen || self.now_ms < this.busy_until || matches!(this.disk.file, File::Part(_)) {
            return Ok(());
        }
        self.commits += 1;
        let number = self.commits;
        self.say(|| format!("node {node} commits before it replicates"));
        self.nodes[node].commit(number);
        self.tell_opening(node, Event::Woke)?;
        self.tell(node, CoreEvent::Woke)
    }

    /// Nothing is in the way: what can be armed is armed, and where there is nothing to miss, the
    /// application runs.
    pub(super) fn must_have_opened(&self, node: usize) -> Result<(), Violation> {
        let this = &self.nodes[node];
        let Some(starting) = &this.starting else { return Ok(()) };
        if this.process.is_none() && this.disk.file == File::Database {
            return Err(format!("node {node} has a database, and never armed it"));
        }
        match starting.application {
            Application::NotStarted => Err(format!("the application on node {node} never started")),
            _ => Ok(()),
        }
    }

    /// No deadline passes before replication either.
    pub(super) fn check_opening(&self, node: usize) -> Result<(), Violation> {
        let deadline = self.nodes[node].starting.as_ref().and_then(|starting| starting.deadline_ms);
        match deadline.is_some_and(|at| self.now_ms > at + LATE_MS) {
            true => Err(format!("node {node} is still opening its database after its deadline")),
            false => Ok(()),
        }
    }
}
