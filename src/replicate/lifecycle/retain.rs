//! Which objects may go. Pure: a listing, the time and the policy in, names out.
//!
//! ```text
//!            window: every moment since here can be restored ─┐
//! level 9   1-40      1-80 (the base)                          │   1-120
//! level 3   …-40   41─────────80 │ 81──────────100             │ 101────────120
//! level 0                        │                             │             121 122 123
//!           └── may go ──────────┘ needed by some moment since └── and the newest
//! ```
//!
//! - The *base* is the newest snapshot that is older than the window. Every plan for a moment of
//!   the window begins with it or with a newer one, so what ends at or before it is in no such
//!   plan.
//! - A level-0 object goes when it is old enough and one compacted object holds it. The granularity
//!   of Litestream is lost then, and nothing else. The newest one stays: writers resume from it. So
//!   does the newest of every level.
//! - A full image that no level holds (see `schedule.rs`) is held by the snapshot that was written
//!   from it.
//! - What a deletion rests on must be *proved*: looked into since it was written. What is not is
//!   returned to be looked into. And it must have been there for the grace time: a restore that
//!   listed the bucket before reads what it replaces.
//! - What a restore of a marked TXID reads stays (`retain/marked.rs`).
//! - Objects that the writer does not know to be part of its history are never touched and nothing
//!   rests on them.

use std::collections::HashSet;

use super::Policy;
use crate::ltx::Txid;
use crate::remote::{Level, Listing, LtxObject, plan};
use crate::store::Key;
use marked::{Kept, Plans};

pub use marked::Marked;

mod marked;

/// What is known about single objects.
pub struct Known<'a> {
    /// Since when it counts, Unix milliseconds: the grace time after it was looked into. `None`:
    /// it was not looked into.
    pub proved: &'a dyn Fn(&LtxObject) -> Option<i64>,
    /// The store does not let go of these.
    pub refused: &'a dyn Fn(&LtxObject) -> bool,
    /// The marks of the replica.
    pub marked: &'a [Marked],
}

/// What a decision is made of.
struct Facts<'a> {
    known: &'a Known<'a>,
    plans: Plans,
    now_ms: i64,
}

#[derive(Debug, Default)]
pub struct Verdict {
    pub delete: Vec<LtxObject>,
    /// More may go once these were looked into.
    pub unproved: Vec<LtxObject>,
    /// The first image is about to expire, and no snapshot holds it yet.
    pub keep_first_image: bool,
    /// Level-0 objects, the newest one not counted.
    pub level_0: LevelZero,
    /// When more may go if nothing else happens, Unix milliseconds.
    pub next_ms: Option<i64>,
}

/// How many of them are what to retention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelZero {
    /// Old enough, and held by another object.
    pub eligible: u64,
    /// Old enough, and held by no other.
    pub not_compacted: u64,
    pub too_recent: u64,
}

impl Verdict {
    /// `object` may go at `due_ms` because `cover` holds what it holds.
    fn rest(&mut self, object: &LtxObject, cover: &LtxObject, due_ms: i64, facts: &Facts<'_>) {
        let now_ms = facts.now_ms;
        match facts.plans.kept(object) {
            _ if (facts.known.refused)(object) => return,
            Kept::Always => return,
            Kept::Until(expires_ms) => return self.wake(due_ms.max(expires_ms)),
            Kept::No if due_ms > now_ms => return self.wake(due_ms),
            Kept::No => {}
        }
        let mut may_go = true;
        for basis in std::iter::once(cover).chain(facts.plans.instead_of(object)) {
            match (facts.known.proved)(basis) {
                Some(since_ms) if since_ms <= now_ms => continue,
                Some(since_ms) => self.wake(since_ms),
                None if self.unproved.contains(basis) => {}
                None => self.unproved.push(basis.clone()),
            }
            may_go = false;
        }
        if may_go {
            self.delete.push(object.clone());
        }
    }

    fn wake(&mut self, at_ms: i64) {
        self.next_ms = Some(self.next_ms.map_or(at_ms, |next| next.min(at_ms)));
    }
}

/// Decides. `newest` is the newest TXID that the writer knows to be in the bucket.
pub fn decide(listing: &Listing, newest: Txid, policy: &Policy, now_ms: i64, known: &Known<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    if !policy.delete {
        return verdict;
    }
    let facts = Facts { known, plans: Plans::of(listing, known.marked, now_ms), now_ms };
    let expires_ms = |o: &LtxObject| policy.snapshot_expires_ms(o.modified_ms);
    let snapshots = || {
        let level = listing.level(Level::SNAPSHOT).iter();
        level.filter(|o| o.min_txid == Txid::FIRST && o.max_txid <= newest)
    };
    let base = snapshots().filter(|o| expires_ms(o) <= now_ms).max_by_key(|o| o.max_txid);
    if let Some(base) = base {
        below(listing, base).for_each(|object| verdict.rest(object, base, now_ms, &facts));
    }
    // The next snapshot that will be a base, if that frees anything.
    let coming = snapshots().filter(|o| expires_ms(o) > now_ms);
    for next in coming {
        for object in below(listing, next).filter(|o| !(known.refused)(o)) {
            match facts.plans.kept(object) {
                Kept::No => verdict.wake(expires_ms(next)),
                Kept::Until(at_ms) => verdict.wake(expires_ms(next).max(at_ms)),
                Kept::Always => {}
            }
        }
    }
    level_0(listing, newest, base, policy, &facts, &mut verdict);
    if !keeps_the_chain(listing, newest, &verdict.delete, &facts.plans) {
        // No history makes this true; a deletion is the last place to find out that one does.
        verdict.delete.clear();
    }
    verdict
}

/// What no plan that begins with `base` or a newer snapshot reads, level 0 excepted.
fn below<'a>(listing: &'a Listing, base: &LtxObject) -> impl Iterator<Item = &'a LtxObject> {
    let end = base.max_txid;
    let snapshots = listing.level(Level::SNAPSHOT).iter();
    let snapshots = snapshots.filter(move |o| o.min_txid == Txid::FIRST && o.max_txid < end);
    let compacted =
        Level::all().filter(|&level| level != Level::L0 && level != Level::SNAPSHOT).flat_map(move |level| {
            let objects = listing.level(level);
            let newest = objects.iter().map(|o| o.max_txid).max();
            objects.iter().filter(move |o| o.max_txid <= end && Some(o.max_txid) != newest)
        });
    snapshots.chain(compacted)
}

fn level_0(
    listing: &Listing,
    newest: Txid,
    base: Option<&LtxObject>,
    policy: &Policy,
    facts: &Facts<'_>,
    verdict: &mut Verdict,
) {
    let &Facts { known, now_ms, .. } = facts;
    let Some(last) = listing.newest_l0().map(|o| o.max_txid) else { return };
    if policy.l0_retention.is_zero() {
        return;
    }
    let reached = listing.objects().filter(|o| is_compacted(o.level) && o.max_txid <= newest).map(|o| o.max_txid).max();
    for object in listing.level(Level::L0).iter().filter(|o| o.max_txid < last && o.max_txid < newest) {
        let due_ms = policy.l0_expires_ms(object.modified_ms);
        let covers = || {
            let image = image_of(listing, object);
            let image = image.filter(|_| object.max_txid == Txid::FIRST || reached > Some(object.max_txid));
            let base = base.filter(|base| object.max_txid <= base.max_txid);
            base.into_iter().chain(covering(listing, object, newest)).chain(image)
        };
        let proved = covers().filter_map(|cover| Some(((known.proved)(cover)?, cover)));
        let cover = proved.min_by_key(|(since_ms, _)| *since_ms).map(|(_, cover)| cover).or_else(|| covers().next());
        *match cover {
            _ if due_ms > now_ms => &mut verdict.level_0.too_recent,
            Some(_) => &mut verdict.level_0.eligible,
            None => &mut verdict.level_0.not_compacted,
        } += 1;
        match cover {
            Some(cover) => verdict.rest(object, cover, due_ms, facts),
            None if object.min_txid != Txid::FIRST || (known.refused)(object) => {}
            None if due_ms <= now_ms => verdict.keep_first_image = true,
            None => verdict.wake(due_ms),
        }
    }
}

fn is_compacted(level: Level) -> bool {
    level != Level::L0 && level != Level::SNAPSHOT
}

/// The compacted objects that hold all of `object`, one of each level.
fn covering<'a>(listing: &'a Listing, object: &LtxObject, newest: Txid) -> impl Iterator<Item = &'a LtxObject> {
    // Within a level objects follow each other; a few overlap where two programs have taken turns.
    const OVERLAPS: usize = 16;
    let (min_txid, max_txid) = (object.min_txid, object.max_txid);
    Level::all().filter(|&level| is_compacted(level)).filter_map(move |level| {
        let objects = listing.level(level);
        let behind = objects.partition_point(|o| o.min_txid <= min_txid);
        objects[..behind].iter().rev().take(OVERLAPS).find(|o| o.max_txid >= max_txid && o.max_txid <= newest)
    })
}

/// The snapshot that ends exactly with `object`.
fn image_of<'a>(listing: &'a Listing, object: &LtxObject) -> Option<&'a LtxObject> {
    let ends_there = |o: &&LtxObject| o.min_txid == Txid::FIRST && o.max_txid == object.max_txid;
    listing.level(Level::SNAPSHOT).iter().find(ends_there)
}

fn keeps_the_chain(listing: &Listing, newest: Txid, delete: &[LtxObject], plans: &Plans) -> bool {
    if delete.is_empty() {
        return true;
    }
    let gone: HashSet<&Key> = delete.iter().map(|o| &o.name).collect();
    let mut rest = listing.clone();
    rest.retain(|o| !gone.contains(&o.name));
    let end = |listing: &Listing| plan::files_up_to(listing, newest).last().map(|o| o.max_txid);
    end(listing) == end(&rest) && plans.survive(&rest)
}

#[cfg(test)]
mod tests;
