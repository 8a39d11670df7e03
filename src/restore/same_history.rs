//! Whether one of two replicas goes on where the other ends.
//!
//! A level-0 object is the same in every replica of one history, byte for byte, and two histories
//! have different ones. Two branches of one history agree up to where they part, so what counts is
//! the very TXID with which the shorter one ends: the longer one must have it as well, as an object
//! of any level that ends there (`remote/common.rs`). Older TXIDs that agree prove nothing.

use crate::ltx::{Header, Txid};
use crate::remote::{Level, Listing, LtxObject, ReadError, Remote, common_ends, is_same_commit};
use crate::store::StoreError;

/// So many pairs of objects are compared until one tells.
const PAIRS_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameHistory {
    Yes,
    /// This TXID is another one.
    No(Txid),
    /// Nothing shows that the longer one continues the shorter one.
    Unknown,
}

/// Compares two replicas that have LTX files.
pub async fn same_history(one: &Remote, other: &Remote) -> Result<SameHistory, StoreError> {
    let (ours, theirs) = tokio::try_join!(one.listing(), other.listing())?;
    let is_l0 = |object: &LtxObject| object.level == Level::L0;
    for (our, their) in common_ends(&ours, &theirs, is_l0).take(PAIRS_MAX) {
        if let (Some(a), Some(b)) = (header(one, our).await?, header(other, their).await?) {
            if a != b {
                return Ok(SameHistory::No(their.max_txid));
            }
            break;
        }
    }
    let Some(end) = ours.newest_txid().min(theirs.newest_txid()) else { return Ok(SameHistory::Unknown) };
    let commits = tokio::try_join!(commits(one, &ours, end), commits(other, &theirs, end))?;
    let is_same = commits.0.iter().any(|a| commits.1.iter().any(|b| is_same_commit(a, b)));
    Ok(if is_same { SameHistory::Yes } else { SameHistory::Unknown })
}

/// What the objects that end with this TXID say of it. A snapshot of Litestream says when it was
/// made, so one of them may tell what another does not.
async fn commits(remote: &Remote, listing: &Listing, txid: Txid) -> Result<Vec<Header>, StoreError> {
    let mut found = Vec::new();
    for object in listing.objects().filter(|object| object.max_txid == txid).take(PAIRS_MAX) {
        found.extend(header(remote, object).await?);
    }
    Ok(found)
}

/// Of an object that is what its name says.
async fn header(remote: &Remote, object: &LtxObject) -> Result<Option<Header>, StoreError> {
    match remote.check_header(object).await {
        Ok(found) => Ok(found.ok()),
        Err(ReadError::Gone { .. } | ReadError::Invalid { .. }) => Ok(None),
        Err(ReadError::Store(error)) => Err(error),
    }
}
