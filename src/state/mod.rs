//! What we note beside a database, in its directory of local state (`.app.db-millstream`).
//!
//! The rooms above decide with these notes; this one only keeps them. It knows neither how a
//! database is read (`db/`) nor what is in a bucket (`remote/`): a note holds plain data.
//!
//! ```text
//! .app.db-millstream/
//!   lock                   lock.rs            one replicator per database
//!   restore-marker.json    restore_marker.rs  this very file is TXID n of a replica
//!   reset-order.json       reset_order.rs     a human says: this database is the newest state
//!   follows.json           copy_note.rs       this is a live copy of a replica, at TXID n
//!   exclusive.json         exclusive.rs       a program kept the database to itself
//!   spill/                 spill.rs           captured, numbered, and not uploaded yet
//!   orphaned/                                 captured, and in no history
//!   replicas/<hash>/                          what is true of one replica, by its address
//!     last-synced.json     last_synced.rs     the newest TXID in step with it; what is being sent
//!     resume-point.json    resume_point.rs    the frame of the WAL that is a TXID of it
//!     known-file.json      known_file.rs      which file belongs to its history
//! ```
//!
//! `note_file.rs` is the one way to read and write a note, `ownership.rs` says to whom all of it
//! belongs.
//!
//! # Of the database or of a replica?
//!
//! - A database has one history, so what is captured is numbered once: the *spill* is the
//!   database's, whoever lacks it.
//! - The *reset order* is about the file at the path, whatever any replica holds: it is the
//!   database's.
//! - So is the *restore marker*: there is one file, and one place that it was restored from. It
//!   names that replica, because a TXID means nothing in a replica whose history is not proved to
//!   be the same.
//! - How far a replica is, what is being sent to it, where in the WAL its newest TXID is found, and
//!   whether the file at the path was ever compared with it, is true of that replica alone.
//!
//! # Losing a note
//!
//! A note that is missing, damaged or of an unknown version is "not known", which is said at debug
//! level, and then the database is compared with the replica. It never ends the replication. Notes
//! of earlier builds, which knew one replica and were in the directory itself, are read until there
//! is a newer one, and stay for those builds.
//!
//! Everything here blocks: call it on a thread for that (`replicate/on_thread.rs`).

mod copy_note;
mod exclusive;
mod file_attributes;
mod known_file;
mod last_synced;
mod lock;
mod note_file;
mod ownership;
mod reset_order;
mod restore_marker;
mod resume_point;
mod spill;

pub use copy_note::{CopyNote, CopyState, live_copy};
pub use file_attributes::{FileAttributes, LeftFile};
pub use known_file::KnownFile;
pub use last_synced::{LastSynced, SyncedTo};
pub use lock::Lock;
pub use reset_order::{ResetOrder, ResetStep};
pub use restore_marker::RestoreMarker;
pub use resume_point::ResumePoint;
pub use spill::{Spill, SpillError, SpilledFile};

use std::path::{Path, PathBuf};

use crate::fsx;
use note_file::NoteFile;

const REPLICAS_DIRECTORY: &str = "replicas";
const SPILL_DIRECTORY: &str = "spill";
const ORPHANED_DIRECTORY: &str = "orphaned";

/// The notes of one database. A handle: nothing is read before it is asked for.
#[derive(Clone, Debug)]
pub struct LocalState {
    database: PathBuf,
    directory: PathBuf,
}

/// The notes of one database about one of its replicas.
#[derive(Clone, Debug)]
pub struct ReplicaState {
    database: PathBuf,
    /// Of all notes of the database: earlier builds kept those of their one replica there.
    shared: PathBuf,
    directory: PathBuf,
    address: String,
}

impl LocalState {
    pub fn open(database: &Path, directory: &Path) -> LocalState {
        LocalState { database: database.to_owned(), directory: directory.to_owned() }
    }

    pub fn database(&self) -> &Path {
        &self.database
    }

    /// What belongs to the replica at this address.
    pub fn replica(&self, address: &str) -> ReplicaState {
        let name = format!("{:016x}", fsx::hash(address.as_bytes()));
        ReplicaState {
            database: self.database.clone(),
            shared: self.directory.clone(),
            directory: self.directory.join(REPLICAS_DIRECTORY).join(name),
            address: address.to_owned(),
        }
    }

    /// Creates the directory if it is missing, and gives everything in it to the owner of the
    /// database.
    pub fn prepare(&self) -> fsx::Result<()> {
        ownership::prepare(&self.database, &self.directory)
    }

    /// What was captured and not uploaded.
    pub fn spill(&self) -> Result<Spill, SpillError> {
        Spill::open(&self.directory.join(SPILL_DIRECTORY))
    }

    /// The directory for what is in no history; created if it is missing.
    pub fn orphaned(&self) -> fsx::Result<PathBuf> {
        let directory = self.directory.join(ORPHANED_DIRECTORY);
        ownership::create_dir_within(&directory)?;
        Ok(directory)
    }

    fn note(&self, name: &str) -> NoteFile {
        NoteFile::of_database(self.directory.join(name))
    }
}

impl ReplicaState {
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `earlier` is its name in the directory itself, from builds that knew one replica.
    fn note(&self, name: &str, earlier: &str) -> NoteFile {
        NoteFile::of_replica(self.directory.join(name), &self.address).or_earlier(self.shared.join(earlier))
    }
}
