//! A history whose end no restore gets to, although the database here is proved to be that end.
//!
//! An image of another page size, or one behind a hole, is of use with its snapshot only: a run
//! that was killed between the two leaves it without. Or a file was taken away. A comparison would
//! meet it; but where the WAL has proved the end by itself, what comes before was never looked at.
//! So that is done here: by the listing that is at hand, and rarely one header.

use super::error::StepError;
use super::local::LocalSide;
use crate::db::ImageReason;
use crate::ltx::Header;
use crate::remote::{Listing, ReadError, Remote, plan};
use crate::sqlite::WAL_HEADER_LEN;

impl LocalSide {
    /// Makes the next capture an image, and a snapshot too, if nothing leads to the object with
    /// this header.
    pub async fn leave_dead_end(&mut self, listing: &Listing, newest: &Header) -> Result<(), StepError> {
        let Some(reason) = dead_end(&self.remote, listing, newest).await? else { return Ok(()) };
        let (name, txid, address) = (self.name(), newest.max_txid, self.remote.address());
        tracing::warn!(db = %name, "no restore from {address} gets to TXID {txid}: {reason}: uploading the whole database");
        self.disk.here().db.start_over(Some(txid), reason);
        Ok(())
    }
}

/// Why no plan gets to the newest object; `None` if one does.
async fn dead_end(remote: &Remote, listing: &Listing, newest: &Header) -> Result<Option<ImageReason>, ReadError> {
    let files = plan::files_up_to(listing, newest.max_txid);
    if files.last().is_none_or(|last| last.max_txid != newest.max_txid) {
        return Ok(Some(ImageReason::HistoryBroken));
    }
    // An image names the WAL from its beginning, if it names any.
    let may_be_image = newest.wal.offset <= WAL_HEADER_LEN;
    let Some(before) = files.iter().rev().nth(1).filter(|_| may_be_image) else { return Ok(None) };
    let differs = remote.check_header(before).await?.is_ok_and(|before| before.page_size != newest.page_size);
    Ok(differs.then_some(ImageReason::PageSizeChanged))
}
