//! Where `restore -o` writes: a database file, a gzip file (`copy.db.gz`), or stdout (`-`).
//!
//! A database is always restored to a file and checked there. The other two are made from that
//! file, in a temporary directory. So a pipe gets a complete database or nothing, and a `.gz` file
//! appears under its name only when it is complete.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::clock::MACHINE;
use crate::config;
use crate::fsx::{self, Context, FsError};

/// The name of the database inside a staging directory.
const STAGED: &str = "restored.db";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Database(PathBuf),
    Gzip(PathBuf),
    Stdout,
}

impl Destination {
    /// Reads the value of `-o`; the path becomes absolute.
    pub fn parse(output: &Path) -> io::Result<Destination> {
        if output == Path::new("-") {
            return Ok(Destination::Stdout);
        }
        let output = config::database_file(output).map_err(io::Error::other)?;
        if output.as_os_str().as_bytes().ends_with(b"/") && !output.is_dir() {
            return Err(io::Error::other(format!(
                "{}: name the file to restore to; this ends with a slash, as a directory does",
                output.display()
            )));
        }
        let path = std::path::absolute(&output)?;
        Ok(if path.extension() == Some(OsStr::new("gz")) {
            Destination::Gzip(path)
        } else {
            Destination::Database(path)
        })
    }

    /// The path for output.
    pub fn path(&self) -> &Path {
        match self {
            Destination::Database(path) | Destination::Gzip(path) => path,
            Destination::Stdout => Path::new("-"),
        }
    }

    pub fn is_terminal(&self) -> bool {
        *self == Destination::Stdout && io::stdout().is_terminal()
    }

    /// A directory to restore into first; `None` for a database, which is restored to its place.
    pub fn staging(&self) -> Result<Option<Staging>, FsError> {
        match self {
            Destination::Database(_) => Ok(None),
            // Beside the file: on the same file system, so that the rename works.
            Destination::Gzip(path) => {
                let path = behind_links(path);
                let parent = fsx::parent(&path);
                fsx::create_dir_all(parent)?;
                Staging::create(parent).map(Some)
            }
            Destination::Stdout => Staging::create(&std::env::temp_dir()).map(Some),
        }
    }

    /// Writes the destination from the restored database, and makes it durable.
    pub fn deliver(&self, staging: &Staging, mode: u32) -> Result<(), FsError> {
        let database = staging.database();
        match self {
            Destination::Database(_) => Ok(()),
            Destination::Stdout => {
                let mut file = fsx::open(&database)?;
                let mut stdout = io::stdout().lock();
                let copied = io::copy(&mut file, &mut stdout).and_then(|_| stdout.flush());
                copied.on("write to", Path::new("stdout"))
            }
            Destination::Gzip(path) => {
                let unnamed = staging.dir.join("restored.db.gz");
                compress(&database, &unnamed, mode)?;
                let path = behind_links(path);
                fsx::rename(&unnamed, &path)?;
                fsx::sync_dir(fsx::parent(&path))
            }
        }
    }
}

/// Resolves symbolic links: the file behind them is replaced.
fn behind_links(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn compress(database: &Path, output: &Path, mode: u32) -> Result<(), FsError> {
    let mut source = fsx::open(database)?;
    let file: File = fsx::create_new(output, 0o600)?;
    fsx::set_mode(&file, output, mode)?;
    let mut encoder = GzEncoder::new(BufWriter::with_capacity(1 << 20, file), Compression::default());
    io::copy(&mut source, &mut encoder).on("write", output)?;
    let buffered = encoder.finish().on("write", output)?;
    let file = buffered.into_inner().map_err(io::IntoInnerError::into_error).on("write", output)?;
    fsx::sync_file(&file, output)
}

/// A directory that only we can read, removed with everything in it when dropped.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
}

impl Staging {
    fn create(parent: &Path) -> Result<Staging, FsError> {
        let dir = parent.join(format!(".millstream-restore-{:016x}", MACHINE.random_u64()));
        DirBuilder::new().mode(0o700).create(&dir).on("create directory", &dir)?;
        Ok(Staging { dir })
    }

    /// Removes it although a thread may still hold it.
    pub fn remove(&self) {
        // Best effort: the name says whose it is.
        let _ = fs::remove_dir_all(&self.dir);
    }

    pub fn database(&self) -> PathBuf {
        self.dir.join(STAGED)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_word_behind_o_says_what_is_written() {
        let parse = |word: &str| Destination::parse(Path::new(word)).expect("a path");
        assert_eq!(parse("-"), Destination::Stdout);
        let error = Destination::parse(Path::new("/nowhere/new/")).expect_err("a directory's name");
        assert!(error.to_string().contains("name the file to restore to"), "{error}");
        assert_eq!(parse("/x/app.db"), Destination::Database("/x/app.db".into()));
        assert_eq!(parse("/x/app.db.gz"), Destination::Gzip("/x/app.db.gz".into()));
        assert_eq!(parse("sqlite:///x/app.db"), Destination::Database("/x/app.db".into()));
        assert_eq!(parse("file:/x/app.db.gz?mode=rwc"), Destination::Gzip("/x/app.db.gz".into()));
        assert!(matches!(parse("./-"), Destination::Database(path) if path.is_absolute()));
    }

    #[test]
    fn a_gzip_file_appears_when_it_is_whole_and_nothing_else_stays() {
        let dir = tempfile::tempdir().expect("tempdir");
        let destination = Destination::Gzip(dir.path().join("sub/copy.db.gz"));
        let content: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        let staging = destination.staging().expect("created").expect("staged");
        fs::write(staging.database(), &content).expect("write");
        assert_eq!(fs::metadata(&staging.dir).expect("stat").mode() & 0o777, 0o700);
        destination.deliver(&staging, 0o640).expect("delivered");
        drop(staging);
        let mut unpacked = Vec::new();
        let file = File::open(destination.path()).expect("there");
        assert_eq!(file.metadata().expect("stat").mode() & 0o777, 0o640);
        flate2::read::GzDecoder::new(file).read_to_end(&mut unpacked).expect("gzip");
        assert!(unpacked == content);
        assert_eq!(fs::read_dir(dir.path().join("sub")).expect("dir").count(), 1);
    }
}
