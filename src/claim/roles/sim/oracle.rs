//! What must hold after every step, and at the end. It looks at the bucket and at applications,
//! never into a core.

use std::sync::Arc;

use super::node::{At, Task};
use super::world::World;
use crate::claim::core::Outcome;
use crate::claim::sim::bucket::{Batch, Request};
use crate::claim::wire::{Beat, Claim};
use crate::remote::Epoch;

/// After its supervisor was stopped, an application is kept from writing within this time.
const CLOSES_WITHIN_MS: u64 = 6_000;
/// A cluster with a candidate that is well has a primary within this time.
const VACANT_MAX_MS: u64 = 300_000;
/// What is older is installed before a claim.
const INSTALLED_AFTER_MS: u64 = 40_000;

impl World {
    pub fn check(&mut self) -> Result<(), String> {
        let nodes = self.nodes.iter().enumerate();
        let running = nodes.filter_map(|(at, node)| Some((at, node, node.process.as_ref()?)));
        let (mut writers, mut committers) = (Vec::new(), Vec::new());
        for (at, node, process) in running {
            if process.writes && node.stopped_ms + CLOSES_WITHIN_MS < self.now_ms {
                writers.push(at);
            }
            if process.may_commit(&node.disk, &self.bucket.log) {
                committers.push(at);
            }
            if process.task == Task::Follow && node.disk.base > self.bucket.log.len() {
                return Err(format!("{at} is ahead of the bucket"));
            }
        }
        if committers.len() > 1 {
            return Err(format!("the applications of {committers:?} may all commit to what a restore gives"));
        }
        if writers.len() > 1 {
            return Err(format!("the applications of {writers:?} can all write"));
        }
        self.must_not_be_vacant()
    }

    fn must_not_be_vacant(&mut self) -> Result<(), String> {
        if self.nodes.iter().any(|node| node.process.as_ref().is_some_and(|process| process.writes)) {
            self.vacant_ms = None;
            return Ok(());
        }
        let since = *self.vacant_ms.get_or_insert(self.now_ms);
        let is_long = |since_ms: u64| since_ms.saturating_add(VACANT_MAX_MS) < self.now_ms;
        let could = |at: &At| {
            let node = &self.nodes[*at];
            let is_well =
                node.process.is_some() && !node.is_partitioned && !node.cannot_upload && node.denied.is_none();
            node.is_candidate && is_well && node.paused_until <= self.now_ms && is_long(node.impaired_ms)
        };
        let candidate = (0..self.nodes.len()).find(could);
        // One that cannot seal is given time anew with every start.
        let tries = self.nodes.iter().any(|node| node.cannot_upload && !is_long(node.impaired_ms));
        match candidate.filter(|_| self.is_automatic && !tries && is_long(since) && is_long(self.bad_ms)) {
            Some(at) => Err(format!("there is no primary since {since}, and {at} could be it")),
            None => Ok(()),
        }
    }

    /// Whether nothing was wrong with it, or with the bucket, since then.
    fn is_well_since(&self, at: At, since_ms: u64) -> bool {
        let node = &self.nodes[at];
        let is_well = !node.is_partitioned && node.denied.is_none() && node.paused_until <= self.now_ms;
        is_well && node.impaired_ms < since_ms && self.bad_ms < since_ms
    }

    /// Before a request changes the bucket.
    pub fn is_requested(&mut self, at: At, request: &Request) -> Result<(), String> {
        match request {
            Request::Claim(epoch, claim) if !self.bucket.claims.contains_key(epoch) => {
                self.claims_made += 1;
                self.is_claimed(at, *epoch, claim)
            }
            Request::Beat(epoch, beat) => self.is_beaten(at, *epoch, beat),
            _ => Ok(()),
        }
    }

    fn is_claimed(&self, at: At, epoch: Epoch, claim: &Arc<Claim>) -> Result<(), String> {
        if !self.nodes[at].is_candidate {
            return Err(format!("{at} claims {epoch:?} and is no candidate"));
        }
        if self.bucket.highest.is_some_and(|highest| epoch <= highest) {
            return Err(format!("{at} claims {epoch:?}, and the number was given before"));
        }
        let earlier = self.logged_ms.iter().filter(|ms| **ms + INSTALLED_AFTER_MS < self.now_ms).count();
        if claim.why != "restart" && self.nodes[at].disk.base < earlier {
            return Err(format!("{at} claims {epoch:?} and has not installed what is there"));
        }
        let newest = self.bucket.claims.last_key_value();
        if matches!(claim.why.as_str(), "primary-silent" | "restart" | "free")
            && let Some((_, (newest, _))) = newest
            && let Some(other) = self.find(&newest.process).filter(|other| *other != at)
            && self.nodes[other].process.as_ref().is_some_and(|process| process.writes)
            && self.is_well_since(other, self.now_ms.saturating_sub(60_000))
        {
            return Err(format!("{at} claims {epoch:?} although {other} is the primary"));
        }
        Ok(())
    }

    /// Which node's process it is, if it lives.
    fn find(&self, process: &str) -> Option<At> {
        let is_it =
            |at: &At| self.nodes[*at].process.as_ref().is_some_and(|running| running.life.to_string() == process);
        (0..self.nodes.len()).find(is_it)
    }

    fn is_beaten(&self, at: At, epoch: Epoch, beat: &Beat) -> Result<(), String> {
        let (node, claim) = (&self.nodes[at], self.bucket.claims.get(&epoch));
        let Some(process) = &node.process else { return Ok(()) };
        let is_own = claim.is_some_and(|(claim, _)| self.find(&claim.process) == Some(at));
        if !is_own || !beat.is_released() || !matches!(process.task, Task::Drain | Task::Follow) {
            return Ok(());
        }
        if process.writes {
            return Err(format!("{at} releases {epoch:?} although its application can write"));
        }
        if !node.disk.pending.is_empty() {
            return Err(format!("{at} releases {epoch:?}, and has commits that are not uploaded"));
        }
        Ok(())
    }

    pub fn ends(&mut self, at: At, outcome: &Outcome) -> Result<(), String> {
        let is_denied = matches!(outcome, Outcome::Denied(..));
        if is_denied {
            *self.counts.entry("denied").or_default() += 1;
        }
        match self.process(at).writes {
            true if is_denied => Err(format!("{at} ends although its application can write")),
            _ => Ok(()),
        }
    }
}

/// I10: the newest TXID is its own, and it has everything before it.
pub fn opens(world: &World, at: At) -> Result<(), String> {
    let node = &world.nodes[at];
    let process = node.process.as_ref().expect("it opens");
    let is_sealed = |batch: &Arc<Batch>| batch.by == process.life;
    if !world.bucket.log.last().is_some_and(is_sealed) && process.task == Task::Seal {
        return Err(format!("{at} opens, and the newest TXID is not its own"));
    }
    if node.disk.base != world.bucket.log.len() && process.task == Task::Seal {
        return Err(format!("{at} opens without what was uploaded"));
    }
    Ok(())
}

/// Nothing is in the way any more: one node writes, the others follow it, and none other wants to.
pub fn at_rest(world: &World, claims_before: u32) -> Result<(), String> {
    let serves = |at: &At| world.nodes[*at].process.as_ref().is_some_and(|process| process.writes);
    let serving: Vec<At> = (0..world.nodes.len()).filter(serves).collect();
    if claims_before != world.claims_made {
        return Err("claims are made again and again".into());
    }
    if serving.len() != 1 {
        return Err(format!("in the end {serving:?} serve"));
    }
    let old = world.logged_ms.iter().filter(|ms| **ms + INSTALLED_AFTER_MS < world.now_ms).count();
    let lags = |at: &At| {
        let node = &world.nodes[*at];
        let follows = node.process.as_ref().is_some_and(|process| process.task == Task::Follow);
        follows && node.follows_every_ms < INSTALLED_AFTER_MS && node.disk.base < old
    };
    match (0..world.nodes.len()).find(lags) {
        Some(at) => Err(format!("in the end {at} is behind")),
        None => Ok(()),
    }
}
