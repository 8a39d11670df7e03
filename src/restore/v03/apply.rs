//! Puts a database together from a snapshot and WALs: what SQLite's own checkpoint would do, on a
//! file that no process has opened.
//!
//! Of each WAL the pages go through a spool file first, because only a commit frame says that those
//! before it count. Then the newest version of every page is written once, and the file is as long
//! as the last commit says. Memory: one number for each page that the WAL holds.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::OldPlan;
use super::feed::{Broken, Objects};
use crate::fsx::{Context, FsError};
use crate::page::{PageSize, Pgno};
use crate::remote::OldObject;
use crate::sqlite::{DbHeader, FrameStream, StreamError};
use crate::store::Key;

const BUFFER: usize = 1024 * 1024;

pub(super) enum Failure {
    /// An object is not what it should be.
    Object {
        name: Key,
        broken: Broken,
    },
    Disk(FsError),
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Failure {
        Failure::Disk(error)
    }
}

/// The file that grows into the database, and the one beside it that WAL pages wait in.
pub(super) struct Site {
    pub file: File,
    pub spool: File,
    pub path: PathBuf,
}

/// Reads all files of the plan and returns the length of the database.
pub(super) fn apply(plan: &OldPlan, mut objects: Objects, site: &mut Site) -> Result<u64, Failure> {
    let mut len = copy_snapshot(&plan.snapshot, &mut objects, &site.file, &site.path)?;
    let mut page_size = page_size_of(&plan.snapshot, len, &site.file, &site.path)?;
    for wal in plan.segments.chunk_by(|a, b| a.place.index == b.place.index) {
        let mut segments = Segments { objects: &mut objects, wal, next: 0, offset: 0 };
        let applied = apply_wal(&mut segments, page_size, site);
        let current = segments.current().name.clone();
        let damaged = |why| Failure::Object { name: current.clone(), broken: Broken::Damaged(why) };
        let applied = applied.map_err(|error| match error {
            WalFailure::Disk(error) => Failure::Disk(error),
            WalFailure::Bytes(StreamError::Io(error)) => object_failure(current.clone(), error),
            WalFailure::Bytes(error) => damaged(error.to_string()),
            WalFailure::PageSize(found) => damaged(format!("its pages have {found} bytes, those of the snapshot not")),
        })?;
        if let Some(applied) = applied {
            (len, page_size) = (applied.len, Some(applied.page_size));
        }
    }
    Ok(len)
}

fn object_failure(name: Key, error: io::Error) -> Failure {
    let broken = error.downcast::<Broken>().unwrap_or_else(|error| Broken::Damaged(error.to_string()));
    Failure::Object { name, broken }
}

fn copy_snapshot(snapshot: &OldObject, objects: &mut Objects, file: &File, path: &Path) -> Result<u64, Failure> {
    let failed = |error| object_failure(snapshot.name.clone(), error);
    objects.begin().map_err(failed)?;
    let mut buffer = vec![0; BUFFER];
    let mut len = 0;
    loop {
        let read = objects.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            return Ok(len);
        }
        file.write_all_at(&buffer[..read], len).on("write", path)?;
        len += read as u64;
    }
}

/// The page size of the snapshot; `None` if it is empty, as a database is whose first pages are all
/// in the WAL.
fn page_size_of(snapshot: &OldObject, len: u64, file: &File, path: &Path) -> Result<Option<PageSize>, Failure> {
    if len == 0 {
        return Ok(None);
    }
    let mut bytes = [0; 100];
    let known = len.min(100) as usize;
    file.read_exact_at(&mut bytes[..known], 0).on("read", path)?;
    let header =
        DbHeader::parse(&bytes[..known]).filter(|header| len.is_multiple_of(u64::from(header.page_size.get())));
    let broken = || Broken::Damaged("it does not hold a SQLite database".into());
    match header {
        Some(header) => Ok(Some(header.page_size)),
        None => Err(Failure::Object { name: snapshot.name.clone(), broken: broken() }),
    }
}

enum WalFailure {
    Bytes(StreamError),
    PageSize(PageSize),
    Disk(FsError),
}

impl From<StreamError> for WalFailure {
    fn from(error: StreamError) -> WalFailure {
        WalFailure::Bytes(error)
    }
}

impl From<FsError> for WalFailure {
    fn from(error: FsError) -> WalFailure {
        WalFailure::Disk(error)
    }
}

struct Applied {
    len: u64,
    page_size: PageSize,
}

/// Applies the committed part of one WAL; `None` if nothing in it was committed.
fn apply_wal(
    segments: &mut Segments<'_>,
    page_size: Option<PageSize>,
    site: &mut Site,
) -> Result<Option<Applied>, WalFailure> {
    let mut frames = FrameStream::open(segments)?;
    let found = frames.page_size();
    if page_size.is_some_and(|page_size| page_size != found) {
        return Err(WalFailure::PageSize(found));
    }
    let mut page = vec![0; found.bytes()];
    let (mut committed, mut pending) = (HashMap::new(), HashMap::new());
    let mut commit = 0;
    site.spool.rewind().on("rewind the spool of", &site.path)?;
    let mut spool = BufWriter::with_capacity(BUFFER, &site.spool);
    while let Some(frame) = frames.next(&mut page)? {
        spool.write_all(&page).on("write the spool of", &site.path)?;
        pending.insert(frame.pgno, frame.number);
        if frame.commit > 0 {
            committed.extend(pending.drain());
            commit = frame.commit;
        }
    }
    spool.flush().on("write the spool of", &site.path)?;
    drop(spool);
    if commit == 0 {
        return Ok(None);
    }
    let mut pages: Vec<(Pgno, u32)> = committed.into_iter().filter(|(pgno, _)| pgno.get() <= commit).collect();
    pages.sort_unstable();
    for (pgno, frame) in pages {
        let in_spool = u64::from(frame - 1) * u64::from(found.get());
        site.spool.read_exact_at(&mut page, in_spool).on("read the spool of", &site.path)?;
        site.file.write_all_at(&page, pgno.offset(found)).on("write", &site.path)?;
    }
    let len = found.database_len(commit);
    site.file.set_len(len).on("set length of", &site.path)?;
    Ok(Some(Applied { len, page_size: found }))
}

/// The segments of one WAL as one stream. Where one ends the next must begin.
struct Segments<'a> {
    objects: &'a mut Objects,
    wal: &'a [OldObject],
    /// How many were begun.
    next: usize,
    offset: u64,
}

impl Segments<'_> {
    fn current(&self) -> &OldObject {
        &self.wal[self.next.saturating_sub(1)]
    }
}

impl Read for Segments<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.next > 0 {
                let read = self.objects.read(buffer)?;
                if read > 0 || buffer.is_empty() {
                    self.offset += read as u64;
                    return Ok(read);
                }
            }
            let Some(segment) = self.wal.get(self.next) else { return Ok(0) };
            if segment.place.offset != self.offset {
                let (ends, begins) = (self.offset, segment.place.offset);
                let why = format!("it ends at byte {ends} of its WAL, and the next segment begins at byte {begins}");
                return Err(Broken::Damaged(why).into());
            }
            self.next += 1;
            self.objects.begin()?;
        }
    }
}
