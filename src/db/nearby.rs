//! What is at and around a path where there should be a database: other databases, and since when
//! they were not written to.
//!
//! Only directory entries, `stat` and files that no SQLite lock lives on are used as far as
//! possible: a `-wal` shows by its header that there is a database beside it. A database without
//! one must be opened to be known. That drops the POSIX locks that this process has on it (see
//! `sqlite/`), so the caller names every database of this process, and those are left alone.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::MACHINE;
use crate::fsx;
use crate::sqlite::{Presence, look_at_file};
use crate::supervise;

/// Entries of a directory, and directories, that are looked at.
const ENTRIES_MAX: usize = 2_000;
const DIRECTORIES_MAX: usize = 50;
/// The four bytes at the beginning of every WAL, but for the lowest bit.
const WAL_MAGIC: [u8; 4] = 0x377f_0682_u32.to_be_bytes();

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    pub at_path: AtPath,
    /// The one that was written last comes first.
    pub neighbours: Vec<Neighbour>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtPath {
    Nothing,
    NoDirectory,
    Directory,
    Empty,
    NoDatabase,
    Unknown(String),
}

/// Another SQLite database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub path: PathBuf,
    pub bytes: u64,
    /// How long it was not written to.
    pub idle: Duration,
    /// A process that this one has started has it open.
    pub open: bool,
}

impl Surroundings {
    /// Looks at `path`, its directory, the one above and those below, and at what the processes
    /// that we started have open. `ours` are the databases of this process.
    pub fn look(path: &Path, ours: &[PathBuf]) -> Surroundings {
        let at_path = at_path(path);
        let mut found = Candidates::default();
        for file in supervise::files_of_descendants() {
            if let Some(database) = fsx::without_suffix(&file, "-wal") {
                found.open.insert(database);
            }
        }
        let home = match at_path {
            AtPath::Directory => path,
            _ => nearest_directory(path),
        };
        found.take_directory(home, true);
        // Not the root of the file system: what is there is not near this path.
        if let Some(above) = home.parent().filter(|above| above.parent().is_some()) {
            found.take_directory(above, false);
        }
        Surroundings { at_path, neighbours: found.neighbours(ours) }
    }
}

fn at_path(path: &Path) -> AtPath {
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => AtPath::Directory,
        Ok(there) if !there.is_file() => AtPath::NoDatabase,
        Ok(there) if there.len() == 0 => AtPath::Empty,
        Ok(_) => AtPath::NoDatabase,
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => AtPath::Unknown(error.to_string()),
        Err(_) if fsx::parent(path).is_dir() => AtPath::Nothing,
        Err(_) => AtPath::NoDirectory,
    }
}

fn nearest_directory(path: &Path) -> &Path {
    path.ancestors().skip(1).find(|above| above.is_dir()).unwrap_or(Path::new("/"))
}

/// Files that may be databases.
#[derive(Default)]
struct Candidates {
    files: BTreeMap<PathBuf, Metadata>,
    /// Some process of ours has the WAL open: that alone tells what it is.
    open: HashSet<PathBuf>,
    directories: usize,
}

impl Candidates {
    fn take_directory(&mut self, directory: &Path, with_those_below: bool) {
        self.directories += 1;
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries.take(ENTRIES_MAX).flatten() {
            let path = entry.path();
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_file() {
                self.files.insert(path, metadata);
            } else if metadata.is_dir() && with_those_below && self.directories < DIRECTORIES_MAX && !is_hidden(&path) {
                self.take_directory(&path, false);
            }
        }
    }

    fn neighbours(mut self, ours: &[PathBuf]) -> Vec<Neighbour> {
        for path in &self.open {
            if let Ok(metadata) = fs::metadata(path) {
                self.files.insert(path.clone(), metadata);
            }
        }
        // After the listing: what is one of ours by now must not be opened.
        let ours: HashSet<_> =
            ours.iter().filter_map(|path| fs::metadata(path).ok()).map(|file| inode(&file)).collect();
        let now_ms = MACHINE.unix_ms();
        let mut seen = HashSet::new();
        let mut neighbours = Vec::new();
        for (path, metadata) in &self.files {
            let is_new = !ours.contains(&inode(metadata)) && seen.insert(inode(metadata));
            if !is_new || metadata.len() == 0 || !self.is_database(path) {
                continue;
            }
            let wal = fs::metadata(fsx::with_suffix(path, "-wal")).map_or(0, |wal| written_ms(&wal));
            let idle_ms = now_ms.saturating_sub(written_ms(metadata).max(wal));
            let idle = Duration::from_millis(u64::try_from(idle_ms).unwrap_or(0));
            let open = self.open.contains(path);
            neighbours.push(Neighbour { path: path.clone(), bytes: metadata.len(), idle, open });
        }
        neighbours.sort_by_key(|neighbour| (!neighbour.open, neighbour.idle));
        neighbours
    }

    fn is_database(&self, path: &Path) -> bool {
        if self.open.contains(path) || has_wal(path) {
            return true;
        }
        let name = path.to_string_lossy();
        let is_beside = ["-wal", "-shm", "-journal"].iter().any(|suffix| name.ends_with(suffix));
        !is_beside && look_at_file(path).is_ok_and(|there| matches!(there, Presence::Database(_)))
    }
}

fn has_wal(path: &Path) -> bool {
    let mut magic = [0; 4];
    let wal = fsx::with_suffix(path, "-wal");
    if !wal.is_file() || File::open(wal).and_then(|mut wal| wal.read_exact(&mut magic)).is_err() {
        return false;
    }
    magic[3] &= !1;
    magic == WAL_MAGIC
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn inode(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn written_ms(metadata: &Metadata) -> i64 {
    metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(path: &Path, mode: &str) -> rusqlite::Connection {
        fs::create_dir_all(fsx::parent(path)).expect("create");
        let connection = rusqlite::Connection::open(path).expect("open");
        connection.execute_batch(&format!("PRAGMA journal_mode={mode}; CREATE TABLE t(x)")).expect("create");
        connection
    }

    fn names(seen: &Surroundings) -> Vec<&str> {
        let mut names: Vec<&str> =
            seen.neighbours.iter().filter_map(|neighbour| neighbour.path.file_name()?.to_str()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn databases_of_either_journal_mode_are_found_around_the_path() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().canonicalize().expect("a path");
        let data = root.join("srv/data");
        let _wal = database(&data.join("wal-mode"), "WAL");
        drop(database(&data.join("rollback.sqlite"), "DELETE"));
        drop(database(&data.join("sub/below.db"), "WAL"));
        drop(database(&data.join("sub/sub/too-deep.db"), "WAL"));
        drop(database(&root.join("srv/above.db"), "DELETE"));
        let ours = data.join("ours.db");
        drop(database(&ours, "WAL"));
        fs::write(data.join("notes.txt"), "no database").expect("write");
        fs::write(data.join("empty.db"), "").expect("write");
        std::os::unix::fs::symlink(data.join("rollback.sqlite"), data.join("link.db")).expect("link");

        let missing = data.join("app.db");
        let seen = Surroundings::look(&missing, &[ours, missing.clone()]);
        assert_eq!(seen.at_path, AtPath::Nothing);
        assert_eq!(
            names(&seen),
            ["above.db", "below.db", "link.db", "wal-mode"],
            "each file once, by one of its names"
        );
        assert!(seen.neighbours.is_sorted_by_key(|neighbour| neighbour.idle));

        let seen = Surroundings::look(&data, &[]);
        assert_eq!(seen.at_path, AtPath::Directory);
        assert!(names(&seen).contains(&"wal-mode") && names(&seen).contains(&"ours.db"));
        let seen = Surroundings::look(&root.join("srv/dta/app.db"), &[]);
        assert_eq!(seen.at_path, AtPath::NoDirectory);
        assert!(names(&seen).contains(&"above.db"), "from the nearest directory that exists");
        assert_eq!(Surroundings::look(&data.join("empty.db"), &[]).at_path, AtPath::Empty);
        assert_eq!(Surroundings::look(&data.join("notes.txt"), &[]).at_path, AtPath::NoDatabase);
    }

    #[test]
    fn locks_on_our_own_databases_survive_the_look() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("ours.db");
        let connection = database(&path, "DELETE");
        connection.execute_batch("BEGIN IMMEDIATE").expect("lock it");
        Surroundings::look(&dir.path().join("app.db"), std::slice::from_ref(&path));
        // Another process must still find it locked.
        let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')";
        let other = std::process::Command::new("python3").args(["-c", script]).arg(&path).output().expect("python3");
        let said = String::from_utf8_lossy(&other.stderr).into_owned();
        assert!(!other.status.success() && said.contains("database is locked"), "{said}");
    }
}
