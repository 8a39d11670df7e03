//! What happens to a core, and what it asks for in return.

use std::time::Duration;

use tokio::time::Instant;

use super::batch::Queue;
use super::seal::SealPermit;
use super::start::{Seen, StartDone, StartOrder};
use crate::db::{Obstacle, Reset};
use crate::ltx::Txid;

/// Names one request; who has asked is known to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncId(pub u64);

/// Why a request to sync was not answered with a TXID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    #[error("the deadline passed before every commit was in the replica{}", because(.why))]
    TimedOut { why: Option<String> },
    /// Every commit was in the replica, and the WAL was not reset in time.
    #[error("the deadline passed before the WAL was in the database file{}", held(*.obstacle))]
    NotReset { obstacle: Option<Obstacle> },
    #[error("cannot tell what is committed: {0}")]
    Unknown(String),
    #[error("another writer owns the history: {0}")]
    Fenced(String),
    #[error("replication has ended: {0}")]
    Ended(String),
}

fn held(obstacle: Option<Obstacle>) -> String {
    obstacle.map_or_else(String::new, |obstacle| format!(": {obstacle}"))
}

fn because(why: &Option<String>) -> String {
    why.as_ref().map_or_else(String::new, |why| format!(": {why}"))
}

#[derive(Debug)]
pub enum Event {
    /// inotify tells of a change of the database or its WAL.
    Woke,
    /// The moment has come that [`super::Core::wake_at`] named.
    Timer,
    /// Everything must be in the bucket by then; a later one moves the deadline.
    Finish(Instant),
    /// The order that the database's lane was given is carried out.
    Local(LocalDone, Lane),
    /// The order that the bucket's lane was given is carried out.
    Remote(RemoteDone),
    /// A caller wants to know when everything that is committed now is in the bucket, and waits
    /// until then at most.
    Sync(SyncId, Instant),
    /// The same, and the caller waits until it is in the database file, too, and the WAL starts
    /// over.
    Checkpoint(SyncId, Instant),
    /// A caller wants to know which TXID holds, or will hold, everything that is committed now, and
    /// waits for the answer until then at most.
    Position(SyncId, Instant),
    /// Whether the next TXID may be created before it is sealed, from now on.
    Permit(SealPermit),
    /// Length of the `-wal` file, while the lane of the database is lent to an upload.
    WalMeasured(u64),
}

/// What every order on the database's lane tells besides its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    pub queue: Queue,
    /// It is known which TXID the captured database is, so that commits can be numbered.
    pub has_position: bool,
    /// Frames in the WAL that a reset would free.
    pub wal_frames: u32,
    /// Every change is told by inotify: a poll is only for the unexpected.
    pub woken_reliably: bool,
    /// A program wrote to the database file past SQLite: nothing is certain of it before it is
    /// examined.
    pub is_overwritten: bool,
}

#[derive(Debug)]
pub enum LocalDone {
    /// A step of the search for the place from which to go on.
    Start(Result<StartDone, Trouble>),
    /// Whether the WAL holds frames beyond the last capture; of a closed database: whether anything
    /// has changed.
    Glanced(Result<bool, Trouble>),
    /// Whether there was something to capture; it is in the queue.
    Captured(Result<bool, Trouble>),
    /// Whether what seals the history is in the queue. `false`: the database has no page yet.
    Sealing(Result<bool, Trouble>),
    /// WAL bytes that hold commits which are not captured.
    Followed(Result<u64, Trouble>),
    /// Captured commits were moved to local files if they had to be, and the WAL was reset if it
    /// could be.
    Relieved(Result<Reset, Trouble>),
    /// What waits in memory is in a local file.
    Spilled(Result<(), Trouble>),
    /// Local files that the bucket has are removed.
    Dropped(Result<(), Trouble>),
    /// The unverified image in the queue was compared with the bucket: the queue holds what is to
    /// be sent instead, perhaps nothing.
    Compared(Result<(), Trouble>),
    /// The batch was sent from the database itself.
    Sent(Result<Txid, Trouble>),
    /// The database begins anew after objects were lost: its image is in the queue.
    BegunAnew(Result<(), Trouble>),
    /// An attempt to open the file anew.
    Reopened(Result<Reopened, Trouble>),
    /// Whether the connections are closed. `false`: a reader or a writer is in the way, or they are
    /// still needed.
    Closed(Result<bool, Trouble>),
    /// They are open.
    OpenedAgain(Result<(), Trouble>),
    /// Whether the file, to which a program wrote past SQLite, is ready to be compared.
    Examined(Result<Examined, Trouble>),
    /// Whether no commit is possible any more.
    Frozen(bool),
    Thawed,
    TailKept,
    LetGo,
}

/// What came of an attempt to open the file anew; the texts are for an end without another one.
#[derive(Debug)]
pub enum Reopened {
    /// It is open, and nothing of it is captured.
    Done,
    Missing {
        why: String,
    },
    /// Another program still has the file open that lay there before.
    InUse {
        why: String,
        pid: u32,
    },
    Busy {
        why: String,
    },
}

#[derive(Debug)]
pub enum Examined {
    /// Nothing of it is captured.
    Ready,
    /// It is still written to, or a reader or a writer is in the way.
    NotYet,
    /// Our connections have ended, and something keeps it busy.
    Closed { why: String },
}

#[derive(Debug)]
pub enum RemoteDone {
    Looked(Result<Seen, Trouble>),
    /// The newest TXID in the bucket.
    Proved(Result<Option<Txid>, Trouble>),
    Sent(Result<Txid, Trouble>),
}

/// Why an order was not carried out, by what follows from it. The text names the object and what to
/// do.
#[derive(Debug)]
pub enum Trouble {
    /// The bucket, the disk or a lock: try again. `refused` says that time alone does not cure it.
    Passing { why: String, refused: bool },
    /// The work was interrupted because the WAL has grown too much meanwhile.
    Interrupted,
    /// Another writer owns the history.
    Foreign(String),
    /// Another file lies in the database's place.
    Replaced(String),
    /// The database cannot be replicated as it is: it is another one, or gone, or cannot be read.
    Halt(String),
}

impl Trouble {
    pub fn why(&self) -> &str {
        match self {
            Trouble::Interrupted => "it was interrupted",
            Trouble::Passing { why, .. } | Trouble::Foreign(why) | Trouble::Replaced(why) | Trouble::Halt(why) => why,
        }
    }

    pub fn passing(why: impl ToString) -> Trouble {
        Trouble::Passing { why: why.to_string(), refused: false }
    }
}

/// What a core asks for. The order in the list counts.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    Local(LocalOrder),
    Remote(RemoteOrder),
    /// Give the lane of the database back, at once; its order ends as [`Trouble::Interrupted`].
    Interrupt,
    MeasureWal,
    /// The application may start: no commit can be missed from here on.
    Open,
    /// Compaction, snapshots and retention may work on the replica, or must not any more.
    Maintain(bool),
    /// The application must stop, or not start at all.
    Fence,
    /// The next TXID is in the bucket, and this process created it.
    Sealed,
    /// The first replica is away: the mirrors may have the local files, from now on or not any
    /// more.
    ServeMirrors(bool),
    /// The answer to [`Event::Sync`] or [`Event::Checkpoint`]: the newest TXID in the bucket, which
    /// holds what was committed when it was asked for. To [`Event::Position`]: the TXID.
    Synced(SyncId, Result<Option<Txid>, SyncError>),
    Report(Report),
    Say(Notice),
    /// A poll found a change that inotify had not told.
    MissedEvent,
}

/// Orders for the lane of the database; one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalOrder {
    /// A step of the search for the place from which to go on.
    Start(StartOrder),
    Glance,
    Capture,
    /// Capture; if nothing has changed, take the next TXID all the same.
    Seal,
    /// Move the read transaction on, and checkpoint for the application.
    Follow,
    /// Let the application checkpoint again.
    LetGo,
    /// Move what the bucket does not have to local files, and reset the WAL.
    Relieve(Relief),
    /// Move what waits in memory to a local file.
    Spill,
    /// Remove the local files up to this TXID.
    Drop(Txid),
    /// Compare the unverified image in the queue with the bucket. Asks the bucket.
    Compare,
    /// Send the batch while it is read from the database.
    Send,
    BeginAnew(Txid),
    /// Nothing happens: close the connections, if they are not needed.
    Close,
    /// Open them.
    OpenAgain,
    /// Try to go on with the file that lies in the database's place.
    TakeUp,
    /// Try once more to open the file that was examined.
    Reopen,
    /// Prepare a file to which a program wrote past SQLite for a comparison with the bucket.
    Examine,
    Freeze,
    Thaw,
    /// Keep what is in no history aside, and send a copy while there is time.
    KeepTail(Instant),
}

impl LocalOrder {
    /// Whether the order waits for the bucket, which may never answer.
    pub fn is_lent(self) -> bool {
        match self {
            LocalOrder::Start(order) => matches!(order, StartOrder::Ask(_) | StartOrder::SetAside(_)),
            order => matches!(order, LocalOrder::Compare | LocalOrder::Send),
        }
    }
}

/// How far to go for a shorter WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relief {
    /// Everything captured is in the bucket: the tail alone may have to be kept in a local file.
    Reset,
    /// More is committed than the bucket has taken: keep all of it in local files first.
    Spill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteOrder {
    Look,
    /// List again: the last proof that the history is ours is too old.
    Prove,
    /// Create the object from the batch in memory.
    SendBatch(Txid),
    /// Create the object from the oldest local file.
    SendFile(Txid),
}

/// For the status of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// There is something to upload.
    Noticed,
    Captured(Txid),
    Confirmed(Txid),
    /// Nothing is left to upload.
    Idle,
}

/// For the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    /// The bucket, or whatever else passes, does not let us go on.
    Outage {
        why: String,
        lasting: Duration,
    },
    Back {
        after: Duration,
    },
    /// The start of the application waits: the history goes on beyond this disk.
    CheckingHistory,
    /// The start of the application waits: the file may be another database's.
    CheckingFile,
    ReliefFailed(String),
    CheckpointBlocked(crate::db::Obstacle),
    HistoryGone,
    Fenced(String),
    /// The write lock is held against the application.
    Frozen,
    /// Another file lies in the place of the database.
    Replaced,
    /// This process still has the file open that lay there before.
    OldFileInUse(u32),
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The bucket alone restores the last commit.
    Synced,
    /// The bucket does not have the last commits. `kept`: all of them are in local files that the
    /// mirrors were given, up to this TXID.
    Unsynced {
        why: String,
        kept: Option<Txid>,
    },
    Fenced(String),
    Halted(String),
    /// The database was created just now, and there is a history up to this TXID, which it does not
    /// continue.
    NewDatabase(Txid),
}

impl Outcome {
    /// The answer to a sync that is not made any more.
    pub fn as_sync_error(&self) -> SyncError {
        match self {
            Outcome::Synced => SyncError::Ended("it was told to end, and every commit is in the replica".into()),
            Outcome::Unsynced { why, .. } | Outcome::Halted(why) => SyncError::Ended(why.clone()),
            Outcome::Fenced(why) => SyncError::Fenced(why.clone()),
            Outcome::NewDatabase(txid) => SyncError::Ended(format!(
                "the database was created anew, and the replica has the history of an earlier one, up to TXID {txid}"
            )),
        }
    }
}
