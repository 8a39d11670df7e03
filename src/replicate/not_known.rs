//! Why it could not be found out whether the database is an earlier state of the history.

use std::time::Duration;

use crate::db::DbError;
use crate::remote::ReadError;

/// How long the start of the application may wait to hear where the history ends.
pub const LOOK_TIME: Duration = Duration::from_secs(2);

/// Why it could not be found out; the replication, which begins next, says it in its own way.
#[derive(Debug, thiserror::Error)]
pub enum NotKnown {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0} does not answer in {LOOK_TIME:?}")]
    Silent(String),
}
