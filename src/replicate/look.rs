//! Where the history in the bucket ends, and the first look at it, which is under way while the database is still being opened.
//!
//! Its answer decides whether the application may start at once. It knows nothing of the database.

use std::pin::Pin;
use std::time::Duration;

use super::lifecycle::bring_over;
use crate::clock;
use crate::ltx::{Header, Txid};
use crate::remote::{Level, Listing, LtxObject, ReadError, Remote};

/// The newest end of the history in the bucket.
pub(super) struct End {
    pub txid: Txid,
    /// The newest level-0 object, if it is that end: it says where in the WAL the history ends.
    pub l0: Option<(LtxObject, Header)>,
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
}

type Asking = Pin<Box<dyn Future<Output = Result<Seen, ReadError>> + Send>>;

/// A look that was begun early. It goes on while somebody waits for it, or for something beside it.
pub(super) struct FirstLook {
    asking: Option<Asking>,
    answer: Option<Result<Seen, ReadError>>,
}

impl FirstLook {
    pub fn begin(remote: &Remote) -> FirstLook {
        let remote = remote.clone();
        FirstLook { asking: Some(Box::pin(async move { look(&remote).await })), answer: None }
    }

    /// Does the work, and goes on looking meanwhile.
    pub async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.wait(), if self.asking.is_some() => {}
            }
        }
    }

    pub async fn wait(&mut self) {
        if let Some(asking) = &mut self.asking {
            self.answer = Some(asking.await);
            self.asking = None;
        }
    }

    /// The end of the history, as far as it was seen by now.
    pub fn end(&self) -> Option<&End> {
        self.answer.as_ref()?.as_ref().ok()?.end.as_ref()
    }

    /// The answer, once; then a new look.
    pub async fn take(&mut self, remote: &Remote) -> Result<Seen, ReadError> {
        self.wait().await;
        match self.answer.take() {
            Some(answer) => answer,
            None => look(remote).await,
        }
    }
}

async fn look(remote: &Remote) -> Result<Seen, ReadError> {
    let at = clock::since_boot();
    let mut listing = remote.listing().await.map_err(ReadError::Store)?;
    let mut end = find_end(remote, &mut listing).await?;
    // A history that was copied from another kind of store is made one of this in two steps. A LIST may lag behind them.
    for _ in 0..2 {
        if end.is_some() && bring_over(remote, &listing).await? {
            listing = remote.listing().await.map_err(ReadError::Store)?;
            end = find_end(remote, &mut listing).await?;
        }
    }
    Ok(Seen { listing, end, at })
}

/// The newest TXID of the history in the bucket.
pub async fn newest_txid(remote: &Remote, listing: &mut Listing) -> Result<Option<Txid>, ReadError> {
    Ok(find_end(remote, listing).await?.map(|end| end.txid))
}

/// The newest TXID among the objects that are what their names say.
async fn find_end(remote: &Remote, listing: &mut Listing) -> Result<Option<End>, ReadError> {
    let l0 = remote.newest_l0(listing).await?;
    let mut newest = l0.as_ref().map(|(_, header)| header.max_txid);
    for level in Level::all().filter(|&level| level != Level::L0) {
        while let Some(object) = listing.level(level).iter().max_by_key(|o| o.max_txid).cloned() {
            if newest >= Some(object.max_txid) {
                break;
            }
            match remote.check_header(&object).await? {
                Ok(header) => newest = Some(header.max_txid),
                Err(why) => listing.set_aside(&object, why),
            }
        }
    }
    Ok(newest.map(|txid| End { txid, l0: l0.filter(|(_, header)| header.max_txid == txid) }))
}
