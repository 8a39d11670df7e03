//! What others may ask of a running replication.
//!
//! Its status need not be asked for: it is always at hand (`status.rs`).

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::core::{SealPermit, SyncError};
use crate::ltx::Txid;

pub type SyncReply = oneshot::Sender<Result<Option<Txid>, SyncError>>;
pub type SnapshotReply = oneshot::Sender<Result<Txid, SnapshotError>>;

/// Why there is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("nothing of this database is in the replica yet")]
    Nothing,
    #[error("the replica is not maintained by this process now")]
    NotMaintained,
    #[error("no file in the replica begins at the first transaction, or one is missing")]
    NoChain,
    #[error("cannot make a snapshot in {address}: {why}")]
    Failed { address: String, why: String },
}

#[derive(Debug)]
pub enum Request {
    /// Answered when everything that is committed now is in the bucket, or when the time has
    /// passed.
    Sync { by: Instant, reply: SyncReply },
    /// The same, and the WAL is in the database file then, and starts over.
    Checkpoint { by: Instant, reply: SyncReply },
    /// Answered by the TXID that holds, or will hold, everything that is committed now; the bucket
    /// is not waited for.
    Position { by: Instant, reply: SyncReply },
    /// Answered when a snapshot holds everything that is in the bucket now.
    Snapshot { reply: SnapshotReply },
}

/// Never, if nothing is to be sealed, or it cannot change any more.
pub async fn next_permit(permit: &mut Option<watch::Receiver<SealPermit>>) -> SealPermit {
    if let Some(receiver) = permit
        && receiver.changed().await.is_ok()
    {
        return *receiver.borrow_and_update();
    }
    std::future::pending().await
}
