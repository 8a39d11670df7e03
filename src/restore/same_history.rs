//! Whether two replicas hold the same history.
//!
//! A level-0 object is the same in every replica of one history, byte for byte, and two histories
//! have different ones. Where no TXID is left as such an object in both, compacted files that end
//! with the same TXID can show that it is the same history (`remote/common.rs`).

use crate::ltx::{Header, Txid};
use crate::remote::{Level, LtxObject, ReadError, Remote, common_ends, is_same_commit};
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
    for (our, their) in common_ends(&ours, &theirs, is_l0).take(PAIRS_MAX) {
        if let (Some(a), Some(b)) = (header(one, our).await?, header(other, their).await?) {
            return Ok(if a == b { SameHistory::Yes } else { SameHistory::No(their.max_txid) });
        }
    }
    for (our, their) in common_ends(&ours, &theirs, |_| true).take(PAIRS_MAX) {
        if let (Some(a), Some(b)) = (header(one, our).await?, header(other, their).await?)
            && is_same_commit(&a, &b)
        {
            return Ok(SameHistory::Yes);
        }
    }
    Ok(SameHistory::Unknown)
}

/// Of an object that is what its name says.
async fn header(remote: &Remote, object: &LtxObject) -> Result<Option<Header>, StoreError> {
    match remote.check_header(object).await {
        Ok(found) => Ok(found.ok()),
        Err(ReadError::Gone { .. } | ReadError::Invalid { .. }) => Ok(None),
        Err(ReadError::Store(error)) => Err(error),
    }
}
