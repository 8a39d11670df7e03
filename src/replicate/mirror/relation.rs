//! Whether what lies in a mirror is the history of the database.
//!
//! The object with which the mirror ends must be an object of that history: one that is at hand, or
//! the one that the first replica has under that TXID. Where the first replica does not have it any
//! more, or does not answer, a note of ours says what the mirror had when it was last a mirror of
//! that very replica. Otherwise older objects of both that end with the same TXID tell
//! (`remote/common.rs`). What cannot be compared is not taken for the same: a mirror is refused
//! rather than mixed up.

use std::time::Duration;

use super::core::Found;
use super::transfer::Source;
use crate::ltx::{Header, Txid};
use crate::remote::{Level, Listing, LtxObject, ReadError, Remote, common_ends, is_same_commit};
use crate::replicate::look::{End, Seen};
use crate::state::LastSynced;
use crate::store::StoreError;

/// So many pairs of objects are compared until one tells.
const PAIRS_MAX: usize = 8;
/// Where a note tells as much, the first replica is not waited for longer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// How the mirror stands to the database, whose history goes up to `newest`. `at_hand` gives an
/// object of the history that need not be read.
pub async fn relation(
    first: &Remote,
    (mirror, seen): (&Remote, &Seen),
    noted: &LastSynced,
    newest: Txid,
    at_hand: impl Fn(Txid) -> Option<Source>,
) -> Result<Found, ReadError> {
    let Some(end) = &seen.end else { return Ok(Found::Empty) };
    let (txid, address) = (end.txid, mirror.address());
    if txid > newest {
        let why = format!("{address} goes up to TXID {txid}, and this database's history only up to {newest}");
        return Ok(Found::Foreign(why));
    }
    let at_hand = match at_hand(txid) {
        Some(Source::Memory(header, _)) => Some(header),
        Some(Source::File(file)) => Some(file.header),
        None => None,
    };
    let is_noted = is_noted(noted, &end.newest) && noted.is_mirror_of(first.address());
    let ours = match at_hand {
        Some(header) => Some(header),
        None if is_noted => match tokio::time::timeout(ANSWER_TIME, l0_header(first, txid)).await {
            Ok(Err(ReadError::Store(_))) | Err(_) => None,
            Ok(answer) => answer?,
        },
        None => l0_header(first, txid).await?,
    };
    match ours {
        Some(ours) if is_same_commit(&ours, &end.newest) => Ok(Found::Same(txid)),
        // Of the same TXID at level 0, where one history has the same bytes everywhere.
        Some(_) if end.l0.is_some() => Ok(Found::Foreign(other(address, txid, "this database's history"))),
        _ if is_noted => Ok(Found::Same(txid)),
        _ => compare(first, &first.listing().await.map_err(ReadError::Store)?, (mirror, &seen.listing), end).await,
    }
}

/// Whether a note names the commit with which a replica ends.
pub fn is_noted(noted: &LastSynced, newest: &Header) -> bool {
    noted.newest().is_some_and(|noted| noted.max_txid == newest.max_txid && is_same_commit(&noted, newest))
}

/// Of the level-0 object with this TXID, if the replica has it.
async fn l0_header(remote: &Remote, txid: Txid) -> Result<Option<Header>, ReadError> {
    let name = remote.l0_key(txid);
    let size = match remote.store().head(&name).await {
        Ok(head) => head.size,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(ReadError::Store(error)),
    };
    let object = LtxObject { level: Level::L0, min_txid: txid, max_txid: txid, size, modified_ms: 0, name };
    match remote.check_header(&object).await {
        Ok(found) => Ok(found.ok()),
        Err(ReadError::Gone { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Compares the newest objects that end with the same TXID in both.
async fn compare(
    first: &Remote,
    ours: &Listing,
    (mirror, theirs): (&Remote, &Listing),
    end: &End,
) -> Result<Found, ReadError> {
    let address = mirror.address();
    for (our, their) in common_ends(ours, theirs, |_| true).take(PAIRS_MAX) {
        let (Ok(our_header), Ok(their_header)) = (first.check_header(our).await?, mirror.check_header(their).await?)
        else {
            continue;
        };
        match is_same_commit(&our_header, &their_header) {
            true if their.max_txid == end.txid => return Ok(Found::Same(end.txid)),
            true => return Ok(Found::SameBefore(end.txid)),
            false if our.level == Level::L0 && their.level == Level::L0 => {
                return Ok(Found::Foreign(other(address, their.max_txid, first.address())));
            }
            false => {}
        }
    }
    Ok(Found::Foreign(format!(
        "nothing in {address}, which goes up to TXID {}, can be compared with {}",
        end.txid,
        first.address()
    )))
}

fn other(address: &str, txid: Txid, than: &str) -> String {
    format!(
        "{address} has another TXID {txid} than {than}: it holds the history of another database, or another branch of this one"
    )
}

/// Whether `longer` goes on where the history in `shorter` ends.
pub async fn continues(
    (shorter, end): (&Remote, &End),
    (longer, listing): (&Remote, &Listing),
) -> Result<bool, ReadError> {
    for object in listing.objects().filter(|object| object.max_txid == end.txid) {
        let header = longer.check_header(object).await?;
        if header.is_ok_and(|header| is_same_commit(&header, &end.newest)) {
            return Ok(true);
        }
    }
    tracing::debug!("nothing in {} is TXID {} of {}", longer.address(), end.txid, shorter.address());
    Ok(false)
}
