//! What is at the path of the copy: nothing, a copy, or what is none and is left alone; and putting
//! a restored database there.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::checksum;
use super::core::{Doubt, Found, Position, Reason, Trouble};
use super::install::Base;
use super::txid_file;
use crate::fsx::{self, Context, FsError};
use crate::page::{PageSize, Pgno};
use crate::remote::Remote;
use crate::replicate::blocking;
use crate::restore::{self, Progress, Reached, Request, RestoreError, Target};
use crate::sqlite::{LiveCopy, Presence, SqliteError, WriteLock, check_access, look_at_file};
use crate::state::{CopyNote, CopyState, LocalState, Lock};
use crate::store::StoreError;

/// A moment's commit or checkpoint of another program is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_millis(200);
const LOG_EVERY: Duration = Duration::from_secs(5);

/// The copy, and what is noted of it.
#[derive(Clone, Debug)]
pub struct Place {
    /// Behind all links.
    pub copy: PathBuf,
    pub notes: LocalState,
    /// The address of the replica.
    pub replica: String,
    /// A database that is no copy is made one.
    pub adopts: bool,
}

/// An open copy, whose write lock is held.
pub struct Open {
    pub live: LiveCopy,
    pub base: Base,
}

impl Place {
    pub fn new(copy: &Path, notes: &Path, replica: &str, adopts: bool) -> Place {
        let copy = behind_links(copy);
        Place { notes: LocalState::open(&copy, notes), copy, replica: replica.to_owned(), adopts }
    }

    pub fn note(&self, states: Vec<CopyState>) -> CopyNote {
        CopyNote { replica: self.replica.clone(), states }
    }

    /// Opens the copy, takes the write lock, and finds out by its checksum which state it is in.
    pub fn look(&self, held: Option<LiveCopy>, cancel: &CancellationToken) -> Result<(Found, Option<Open>), Trouble> {
        // One that is open is there, and no file of it may be opened by name: that drops its locks.
        match held.is_none().then(|| look_at_file(&self.copy)).transpose().map_err(cannot_write)? {
            None => {}
            Some(found) => match found {
                Presence::Missing | Presence::Empty => return Ok((Found::Missing, None)),
                Presence::NoDatabase(_) | Presence::Database(_) if self.is_none_of_ours()? => {
                    return Err(self.refused());
                }
                Presence::NoDatabase(content) => return Ok((Found::Unreadable(content.to_string()), None)),
                Presence::Database(_) => {}
            },
        }
        let noted = self.notes.copy_note();
        if noted.is_none() {
            // Before anything is written to it.
            self.notes.prepare().and_then(|()| self.notes.note_copy(&self.note(Vec::new()))).map_err(cannot_write)?;
        }
        check_access(&self.copy).map_err(|error| Trouble::Final(Reason::CannotWrite, error.to_string()))?;
        let opened = held.map_or_else(|| LiveCopy::open(&self.copy, BUSY_TIMEOUT), Ok);
        let mut live = match opened {
            Err(error) if error.is_malformed() => return Ok((Found::Unreadable(error.to_string()), None)),
            live => live.map_err(of_sqlite)?,
        };
        if live.hold().map_err(of_sqlite)? == WriteLock::Busy {
            return Err(Trouble::Passing(format!("{} is locked by another program", self.copy.display())));
        }
        let (pages, sum) = sum_of(&live, cancel)?.ok_or(Trouble::Cancelled)?;
        let (found, base) = self.judge(noted, pages, sum);
        Ok((found, Some(Open { live, base })))
    }

    fn judge(&self, noted: Option<CopyNote>, pages: u32, checksum: u64) -> (Found, Base) {
        let is_it = |state: &&CopyState| (state.pages, state.checksum) == (pages, checksum);
        let doubt = match &noted {
            None => Doubt::NotNoted,
            Some(note) if note.replica != self.replica => Doubt::OtherReplica(note.replica.clone()),
            Some(note) => match note.states.iter().find(is_it) {
                Some(state) => {
                    let position = Position { txid: state.txid, timestamp_ms: state.timestamp_ms };
                    return (Found::At(position), Base::State(*state));
                }
                None if note.states.is_empty() => Doubt::NotNoted,
                None => Doubt::Changed,
            },
        };
        (Found::Doubt(doubt), Base::Unknown { pages })
    }

    /// There is something that is no copy.
    fn is_none_of_ours(&self) -> Result<bool, Trouble> {
        let is_noted = self.notes.copy_note_path().map_err(cannot_write)?.is_some();
        Ok(!is_noted && !self.adopts && !txid_file::is_there(&self.copy))
    }

    fn refused(&self) -> Trouble {
        let path = self.copy.display();
        let why = format!(
            "{path} exists and is no copy of a replica: it is left as it is; move it away, or make it one, whatever it holds, with -force"
        );
        Trouble::Final(Reason::CannotWrite, why)
    }

    /// Puts the newest state there. Its note comes first: a database that is there is always one of
    /// which it is known that it is a copy.
    pub async fn restore(&self, remote: &Remote, request: &Request, cancel: &CancellationToken) -> Result<(), Trouble> {
        if let Ok(restore::Found::Old(_)) = restore::plan(remote, Target::Latest, cancel).await {
            let why = format!("{} is a replica of Litestream 0.3, which cannot be followed: restore it", self.replica);
            return Err(Trouble::Final(Reason::Backup, why));
        }
        let request =
            Request { output: self.copy.clone(), target: Target::Latest, overwrite_empty: true, ..request.clone() };
        tracing::info!(db = %self.copy.display(), "restoring from {}", self.replica);
        let progress = Arc::new(Progress::default());
        let prepared = tokio::select! {
            prepared = restore::prepare(remote, &request, cancel, &progress) => prepared.map_err(of_restore)?,
            never = self.announce(&progress) => match never {},
        };
        let Reached::Ltx { txid, header } = prepared.reached() else {
            return Err(Trouble::Passing("the replica has changed its format".into()));
        };
        let (place, path) = (self.clone(), prepared.path().to_owned());
        blocking(move || {
            let (pages, checksum) = sum_of_file(&path, header.page_size)?;
            let state = CopyState { txid, timestamp_ms: header.timestamp_ms, pages, checksum };
            place.notes.prepare()?;
            place.notes.note_copy(&place.note(vec![state]))
        })
        .await
        .map_err(cannot_write)?;
        let restored = prepared.install().await.map_err(of_restore)?;
        for orphan in &restored.orphaned {
            tracing::warn!("a file that an earlier copy left was moved to {}", orphan.display());
        }
        tracing::info!(db = %self.copy.display(), "restored {}: {} bytes", restored.reached, restored.database_bytes);
        Ok(())
    }

    /// One line every few seconds. Never returns.
    async fn announce(&self, progress: &Progress) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(LOG_EVERY).await;
            let done = progress.now();
            if let Some(percent) = (done.bytes_done * 100).checked_div(done.bytes_total) {
                let (done, total) = (done.bytes_done, done.bytes_total);
                tracing::info!(db = %self.copy.display(), "restoring: {percent} % ({done} of {total} bytes)");
            }
        }
    }
}

/// Pages and checksum of an open copy; `None` when it was told to stop.
fn sum_of(live: &LiveCopy, cancel: &CancellationToken) -> Result<Option<(u32, u64)>, Trouble> {
    let mut sum = 0;
    let pages = live.for_each_page(|pgno, page| {
        sum ^= checksum::of_page(pgno, page);
        !cancel.is_cancelled()
    });
    Ok(pages.map_err(of_sqlite)?.map(|pages| (pages, sum)))
}

/// Notes that a database, whose write lock is held, is this state of the replica: a follower goes
/// on from there. Blocks.
pub fn note_state(live: &LiveCopy, notes: &LocalState, replica: &str, position: Position) -> Result<(), Trouble> {
    let Some((pages, checksum)) = sum_of(live, &CancellationToken::new())? else { return Ok(()) };
    let Position { txid, timestamp_ms } = position;
    let note =
        CopyNote { replica: replica.to_owned(), states: vec![CopyState { txid, timestamp_ms, pages, checksum }] };
    notes.prepare().and_then(|()| notes.note_copy(&note)).map_err(cannot_write)
}

/// Another process has the place of a copy.
#[derive(Debug, thiserror::Error)]
pub enum Busy {
    #[error("{} is replicated, restored or followed by {holder}: stop that first", .copy.display())]
    By { copy: PathBuf, holder: String },
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// Makes the directory of a copy, and takes the locks that keep others away from it; also says
/// where its notes are, if they are not at a place of their own. Blocks.
pub fn take_place(
    copy: &Path,
    owner: Option<(u32, u32)>,
    notes: impl Fn(&Path) -> PathBuf,
) -> Result<(PathBuf, Vec<Lock>), Busy> {
    fsx::create_dir_all_for(fsx::parent(copy), owner)?;
    // Behind a link the notes are where the file is.
    let real = std::fs::canonicalize(copy).unwrap_or_else(|_| copy.to_owned());
    let (there, given) = (notes(&real), notes(copy));
    let also = Some(&given).filter(|given| given.is_dir() && **given != there);
    let mut locks = Vec::new();
    for directory in [Some(&there), also].into_iter().flatten() {
        match Lock::try_take(&real, directory)? {
            Some(lock) => locks.push(lock),
            None => return Err(Busy::By { copy: copy.to_owned(), holder: Lock::holder(directory) }),
        }
    }
    Ok((there, locks))
}

/// The path with all links resolved; the file need not exist.
fn behind_links(path: &Path) -> PathBuf {
    let new = || Some(std::fs::canonicalize(fsx::parent(path)).ok()?.join(path.file_name()?));
    std::fs::canonicalize(path).ok().or_else(new).unwrap_or_else(|| path.to_owned())
}

/// Pages and checksum of a database that no program has open.
fn sum_of_file(path: &Path, page_size: PageSize) -> fsx::Result<(u32, u64)> {
    let file: File = fsx::open_regular(path)?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut pages, mut sum, mut page) = (0, 0, vec![0; page_size.bytes()]);
    while !reader.fill_is_empty().on("read", path)? {
        reader.read_exact(&mut page).on("read", path)?;
        pages += 1;
        if let Some(pgno) = Pgno::new(pages).filter(|pgno| *pgno != page_size.lock_page()) {
            sum ^= checksum::of_page(pgno, &page);
        }
    }
    Ok((pages, sum))
}

trait FillIsEmpty {
    /// Whether the end is reached.
    fn fill_is_empty(&mut self) -> std::io::Result<bool>;
}

impl<R: Read> FillIsEmpty for BufReader<R> {
    fn fill_is_empty(&mut self) -> std::io::Result<bool> {
        std::io::BufRead::fill_buf(self).map(<[u8]>::is_empty)
    }
}

pub fn cannot_write(error: FsError) -> Trouble {
    Trouble::Final(Reason::CannotWrite, error.to_string())
}

pub fn of_sqlite(error: SqliteError) -> Trouble {
    match error {
        SqliteError::ReadOnly { .. } => Trouble::Final(Reason::CannotWrite, error.to_string()),
        error => Trouble::Passing(error.to_string()),
    }
}

fn of_restore(error: RestoreError) -> Trouble {
    let reason = match error.cause() {
        RestoreError::Cancelled => return Trouble::Cancelled,
        RestoreError::InUse(_) => return Trouble::Passing(error.to_string()),
        RestoreError::NoBackup { .. } => Reason::NoBackup,
        RestoreError::CannotTell(StoreError::Denied { .. }) => Reason::Denied,
        RestoreError::CannotTell(StoreError::Permanent { .. }) => Reason::Config,
        RestoreError::CannotTell(_) => Reason::Unavailable,
        RestoreError::Io(_) | RestoreError::TargetExists { .. } | RestoreError::NoDatabase { .. } => {
            Reason::CannotWrite
        }
        _ => Reason::Backup,
    };
    Trouble::Final(reason, error.to_string())
}
