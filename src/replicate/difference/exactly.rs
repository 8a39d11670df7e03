//! Is the database exactly what the history has at some TXID? (`behind.rs` asks.)

use super::join::{CompareError, How, compare};
use crate::db::{Db, ImageReason};
use crate::ltx::Txid;
use crate::remote::{Listing, LtxObject, Remote, plan};
use crate::replicate::not_known::NotKnown;
use crate::replicate::on_thread::OnThread;

/// Whether the database is, page for page, what the history has at `txid`, as far as its files can
/// tell: `false` when none of them ends there. Reads no further than to the first page that
/// differs.
pub async fn is_exactly(db: &OnThread<Db>, remote: &Remote, listing: &Listing, txid: Txid) -> Result<bool, NotKnown> {
    let files: Vec<LtxObject> = plan::files_up_to(listing, txid).into_iter().cloned().collect();
    if files.last().is_none_or(|newest| newest.max_txid != txid) {
        return Ok(false);
    }
    let clock = remote.clock();
    let captured = db.with(move |db| {
        db.start_over(Some(txid), ImageReason::NoPosition);
        db.capture(|| clock.unix_ms())
    });
    let Some(batch) = captured.await? else { return Ok(false) };
    let pages = batch.header.commit;
    let no_limit = None::<std::future::Pending<()>>;
    match compare(db, batch, remote, &files, (How::Exactly, false), no_limit).await {
        Ok((comparison, scope)) => Ok(comparison.whole && comparison.differing == 0 && pages == scope.other_pages),
        Err(CompareError::Read(error)) => Err(error.into()),
        Err(CompareError::Db(error)) => Err(error.into()),
        Err(CompareError::Interrupted | CompareError::PageSize(_) | CompareError::Damaged(_)) => Ok(false),
    }
}
