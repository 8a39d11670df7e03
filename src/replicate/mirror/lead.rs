//! A mirror may have more than the first replica: the first was away to the end, and then this disk
//! was lost; or the mirror was the only replica for a while, and now it is a mirror again.
//!
//! Before the database's history is looked at, the first replica gets what it lacks from there:
//! object by object where the mirror shows that it goes on where the first replica ends, or as a
//! snapshot where only our notes say that this disk was in step with both. It is created like
//! everything else, so whoever has gone on in the first replica meanwhile keeps it.

use std::time::Duration;

use futures_util::future::join_all;

use super::Mirror;
use super::core::Trouble;
use super::relation::{continues, is_noted};
use super::transfer::{begin_anew, copy};
use crate::ltx::{Header, Txid};
use crate::remote::Remote;
use crate::replicate::Settings;
use crate::replicate::core::Trouble as StepTrouble;
use crate::replicate::governor::Governor;
use crate::replicate::local::trouble;
use crate::replicate::look::{LedBy, Seen, look};
use crate::replicate::on_thread::blocking;
use crate::state::{RestoreMarker, SyncedTo};

/// A mirror that does not answer is not waited for longer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// How the first replica gets what a mirror has beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Copies,
    /// One snapshot of all, which does not need what is there already.
    Snapshot,
}

/// Looks at the first replica, after it was given what a mirror has beyond it.
pub async fn look_at_all(
    settings: &Settings,
    first: &Remote,
    mirrors: &[Mirror],
    governor: &Governor,
) -> Result<Seen, StepTrouble> {
    let seen = {
        let _turn = governor.look().await;
        Box::pin(look(first)).await.map_err(|error| trouble(error.into()))?
    };
    match mirrors {
        [] => Ok(seen),
        mirrors => Box::pin(take_from_mirrors(settings, first, mirrors, seen)).await,
    }
}

/// Gives the first replica what a mirror has beyond it.
async fn take_from_mirrors(
    settings: &Settings,
    first: &Remote,
    mirrors: &[Mirror],
    mut seen: Seen,
) -> Result<Seen, StepTrouble> {
    let is_in_step = is_in_step(settings, first, &seen).await;
    let has = seen.end.as_ref().map(|end| end.txid);
    // What a mirror may have beyond a first replica that is in step with this disk waits here, too;
    // unless the mirror was not one at the time.
    if is_in_step && newest_noted(settings, mirrors).await <= has {
        return Ok(seen);
    }
    let others = join_all(mirrors.iter().map(look_in_time)).await;
    let ends = mirrors.iter().zip(others).filter_map(|(mirror, other)| {
        let other = other?;
        let end = other.end.as_ref().map(|end| end.newest)?;
        (Some(end.max_txid) > has).then_some((mirror, other, end))
    });
    let Some((mirror, other, end)) = ends.max_by_key(|(_, _, end)| end.max_txid) else { return Ok(seen) };
    let is_known = is_known(settings, mirror.remote.address(), end).await;
    let way = match &seen.end {
        Some(here) => {
            let goes_on = continues((first, here), (&mirror.remote, &other.listing)).await;
            match goes_on.map_err(|error| trouble(error.into()))? {
                true => Some(Way::Copies),
                false => (is_in_step && is_known).then_some(Way::Snapshot),
            }
        }
        None => is_known.then_some(Way::Copies),
    };
    let Some(way) = way else { return Ok(seen) };
    let (from, to, wanted) = (mirror.remote.address(), first.address(), end.max_txid);
    let name = &mirror.settings.name;
    tracing::warn!("{to} lacks TXIDs that the replica {name} has, up to {wanted}: copying them from {from}");
    match bring_up(&mirror.remote, first, way, has, wanted).await {
        Ok(()) => {
            seen = look(first).await.map_err(|error| trouble(error.into()))?;
            seen.led_by = Some(LedBy { address: from.to_owned(), is_in_step: is_known });
        }
        Err(Trouble::Foreign(why)) => tracing::warn!("{why}: another writer has gone on there meanwhile"),
        Err(Trouble::Passing { why, refused }) => return Err(StepTrouble::Passing { why, refused }),
        Err(Trouble::Gone) => tracing::warn!("{from} does not have all of its own history: {to} is used as it is"),
    }
    Ok(seen)
}

/// Whether the notes say that this disk was in step with the end of the first replica, and was not
/// restored from another since.
async fn is_in_step(settings: &Settings, first: &Remote, seen: &Seen) -> bool {
    let Some(end) = &seen.end else { return false };
    let (newest, txid) = (end.header().copied(), end.txid);
    let (state, replica) = settings.notes(first.address());
    blocking(move || {
        let is_from_another = |marker: &RestoreMarker| marker.replica != replica.address();
        let synced_to = replica.last_synced().synced_to(newest.as_ref()).and_then(SyncedTo::txid);
        synced_to == Some(txid) && !state.restore_marker().as_ref().is_some_and(is_from_another)
    })
    .await
}

/// The newest TXID up to which this disk was in step with any of the mirrors.
async fn newest_noted(settings: &Settings, mirrors: &[Mirror]) -> Option<Txid> {
    let notes: Vec<_> = mirrors.iter().map(|mirror| settings.notes(mirror.remote.address()).1).collect();
    blocking(move || notes.iter().filter_map(|mirror| mirror.last_synced().txid()).max()).await
}

/// Whether a note says that the database here is, or was, what the mirror ends with.
async fn is_known(settings: &Settings, address: &str, end: Header) -> bool {
    let (state, mirror) = settings.notes(address);
    let address = address.to_owned();
    blocking(move || {
        let is_restored = |marker: &RestoreMarker| {
            let size = (marker.page_size, marker.pages);
            marker.replica == address && marker.txid == end.max_txid && size == (end.page_size, end.commit)
        };
        is_noted(&mirror.last_synced(), &end) || state.restore_marker().as_ref().is_some_and(is_restored)
    })
    .await
}

async fn look_in_time(mirror: &Mirror) -> Option<Seen> {
    let name = &mirror.settings.name;
    match tokio::time::timeout(ANSWER_TIME, look(&mirror.remote)).await {
        Ok(Ok(seen)) => return Some(seen),
        Ok(Err(error)) => tracing::warn!("the replica {name} cannot be looked at: {error}"),
        Err(_) => tracing::warn!("the replica {name} has not answered in {ANSWER_TIME:?}"),
    }
    None
}

async fn bring_up(from: &Remote, to: &Remote, way: Way, has: Option<Txid>, wanted: Txid) -> Result<(), Trouble> {
    let mut has = has;
    let mut way = way;
    while has < Some(wanted) {
        let next = has.map_or(Some(Txid::FIRST), Txid::next).unwrap_or(wanted);
        has = Some(match way {
            Way::Copies => match copy(None, from, to, next, None).await {
                Ok(_) => next,
                Err(Trouble::Gone) => begin_anew(from, to, has, wanted).await?.max_txid,
                Err(trouble) => return Err(trouble),
            },
            Way::Snapshot => begin_anew(from, to, has, wanted).await?.max_txid,
        });
        way = Way::Copies;
    }
    Ok(())
}
