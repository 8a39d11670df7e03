//! Who has a database open, and keeping everybody out while its file is replaced.
//!
//! A connection in WAL mode keeps a shared lock on the database file and one on the `-shm` for as
//! long as it lives; in the rollback modes a transaction keeps one on the database file. Both are
//! asked for, and taken for the moment of the rename. A connection in a rollback mode that does
//! nothing has no lock: its descriptor is found in `/proc`, where we may look.
//!
//! The locks taken here belong to the open file (`F_OFD_SETLK`), and meet those of every process,
//! this one too. Still this is only for a process that has no connection to the database: closing
//! the descriptors drops the connections' locks.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::byte_lock::{Bytes, ask};
use crate::fsx::{self, Context};

/// The bytes PENDING, RESERVED and SHARED of the database file
/// (<https://sqlite.org/lockingv3.html>).
const DATABASE_LOCKS: Bytes = (0x4000_0000, 512);
/// The locks of the wal-index and the one that a connection holds as long as it lives
/// (<https://sqlite.org/walformat.html#wal_locks>).
const SHM_LOCKS: Bytes = (120, 9);

/// A process has the database open.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is open in {by} and was not replaced: stop it first", path.display())]
pub struct InUse {
    pub path: PathBuf,
    /// The processes by name, as far as they can be seen from here.
    pub by: String,
}

/// No process can open the database as long as this lives.
#[derive(Debug)]
pub struct Exclusion(#[expect(dead_code, reason = "the locks live as long as the files")] Vec<File>);

/// Takes every lock that a connection needs; who has one, or has the file open to write to it, is
/// named. `path` is behind all links; what is not there needs no lock.
pub fn keep_clients_out(path: &Path) -> fsx::Result<Result<Exclusion, InUse>> {
    let mut held = Vec::new();
    for (file, locks) in [(path.to_owned(), DATABASE_LOCKS), (fsx::with_suffix(path, "-shm"), SHM_LOCKS)] {
        if fsx::regular_file_if_exists(&file)?.is_none() {
            continue;
        }
        let opened = match File::options().read(true).write(true).open(&file) {
            // Then it is asked for the locks only.
            Err(error) if is_denied(&error) => File::open(&file),
            opened => opened,
        };
        let opened = opened.on("open", &file)?;
        match lock(&opened, locks) {
            Ok(None) => held.push(opened),
            Ok(Some(holder)) => return Ok(Err(in_use(path, Some(holder)))),
            // A file system without locks has no clients that hold any.
            Err(error) => tracing::debug!("lock {}: {error}", file.display()),
        }
    }
    match openers(&files(path)).is_empty() {
        true => Ok(Ok(Exclusion(held))),
        false => Ok(Err(in_use(path, None))),
    }
}

fn is_denied(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

/// Takes the bytes, or says who has a lock on one of them (-1: not to be told).
fn lock(file: &File, bytes: Bytes) -> io::Result<Option<i32>> {
    if let Some(holder) = ask(file, libc::F_OFD_GETLK, libc::F_WRLCK, bytes)? {
        return Ok(Some(holder));
    }
    match ask(file, libc::F_OFD_SETLK, libc::F_WRLCK, bytes) {
        // It came between the two.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(Some(-1)),
        // It was opened to read only.
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(None),
        taken => taken,
    }
}

/// Who has a lock for writing on one of the bytes (-1: not to be told).
pub(super) fn write_locker(file: &File, bytes: Bytes) -> Option<i32> {
    ask(file, libc::F_OFD_GETLK, libc::F_RDLCK, bytes).ok().flatten()
}

fn in_use(path: &Path, holder: Option<i32>) -> InUse {
    let files = files(path);
    let mut pids = openers(&files);
    pids.extend(holder.filter(|pid| *pid > 0));
    pids.extend(lockers(&fs::read_to_string("/proc/locks").unwrap_or_default(), &files));
    let names: Vec<String> = pids.into_iter().map(name_of).collect();
    let by = match names.is_empty() {
        true => "another process that cannot be seen from here (in another container?)".into(),
        false => names.join(", "),
    };
    InUse { path: path.to_owned(), by }
}

pub(super) fn name_of(pid: i32) -> String {
    let of_thread = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    match name(of_thread.trim_end(), &command) {
        "" => format!("pid {pid}"),
        name => format!("{name} (pid {pid})"),
    }
}

/// Node gives its first thread, which the process is named after, a name that tells nothing: then
/// the command tells more.
fn name<'a>(of_thread: &'a str, command: &'a [u8]) -> &'a str {
    let program = command.split(|byte| *byte == 0).next().and_then(|program| str::from_utf8(program).ok());
    let program = program.and_then(|program| program.rsplit('/').next()).filter(|program| !program.is_empty());
    match program {
        Some(program) if of_thread.ends_with("MainThread") => program,
        _ => of_thread,
    }
}

/// The database and what is beside it, as far as it is there.
fn files(path: &Path) -> Vec<Metadata> {
    let names = ["", "-wal", "-shm", "-journal"].map(|suffix| fsx::with_suffix(path, suffix));
    names.iter().filter_map(|name| fs::metadata(name).ok()).collect()
}

/// Another process that has a database open, as far as it can be seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub pid: i32,
    /// Name and process id.
    pub name: String,
}

/// Who has the database open to write to it, or has a lock on one of its files. Opens none of them.
pub fn programs(path: &Path) -> Vec<Program> {
    let files = files(path);
    let mut pids = openers(&files);
    pids.extend(lockers(&fs::read_to_string("/proc/locks").unwrap_or_default(), &files));
    pids.into_iter().map(|pid| Program { pid, name: name_of(pid) }).collect()
}

/// The processes that have a lock on the file, by name, as far as they can be seen from here.
pub fn lock_holders(path: &Path) -> Vec<String> {
    let files: Vec<Metadata> = fs::metadata(path).into_iter().collect();
    lockers(&fs::read_to_string("/proc/locks").unwrap_or_default(), &files).into_iter().map(name_of).collect()
}

/// Who has a lock on one of the files, by the lines of `/proc/locks`. Their devices are not those
/// of `stat` on every file system, so the inode has to do.
fn lockers(locks: &str, files: &[Metadata]) -> BTreeSet<i32> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let at = words.iter().position(|word| matches!(*word, "POSIX" | "FLOCK"))?;
        let (pid, file) = (words.get(at + 3)?.parse().ok()?, words.get(at + 4)?);
        let inode: u64 = file.rsplit(':').next()?.parse().ok()?;
        (pid > 0 && files.iter().any(|file| file.ino() == inode)).then_some(pid)
    };
    locks.lines().filter_map(line).collect()
}

/// Which other processes have one of the files open to write to it, as far as we may look.
fn openers(files: &[Metadata]) -> BTreeSet<i32> {
    if files.is_empty() {
        return BTreeSet::new();
    }
    let Ok(processes) = fs::read_dir("/proc") else { return BTreeSet::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let others = pids.filter(|pid| u32::try_from(*pid) != Ok(std::process::id()));
    others.filter(|pid| has_open(*pid, files)).collect()
}

fn has_open(pid: i32, files: &[Metadata]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|descriptor| {
        let is_one = |found: Metadata| files.iter().any(|f| (f.dev(), f.ino()) == (found.dev(), found.ino()));
        fs::metadata(descriptor.path()).is_ok_and(is_one) && is_writable(pid, &descriptor.file_name().to_string_lossy())
    })
}

fn is_writable(pid: i32, descriptor: &str) -> bool {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_after_its_program_where_its_thread_says_nothing() {
        assert_eq!(name("python3", b"/usr/bin/python3\0app.py\0"), "python3");
        assert_eq!(name("MainThread", b"/usr/local/bin/node\0server.js\0"), "node");
        assert_eq!(name("node-MainThread", b"node\0"), "node");
        assert_eq!((name("MainThread", b""), name("", b"")), ("MainThread", ""));
    }

    fn by_others(path: &Path) -> Option<String> {
        keep_clients_out(path).expect("answer").err().map(|in_use| in_use.to_string())
    }

    #[test]
    fn every_client_with_a_lock_is_met() {
        let us = format!("(pid {})", std::process::id());
        // What a client does, and whether it has a lock then.
        for (work, is_locked) in [
            ("PRAGMA journal_mode=WAL; CREATE TABLE t(x)", true),
            ("PRAGMA journal_mode=DELETE; CREATE TABLE t(x); BEGIN; SELECT * FROM t", true),
            ("PRAGMA journal_mode=DELETE; CREATE TABLE t(x); BEGIN IMMEDIATE", true),
            ("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=DELETE; CREATE TABLE t(x)", true),
            ("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; CREATE TABLE t(x)", true),
            ("PRAGMA journal_mode=DELETE; CREATE TABLE t(x)", false),
        ] {
            let dir = tempfile::tempdir().expect("tempdir");
            let path = dir.path().join("app.db");
            assert_eq!(by_others(&path), None, "nothing is there");
            let client = rusqlite::Connection::open(&path).expect("open");
            client.execute_batch(work).expect(work);
            let met = by_others(&path);
            assert_eq!(met.is_some(), is_locked, "{work}: {met:?}");
            assert!(met.is_none_or(|met| met.contains(&us)), "{work}");
            drop(client);
            assert_eq!(by_others(&path), None, "{work}");
        }
    }

    #[test]
    fn nobody_comes_in_while_the_file_is_replaced() {
        for mode in ["WAL", "DELETE"] {
            let dir = tempfile::tempdir().expect("tempdir");
            let path = dir.path().join("app.db");
            let client = rusqlite::Connection::open(&path).expect("open");
            client.execute_batch(&format!("PRAGMA journal_mode={mode}; CREATE TABLE t(x)")).expect("create");
            drop(client);
            let exclusion = keep_clients_out(&path).expect("answer").expect("nobody has it open");
            let client = rusqlite::Connection::open(&path).expect("open");
            client.busy_timeout(std::time::Duration::ZERO).expect("set");
            let look = || client.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
            assert!(look().is_err(), "{mode}: a client came in");
            drop(exclusion);
            assert_eq!(look(), Ok(0));
        }
    }

    #[test]
    fn the_lines_of_proc_locks_are_understood() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::write(dir.path().join("x"), "x").expect("write");
        let file = fs::metadata(dir.path().join("x")).expect("stat");
        let inode = file.ino();
        let locks = format!(
            "1: POSIX  ADVISORY  READ 77 08:01:{inode} 1073741826 1073742335\n\
             2: -> POSIX  ADVISORY  WRITE 78 08:01:{inode} 1073741824 1073741824\n\
             3: FLOCK  ADVISORY  WRITE 79 08:01:{inode} 0 EOF\n4: POSIX ADVISORY WRITE 80 08:01:1 0 EOF\n\
             5: OFDLCK ADVISORY WRITE -1 08:01:{inode} 0 EOF\nnonsense\n"
        );
        assert_eq!(Vec::from_iter(lockers(&locks, &[file])), [77, 78, 79]);
    }
}
