//! Carries out a plan: all files at once, the newest version of every page, every file verified.
//!
//! Files are opened in parallel and claim their pages newest first. Their parts then go through a
//! fixed number of slots: fetched (`range.rs`), decoded on a blocking thread (`part.rs`), owned
//! pages written at their place (`run.rs`), everything else only checked. Nothing waits for another
//! part, so a slot always comes free; the slots are what bounds the memory. The base, the oldest
//! file and as a rule the largest by far, comes last: it closes the gaps between what the others
//! have written, and the disk sees one sequential write.
//!
//! Damage is met where it shows: a part that does not decode is read once more, a file whose
//! checksum does not fit is read once more as a whole; if it is the same again, it is damaged where
//! it is.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio_util::task::AbortOnDropHandle;

use super::checked_plan::{CheckedPlan, vanishing};
use super::open::{Opened, open, ranges};
use super::pages::{Bits, Claims};
use super::progress::{Attempt, Progress};
use super::target::Temporary;
use super::{Integrity, Request, RestoreError, integrity};
use crate::fsx::FsError;
use crate::ltx::{Assembly, LtxError};
use crate::remote::{ReadError, Remote};
use crate::store::Key;
use range::Buffers;

mod part;
mod range;
mod run;

pub(super) enum Failure {
    /// A file of the plan is gone, or not what it was a moment ago: list and plan again.
    Changed(Key),
    /// A file is not what it should be, also when read again: plan without it, if that is possible.
    Damaged {
        name: Key,
        why: String,
    },
    Final(RestoreError),
}

impl Failure {
    pub(super) fn into_error(self) -> RestoreError {
        match self {
            Failure::Changed(name) => vanishing(&name),
            Failure::Damaged { name, why } => RestoreError::Corrupt { name: name.to_string(), why },
            Failure::Final(error) => error,
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        match error {
            ReadError::Gone { name } => Failure::Changed(name),
            ReadError::Store(error) => Failure::Final(error.into()),
            ReadError::Invalid { name, source } => Failure::Damaged { name, why: source.to_string() },
        }
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Failure {
        Failure::Final(error.into())
    }
}

impl From<JoinError> for Failure {
    /// A task ends early only when the runtime is shut down under it.
    fn from(_: JoinError) -> Failure {
        Failure::Final(RestoreError::Cancelled)
    }
}

/// What all parts share.
struct Site {
    remote: Remote,
    progress: Attempt,
    file: File,
    path: PathBuf,
    /// Parts that are fetched, waiting for a thread or decoded.
    slots: Arc<Semaphore>,
    buffers: Mutex<Vec<Buffers>>,
    reads: Semaphore,
    parallelism: usize,
}

impl Site {
    async fn slot(&self) -> OwnedSemaphorePermit {
        self.slots.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    fn take_buffers(&self) -> Buffers {
        self.buffers.lock().ok().and_then(|mut free| free.pop()).unwrap_or_default()
    }

    fn give_back(&self, buffers: Buffers) {
        if let Ok(mut free) = self.buffers.lock() {
            free.push(buffers);
        }
    }
}

/// An opened file and the pages that it owns.
struct Claimed {
    opened: Opened,
    owned: Arc<Bits>,
    role: Role,
}

impl Claimed {
    fn damaged(&self, error: &LtxError) -> Failure {
        Failure::Damaged { name: self.opened.object.name.clone(), why: error.to_string() }
    }
}

#[derive(Clone, Copy)]
enum Role {
    Newer,
    /// The oldest file of the plan, applied when all others are in their places, to a database of
    /// `commit` pages.
    Base {
        commit: u32,
    },
}

/// Puts the database of a plan together in a temporary file beside `output`, whole and durable.
pub(super) async fn carry_out(
    remote: &Remote,
    request: &Request,
    checked_plan: &CheckedPlan,
    output: &Path,
    progress: &Arc<Progress>,
) -> Result<Temporary, Failure> {
    let newest = checked_plan.newest;
    let progress = progress.begin(checked_plan.plan.bytes(), u64::from(newest.commit));
    let (target, mode, owner) = (output.to_owned(), request.mode, request.owner);
    let len = newest.page_size.database_len(newest.commit);
    let temporary = spawn_blocking(move || Temporary::create(&target, len, mode, owner)).await??;

    let parallelism = request.parallelism.max(1);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let site = Arc::new(Site {
        remote: remote.clone(),
        progress,
        file: temporary.writer()?,
        path: temporary.path().to_owned(),
        slots: Arc::new(Semaphore::new(parallelism + cores.min(parallelism))),
        buffers: Mutex::default(),
        reads: Semaphore::new(parallelism),
        parallelism,
    });
    apply_all(&site, checked_plan, parallelism).await?;

    seal(temporary, request.integrity).await
}

/// The end of every restore: durable, and sound as far as was asked.
pub(super) async fn seal(temporary: Temporary, integrity: Integrity) -> Result<Temporary, Failure> {
    let temporary = spawn_blocking(move || temporary.sync().map(|()| temporary)).await??;
    let sound = integrity::check(temporary.path(), integrity).await;
    sound.map_err(|what| Failure::Final(RestoreError::Unsound { what }))?;
    Ok(temporary)
}

async fn apply_all(site: &Arc<Site>, checked_plan: &CheckedPlan, parallelism: usize) -> Result<(), Failure> {
    enum Event {
        Opened(Option<Result<Box<Opened>, ReadError>>),
        Applied(Result<Result<(), Failure>, JoinError>),
    }
    let mut claims = Claims::new(&checked_plan.newest);
    let newest_first = stream::iter(checked_plan.plan.files.iter().rev().cloned());
    let open = async |object| open(&site.remote, object).await.map(Box::new);
    let mut opened = newest_first.map(open).buffered(parallelism).fuse();
    let mut running: JoinSet<Result<(), Failure>> = JoinSet::new();
    let (mut all_opened, mut base) = (false, None);
    while !(all_opened && running.is_empty()) {
        let event = tokio::select! {
            next = opened.next(), if !all_opened && running.len() < parallelism => Event::Opened(next),
            Some(done) = running.join_next() => Event::Applied(done),
        };
        match event {
            Event::Opened(None) => all_opened = true,
            Event::Opened(Some(opened)) => {
                let opened = opened?;
                check_header(&opened, checked_plan)?;
                let owned = Arc::new(claims.claim(&opened.pages));
                if opened.object.name == checked_plan.plan.files[0].name {
                    let role = Role::Base { commit: checked_plan.newest.commit };
                    base = Some(Claimed { opened: *opened, owned, role });
                } else {
                    let newer = Claimed { opened: *opened, owned, role: Role::Newer };
                    running.spawn(apply(site.clone(), Arc::new(newer)));
                }
            }
            Event::Applied(done) => done??,
        }
    }
    if let Some(page) = claims.first_missing() {
        let why =
            format!("it makes the database {} pages long, but page {page} is in no file", checked_plan.newest.commit);
        return Err(Failure::Damaged { name: checked_plan.plan.newest().name.clone(), why });
    }
    match base {
        Some(base) => apply(site.clone(), Arc::new(base)).await,
        None => Ok(()),
    }
}

/// A file must hold what its name says, and all files pages of one size.
fn check_header(opened: &Opened, checked_plan: &CheckedPlan) -> Result<(), Failure> {
    let (object, header, newest) = (&opened.object, &opened.header, &checked_plan.newest);
    if object.name == checked_plan.plan.newest().name && header != newest {
        return Err(Failure::Changed(object.name.clone()));
    }
    let damaged = |why| Err(Failure::Damaged { name: object.name.clone(), why });
    object.check_txids(header).or_else(damaged)?;
    if header.page_size != newest.page_size {
        return damaged(format!(
            "its pages have {} bytes, those of newer files {}",
            header.page_size, newest.page_size
        ));
    }
    Ok(())
}

/// Applies and verifies one file; twice, if the first time does not end with the right checksum.
async fn apply(site: Arc<Site>, file: Arc<Claimed>) -> Result<(), Failure> {
    let Err(error) = apply_once(&site, &file, true).await?.verify(&file.opened.index) else { return Ok(()) };
    tracing::debug!("{}: {error}; reading it again", file.opened.object.name);
    // The header and the index may be what was damaged on the way; then perhaps the wrong pages
    // were claimed.
    let opened = open(&site.remote, file.opened.object.clone()).await?;
    if !opened.has_same_pages(&file.opened) {
        return Err(Failure::Changed(opened.object.name));
    }
    let file = Arc::new(Claimed { opened, owned: file.owned.clone(), role: file.role });
    let verified = apply_once(&site, &file, false).await?.verify(&file.opened.index);
    verified.map_err(|error| file.damaged(&error))
}

async fn apply_once(site: &Arc<Site>, file: &Arc<Claimed>, first_time: bool) -> Result<Assembly, Failure> {
    let mut assembly = Assembly::new(&file.opened.raw_header);
    let ranges = stream::iter(ranges(&file.opened.parts));
    let apply = |range| tokio::spawn(range::apply(site.clone(), file.clone(), range, first_time));
    let mut applied = ranges.map(|range| AbortOnDropHandle::new(apply(range))).buffered(site.parallelism);
    while let Some(frames) = applied.next().await {
        frames??.iter().for_each(|frames| assembly.append(frames));
    }
    Ok(assembly)
}
