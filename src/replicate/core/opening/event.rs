//! What happens to an opening, and what it asks for in return.
//!
//! `D` is the open database: it is handed on to whoever replicates it, and nothing here looks into
//! it.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::db::Surroundings;
use crate::replicate::Ready;
use crate::sqlite::{Holder, Locked};

#[derive(Debug)]
pub enum Event<D> {
    /// inotify tells of a change of the database or its WAL.
    Woke,
    /// The moment has come that [`super::Opening::wake_at`] named.
    Timer,
    /// It is time to end, by then at the latest; a later one moves the deadline.
    Finish(Instant),
    /// The order is carried out.
    Done(Done<D>),
}

#[derive(Debug)]
pub enum Done<D> {
    /// Whether a database lies at the path.
    File(Result<bool, String>),
    LookedAround(Surroundings),
    /// Whether the lock is ours now.
    Lock(Result<bool, String>),
    /// Whether an earlier run has noted that a program keeps the database to itself.
    Note(bool),
    Noted,
    Locks(Result<Locked, String>),
    Opened(Opened<D>),
    /// What was asked for could not be tried: nothing more can be opened now.
    OutOfFiles(String),
}

/// What opening the database came to.
#[derive(Debug)]
pub enum Opened<D> {
    /// It is open, and its WAL is pinned.
    Armed(D),
    /// Something else has it; time may cure that.
    Busy(String),
    /// It looks damaged, as it does when only its first part has been copied so far.
    Part {
        why: String,
        seen: Option<Extent>,
    },
    Failed(String),
}

/// Size and time of a file, without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub len: u64,
    pub modified: Option<SystemTime>,
}

/// One at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    LookAtFile,
    /// What lies at the path instead, and which databases are written nearby.
    LookAround,
    /// Take the lock, if no other process has it.
    TakeLock,
    /// Whether a program kept the database to itself in an earlier run.
    ReadNote,
    /// Note for the next start that a program keeps the database to itself.
    NoteExclusive,
    LookAtLocks,
    /// Open the database and pin its WAL.
    Open {
        /// When it is this one's turn among the databases of this process.
        in_turn: bool,
        /// The note of an earlier run goes with that.
        forget_note: bool,
    },
}

/// What an opening asks for. The order in the list counts.
#[derive(Debug)]
pub enum Effect<D> {
    Do(Order),
    /// There is no time to wait for a turn any more.
    Hurry,
    /// The lock is ours: the bucket may be looked at while the database is opened.
    LookAtBucket,
    /// The application may start.
    Ready(Ready),
    /// The application keeps the database to itself, and must not run on.
    Exclusive(Holder),
    Say(Notice),
    /// The last one of all.
    End(Outcome<D>),
}

/// For the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    CannotLook(String),
    NoDatabaseYet,
    /// There is still none.
    StillMissing {
        seen: Surroundings,
        lasting: Duration,
    },
    Standby,
    TakingOver,
    /// It is waited for whoever copies it.
    Arriving(String),
    Busy(String),
    /// Nothing more can be opened now.
    OutOfFiles(String),
}

#[derive(Debug)]
pub enum Outcome<D> {
    Armed(Armed<D>),
    /// There was never a database, and there need not be one.
    NoDatabase,
    /// There was never a database, although there should be one.
    NeverAppeared(Surroundings),
    /// Another process has the lock to the end.
    Standby,
    Failed(String),
}

/// The database is open, and its WAL is pinned: no commit can be missed from here on.
#[derive(Debug)]
pub struct Armed<D> {
    pub database: D,
    /// It did not exist when we began.
    pub is_new: bool,
    /// The application may have started before.
    pub is_started: bool,
}
