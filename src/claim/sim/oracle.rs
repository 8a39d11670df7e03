//! What must hold after every step, and at the end. It looks at the bucket and at applications,
//! never into a core.

use std::sync::Arc;

use super::bucket::{Answer, Batch, Request};
use super::container::{App, At, Task};
use super::world::{LOOK_MS, TTL_MS, WAIT_MS, World};
use crate::claim::core::Access;
use crate::claim::wire::{Beat, BeatState, Claim};
use crate::remote::Epoch;

/// Clocks differ by a tenth at most.
const SLACK: u64 = 12;

impl World {
    /// I11: a restore may give what one application commits, and no other.
    pub fn check(&self) -> Result<(), String> {
        let may = |at: &At| {
            let container = &self.containers[*at];
            container.process.as_ref().is_some_and(|process| process.may_commit(&container.disk, &self.bucket.log))
        };
        let all: Vec<At> = (0..self.containers.len()).filter(may).collect();
        match all.len() {
            0 | 1 => Ok(()),
            _ => Err(format!("the applications of {all:?} may all commit to what a restore gives")),
        }
    }

    /// Whether nothing was wrong with it, or with the bucket, since then.
    fn is_well_since(&self, at: At, since_ms: u64) -> bool {
        let container = &self.containers[at];
        let is_well = !container.is_partitioned && container.denied.is_none() && container.paused_until <= self.now_ms;
        is_well && container.impaired_ms < since_ms && self.bad_ms < since_ms
    }

    /// Before a request changes the bucket.
    pub fn is_requested(&mut self, at: At, request: &Request) -> Result<(), String> {
        match request {
            Request::Claim(epoch, claim) if !self.bucket.claims.contains_key(epoch) => {
                self.is_claimed(at, *epoch, claim)
            }
            Request::Beat(epoch, beat) => {
                if beat.is_released() {
                    self.released.insert(*epoch);
                }
                self.is_beaten(at, *epoch, beat)
            }
            _ => Ok(()),
        }
    }

    fn is_claimed(&mut self, at: At, epoch: Epoch, claim: &Arc<Claim>) -> Result<(), String> {
        self.claims_made += 1;
        let is_mine = |(epoch, (other, _)): (&Epoch, &(Arc<Claim>, i64))| {
            other.process == claim.process && !self.released.contains(epoch)
        };
        if self.bucket.claims.iter().any(is_mine) {
            return Err(format!("{at} claims {epoch:?} although it holds another claim"));
        }
        if self.bucket.highest.is_some_and(|highest| epoch <= highest)
            && self.is_well_since(at, self.now_ms.saturating_sub(10_000))
        {
            return Err(format!("{at} claims {epoch:?}, and the number was given before"));
        }
        if claim.why == "successor-silent"
            && let Some((_, (newest, _))) = self.bucket.claims.last_key_value()
            && let Some(other) = self.find(&newest.process)
            && self.is_well_since(other, self.now_ms.saturating_sub(60_000))
            && self.is_well_since(at, self.now_ms.saturating_sub(60_000))
        {
            return Err(format!("{at} comes back although {other} lives"));
        }
        Ok(())
    }

    /// Which container's process it is, if it lives.
    fn find(&self, process: &str) -> Option<At> {
        let is_it =
            |at: &At| self.containers[*at].process.as_ref().is_some_and(|running| running.life.to_string() == process);
        (0..self.containers.len()).find(is_it)
    }

    fn is_beaten(&self, at: At, epoch: Epoch, beat: &Beat) -> Result<(), String> {
        let BeatState::Released { .. } = beat.state else { return Ok(()) };
        let container = &self.containers[at];
        let Some(process) = &container.process else { return Ok(()) };
        let is_newest = self.bucket.claims.get(&epoch).is_some_and(|(claim, _)| self.find(&claim.process) == Some(at));
        if is_newest && process.app != App::Off {
            return Err(format!("{at} releases {epoch:?} although its application runs"));
        }
        if is_newest && !container.disk.pending.is_empty() && beat.sealed {
            return Err(format!("{at} releases {epoch:?}, and has commits that are not uploaded"));
        }
        Ok(())
    }

    /// The claim was made: from here on its maker waits.
    pub fn claim_was_made(&mut self, at: At) {
        let now_ms = self.now_ms;
        // Those that live may show it, and are waited for as long as they do.
        let others_live =
            (0..self.containers.len()).any(|other| other != at && self.containers[other].process.is_some());
        let process = self.process(at);
        process.claimed_ms = Some(now_ms);
        let life = process.life;
        let limit = if others_live { 4 * WAIT_MS } else { WAIT_MS };
        self.later(limit * SLACK / 10 + 30_000, super::world::Due::MustServe { at, life, claimed_ms: now_ms });
    }

    /// A process that claimed so long ago serves, or others came after it.
    pub fn must_serve(&self, at: At, claimed_ms: u64) -> Result<(), String> {
        let container = &self.containers[at];
        let Some(process) = &container.process else { return Ok(()) };
        let is_newest = self.bucket.claims.last_key_value().is_some_and(|(_, (claim, _))| *claim == process.claim);
        let is_it = process.claimed_ms == Some(claimed_ms) && is_newest && !container.is_broken && container.is_wanted;
        if is_it && process.app != App::Runs && self.is_well_since(at, claimed_ms) {
            return Err(format!("{at} claimed at {claimed_ms} and does not serve yet"));
        }
        Ok(())
    }
}

impl World {
    /// An answer arrives, which may show what is permitted.
    pub fn is_answered(&mut self, at: At, request: &Request, answer: Option<Answer>) -> Result<(), String> {
        let access = request.access().filter(|_| matches!(request, Request::Look | Request::Claim(..)));
        let process = self.process(at);
        let life = process.life;
        let must_end = match (access, &answer) {
            (Some(access), Some(Answer::Denied)) => {
                process.denied.push(access);
                !process.granted.contains(&access) && process.task != Task::Alone && !process.is_alone
            }
            (Some(access), Some(_)) => {
                process.granted.push(access);
                false
            }
            _ => false,
        };
        self.answered(at, request, answer)?;
        match self.containers[at].process.as_ref().is_some_and(|process| process.life == life) && must_end {
            true => Err(format!("{at} goes on although it was never permitted to")),
            false => Ok(()),
        }
    }
}

/// It ends because it was never permitted what it needs.
pub fn is_denied(world: &World, at: At, access: Access) -> Result<(), String> {
    let process = world.containers[at].process.as_ref().expect("it ends");
    let was_granted = process.granted.contains(&access);
    if process.app != App::Off || was_granted || !process.denied.contains(&access) {
        return Err(format!("{at} ends because of {access:?}, which was not denied from the start"));
    }
    Ok(())
}

/// I10, and that no holder who would have released is overtaken.
pub fn opens(world: &World, at: At) -> Result<(), String> {
    let container = &world.containers[at];
    let process = container.process.as_ref().expect("it opens");
    let is_sealed = |batch: &Arc<Batch>| batch.by == process.life;
    if !world.bucket.log.last().is_some_and(is_sealed) {
        return Err(format!("{at} opens, and the newest TXID is not its own"));
    }
    if container.disk.base != world.bucket.log.len() {
        return Err(format!("{at} opens without what was uploaded"));
    }
    let claimed_ms = process.claimed_ms.unwrap_or(0);
    for (other, theirs) in world.containers.iter().enumerate() {
        // Those that an earlier seal has shut out are no concern of this one.
        let before = &world.bucket.log[..world.bucket.log.len() - 1];
        let runs = theirs.process.as_ref().is_some_and(|process| process.may_commit(&theirs.disk, before));
        if other == at || !runs {
            continue;
        }
        if (world.now_ms - claimed_ms) * SLACK / 10 < WAIT_MS {
            return Err(format!("{at} opens after {} ms although {other} runs", world.now_ms - claimed_ms));
        }
        if world.is_well_since(other, claimed_ms.saturating_sub(TTL_MS + LOOK_MS)) {
            return Err(format!("{at} opens although {other} would have released"));
        }
    }
    Ok(())
}

/// Nothing is in the way any more: one process serves, and none other wants to.
pub fn at_rest(world: &World, claims_before: u32) -> Result<(), String> {
    let serves = |at: &At| world.containers[*at].process.as_ref().is_some_and(|process| process.app == App::Runs);
    let serving: Vec<At> = (0..world.containers.len()).filter(serves).collect();
    match serving[..] {
        [one] if world.containers[one].is_broken => Err(format!("{one} serves, whose application fails")),
        [_] if claims_before != world.claims_made => Err("claims are made again and again".into()),
        [_] => Ok(()),
        _ => Err(format!("in the end {serving:?} serve")),
    }
}
