//! Marking a state of a replica: by hand, before a migration, before a database is replaced.
//!
//! A mark of the newest state is always in time (`replicate/lifecycle/marks.rs`). One of an older
//! state is looked at again once every deletion has seen it that could have missed it.

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
/// So many of one kind are kept in a replica.
const AUTOMATIC_MAX: usize = 10;
/// Longer than a look at the marks is good for a deletion.
const SETTLES: Duration = Duration::from_secs(5);

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
        // No two attempts say the same, so that what is there is known for ours.
        by: format!(
            concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), ", {:016x}"),
            remote.clock().random_u64()
        ),
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

/// A mark that is made by itself: of which kind, and what it says.
#[derive(Clone, Debug)]
pub struct Automatic {
    /// Names begin with this.
    pub prefix: &'static str,
    pub name: String,
    pub note: &'static str,
}

impl Automatic {
    pub fn now(prefix: &'static str, note: &'static str, now_ms: i64) -> Automatic {
        Automatic { prefix, name: stamped(prefix, now_ms), note }
    }

    /// The mark of this state, which may be there already; older ones make room for a new one.
    pub async fn create(&self, remote: &Remote, state: State) -> Result<Mark, Failure> {
        let marks = remote.marks().await.map_err(read_failure)?.marks;
        let superfluous = match choose(&marks, self.prefix, state.0) {
            Choice::There(mark) => return Ok(mark),
            Choice::New { superfluous } => superfluous,
        };
        let new = NewMark { name: self.name.clone(), keep: Some(AUTOMATIC_KEEP), note: Some(self.note.to_owned()) };
        let mark = create(remote, &new, state).await?;
        for name in superfluous {
            if let Err(error) = remote.drop_mark(&name).await {
                tracing::debug!("the mark {name} in {} stays: {error}", remote.address());
            }
        }
        Ok(mark)
    }
}

/// What a new automatic mark means to those of its kind that are there.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// The newest of them marks the same transaction.
    There(Mark),
    /// The oldest of them, which one more takes the place of, are dropped then.
    New { superfluous: Vec<String> },
}

fn choose(marks: &[Mark], prefix: &str, txid: Txid) -> Choice {
    let mut automatic: Vec<&Mark> = marks.iter().filter(|mark| mark.name.starts_with(prefix)).collect();
    automatic.sort_by_key(|mark| (mark.created_ms, &mark.name));
    match automatic.last() {
        Some(newest) if newest.txid == txid => Choice::There((*newest).clone()),
        _ => {
            let many = (automatic.len() + 1).saturating_sub(AUTOMATIC_MAX);
            Choice::New { superfluous: automatic.iter().take(many).map(|mark| mark.name.clone()).collect() }
        }
    }
}

/// Marks an older state, which retention may have been about to delete.
pub async fn create_older(
    remote: &Remote,
    new: &NewMark,
    state_wanted: State,
    cancel: &CancellationToken,
) -> Result<Mark, Failure> {
    let mark = create(remote, new, state_wanted).await?;
    if state(remote, Target::Latest, cancel).await.is_ok_and(|(newest, _)| newest == mark.txid) {
        return Ok(mark);
    }
    tracing::info!("making sure that TXID {} in {} stays, within {SETTLES:?}", mark.txid, remote.address());
    tokio::time::sleep(SETTLES).await;
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

/// `before-migration-20261128T183700.123Z`: two starts within a second get two names.
fn stamped(prefix: &str, now_ms: i64) -> String {
    let time = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{prefix}{}", format!("{time:.3}").replace(['-', ':'], ""))
}

pub fn rfc3339(unix_ms: i64) -> String {
    Timestamp::from_millisecond(unix_ms).map_or_else(|_| format!("{unix_ms} ms"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_names_sort_by_time() {
        assert_eq!(stamped("before-migration-", 1_795_891_020_999), "before-migration-20261128T183700.999Z");
        Mark::check_name(&stamped("before-restore-", 0)).expect("a name");
        assert!(stamped("x-", 1_000) > stamped("x-", 0));
    }

    fn mark(name: &str, txid: u64, created_ms: i64) -> Mark {
        let txid = Txid::new(txid).expect("not zero");
        let (timestamp_ms, expires_ms, note, by) = (0, None, None, String::new());
        Mark { name: name.into(), txid, timestamp_ms, created_ms, expires_ms, note, by }
    }

    #[test]
    fn the_same_state_gets_no_second_automatic_mark_and_the_oldest_make_room() {
        const PREFIX: &str = "before-migration-";
        let new = |superfluous: &[String]| Choice::New { superfluous: superfluous.to_vec() };
        let mut marks = vec![mark("by-hand", 9, 99), mark("before-restore-1", 9, 98)];
        let choose = |marks: &[Mark], number| choose(marks, PREFIX, Txid::new(number).expect("not zero"));
        assert_eq!(choose(&marks, 9), new(&[]), "one of another kind is no reason");
        marks.extend((1..=9).map(|n| mark(&format!("{PREFIX}{n}"), n, 100 - n as i64)));
        assert_eq!(choose(&marks, 1), Choice::There(mark(&format!("{PREFIX}1"), 1, 99)));
        assert_eq!(choose(&marks, 9), new(&[]), "it is the oldest of nine");
        marks.push(mark(&format!("{PREFIX}x"), 20, 200));
        marks.push(mark(&format!("{PREFIX}y"), 21, 201));
        assert_eq!(choose(&marks, 22), new(&[9, 8].map(|n| format!("{PREFIX}{n}"))));
    }

    fn remote() -> Remote {
        Remote::new(std::sync::Arc::new(crate::store::memory::MemoryStore::new()), crate::remote::Layout::S3)
    }

    #[tokio::test]
    async fn automatic_marks_stay_few_and_those_made_by_hand_stay() {
        let remote = remote();
        remote.create_mark(&mark("by-hand", 1, 0)).await.expect("created");
        for number in 1..=15 {
            let new = Automatic::now("before-x-", "a note", 1_000_000 * number);
            for _ in 0..2 {
                let state = (Txid::new(u64::try_from(number).expect("small")).expect("not zero"), 5);
                let made = new.create(&remote, state).await.expect("marked");
                assert_eq!((made.name.as_str(), made.txid), (new.name.as_str(), state.0));
            }
        }
        let marks = remote.marks().await.expect("read").marks;
        assert_eq!(marks.len(), 1 + AUTOMATIC_MAX, "{marks:?}");
        assert_eq!((marks[0].name.as_str(), marks[1].txid.get()), ("by-hand", 6));
    }
}
