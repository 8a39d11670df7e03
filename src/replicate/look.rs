//! Where the history in the bucket ends. It knows nothing of the database.

use std::time::Duration;

use super::lifecycle::bring_over;
use crate::ltx::{Flavour, Front, Header, Txid};
use crate::remote::{Level, Listing, LtxObject, ReadError, Remote};

/// The newest end of the history in the bucket.
pub(super) struct End {
    pub txid: Txid,
    /// The newest level-0 object, if it is that end: it says where in the WAL the history ends.
    pub l0: Option<(LtxObject, Header)>,
    /// Of the object with the newest TXID.
    pub newest: Header,
    pub flavour: Option<Flavour>,
}

impl End {
    pub fn header(&self) -> Option<&Header> {
        self.l0.as_ref().map(|(_, header)| header)
    }
}

/// What there was to see.
pub(super) struct Seen {
    pub listing: Listing,
    pub end: Option<End>,
    /// Boot-clock time of the look.
    pub at: Duration,
    /// A mirror that had more, and from which this replica was brought up before.
    pub led_by: Option<LedBy>,
}

/// Where the end of a history came from, other than from its own replica.
#[derive(Clone, Debug)]
pub(super) struct LedBy {
    pub address: String,
    /// A note says that this disk was in step with the mirror there.
    pub is_in_step: bool,
}

/// Looks at the bucket: one LIST, and rarely more than one header.
pub(super) async fn look(remote: &Remote) -> Result<Seen, ReadError> {
    let at = remote.clock().since_boot();
    let mut listing = remote.listing().await.map_err(ReadError::Store)?;
    let mut end = find_end(remote, &mut listing).await?;
    // A history that was copied from another kind of store is made one of this in two steps. A LIST
    // may lag behind them.
    for _ in 0..2 {
        if end.is_some() && bring_over(remote, &listing).await? {
            listing = remote.listing().await.map_err(ReadError::Store)?;
            end = find_end(remote, &mut listing).await?;
        }
    }
    Ok(Seen { listing, end, at, led_by: None })
}

/// The newest TXID of the history in the bucket.
pub async fn newest_txid(remote: &Remote, listing: &mut Listing) -> Result<Option<Txid>, ReadError> {
    Ok(find_end(remote, listing).await?.map(|end| end.txid))
}

/// The newest TXID among the objects that are what their names say.
async fn find_end(remote: &Remote, listing: &mut Listing) -> Result<Option<End>, ReadError> {
    let l0 = remote.newest_l0(listing).await?;
    let mut newest = l0.as_ref().map(|(_, front)| *front);
    for level in Level::all().filter(|&level| level != Level::L0) {
        while let Some(object) = listing.level(level).iter().max_by_key(|o| o.max_txid).cloned() {
            if newest.is_some_and(|newest| newest.header.max_txid >= object.max_txid) {
                break;
            }
            match remote.check_front(&object).await? {
                Ok(front) => newest = Some(front),
                Err(why) => listing.set_aside(&object, why),
            }
        }
    }
    Ok(newest.map(|Front { header, flavour }| {
        let txid = header.max_txid;
        let l0 = l0.map(|(object, front)| (object, front.header)).filter(|(_, header)| header.max_txid == txid);
        End { txid, l0, newest: header, flavour }
    }))
}
