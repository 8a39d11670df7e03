//! A mirror may have more than the first replica: the first was away to the end, and then this disk was lost.
//!
//! What was restored came from that mirror then. Before the database's history is looked at, the first replica gets what it
//! lacks from there. It is created like everything else, so whoever has gone on in the first replica meanwhile keeps it.

use std::time::Duration;

use futures_util::future::join_all;

use super::Mirror;
use super::core::Trouble;
use super::relation::continues;
use super::transfer::{begin_anew, copy};
use crate::ltx::Txid;
use crate::remote::Remote;
use crate::replicate::Settings;
use crate::replicate::core::Trouble as StepTrouble;
use crate::replicate::local::trouble;
use crate::replicate::look::{Seen, look};
use crate::replicate::on_thread::blocking;
use crate::state::{RestoreMarker, SyncedTo};

/// A mirror that does not answer is not waited for longer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Looks at the first replica, after it was given what a mirror has beyond it.
pub async fn look_at_all(settings: &Settings, first: &Remote, mirrors: &[Mirror]) -> Result<Seen, StepTrouble> {
    let mut seen = look(first).await.map_err(|error| trouble(error.into()))?;
    // What a mirror may have beyond a first replica that is in step with this disk waits here, too.
    if mirrors.is_empty() || is_in_step(settings, first, &seen).await {
        return Ok(seen);
    }
    let others = join_all(mirrors.iter().map(look_in_time)).await;
    let has = seen.end.as_ref().map(|end| end.txid);
    let ends = mirrors.iter().zip(others).filter_map(|(mirror, other)| {
        let other = other?;
        let end = other.end.as_ref().map(|end| end.txid)?;
        (Some(end) > has).then_some((mirror, other, end))
    });
    let Some((mirror, other, wanted)) = ends.max_by_key(|(_, _, end)| *end) else { return Ok(seen) };
    let goes_on = match &seen.end {
        Some(end) => {
            let goes_on = continues((first, end), (&mirror.remote, &other.listing)).await;
            goes_on.map_err(|error| trouble(error.into()))?
        }
        None => is_known(settings, mirror.remote.address(), wanted).await,
    };
    if !goes_on {
        return Ok(seen);
    }
    let (from, to) = (mirror.remote.address(), first.address());
    let name = &mirror.settings.name;
    tracing::warn!("{to} lacks TXIDs that the replica {name} has, up to {wanted}: copying them from {from}");
    match bring_up(&mirror.remote, first, has, wanted).await {
        Ok(()) => {
            seen = look(first).await.map_err(|error| trouble(error.into()))?;
            seen.led_by = Some(from.to_owned());
        }
        Err(Trouble::Foreign(why)) => tracing::warn!("{why}: somebody else has gone on there meanwhile"),
        Err(Trouble::Passing { why, refused }) => return Err(StepTrouble::Passing { why, refused }),
        Err(Trouble::Gone) => tracing::warn!("{from} does not have all of its own history: {to} is used as it is"),
    }
    Ok(seen)
}

/// Whether the notes say that this disk was in step with the end of the first replica, and was not restored from another since.
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

/// Whether a note says that the database here is this TXID of the mirror. With an empty first replica nothing else tells.
async fn is_known(settings: &Settings, address: &str, txid: Txid) -> bool {
    let (state, mirror) = settings.notes(address);
    let address = address.to_owned();
    blocking(move || {
        let is_restored = |marker: &RestoreMarker| marker.replica == address && marker.txid == txid;
        mirror.last_synced().txid() == Some(txid) || state.restore_marker().as_ref().is_some_and(is_restored)
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

async fn bring_up(from: &Remote, to: &Remote, has: Option<Txid>, wanted: Txid) -> Result<(), Trouble> {
    let mut has = has;
    while has < Some(wanted) {
        let next = has.map_or(Some(Txid::FIRST), Txid::next).unwrap_or(wanted);
        has = Some(match copy(None, from, to, next, None).await {
            Ok(_) => next,
            Err(Trouble::Gone) => begin_anew(from, to, has, wanted).await?.0,
            Err(trouble) => return Err(trouble),
        });
    }
    Ok(())
}
