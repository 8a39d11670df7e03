//! Is the file at the path still the file that was opened?
//!
//! A database that was deleted, renamed over or recreated has a new inode; our connections would go on reading the old
//! one, and shipping either over a good history would be wrong. The same goes for its `-wal` and its `-shm`, which nobody deletes
//! while a connection is open: whoever opens the database now would not see what we see. Only `stat` is used: opening
//! the file would be the POSIX lock trap (see `sqlite/`).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::open::DbError;
use super::replaced::Remains;
use super::writes::Stamp;
use crate::fsx;

/// Device and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// `None` when nothing is at the path.
    pub fn of(path: &Path) -> fsx::Result<Option<Identity>> {
        Ok(fsx::metadata_if_exists(path)?.map(|file| Identity::from(&file)))
    }
}

/// The files of one open database.
#[derive(Debug)]
pub struct Files {
    database: (PathBuf, Identity),
    /// `-wal` and `-shm`, as far as they were there when the database was armed.
    beside: Vec<(PathBuf, Identity)>,
}

impl Files {
    /// What is there now; `None` without a database.
    pub fn of(database: &Path) -> fsx::Result<Option<Files>> {
        let Some(identity) = Identity::of(database)? else { return Ok(None) };
        let mut beside = Vec::new();
        for suffix in ["-wal", "-shm"] {
            let path = fsx::with_suffix(database, suffix);
            beside.extend(Identity::of(&path)?.map(|identity| (path, identity)));
        }
        Ok(Some(Files { database: (database.to_owned(), identity), beside }))
    }

    /// What is left of them when the database is replaced.
    pub fn remains(&self) -> Remains {
        Remains::new(self.database.1.inode, self.beside.clone())
    }

    /// Fails when one of them is another file now, or gone, or when the database was emptied.
    pub fn check(&self) -> Result<Stamp, DbError> {
        let (path, identity) = &self.database;
        let stamp = match fsx::metadata_if_exists(path)? {
            // Even a new database has its first page in the file, from the moment at which it is in WAL mode.
            Some(file) if file.len() == 0 => return Err(DbError::Emptied { path: path.clone() }),
            Some(file) if Identity::from(&file) == *identity => Stamp::from(&file),
            _ => return Err(DbError::Replaced { path: path.clone() }),
        };
        for (path, identity) in &self.beside {
            if Identity::of(path)? != Some(*identity) {
                return Err(DbError::Torn { path: path.clone() });
            }
        }
        Ok(stamp)
    }
}

impl From<&std::fs::Metadata> for Identity {
    fn from(file: &std::fs::Metadata) -> Identity {
        Identity { device: file.dev(), inode: file.ino() }
    }
}
