//! Whether what lies in a mirror is the history of the database.
//!
//! An object that ends with TXID n, of whatever level, says in its header when that TXID was captured, to the millisecond, and
//! how large the database was then. Two replicas of one history agree on it for every TXID that both have an object for; two
//! histories do not. What cannot be compared is not taken for the same: a mirror is refused rather than mixed up.

use super::core::Found;
use super::transfer::Source;
use crate::ltx::{Header, Txid};
use crate::page::PageSize;
use crate::remote::{Listing, LtxObject, ReadError, Remote};
use crate::replicate::look::{End, Seen};
use crate::state::LastSynced;

/// So many pairs of objects are compared until one tells.
const PAIRS_MAX: usize = 8;

/// What every object that ends with the same TXID of one history has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    timestamp_ms: i64,
    page_size: PageSize,
    commit: u32,
}

impl From<&Header> for Moment {
    fn from(header: &Header) -> Moment {
        Moment { timestamp_ms: header.timestamp_ms, page_size: header.page_size, commit: header.commit }
    }
}

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
        Some(ours) if Moment::from(&ours) == Moment::from(&end.newest) => Ok(Found::Same(txid)),
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
    for (our, their) in pairs(ours, theirs).into_iter().take(PAIRS_MAX) {
        let (Ok(our_header), Ok(their_header)) = (first.check_header(our).await?, mirror.check_header(their).await?)
        else {
            continue;
        };
        return Ok(match Moment::from(&our_header) == Moment::from(&their_header) {
            false => Found::Foreign(other(address, their.max_txid, first.address())),
            true if their.max_txid == end.txid => Found::Same(end.txid),
            true => Found::SameBefore(end.txid),
        });
    }
    Ok(Found::Foreign(format!(
        "nothing in {address}, which goes up to TXID {}, can be compared with {}",
        end.txid,
        first.address()
    )))
}

/// Objects of both that end with the same TXID, the newest first.
fn pairs<'a>(ours: &'a Listing, theirs: &'a Listing) -> Vec<(&'a LtxObject, &'a LtxObject)> {
    let ends = |listing: &'a Listing| {
        let mut objects: Vec<&LtxObject> = listing.objects().collect();
        objects.sort_by_key(|object| (object.max_txid, object.level));
        objects.dedup_by_key(|object| object.max_txid);
        objects
    };
    let ours = ends(ours);
    let found = ends(theirs).into_iter().rev().filter_map(|their| {
        let at = ours.binary_search_by_key(&their.max_txid, |object| object.max_txid).ok()?;
        Some((ours[at], their))
    });
    found.collect()
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
    let mut theirs = listing.objects().filter(|object| object.max_txid == end.txid);
    let Some(object) = theirs.next() else {
        tracing::debug!("{} has no object that ends with TXID {} of {}", longer.address(), end.txid, shorter.address());
        return Ok(false);
    };
    let header = longer.check_header(object).await?;
    Ok(header.is_ok_and(|header| Moment::from(&header) == Moment::from(&end.newest)))
}
