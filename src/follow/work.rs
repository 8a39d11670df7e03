//! Pieces of work for the core, each from its beginning to the event that it ends with.

use std::io::BufReader;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::core::{Event, Found, Grip, Installed, Position, Trouble};
use super::files;
use super::install::{Base, InstallError, install};
use super::place::{Open, Place, of_sqlite};
use super::txid_file;
use crate::ltx::{Header, Merged, Txid};
use crate::remote::{Listing, LtxObject, RangeReader, ReadError, ReadPolicy, Remote};
use crate::replicate::blocking;
use crate::sqlite::{LiveCopy, SqliteError, WriteLock};
use crate::state::CopyState;

/// The end of a piece of work, and the copy if it had it.
pub struct Done {
    pub event: Event,
    pub open: Option<Open>,
    pub lists_whole: Option<bool>,
}

impl Done {
    pub fn of(event: Event) -> Done {
        Done { event, open: None, lists_whole: None }
    }

    pub fn with(event: Event, open: Option<Open>) -> Done {
        Done { event, open, lists_whole: None }
    }
}

pub fn look(place: &Place, open: Option<Open>, held: Option<LiveCopy>, cancel: &CancellationToken) -> Done {
    drop(open);
    match place.look(held, cancel) {
        Ok((found, open)) => {
            if let Found::At(position) = found {
                tell(place, position.txid);
            }
            Done::with(Event::Looked(Ok(found)), open)
        }
        Err(trouble) => Done::of(Event::Looked(Err(trouble))),
    }
}

/// The core asks again by itself.
pub async fn list(remote: &Remote, whole: bool) -> Result<Listing, Trouble> {
    let remote = remote.clone().with_policy(ReadPolicy::impatient());
    let listed = if whole { remote.listing().await } else { remote.level0_listing().await };
    listed.map_err(|error| files::of_store(&error))
}

/// The headers of those that are what their names say.
pub async fn check(remote: &Remote, objects: Vec<LtxObject>) -> Result<Vec<(LtxObject, Header)>, Trouble> {
    let mut found = Vec::new();
    for object in objects {
        match remote.check_header(&object).await {
            Ok(Ok(header)) => found.push((object, header)),
            Ok(Err(_)) | Err(ReadError::Invalid { .. }) => {}
            Err(error) => return Err(files::of_read(error)),
        }
    }
    Ok(found)
}

pub fn hold(open: Option<Open>) -> Done {
    let Some(mut open) = open else { return Done::of(Event::Held(Ok(Grip::Closed))) };
    match grip(&mut open) {
        Ok(grip) => Done::with(Event::Held(Ok(grip)), Some(open)),
        Err(error) => Done::of(Event::Held(Err(of_sqlite(error)))),
    }
}

fn grip(open: &mut Open) -> Result<Grip, SqliteError> {
    Ok(match open.live.hold()? {
        WriteLock::Yes => Grip::Held,
        WriteLock::Busy => Grip::Busy,
        WriteLock::Foreign => Grip::Foreign,
    })
}

pub async fn install_files(
    remote: &Remote,
    place: Place,
    open: Option<Open>,
    onto: Option<Position>,
    files: Vec<LtxObject>,
    cancel: &CancellationToken,
) -> Done {
    let Some(mut open) = open else { return closed() };
    if onto.is_none() {
        open.base = Base::Unknown { pages: open.base.pages() };
    }
    let merged = match files::open(remote, &files, open.live.page_size(), cancel).await {
        Ok(merged) => merged,
        Err(trouble) => return Done::with(Event::Installed(Err(trouble), Grip::Held), Some(open)),
    };
    let (open, installed, grip) = transact(place, open, merged).await;
    let done = match installed {
        Ok(installed) => Ok(installed),
        Err(InstallError::Source(error)) => Err(files::explain(remote, &files, error, cancel).await),
        Err(error) => Err(of_install(error)),
    };
    Done::with(Event::Installed(done, grip), open)
}

/// What is no sound file is read from the bucket.
pub async fn install_pushed(
    remote: &Remote,
    place: Place,
    open: Option<Open>,
    onto: Position,
    files: Vec<(Position, Bytes)>,
    cancel: &CancellationToken,
) -> Done {
    let Some(open) = open else { return closed() };
    debug_assert!(matches!(open.base, Base::State(state) if state.txid == onto.txid));
    let merged = match files::at_hand(remote, files, open.live.page_size(), cancel).await {
        Ok(merged) => merged,
        Err(trouble) => return Done::with(Event::Installed(Err(trouble), Grip::Held), Some(open)),
    };
    let (open, installed, grip) = transact(place, open, merged).await;
    let done = installed.map_err(|error| match error {
        InstallError::Source(_) => Trouble::Gone,
        error => of_install(error),
    });
    Done::with(Event::Installed(done, grip), open)
}

fn closed() -> Done {
    Done::of(Event::Installed(Err(Trouble::Passing("the copy is closed".into())), Grip::Closed))
}

type Transacted = (Option<Open>, Result<Installed, InstallError>, Grip);

async fn transact(place: Place, mut open: Open, merged: Merged<BufReader<RangeReader>>) -> Transacted {
    blocking(move || {
        let states = match open.base {
            Base::State(state) => vec![state],
            Base::Unknown { .. } => Vec::new(),
        };
        let note = |next: &CopyState| place.notes.note_copy(&place.note([states.as_slice(), &[*next]].concat()));
        let installed = install(&open.live, open.base, merged, note);
        if let Ok((state, _)) = &installed {
            open.base = Base::State(*state);
        }
        // Before anything else: until then other programs can write.
        let (open, grip) = match &installed {
            Err(InstallError::Copy(_)) => (None, Grip::Closed),
            _ => held_again(open),
        };
        let installed = installed.map(|(state, pages)| {
            settle(&place, state);
            let CopyState { txid, timestamp_ms, .. } = state;
            Installed { position: Position { txid, timestamp_ms }, pages }
        });
        (open, installed, grip)
    })
    .await
}

fn of_install(error: InstallError) -> Trouble {
    match error {
        InstallError::Copy(error) => of_sqlite(error),
        InstallError::Incomplete { .. } => Trouble::Incomplete(error.to_string()),
        InstallError::OtherPageSize { .. } => Trouble::OtherPageSize(error.to_string()),
        InstallError::Note(_) | InstallError::Source(_) => Trouble::Passing(error.to_string()),
    }
}

/// What is only told: neither is needed after a crash.
fn settle(place: &Place, state: CopyState) {
    if let Err(error) = place.notes.settle_copy(&place.note(vec![state])) {
        tracing::warn!("{error}");
    }
    tell(place, state.txid);
}

fn tell(place: &Place, txid: Txid) {
    if let Err(error) = txid_file::write(&place.copy, txid) {
        tracing::warn!("{error}");
    }
}

/// Ends the transaction, if it was not committed, and takes the lock again at once.
fn held_again(mut open: Open) -> (Option<Open>, Grip) {
    match open.live.roll_back().and_then(|()| grip(&mut open)) {
        Ok(grip) => (Some(open), grip),
        Err(error) => {
            tracing::debug!("{error}");
            (None, Grip::Closed)
        }
    }
}
