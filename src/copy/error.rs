//! What can be in the way of a copy.

use crate::remote::ReadError;
use crate::restore::RestoreError;
use crate::store::StoreError;

/// How often the source may change under a copy.
pub(super) const ROUNDS_MAX: usize = 5;

/// Variants are what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source has not what was asked for, or it cannot be read.
    #[error(transparent)]
    From(RestoreError),
    /// The place to copy to does not do what it should.
    #[error(transparent)]
    To(StoreError),
    #[error(
        "{address} holds {name}, which is no part of this copy: choose an empty place; a copy that was interrupted goes on if \
         the same state is asked for, with -txid"
    )]
    Occupied { address: String, name: String },
    #[error("{address} changes too fast to be copied: files vanished in each of {ROUNDS_MAX} attempts")]
    Moving { address: String },
    #[error("the copy in {address} cannot be restored: {error}")]
    Incomplete { address: String, error: RestoreError },
    #[error("the copy was cancelled; asked for again with the same state, it goes on where it was")]
    Cancelled,
}

pub(super) fn of_store(error: StoreError) -> CopyError {
    CopyError::From(RestoreError::CannotTell(error))
}

pub(super) fn read_failure(error: ReadError) -> RestoreError {
    match error {
        ReadError::Store(error) => RestoreError::CannotTell(error),
        ReadError::Gone { name } => {
            RestoreError::CannotTell(StoreError::NotFound { detail: format!("{name} is gone") })
        }
        ReadError::Invalid { name, source } => {
            RestoreError::Corrupt { name: name.to_string(), why: source.to_string() }
        }
    }
}
