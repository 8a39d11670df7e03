//! Marking a state of a replica: by hand, before a migration, before a database is replaced.

use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::connect::store_failure;
use super::exit::{BACKUP, CANNOT_WRITE, Failure};
use super::restore_missing::restore_failure;
use crate::ltx::Txid;
use crate::remote::{Created, Mark, ReadError, Remote};
use crate::restore::{Found, RestoreError, Target, plan};

/// How long the marks are kept that are made without being asked for.
pub const AUTOMATIC_KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a mark is to say beside the state that it marks.
#[derive(Clone, Debug)]
pub struct NewMark {
    pub name: String,
    /// How long; `None`: until it is dropped.
    pub keep: Option<Duration>,
    pub note: Option<String>,
}

/// A state that can be restored exactly: its transaction, and when that was, Unix milliseconds.
pub type State = (Txid, i64);

/// What a restore would bring back now.
pub async fn state(remote: &Remote, target: Target, cancel: &CancellationToken) -> Result<State, RestoreError> {
    match plan(remote, target, cancel).await? {
        Found::Ltx(checked) => Ok((checked.plan.txid(), checked.newest.timestamp_ms)),
        Found::Old(_) => Err(RestoreError::NoTxids { address: remote.address().to_owned() }),
    }
}

/// Creates the mark in one replica. Its name must be free.
pub async fn create(remote: &Remote, new: &NewMark, (txid, timestamp_ms): State) -> Result<Mark, Failure> {
    let created_ms = remote.clock().unix_ms();
    let keep = |keep: Duration| created_ms.saturating_add(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
    let mark = Mark {
        name: new.name.clone(),
        txid,
        timestamp_ms,
        created_ms,
        expires_ms: new.keep.map(keep),
        note: new.note.clone(),
        by: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).into(),
    };
    match remote.create_mark(&mark).await {
        Ok(Created::Done) => Ok(mark),
        Ok(Created::InUse(there)) => Err(Failure::new(CANNOT_WRITE, in_use(remote, &mark.name, there.as_deref()))),
        Err(error) => Err(store_failure(&error)),
    }
}

fn in_use(remote: &Remote, name: &str, there: Option<&Mark>) -> anyhow::Error {
    let address = remote.address();
    let marks = there
        .map_or_else(String::new, |mark| format!(": it marks TXID {} of {}", mark.txid, rfc3339(mark.timestamp_ms)));
    anyhow!(
        "the mark {name} exists already in {address}{marks}; choose another name, or drop it first with: mark -drop {name}"
    )
}

/// Marks an older state, which retention may have been about to delete.
pub async fn create_older(
    remote: &Remote,
    new: &NewMark,
    state_wanted: State,
    cancel: &CancellationToken,
) -> Result<Mark, Failure> {
    let mark = create(remote, new, state_wanted).await?;
    match state(remote, Target::Txid(mark.txid), cancel).await {
        Ok(_) => Ok(mark),
        Err(error) => {
            let came_too_late = matches!(error.cause(), RestoreError::NotReached { .. });
            if came_too_late {
                // What it would mark is gone. That it stays when this fails does no harm.
                let _ = remote.drop_mark(&mark.name).await;
            }
            Err(restore_failure(error))
        }
    }
}

/// The transaction that a mark names, in the first of these replicas that has it.
pub async fn find(remotes: impl IntoIterator<Item = &Remote>, name: &str) -> Result<Mark, Failure> {
    let (mut failure, mut asked) = (None, Vec::new());
    for remote in remotes {
        match remote.mark(name).await {
            Ok(Some(mark)) => return Ok(mark),
            Ok(None) => asked.push(remote.address().to_owned()),
            Err(error) => failure = failure.or(Some(read_failure(error))),
        }
    }
    let unknown = || {
        let places = asked.join(" and in ");
        Failure::new(BACKUP, anyhow!("there is no mark {name} in {places}: `mark -list` shows those that are there"))
    };
    Err(failure.unwrap_or_else(unknown))
}

/// The exit code for marks that cannot be read.
pub fn read_failure(error: ReadError) -> Failure {
    match error {
        ReadError::Store(error) => store_failure(&error),
        error => Failure::told(BACKUP, error),
    }
}

/// `before-migration-20261128T183700Z`.
pub fn stamped(prefix: &str, now_ms: i64) -> String {
    let second = Timestamp::from_second(now_ms.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{prefix}{}", second.to_string().replace(['-', ':'], ""))
}

pub fn rfc3339(unix_ms: i64) -> String {
    Timestamp::from_millisecond(unix_ms).map_or_else(|_| format!("{unix_ms} ms"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_names_sort_by_time() {
        assert_eq!(stamped("before-migration-", 1_795_891_020_999), "before-migration-20261128T183700Z");
        Mark::check_name(&stamped("before-restore-", 0)).expect("a name");
        assert!(stamped("x-", 1_000) > stamped("x-", 0));
    }
}
