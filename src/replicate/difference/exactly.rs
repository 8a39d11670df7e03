//! Is the database exactly what the history has at some TXID? (`behind.rs` asks.)

use super::join::{CompareError, How, compare};
use crate::clock;
use crate::db::{Db, ImageReason};
use crate::ltx::Txid;
use crate::remote::{Listing, LtxObject, Remote, plan};
use crate::replicate::behind::NotKnown;
use crate::replicate::upload::blocking;

/// Whether the database is, page for page, what the history has at `txid`, as far as its files can tell: `false` when none of
/// them ends there. Reads no further than to the first page that differs.
pub async fn is_exactly(mut db: Db, remote: &Remote, listing: &Listing, txid: Txid) -> (Db, Result<bool, NotKnown>) {
    let files: Vec<LtxObject> = plan::files_up_to(listing, txid).into_iter().cloned().collect();
    if files.last().is_none_or(|newest| newest.max_txid != txid) {
        return (db, Ok(false));
    }
    db.start_over(Some(txid), ImageReason::NoPosition);
    let (db, captured) = blocking(move || {
        let captured = db.capture(clock::unix_ms);
        (db, captured)
    })
    .await;
    let batch = match captured {
        Ok(Some(batch)) => batch,
        Ok(None) => return (db, Ok(false)),
        Err(error) => return (db, Err(error.into())),
    };
    let pages = batch.header.commit;
    let (db, compared) =
        compare(db, batch, remote, &files, (How::Exactly, false), None::<std::future::Pending<()>>).await;
    let is_equal = match compared {
        Ok((comparison, scope)) => Ok(comparison.whole && comparison.differing == 0 && pages == scope.other_pages),
        Err(CompareError::Read(error)) => Err(error.into()),
        Err(CompareError::Db(error)) => Err(error.into()),
        Err(CompareError::Interrupted | CompareError::PageSize(_) | CompareError::Damaged(_)) => Ok(false),
    };
    (db, is_equal)
}
