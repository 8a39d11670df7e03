//! The newest chain of a listing: what a restore of the newest transaction reads. Pure.
//!
//! It follows Litestream's planner: the newest snapshot, and from there always the file that gets furthest. The road down has
//! a planner of its own, which also explains why there is no plan; the tests of this room hold the two against each other.

use std::cmp::Reverse;

use crate::ltx::Txid;
use crate::remote::{Level, Listing, LtxObject};

/// The files that make the database as far as `newest`, oldest first; empty when nothing begins at the first TXID.
pub fn chain(listing: &Listing, newest: Txid) -> Vec<&LtxObject> {
    let known = |o: &&LtxObject| o.max_txid <= newest;
    let snapshots = listing.level(Level::SNAPSHOT).iter().filter(known).filter(|o| o.min_txid == Txid::FIRST);
    let mut files: Vec<&LtxObject> = snapshots.max_by_key(|o| o.max_txid).into_iter().collect();
    let mut others: Vec<&LtxObject> = listing.objects().filter(known).collect();
    others.sort_by_key(|o| o.min_txid);
    let mut others = others.into_iter().peekable();
    let mut best: Option<&LtxObject> = None;
    loop {
        let end = files.last().map_or(0, |o| o.max_txid.get());
        while let Some(object) = others.next_if(|o| o.min_txid.get() - 1 <= end) {
            best = Some(best.map_or(object, |other| std::cmp::max_by_key(other, object, |o| rank(o))));
        }
        match best.take_if(|o| o.max_txid.get() > end) {
            Some(object) => files.push(object),
            None => return files,
        }
    }
}

/// Gets furthest, covers most, is most compacted, is oldest.
fn rank(o: &LtxObject) -> impl Ord + use<> {
    (o.max_txid, Reverse(o.min_txid), o.level, Reverse(o.modified_ms))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{listing, txid};
    use super::*;

    fn names(listing: &Listing, newest: u64) -> Vec<(u8, u64, u64)> {
        chain(listing, txid(newest)).iter().map(|o| (o.level.get(), o.min_txid.get(), o.max_txid.get())).collect()
    }

    #[test]
    fn the_furthest_files_connect() {
        let listing = listing(&[
            (9, 1, 10, 0),
            (3, 2, 8, 0),
            (2, 9, 15, 0),
            (1, 11, 13, 0),
            (1, 16, 18, 0),
            (0, 19, 19, 0),
            (0, 21, 21, 0),
        ]);
        assert_eq!(names(&listing, 30), [(9, 1, 10), (2, 9, 15), (1, 16, 18), (0, 19, 19)]);
        assert_eq!(names(&listing, 13), [(9, 1, 10), (1, 11, 13)]);
        assert_eq!(names(&listing, 9), []);
    }
}
