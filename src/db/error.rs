//! What can go wrong with a database that is replicated, and what to do about it.

use std::path::PathBuf;

use crate::fsx::FsError;
use crate::ltx::{LtxError, Txid};
use crate::sqlite::{SqliteError, WalError};

#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error(transparent)]
    Io(#[from] FsError),
    #[error(transparent)]
    Ltx(#[from] LtxError),
    /// The database stays in another journal mode: something holds it, or its file system has no
    /// shared memory.
    #[error("{} is in journal mode {mode} and could not be converted to WAL: close other programs that use it", path.display())]
    NotWal { path: PathBuf, mode: String },
    /// Another file is at the path now: replication must stop, or it would upload another database
    /// over a good history.
    #[error("{} was deleted or replaced while it was replicated: nothing of the file that is there now was uploaded; the next start compares it with \
         the replica", path.display())]
    Replaced { path: PathBuf },
    /// The database file has no bytes any more.
    #[error("{} was truncated to nothing while it was replicated: the replica still has its content; restore it", path.display())]
    Emptied { path: PathBuf },
    /// The WAL or its index was taken away from under the connections that use it.
    #[error(
        "{} was deleted or replaced while it was in use: new connections to the database do not see what old ones commit; stop \
         everything that has it open and start again; the database is then compared with the replica",
        path.display()
    )]
    Torn { path: PathBuf },
    /// The TXIDs are used up, which only a stray object with a huge name can cause.
    #[error("no TXID follows {0}")]
    TxidsExhausted(Txid),
}

impl DbError {
    /// Another connection holds a lock: the same call may succeed later.
    pub fn is_busy(&self) -> bool {
        matches!(self, DbError::NotWal { .. }) || matches!(self, DbError::Sqlite(error) if error.is_busy())
    }

    /// Nothing more can be opened now: the same call may succeed later.
    pub fn is_out_of_files(&self) -> bool {
        match self {
            DbError::Sqlite(error) => error.is_out_of_files(),
            DbError::Io(error) => error.is_out_of_files(),
            _ => false,
        }
    }

    /// Whether time alone may cure it.
    pub fn may_pass(&self) -> bool {
        self.is_busy() || self.is_out_of_files()
    }
}
