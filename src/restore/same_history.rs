//! Whether two replicas hold the same history.
//!
//! A level-0 object is the same in every replica of one history, byte for byte, and two histories
//! have different ones. Where no TXID is left as such an object in both, compacted files that end
//! with the same TXID tell: they say to the millisecond when that was captured. Agreement shows
//! that it is the same history; a difference shows nothing, because a snapshot of Litestream says
//! when it was made.

use crate::ltx::{Header, Txid};
use crate::remote::{Level, Listing, LtxObject, ReadError, Remote};
use crate::store::StoreError;

/// So many pairs of objects are compared until one tells.
const PAIRS_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameHistory {
    Yes,
    /// This TXID is another one.
    No(Txid),
    /// There is nothing to compare.
    Unknown,
}

/// Compares two replicas that have LTX files.
pub async fn same_history(one: &Remote, other: &Remote) -> Result<SameHistory, StoreError> {
    let (ours, theirs) = tokio::try_join!(one.listing(), other.listing())?;
    let is_l0 = |object: &LtxObject| object.level == Level::L0;
    for (our, their) in pairs(&ours, &theirs, is_l0) {
        if let (Some(a), Some(b)) = (header(one, our).await?, header(other, their).await?) {
            return Ok(if a == b { SameHistory::Yes } else { SameHistory::No(their.max_txid) });
        }
    }
    for (our, their) in pairs(&ours, &theirs, |_| true) {
        let moment = |header: Header| (header.timestamp_ms, header.page_size, header.commit);
        if let (Some(a), Some(b)) = (header(one, our).await?, header(other, their).await?)
            && moment(a) == moment(b)
        {
            return Ok(SameHistory::Yes);
        }
    }
    Ok(SameHistory::Unknown)
}

/// Objects of both that end with the same TXID, the newest first.
fn pairs<'a>(
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
    let pair = move |their: &'a LtxObject| {
        let at = ours.binary_search_by_key(&their.max_txid, |object| object.max_txid).ok()?;
        Some((ours[at], their))
    };
    ends(theirs).into_iter().rev().filter_map(pair).take(PAIRS_MAX)
}

/// Of an object that is what its name says.
async fn header(remote: &Remote, object: &LtxObject) -> Result<Option<Header>, StoreError> {
    match remote.check_header(object).await {
        Ok(found) => Ok(found.ok()),
        Err(ReadError::Gone { .. } | ReadError::Invalid { .. }) => Ok(None),
        Err(ReadError::Store(error)) => Err(error),
    }
}
