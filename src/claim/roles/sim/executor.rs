//! Carries out what a core wants, for one node: the copies, the seal, the application, its commits
//! and their uploads.

use std::sync::Arc;

use super::broken::Broken;
use super::node::{At, Tailing, Task};
use super::oracle;
use super::requests::RETRY_MS;
use super::world::{Due, TTL_MS, World};
use crate::claim::roles::core::{Effect, Event, Notice, Reach};
use crate::claim::sim::bucket::{Batch, Request};
use crate::claim::wire::Claim;

/// What it takes at most to keep an application from writing.
const CLOSING_MS: u64 = 2_000;
/// So long the last upload is tried.
const DRAINING_MS: u64 = 30_000;

impl World {
    pub fn effect(&mut self, at: At, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::Look => self.send(at, Request::Look),
            Effect::Observe(epoch) => self.send(at, Request::ReadBeat(epoch)),
            Effect::Claim { epoch, parent, why } => {
                let instance = self.nodes[at].instance.clone();
                let process = self.process(at).life.to_string();
                let claim = Arc::new(Claim {
                    node: instance.clone(),
                    hostname: instance.clone(),
                    instance,
                    process,
                    url: None,
                    cluster_url: None,
                    ttl_ms: TTL_MS,
                    parent: parent.map(|parent| parent.to_string()),
                    why: why.text().into(),
                });
                self.process(at).claim = claim.clone();
                self.send(at, Request::Claim(epoch, claim));
            }
            Effect::Renew { epoch, beat } => {
                self.process(at).renewing = Some(epoch);
                self.send(at, Request::Beat(epoch, beat));
            }
            Effect::Remove(epochs) => self.send(at, Request::Remove(epochs)),
            Effect::Follow => self.follow(at),
            Effect::CatchUp => return self.catch_up(at),
            Effect::Seal => return self.seal(at),
            Effect::Open => return self.open(at),
            Effect::Close(_) => self.close(at),
            Effect::Drain => self.drain(at),
            Effect::Say(notice) => self.count(&notice),
        }
        Ok(())
    }

    fn count(&mut self, notice: &Notice) {
        let what = match notice {
            Notice::TakenForDead(_) => "taken for dead",
            Notice::SupersededBy(_) => "superseded",
            Notice::Claims(why) => why.text(),
            Notice::Closed => "closed",
            Notice::Reopened => "reopened",
            Notice::CannotSeal => "cannot seal",
            Notice::Outage(_) | Notice::Back | Notice::WaitsFor(_) | Notice::IsBehind => return,
        };
        *self.counts.entry(what).or_default() += 1;
    }

    fn follow(&mut self, at: At) {
        let process = self.process(at);
        process.writes = false;
        if std::mem::replace(&mut process.task, Task::Follow) != Task::Follow {
            let life = process.life;
            (process.in_flight, process.waits_for_tail) = (None, None);
            self.later(1, Due::Install { at, life });
        }
    }

    /// The copies are brought forward from time to time.
    pub fn install(&mut self, at: At) {
        let every = self.nodes[at].follows_every_ms;
        let process = self.process(at);
        let life = process.life;
        if process.task != Task::Follow {
            return;
        }
        if process.waits_for_tail.is_none() {
            process.waits_for_tail = Some(Tailing::Install);
            self.send(at, Request::Tail);
        }
        self.later(every, Due::Install { at, life });
    }

    fn catch_up(&mut self, at: At) -> Result<(), String> {
        if self.broken == Some(Broken::ClaimsWhileBehind) {
            return self.tell(at, Event::CaughtUp(Reach::Everything));
        }
        let process = self.process(at);
        match process.waits_for_tail.replace(Tailing::CatchUp) {
            // What was asked for before does not count.
            Some(_) => {
                process.waits_for_tail = Some(Tailing::Install);
                self.tell(at, Event::CaughtUp(Reach::Behind))
            }
            None => {
                self.send(at, Request::Tail);
                Ok(())
            }
        }
    }

    pub fn install_up_to(&mut self, at: At, len: usize) {
        self.nodes[at].disk.base = len;
        self.set_apart(at);
    }

    /// What was committed here, and is in no history, is kept aside.
    fn set_apart(&mut self, at: At) {
        let disk = &mut self.nodes[at].disk;
        disk.orphaned += u32::try_from(std::mem::take(&mut disk.pending).len()).expect("small");
    }

    fn seal(&mut self, at: At) -> Result<(), String> {
        if self.broken == Some(Broken::NeverSeals) {
            let len = self.bucket.log.len();
            self.nodes[at].disk.base = len;
            self.process(at).task = Task::Seal;
            return self.tell(at, Event::Sealed);
        }
        self.process(at).task = Task::Seal;
        self.upload(at);
        Ok(())
    }

    fn open(&mut self, at: At) -> Result<(), String> {
        oracle::opens(self, at)?;
        let process = self.process(at);
        process.task = Task::Replicate;
        let was_open = std::mem::replace(&mut process.writes, true);
        let life = process.life;
        *self.counts.entry("opens").or_default() += 1;
        if !was_open {
            self.later(1, Due::Commit { at, life });
        }
        Ok(())
    }

    fn close(&mut self, at: At) {
        if self.broken != Some(Broken::NeverCloses) {
            let (takes, life) = (self.dice.roll(CLOSING_MS), self.process(at).life);
            self.later(takes, Due::Closed { at, life });
        }
    }

    /// The write lock is held, unless the claim was renewed meanwhile.
    pub fn closed(&mut self, at: At) -> Result<(), String> {
        if !self.process(at).core.is_serving() {
            self.process(at).writes = false;
        }
        self.go_on(at)
    }

    fn drain(&mut self, at: At) {
        let takes = self.dice.roll(CLOSING_MS);
        let process = self.process(at);
        if process.task != Task::Fenced {
            process.task = Task::Drain;
        }
        let life = process.life;
        self.later(takes, Due::Closed { at, life });
        self.later(DRAINING_MS, Due::DrainOver { at, life });
    }

    /// What could not be uploaded in time is kept aside.
    pub fn drain_over(&mut self, at: At) -> Result<(), String> {
        match self.process(at).task {
            Task::Drain => {
                self.process(at).writes = false;
                self.set_apart(at);
                self.tell(at, Event::Drained)
            }
            _ => Ok(()),
        }
    }

    pub fn commit(&mut self, at: At) {
        let (row, pause) = (self.rows, 300 + self.dice.roll(self.commit_every_ms));
        let process = self.process(at);
        let life = process.life;
        if !process.writes {
            return;
        }
        self.rows += 1;
        self.nodes[at].disk.pending.push(row);
        if self.nodes[at].paused_until <= self.now_ms {
            self.upload(at);
        }
        self.later(pause, Due::Commit { at, life });
    }

    /// What is to be uploaded or told next.
    pub fn go_on(&mut self, at: At) -> Result<(), String> {
        let is_empty = self.nodes[at].disk.pending.is_empty();
        let is_careless = self.broken == Some(Broken::ReleasesBeforeTheLastUpload);
        let process = self.process(at);
        match process.task {
            Task::Drain if !process.writes && (is_careless || is_empty && process.in_flight.is_none()) => {
                self.tell(at, Event::Drained)
            }
            Task::Fenced if !process.writes => {
                self.set_apart(at);
                self.tell(at, Event::Drained)
            }
            Task::Seal | Task::Replicate | Task::Drain => {
                self.upload(at);
                Ok(())
            }
            Task::None | Task::Follow | Task::Fenced => Ok(()),
        }
    }

    pub fn upload(&mut self, at: At) {
        let disk = &self.nodes[at].disk;
        let (base, pending) = (disk.base, disk.pending.clone());
        let process = self.process(at);
        let life = process.life;
        let is_seal = process.task == Task::Seal;
        if process.in_flight.is_some() || !is_seal && !matches!(process.task, Task::Replicate | Task::Drain) {
            return;
        }
        if !is_seal && pending.is_empty() {
            return;
        }
        if is_seal && !self.may_seal(at) {
            return self.later(RETRY_MS, Due::Retry { at, life });
        }
        let process = self.process(at);
        process.serial += 1;
        let batch = Arc::new(Batch { by: process.life, at, serial: process.serial, rows: pending });
        process.in_flight = Some(batch.clone());
        self.send(at, Request::Append(base, batch));
    }

    pub fn may_seal(&mut self, at: At) -> bool {
        let boot = self.now(at).boot;
        self.process(at).core.valid_until().is_some_and(|until| boot < until)
    }

    /// The object of the next TXID is `there`.
    pub fn appended(&mut self, at: At, there: &Arc<Batch>) -> Result<(), String> {
        let process = self.process(at);
        let Some(sent) = process.in_flight.take() else { return Ok(()) };
        let task = process.task;
        if there.at == at {
            // Ours, or of an earlier process here.
            let disk = &mut self.nodes[at].disk;
            disk.base += 1;
            disk.pending.retain(|row| !there.rows.contains(row));
            if task == Task::Seal && *there == sent {
                return self.tell(at, Event::Sealed);
            }
            return self.go_on(at);
        }
        if task == Task::Seal {
            let len = self.bucket.log.len();
            self.install_up_to(at, len);
            return self.go_on(at);
        }
        if !matches!(task, Task::Replicate | Task::Drain) {
            return Ok(());
        }
        self.set_apart(at);
        self.process(at).task = Task::Fenced;
        self.tell(at, Event::Fenced)?;
        // It may have ended.
        if self.nodes[at].process.is_some() { self.go_on(at) } else { Ok(()) }
    }
}
