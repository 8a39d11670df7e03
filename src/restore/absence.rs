//! When "no backup" may be said. A listing without a usable file is not enough: what resembles a
//! backup must not be there either.

use super::RestoreError;
use crate::remote::{Listing, Remote, Resembles};

/// The error when a listing offers nothing to restore. That is "no backup" only if nothing there
/// resembles one.
pub fn nothing_in(remote: &Remote, listing: &Listing) -> RestoreError {
    let address = remote.address().to_owned();
    let resembling = |wanted: fn(Resembles) -> bool| listing.ignored.iter().find(|i| wanted(i.resembles));
    if let Some(damaged) = resembling(|r| matches!(r, Resembles::Ltx | Resembles::Old)) {
        return RestoreError::Corrupt { name: damaged.name.clone(), why: damaged.why.clone() };
    }
    match resembling(|r| r == Resembles::Misplaced) {
        Some(misplaced) => RestoreError::Misplaced { address, name: misplaced.name.clone() },
        None => RestoreError::NoBackup { address },
    }
}

/// Refuses to choose between two histories when the one that would be ignored goes further.
pub fn refuse_rival(remote: &Remote, listing: &Listing) -> Result<(), RestoreError> {
    match (listing.rival(), listing.newest_txid()) {
        (Some(rival), Some(newest)) => Err(RestoreError::TwoHistories {
            address: remote.address().to_owned(),
            newest,
            other: rival.max_txid,
            example: rival.name.clone(),
        }),
        _ => Ok(()),
    }
}
