//! Whether what lies in a mirror is the history of the database.
//!
//! Objects of both that end with the same TXID tell (`remote/common.rs`). What cannot be compared is not taken for the same: a
//! mirror is refused rather than mixed up.

use super::core::Found;
use super::transfer::Source;
use crate::ltx::Txid;
use crate::remote::{Level, Listing, ReadError, Remote, common_ends, is_same_commit};
use crate::replicate::look::{End, Seen};
use crate::state::LastSynced;

/// So many pairs of objects are compared until one tells.
const PAIRS_MAX: usize = 8;

/// How the mirror stands to the database, whose history goes up to `newest`. `at_hand` gives an object of the history
/// that need not be read.
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
    if noted.synced_to(end.header()).and_then(|synced_to| synced_to.txid()) == Some(txid) {
        return Ok(Found::Same(txid));
    }
    let ours = match at_hand(txid) {
        Some(Source::Memory(header, _)) => Some(header),
        Some(Source::File(file)) => Some(file.header),
        None => None,
    };
    match ours {
        Some(ours) if is_same_commit(&ours, &end.newest) => Ok(Found::Same(txid)),
        Some(_) => Ok(Found::Foreign(other(address, txid, "the local one"))),
        None => compare(first, &first.listing().await.map_err(ReadError::Store)?, (mirror, &seen.listing), end).await,
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
