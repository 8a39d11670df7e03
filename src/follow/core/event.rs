//! What a follower is told, and what it wants done.

use bytes::Bytes;

use crate::ltx::{Header, Txid};
pub use crate::remote::Position;
use crate::remote::{Epoch, Listing, LtxObject, Pushed};
use crate::store::Key;

/// One of these at a time, but for [`Effect::Say`]; each is answered by the event of its name.
#[derive(Debug)]
pub enum Effect {
    /// Open the copy, take its write lock, and find out which state it is in.
    Look,
    /// There is no copy: restore it.
    Restore,
    /// The copy cannot be made by pages: put a restored database in its place, if no program has it
    /// open.
    Replace,
    /// Level 0 alone, or everything.
    List {
        whole: bool,
    },
    /// Read the headers of these.
    Check(Vec<LtxObject>),
    /// Merge these files and install them in one transaction. Without a position the copy may be
    /// anything, and they hold the whole database.
    Install {
        onto: Option<Position>,
        files: Vec<LtxObject>,
    },
    /// The same with what the primary has pushed: one file for each TXID after the position.
    InstallPushed {
        onto: Position,
        files: Vec<(Position, Bytes)>,
    },
    /// Take the write lock, which is not held.
    Hold,
    /// Let the copy go: the follower ends.
    Close,
    Say(Notice),
}

#[derive(Debug)]
pub enum Event {
    /// To begin with, and when it is time.
    Timer,
    Looked(Result<Found, Trouble>),
    Restored(Result<(), Trouble>),
    Replaced(Result<(), Trouble>),
    Listed(Result<Box<Listing>, Trouble>),
    /// The headers of those that are what their names say.
    Checked(Result<Vec<(LtxObject, Header)>, Trouble>),
    Installed(Result<Installed, Trouble>, Grip),
    Held(Result<Grip, Trouble>),
    Closed,
    /// Everything that is there now is to be installed: a request of this number, each higher than
    /// the one before.
    CatchUp(u64),
    /// The primary of this claim pushes from now on; `None`: no primary does.
    Lead(Option<Epoch>),
    Pushed(Pushed),
    Stop,
}

/// What was found at the place of the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Missing,
    /// The write lock is held, and the copy is this state.
    At(Position),
    /// The write lock is held, and the copy is no state that is known.
    Doubt(Doubt),
    /// It is a copy, and cannot be read.
    Unreadable(String),
}

/// Why the copy is not known to be a state of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It is none of the states that were noted: another program has written to it.
    Changed,
    /// It is being healed, or its position was lost.
    NotNoted,
    /// It was a copy of the replica at this address.
    OtherReplica(String),
    /// The replica holds another history now.
    OtherHistory(String),
}

/// Whether the write lock is held after an effect that had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grip {
    Held,
    /// Another program has it.
    Busy,
    /// It is, and another program has written meanwhile.
    Foreign,
    /// The copy was closed.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    pub position: Position,
    /// Pages that were not as they are now.
    pub pages: u64,
}

/// Why it was not done. Variants are what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Try again later.
    Passing(String),
    /// A file that was listed is gone: list again.
    Gone,
    /// Do without this file.
    Damaged { name: Key, why: String },
    /// The files lack pages that the copy does not have either.
    Incomplete(String),
    /// The pages of the replica are of another size.
    OtherPageSize(String),
    /// It was told to stop.
    Cancelled,
    /// There is nothing to be done about it.
    Final(Reason, String),
}

/// For the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    NoBackup,
    Backup,
    CannotWrite,
    Unavailable,
    Denied,
    Config,
}

/// What people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Follows(Position),
    /// At most once a minute: how far it is, and by how many installs.
    Progress {
        position: Position,
        installs: u64,
        pages: u64,
    },
    /// A whole image was installed because no other files connect.
    Overtaken {
        from: Txid,
        to: Txid,
    },
    Doubts(Doubt),
    Healed {
        position: Position,
        pages: u64,
    },
    ForeignWrite {
        count: u64,
    },
    Locked,
    Outage(String),
    Back,
    Gap {
        reached: Option<Txid>,
        beyond: Option<LtxObject>,
    },
    Damaged {
        name: Key,
        why: String,
    },
    OtherPageSize(String),
    Unreadable(String),
    CannotReplace(String),
    Replaced,
}

/// How a follower ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Stopped(Option<Position>),
    Failed(Reason, String),
}
