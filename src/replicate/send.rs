//! What the bucket's lane sends, and asks.

use super::core::RemoteOrder;
use super::disk::Outbox;
use super::error::StepError;
use super::lifecycle::Shipped;
use super::look::newest_txid;
use super::upload::{create_from_file, create_from_memory, create_snapshot_from_file};
use crate::ltx::Txid;
use crate::remote::Remote;

/// The newest TXID in the bucket.
pub(super) async fn prove(remote: &Remote) -> Result<Option<Txid>, StepError> {
    let mut listing = remote.listing().await?;
    Ok(newest_txid(remote, &mut listing).await?)
}

/// Creates the next object from what lies in the outbox.
pub(super) async fn send(remote: &Remote, order: RemoteOrder, outbox: Outbox) -> Result<Shipped, StepError> {
    match (order, outbox) {
        (RemoteOrder::SendBatch(txid), Outbox { batch: Some((ours, bytes, kind)), .. })
            if ours.header.min_txid == txid =>
        {
            create_from_memory(remote, &ours, bytes.clone()).await?;
            Ok(Shipped { header: ours.header, size: ours.size, bytes: Some(bytes), image: Some(kind.is_image()) })
        }
        (RemoteOrder::SendFile(txid), Outbox { file: Some(file), is_rebase, .. }) if file.header.min_txid == txid => {
            create_from_file(remote, &file).await?;
            if is_rebase {
                create_snapshot_from_file(remote, &file).await?;
            }
            Ok(Shipped { header: file.header, size: file.size, bytes: None, image: None })
        }
        (order, _) => Err(StepError::Missing(order)),
    }
}
