//! The planner: which files make the database at a point of its history. Pure: a listing in, a plan
//! out.
//!
//! It chooses as Litestream does: the newest snapshot, and from there always the file that gets
//! furthest. But what a later file holds as a whole is left out, and that may be the snapshot. File
//! names are what it goes by; overlaps are fine, gaps are not. Both ways go by it: restores read
//! what it names, and nothing that it needs goes.
//!
//! ```text
//! snapshot 1────────────100
//! level 2           90───────120
//! level 1                        121───130
//! level 0                                  131 132 │ 134 …      133 is missing: it ends at 132
//! ```

use super::{Level, Listing, LtxObject};
use crate::ltx::Txid;

/// Files that make a database, oldest first; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub files: Vec<LtxObject>,
}

impl Plan {
    /// The last transaction that the database will hold.
    pub fn txid(&self) -> Txid {
        self.newest().max_txid
    }

    /// Sum of the files' sizes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|o| o.size).fold(0, u64::saturating_add)
    }

    /// The file that says how large the database is.
    pub fn newest(&self) -> &LtxObject {
        self.files.last().expect("a plan has files")
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// No LTX object at all.
    Nothing,
    /// Transactions between `reached` (none: the beginning) and the first of `beyond` are in no
    /// file.
    Gap { reached: Option<Txid>, beyond: LtxObject },
    /// The history does not stop at this TXID in any file. The nearest ones it does stop at.
    NotReached { below: Option<Txid>, above: Option<Txid> },
    /// Nothing is as old as was asked for.
    TooEarly,
}

/// The end of the history.
pub fn latest(listing: &Listing) -> Result<Plan, NoPlan> {
    if listing.is_empty() {
        return Err(NoPlan::Nothing);
    }
    let chain = chain(listing, None);
    match chain.beyond {
        Some(beyond) => Err(NoPlan::Gap { reached: chain.end, beyond: beyond.clone() }),
        None => Ok(chain.plan().expect("every object is within reach or beyond it")),
    }
}

/// Exactly `txid`.
pub fn at_txid(listing: &Listing, txid: Txid) -> Result<Plan, NoPlan> {
    if listing.is_empty() {
        return Err(NoPlan::Nothing);
    }
    let below = chain(listing, Some(txid));
    if below.end == Some(txid) {
        return Ok(below.plan().expect("it reaches somewhere"));
    }
    let whole = chain(listing, None);
    if let Some(beyond) = whole.beyond.filter(|o| whole.end.is_none_or(|end| end < txid && o.min_txid <= txid)) {
        return Err(NoPlan::Gap { reached: whole.end, beyond: beyond.clone() });
    }
    let mut later: Vec<Txid> = listing.objects().map(|o| o.max_txid).filter(|max| *max > txid).collect();
    later.sort_unstable();
    later.dedup();
    let above = later.into_iter().take(64).find(|max| chain(listing, Some(*max)).end == Some(*max));
    Err(NoPlan::NotReached { below: below.end, above })
}

/// As far as `earlier` gets, which is `listing` as it was before some point in time.
pub fn before(listing: &Listing, earlier: &Listing) -> Result<Plan, NoPlan> {
    if listing.is_empty() {
        return Err(NoPlan::Nothing);
    }
    let (whole, chain) = (chain(listing, None), chain(earlier, None));
    // Files out of reach are a gap only if the whole history does not bridge it: a compacted file
    // that does can be too young.
    if let Some(beyond) = chain.beyond.filter(|o| whole.end.is_none_or(|end| end < o.min_txid)) {
        return Err(NoPlan::Gap { reached: whole.end, beyond: beyond.clone() });
    }
    chain.plan().ok_or(NoPlan::TooEarly)
}

/// The files that make the database as far as `limit` at most, oldest first; empty when nothing
/// begins at the first TXID.
pub fn files_up_to(listing: &Listing, limit: Txid) -> Vec<&LtxObject> {
    chain(listing, Some(limit)).files
}

struct Chain<'a> {
    files: Vec<&'a LtxObject>,
    end: Option<Txid>,
    /// The first object that does not connect.
    beyond: Option<&'a LtxObject>,
}

impl Chain<'_> {
    fn plan(&self) -> Option<Plan> {
        let files: Vec<LtxObject> = self.files.iter().map(|o| (*o).clone()).collect();
        (!files.is_empty()).then_some(Plan { files })
    }
}

/// Follows the history from its newest snapshot (or its beginning) as far as files with TXIDs up to
/// `limit` connect.
fn chain(listing: &Listing, limit: Option<Txid>) -> Chain<'_> {
    let allowed = |o: &&LtxObject| limit.is_none_or(|limit| o.max_txid <= limit);
    let snapshots = listing.level(Level::SNAPSHOT).iter().filter(|o| o.min_txid == Txid::FIRST).filter(allowed);
    let mut files: Vec<&LtxObject> = snapshots.max_by_key(|o| o.max_txid).into_iter().collect();
    let mut end = files.last().map(|o| o.max_txid);

    let mut queues: Vec<_> = Level::all().map(|level| listing.level(level).iter().filter(allowed).peekable()).collect();
    let mut best: Option<&LtxObject> = None;
    loop {
        for queue in &mut queues {
            while let Some(object) = queue.next_if(|o| o.min_txid.get() - 1 <= end.map_or(0, Txid::get)) {
                best = Some(best.map_or(object, |other| std::cmp::max_by_key(other, object, |o| rank(o))));
            }
        }
        match best {
            Some(object) if end.is_none_or(|end| object.max_txid > end) => {
                // It holds what they hold: a compacted file from the first TXID on is as good a
                // beginning as the snapshot.
                while files.pop_if(|last| last.min_txid >= object.min_txid).is_some() {}
                files.push(object);
                end = Some(object.max_txid);
            }
            _ => break,
        }
    }
    let beyond = queues.iter_mut().filter_map(|queue| queue.peek().copied()).min_by_key(|o| o.min_txid);
    Chain { files, end, beyond }
}

/// Gets furthest, covers most, is most compacted, is oldest.
fn rank(o: &LtxObject) -> impl Ord + use<> {
    use std::cmp::Reverse;
    (o.max_txid, Reverse(o.min_txid), o.level, Reverse(o.modified_ms))
}

#[cfg(test)]
mod tests;
