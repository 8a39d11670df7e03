//! What two replicas have in common.
//!
//! Objects that end with the same TXID, of whatever level, tell of the same commit if they say to
//! the millisecond the same of when it was captured, and of how large the database was then. At
//! level 0 a difference tells as much: there, one history has the same bytes everywhere. At other
//! levels it tells nothing, because a snapshot of Litestream says when it was made.

use super::{Listing, LtxObject};
use crate::ltx::Header;

/// Objects of both that end with the same TXID, the newest first, and of the lowest level.
pub fn common_ends<'a>(
    ours: &'a Listing,
    theirs: &'a Listing,
    wanted: fn(&LtxObject) -> bool,
) -> impl Iterator<Item = (&'a LtxObject, &'a LtxObject)> {
    let ends = |listing: &'a Listing| {
        let mut objects: Vec<&LtxObject> = listing.objects().filter(|object| wanted(object)).collect();
        objects.sort_by_key(|object| (object.max_txid, object.level));
        objects.dedup_by_key(|object| object.max_txid);
        objects
    };
    let ours = ends(ours);
    ends(theirs).into_iter().rev().filter_map(move |their| {
        let at = ours.binary_search_by_key(&their.max_txid, |object| object.max_txid).ok()?;
        Some((ours[at], their))
    })
}

/// Whether two objects that end with the same TXID tell of the same commit.
pub fn is_same_commit(one: &Header, other: &Header) -> bool {
    let moment = |header: &Header| (header.timestamp_ms, header.page_size, header.commit);
    moment(one) == moment(other)
}
