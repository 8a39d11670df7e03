//! The way down: from the bucket to a database file. (What Litestream 0.3 wrote takes its own way,
//! `v03.rs`.)
//!
//! ```text
//! one LIST → plan (pure) → open: header and index of each file, newest first
//!          → claim: which file has which page
//!          → parts of all files, fetched and decoded in parallel
//!          → the newest version of each page written at its place
//!          → every file verified → integrity → fsync
//!          → siblings out of the way → rename → fsync of the directory
//! ```
//!
//! Whether all of that would succeed is proved by `verify/`, without a database to replace.
//!
//! The result is an error or a database that was there at some commit; until the rename nothing is
//! visible under the target's name, and whatever an interrupted run leaves behind is removed by the
//! next. Memory is bounded by `parallelism`, not by the database: an index is read as a stream, and
//! one bit is kept for each page and for each frame of the files in hand.
//!
//! # Invariants
//!
//! I1: what comes out is an error, or equals the source page for page at some commit. Hence every
//! byte that was read is covered by a checksum before the rename, and the database never gets its
//! name before it is whole and durable. I5: "no backup" is said only if nothing in the listing
//! resembles one (`absence.rs`); whatever could not be read or understood is an error of another
//! kind. I7: memory depends on `parallelism` alone.

mod absence;
mod checked_plan;
mod choice;
mod engine;
mod fetch;
mod format;
mod integrity;
mod open;
mod pages;
mod planned;
mod points;
mod progress;
mod same_history;
mod several;
mod target;
mod v03;

use std::fmt;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::fsx::FsError;
use crate::ltx::{Header, Txid};
use crate::remote::{Generation, Remote, WalPlace};
use crate::sqlite::{Content, InUse};
use crate::store::{Key, StoreError};

pub use absence::{nothing_in, refuse_rival};
pub use checked_plan::{CheckedPlan, Found};
pub use fetch::{Fetched, fetch};
pub use integrity::Integrity;
pub use planned::plan;
pub use points::{Density, PointRange, Points, points};
pub use progress::Progress;
pub use same_history::{SameHistory, same_history};
pub use several::{Backup, newest, of_replica};
pub use target::{FileOwner, check as check_target, scratch};
pub use v03::{OldPlan, check as check_old};

/// How often the bucket may change under a restore before it gives up.
const MAX_ATTEMPTS: usize = 3;

/// Which point of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Latest,
    /// Exactly this transaction.
    Txid(Txid),
    /// The last transaction strictly before this time, Unix milliseconds.
    Before(i64),
}

/// What to restore, and how to.
#[derive(Clone, Debug)]
pub struct Request {
    pub target: Target,
    pub output: PathBuf,
    /// Replace what is there. A database's `-wal`, `-shm` and `-journal`, and a file that is no
    /// database, are kept under other names.
    pub force: bool,
    /// Replace a file without a byte.
    pub overwrite_empty: bool,
    /// Who the restored file belongs to; `None`: whoever had the file that it replaces, else this
    /// user.
    pub owner: Option<FileOwner>,
    /// Its permission bits; `None`: those of the file that it replaces, else 0600.
    pub mode: Option<u32>,
    pub integrity: Integrity,
    /// Reads at a time.
    pub parallelism: usize,
}

impl Request {
    pub fn new(output: impl Into<PathBuf>) -> Request {
        Request {
            target: Target::Latest,
            output: output.into(),
            force: false,
            overwrite_empty: false,
            owner: None,
            mode: None,
            integrity: Integrity::None,
            parallelism: 8,
        }
    }
}

/// A database that is in place.
#[derive(Clone, Debug)]
pub struct Restored {
    pub reached: Reached,
    /// Length of the database file.
    pub database_bytes: u64,
    /// Files and bytes that were read for it.
    pub files: usize,
    pub bytes: u64,
    /// What was beside the target and would have been replayed over it, or at its place; under
    /// these names now.
    pub orphaned: Vec<PathBuf>,
}

/// Where in which history a restored database stands.
#[derive(Clone, Copy, Debug)]
pub enum Reached {
    /// In an LTX history, which replication can continue. The header of the newest file: size and
    /// page size of the database, time of its last transaction, and where in the WAL replication
    /// stood.
    Ltx { txid: Txid, header: Header },
    /// At the end of a WAL segment of Litestream 0.3. That history is never continued: LTX begins
    /// with a new image.
    Old { generation: Generation, place: WalPlace, time_ms: i64 },
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reached::Ltx { txid, .. } => write!(f, "TXID {txid}"),
            Reached::Old { generation, place, time_ms } => {
                write!(f, "generation {generation} of Litestream 0.3 up to {place} of {}", time(*time_ms))
            }
        }
    }
}

/// Variants are the caller's next move.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The bucket answered, and there is no backup: a first start.
    #[error("there is no backup in {address}")]
    NoBackup { address: String },
    /// Files of a replica are there, and not where this one has its own: no backup of this
    /// database, or its backup moved.
    #[error(
        "no replica begins at {address}, but {name:?} is there and looks like a file of one: point the configuration to where \
         that replica begins or, if this is a new database, to a place of its own"
    )]
    Misplaced { address: String, name: String },
    /// Which of the two is the newer state cannot be told.
    #[error(
        "{address} holds two histories: one in the layout of this kind of store up to TXID {newest}, and one in the other \
         layout ({example}) up to TXID {other}; move the one that is not to be restored somewhere else"
    )]
    TwoHistories { address: String, newest: Txid, other: Txid, example: Key },
    /// A backup is there, and its format has no TXIDs.
    #[error(
        "{address} holds a replica of Litestream 0.3, which has no TXIDs: restore its newest state, or that of a moment"
    )]
    NoTxids { address: String },
    /// A backup is there, and cannot be read without a key.
    #[error("{name} is encrypted with age, which is not supported: restore it with the Litestream 0.3 that wrote it")]
    Encrypted { name: String },
    /// Whether there is a backup could not be found out, or it could not be read: never a reason to
    /// start without it.
    #[error(transparent)]
    CannotTell(#[from] StoreError),
    /// A file of the backup is damaged, and no other files make up for it.
    #[error("the backup is damaged: {name}: {why}")]
    Corrupt { name: String, why: String },
    /// Transactions are missing in the middle of the history.
    #[error(
        "the backup has a gap: no file holds the transactions {first_missing} to {last_missing}, but {beyond} is there; \
         {}", gap_advice(*.reached)
    )]
    Gap { reached: Option<Txid>, first_missing: Txid, last_missing: Txid, beyond: Key },
    /// A segment is missing in the WALs of a generation of Litestream 0.3.
    #[error(
        "the backup has a gap: generation {generation} lacks its WAL segment {missing}, but {beyond} is there; \
         the last moment before it is {}", time(*.last_ms)
    )]
    OldGap { generation: Generation, missing: WalPlace, beyond: Key, last_ms: i64 },
    /// The history cannot be cut at this transaction.
    #[error("transaction {wanted} cannot be restored exactly; {}", nearest(*.below, *.above))]
    NotReached { wanted: Txid, below: Option<Txid>, above: Option<Txid> },
    /// The backup does not go back that far.
    #[error("the backup does not go back that far: it begins at {} and ends at {}", time(*.oldest_ms), time(*.newest_ms))]
    TooEarly { oldest_ms: i64, newest_ms: i64 },
    #[error("{} exists already: remove it, or replace it with -force", path.display())]
    TargetExists { path: PathBuf },
    /// Bytes that are no database may be an encrypted or a damaged one.
    #[error("{} is not a SQLite database ({content}): it is left as it is; move it away to restore here", path.display())]
    NoDatabase { path: PathBuf, content: Content },
    /// Whoever has the target open would go on with a file that has no name any more.
    #[error(transparent)]
    InUse(#[from] InUse),
    /// The restored file is not a sound database. It was not put in place.
    #[error("the restored database fails its integrity check: {what}")]
    Unsound { what: String },
    #[error(transparent)]
    Io(#[from] FsError),
    #[error("the restore was cancelled")]
    Cancelled,
    /// It may be the replica of another database.
    #[error(
        "{address} goes on further than the first replica, {first}, and nothing shows that both hold the history of the \
         same database"
    )]
    NotComparable { address: String, first: String },
    /// One of several replicas, and what else can be done: empty, or a clause that begins with a
    /// semicolon.
    #[error("the replica {name}: {error}{advice}")]
    OfReplica { name: String, error: Box<RestoreError>, advice: String },
}

impl RestoreError {
    /// What went wrong, whichever replica it was.
    pub fn cause(&self) -> &RestoreError {
        match self {
            RestoreError::OfReplica { error, .. } => error.cause(),
            error => error,
        }
    }

    /// Whether another copy of the same state may help.
    pub fn is_about_its_source(&self) -> bool {
        matches!(
            self.cause(),
            RestoreError::CannotTell(_)
                | RestoreError::Corrupt { .. }
                | RestoreError::Gap { .. }
                | RestoreError::OldGap { .. }
                | RestoreError::Unsound { .. }
                | RestoreError::NoBackup { .. }
        )
    }
}

fn gap_advice(reached: Option<Txid>) -> String {
    match reached {
        Some(txid) => format!("the last transaction before it is {txid}"),
        None => "nothing before it can be restored".into(),
    }
}

fn nearest(below: Option<Txid>, above: Option<Txid>) -> String {
    match (below, above) {
        (Some(below), Some(above)) => format!("the nearest that can are {below} and {above}"),
        (Some(below), None) => format!("the nearest that can is {below}"),
        (None, Some(above)) => format!("the first that can is {above}"),
        (None, None) => "none can".into(),
    }
}

fn time(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|_| format!("{unix_ms} ms"), |t| t.to_string())
}

/// A database that is whole and durable beside its place, and waits for its name. Dropped, it is
/// gone.
pub struct Prepared {
    temporary: target::Temporary,
    output: PathBuf,
    force: bool,
    restored: Restored,
}

impl Prepared {
    /// Where it waits.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    pub fn reached(&self) -> Reached {
        self.restored.reached
    }

    /// Gives it its name. That takes milliseconds and is not interrupted.
    pub async fn install(self) -> Result<Restored, RestoreError> {
        let orphaned = target::install(self.temporary, self.output, self.force).await?;
        Ok(Restored { orphaned, ..self.restored })
    }
}

/// Restores a database up to the moment at which it gets its name. Whatever comes of it, the target
/// is as it was.
pub async fn prepare(
    remote: &Remote,
    request: &Request,
    cancel: &CancellationToken,
    progress: &std::sync::Arc<Progress>,
) -> Result<Prepared, RestoreError> {
    let output = target::check(&request.output, request.force, request.overwrite_empty)?;
    let request = &target::with_ownership(request, &output)?;
    let fetched = cancel.run_until_cancelled(fetch(remote, request, &output, progress)).await;
    let Fetched { temporary, restored, .. } = fetched.unwrap_or(Err(RestoreError::Cancelled))?;
    // A cancelled restore has changed nothing, a finished one all.
    if cancel.is_cancelled() {
        return Err(RestoreError::Cancelled);
    }
    Ok(Prepared { temporary, output, force: request.force, restored })
}

/// Restores a database. On any error, and when cancelled, the target is as it was.
#[cfg(test)]
pub async fn restore(
    remote: &Remote,
    request: &Request,
    cancel: &CancellationToken,
    progress: &std::sync::Arc<Progress>,
) -> Result<Restored, RestoreError> {
    prepare(remote, request, cancel, progress).await?.install().await
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
