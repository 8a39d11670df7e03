//! What lies behind an error of the database: perhaps its files were taken away.

use std::time::Duration;

use crate::clock::Clock;
use crate::db::{Db, DbError};

/// A WAL is taken away, and the database is replaced a moment later.
const TORN_TIME: Duration = Duration::from_millis(1500);
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What has really happened to the files, if a step has failed with this. A removed WAL may be the
/// beginning of more.
pub fn cause_of(db: &Db, error: DbError, clock: Clock) -> DbError {
    let began = clock.blocking_instant();
    loop {
        match db.check_identity() {
            Err(DbError::Torn { .. }) if clock.blocking_instant() - began < TORN_TIME => clock.block_for(LOOK_INTERVAL),
            // What SQLite says of a file that was taken away in the middle of a step is only a
            // symptom.
            checked => return checked.err().unwrap_or(error),
        }
    }
}
