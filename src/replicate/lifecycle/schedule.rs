//! What is due. Pure: a listing, the time and the policy in, one step out.
//!
//! Levels are compacted once in each of their intervals, counted by the wall clock as Litestream
//! does it, but only when there is something, and each database at a moment of its own within the
//! interval ([`spread_of`]): a step is due when its oldest input is older than the beginning of the
//! current interval. So a history without new commits drains from level to level into a snapshot,
//! and then nothing is due any more, ever.
//!
//! # Full images are not multiplied
//!
//! Whatever begins at TXID 1 holds the whole database, and so does a level-0 image in the middle of
//! a history. Compacted upwards it would be uploaded again at every level. So no level takes one
//! in:
//!
//! ```text
//! level 0   1 (image)  2 3 4 5    6 (image)   7 8 9
//! level 1              2─────5                7───9
//! level 9   1-1, from the image               1-6, from the image
//! ```
//!
//! An image becomes the snapshot 1-n before level 1 goes on behind it: Litestream, should it take
//! over, deletes from level 0 what level 1 is past. (Until then the first one is a snapshot for
//! every planner where it is.) That leaves a hole in level 1, and a program that compacts a level
//! in one go must not find one in its inputs: the level above takes in what ends before a hole
//! before anything is written behind it.

use std::time::Duration;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Policy;
use crate::ltx::Txid;
use crate::remote::{Level, Listing, LtxObject, plan};

/// Inputs of one merge at most; the rest follows in the next.
pub const MAX_INPUTS: usize = 128;
/// Level-0 objects of an earlier run below this size are not looked into: as images they would not
/// be worth it. (Unless a snapshot holds them already: one of another page size must not be merged
/// with what came before it.)
pub const SMALL_IMAGE_BYTES: u64 = 64 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Merge these into one object of `level`.
    Compact { level: Level, inputs: Vec<LtxObject> },
    /// Merge these into the snapshot of what the last of them ends with.
    Snapshot { inputs: Vec<LtxObject> },
    /// Find out whether this is a full image.
    Probe(LtxObject),
    /// Nothing before this time, Unix milliseconds; `None`: nothing at all until something is
    /// shipped.
    Wait(Option<i64>),
}

/// What the writer knows.
pub struct View<'a> {
    pub listing: &'a Listing,
    /// The newest TXID that is in the bucket. Objects behind it are another writer's.
    pub newest: Txid,
    /// Level-0 objects that are full images, and that are not.
    pub images: &'a BTreeMap<Txid, bool>,
    /// Levels whose last attempt failed a moment ago.
    pub blocked: &'a [Level],
}

pub fn next(view: &View<'_>, policy: &Policy, now_ms: i64) -> Step {
    let mut wake = None;
    for index in 1..=policy.levels.len() {
        match view.compaction(index, policy, now_ms, false) {
            Some(Step::Wait(at)) => wake = earlier(wake, at),
            Some(step) => return step,
            None => {}
        }
    }
    match view.snapshot(policy, now_ms) {
        Some(Step::Wait(at)) => wake = earlier(wake, at),
        Some(step) => return step,
        None => {}
    }
    Step::Wait(wake)
}

pub fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// For times by the wall clock.
pub fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The first moment after `ms` that is a multiple of the interval, shifted by what `spread` makes
/// within it.
pub fn boundary_after(ms: i64, interval_ms: i64, spread: u64) -> i64 {
    let interval_ms = interval_ms.max(1);
    let shift = i64::try_from(spread % interval_ms.unsigned_abs()).unwrap_or(0);
    let into = ms.saturating_sub(shift).rem_euclid(interval_ms);
    ms.saturating_sub(into).saturating_add(interval_ms)
}

/// The same at every start: FNV-1a of where the database lies and of where its replica does. A
/// thousand databases of one process are told apart by the first, a thousand containers with one
/// database each by the second.
pub fn spread_of(path: &Path, address: &str) -> u64 {
    let bytes = path.as_os_str().as_bytes().iter().chain(&[0]).chain(address.as_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn level(index: usize) -> Level {
    u8::try_from(index).ok().and_then(Level::new).expect("the policy has at most eight levels")
}

impl View<'_> {
    /// What level `index` has to do; `None` is nothing. `forced`: the level below must go on behind
    /// a hole now.
    fn compaction(&self, index: usize, policy: &Policy, now_ms: i64, forced: bool) -> Option<Step> {
        let into = level(index);
        if self.blocked.contains(&into) {
            return None;
        }
        let reached = self.reached(index);
        let mut pending = self.pending(index, reached).peekable();
        let due_ms = policy.level_due_ms(index, pending.peek()?.modified_ms);
        if due_ms > now_ms && !forced {
            return Some(Step::Wait(Some(due_ms)));
        }
        let mut inputs: Vec<LtxObject> = Vec::new();
        for object in pending {
            match self.is_image(object) {
                // All that one merge takes in is looked into first: else each would become an
                // object of its own.
                None => return Some(Step::Probe(object.clone())),
                Some(true) if inputs.is_empty() => {
                    if object.min_txid > Txid::FIRST && !self.has_snapshot_since(object.max_txid) {
                        return self.unless_blocked(Step::Snapshot { inputs: vec![object.clone()] });
                    }
                }
                Some(false) if inputs.is_empty() || continues(&inputs, object) => inputs.push(object.clone()),
                _ => break,
            }
            if inputs.len() == MAX_INPUTS {
                break;
            }
        }
        if let Some(image) = self.bare_first_image().filter(|_| index == 1 && !inputs.is_empty())
            && !self.blocked.contains(&Level::SNAPSHOT)
        {
            return Some(Step::Snapshot { inputs: vec![image.clone()] });
        }
        let first = inputs.first()?.min_txid;
        let behind_a_hole = reached.is_some_and(|reached| reached.next().is_none_or(|wanted| first > wanted));
        if behind_a_hole && index < policy.levels.len() {
            if let Some(step) = self.compaction(index + 1, policy, now_ms, true) {
                return Some(step);
            }
            // The level above could not: not now.
            if self.blocked.contains(&level(index + 1)) {
                return None;
            }
        }
        Some(Step::Compact { level: into, inputs })
    }

    /// The image that the history began with, as long as level 0 alone holds it.
    fn bare_first_image(&self) -> Option<&LtxObject> {
        let known = self.listing.objects().filter(|o| o.min_txid == Txid::FIRST && o.max_txid <= self.newest);
        let whole: Vec<&LtxObject> = known.collect();
        whole.first().copied().filter(|_| whole.iter().all(|o| o.level == Level::L0))
    }

    fn unless_blocked(&self, step: Step) -> Option<Step> {
        (!self.blocked.contains(&Level::SNAPSHOT)).then_some(step)
    }

    /// How far this level, or one above it, holds the history.
    fn reached(&self, index: usize) -> Option<Txid> {
        let levels = (index..Level::SNAPSHOT.index()).map(level);
        levels.flat_map(|level| self.listing.level(level)).map(|o| o.max_txid).filter(|max| *max <= self.newest).max()
    }

    /// What the level below holds beyond that. Objects that begin at the first TXID are in no
    /// level's way above level 1.
    fn pending(&self, index: usize, reached: Option<Txid>) -> impl Iterator<Item = &LtxObject> {
        let skips_first = index > 1;
        self.listing
            .level(level(index - 1))
            .iter()
            .filter(move |o| Some(o.max_txid) > reached && o.max_txid <= self.newest)
            .filter(move |o| !(o.min_txid == Txid::FIRST && (skips_first || o.max_txid == Txid::FIRST)))
    }

    /// `None`: it was not looked at yet.
    fn is_image(&self, object: &LtxObject) -> Option<bool> {
        if object.level != Level::L0 {
            return Some(false);
        }
        let known = self.images.get(&object.max_txid).copied();
        let is_cheap = object.size < SMALL_IMAGE_BYTES && !self.has_snapshot_since(object.max_txid);
        known.or(is_cheap.then_some(false))
    }

    fn has_snapshot_since(&self, txid: Txid) -> bool {
        let covers = |o: &LtxObject| o.min_txid == Txid::FIRST && (txid..=self.newest).contains(&o.max_txid);
        self.listing.level(Level::SNAPSHOT).iter().any(covers)
    }

    /// The scheduled snapshot: due when the newest object that begins at the first TXID is no
    /// longer the newest of all.
    fn snapshot(&self, policy: &Policy, now_ms: i64) -> Option<Step> {
        if self.blocked.contains(&Level::SNAPSHOT) {
            return None;
        }
        let known = |o: &&LtxObject| o.max_txid <= self.newest;
        let whole = self.listing.objects().filter(known).filter(|o| o.min_txid == Txid::FIRST);
        let covered = whole.map(|o| o.max_txid).max()?;
        let later = self.listing.objects().filter(known).filter(|o| o.max_txid > covered);
        let due_ms = policy.snapshot_due_ms(later.map(|o| o.modified_ms).min()?);
        if due_ms > now_ms {
            return Some(Step::Wait(Some(due_ms)));
        }
        let files = plan::files_up_to(self.listing, self.newest);
        let inputs: Vec<LtxObject> = files.into_iter().take(MAX_INPUTS).cloned().collect();
        (inputs.last()?.max_txid > covered).then_some(Step::Snapshot { inputs })
    }
}

fn continues(inputs: &[LtxObject], object: &LtxObject) -> bool {
    let Some(last) = inputs.last() else { return true };
    object.max_txid > last.max_txid && last.max_txid.next().is_some_and(|wanted| object.min_txid <= wanted)
}

#[cfg(test)]
mod tests;
