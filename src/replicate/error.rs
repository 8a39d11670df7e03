//! Why a step of a replication did not succeed, and what is said of it.
//!
//! Every message names the database, the replica, and what to do. `local.rs` says what kind of
//! trouble each is, and the core what comes of it.

use super::core::RemoteOrder;
use crate::db::DbError;
use crate::fsx::FsError;
use crate::ltx::{Header, Txid};
use crate::remote::ReadError;
use crate::state::{SpillError, SyncedTo};
use crate::store::StoreError;

/// Why a step did not succeed. Variants are the next move.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// The bucket: retry for ever.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Another writer owns the history.
    #[error("{0}")]
    Foreign(String),
    /// A database that was created anew must not be shipped over the history of another.
    #[error(
        "{path} was created anew, but {address} holds the history of an earlier database, up to TXID {txid}: \
             restore it first, or replicate to another path; if it is right as it is: stop, `millstream reset {path}`, and start again"
    )]
    NewDatabase { path: String, address: String, txid: Txid },
    /// What lies at the path has nothing in common with the history.
    #[error(
        "{path} is not the database whose history, up to TXID {txid}, is in {address}: {why}; nothing was uploaded: \
             restore it; or, if it is right as it is, replicate to another path, or make it the newest state of this history with \
             `millstream reset {path}`, and start again"
    )]
    AnotherDatabase { path: String, address: String, txid: Txid, why: String },
    /// The history went on elsewhere: what lies here is a branch that is never restored.
    #[error(
        "the history in {address} goes on to TXID {txid}, but this disk was in step with it only up to {synced_to}, and {path} did not come \
             after that ({why}): another node has gone on, or this disk has lost what it had; nothing was uploaded: move the database \
             away and start again, it is then restored; or make it the newest state with `millstream reset {path}`"
    )]
    MovedOn { path: String, address: String, txid: Txid, synced_to: SyncedTo, why: String },
    /// A program wrote to the file past SQLite.
    #[error(
        "{path} is malformed since a program wrote to its file past SQLite ({damage}); nothing of that was uploaded: stop everything that \
             has it open, remove it with its -wal and -shm, and start again, it is then restored from {address}"
    )]
    Damaged { path: String, address: String, damage: String },
    /// The database or the disk; busy ones are retried.
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// An order without what it needs: a mistake of ours, which trying again may mend.
    #[error("internal error: there is nothing to send for {order:?}", order = .0)]
    Missing(RemoteOrder),
}

/// Why an object was not created. Variants are the next move.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Not stored, or not known to be: try again.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("read the object back: {0}")]
    ReadBack(#[source] ReadError),
    /// Another writer has created this TXID: stop.
    #[error("TXID {} is already in {address}, written by another writer", header.min_txid)]
    Foreign { header: Box<Header>, address: String },
    #[error(transparent)]
    Db(#[from] DbError),
}

impl StepError {
    /// Whether there was no room to keep commits beside the database.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, StepError::Spill(SpillError::Io(error)) if error.kind() == std::io::ErrorKind::StorageFull)
    }

    /// Whether time alone may cure it.
    pub fn may_pass(&self) -> bool {
        match self {
            StepError::Store(error) | StepError::Read(ReadError::Store(error)) => error.is_transient(),
            _ => true,
        }
    }
}

impl From<UploadError> for StepError {
    fn from(error: UploadError) -> StepError {
        match error {
            UploadError::Store(error) => StepError::Store(error),
            UploadError::ReadBack(error) => StepError::Read(error),
            UploadError::Db(error) => StepError::Db(error),
            UploadError::Foreign { .. } => StepError::Foreign(error.to_string()),
        }
    }
}

impl From<FsError> for StepError {
    fn from(error: FsError) -> StepError {
        StepError::Db(DbError::Io(error))
    }
}
