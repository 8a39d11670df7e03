//! One process: the owner of the plan and its sleep, as `run` in `task.rs` has them.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::{Done, Maintainer, Now, Plan, Work, is_due, nap};
use crate::clock::Dice;
use crate::remote::{Layout, Remote};
use crate::replicate::lifecycle::schedule::earlier;
use crate::replicate::lifecycle::{Policy, Shipped};
use crate::replicate::{Governor, Limits};
use crate::status::StatusWriter;
use crate::store::memory::MemoryStore;

/// The moment by the process's clocks.
#[derive(Clone, Copy)]
pub struct Moment {
    pub wall_ms: i64,
    pub now: Now,
}

pub struct Process {
    maintainer: Maintainer,
    is_busy: bool,
    wake: Option<i64>,
    look: bool,
}

impl Process {
    pub fn new(policy: Policy, layout: Layout, seed: u64) -> Process {
        let remote = Remote::new(Arc::new(MemoryStore::new()), layout);
        let (governor, dice) = (Governor::new(Limits::default()), Dice::of(seed));
        let maintainer = Maintainer::new(policy, remote, StatusWriter::new().0.refusals(), governor, dice);
        Process { maintainer, is_busy: false, wake: None, look: false }
    }

    pub fn shipped(&mut self, shipped: Shipped, at: Moment) {
        self.wake = earlier(self.wake, self.maintainer.shipped(shipped, at.wall_ms));
    }

    pub fn done(&mut self, done: Done, at: Moment) {
        self.is_busy = false;
        self.maintainer.apply(done, at.now);
        self.look = true;
    }

    /// The nap has ended.
    pub fn timer(&mut self, at: Moment, looks_anyway: bool) {
        if !self.is_busy {
            self.look = looks_anyway || is_due(self.wake, at.wall_ms);
        }
    }

    /// What to begin with now, if it is time.
    pub fn next(&mut self, at: Moment) -> Option<Work> {
        if !self.look || self.is_busy {
            return None;
        }
        (self.look, self.wake) = (false, None);
        match self.maintainer.plan(at.wall_ms, at.now) {
            Plan::Work(work) => {
                self.is_busy = true;
                Some(work)
            }
            Plan::Sleep(until) => {
                self.wake = until;
                self.maintainer.rest(until, at.wall_ms);
                None
            }
        }
    }

    /// How long it sleeps now, if it does not sleep until something is shipped.
    pub fn sleeps_for_ms(&self, at: Moment) -> Option<u64> {
        let until = self.wake.filter(|_| !self.is_busy)?;
        Some(u64::try_from(nap(until, at.wall_ms).as_millis()).expect("short").max(1))
    }

    pub fn is_asleep(&self) -> bool {
        !self.is_busy && !self.look
    }

    /// Nothing will be done until something is shipped.
    pub fn is_at_rest(&self) -> bool {
        self.is_asleep() && self.wake.is_none()
    }
}

pub fn now(start: Instant, boot_ms: u64) -> Now {
    let boot = std::time::Duration::from_millis(boot_ms);
    Now { instant: start + boot, boot }
}
