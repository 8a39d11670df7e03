//! From one replica of a database to another: an object as it is, or all of a history as one
//! snapshot.
//!
//! What is copied keeps its bytes, so it is created like any level-0 object (`upload.rs`): "exists
//! already" is settled by reading back. An object that is damaged where it is read is not spread.

use bytes::Bytes;

use super::core::Trouble;
use crate::ltx::{Decoder, Header, Txid, checksum_at_end};
use crate::page::PageSize;
use crate::remote::{Level, Listing, LtxObject, ReadError, Remote, pass_on, plan, store_behind};
use crate::replicate::error::UploadError;
use crate::replicate::fingerprint::{Fingerprint, IN_MEMORY_BYTES};
use crate::replicate::lifecycle::{Input, MAX_INPUTS, Shipped, WriteError, write_into};
use crate::replicate::on_thread::blocking;
use crate::replicate::upload::{create_from_body, create_from_file, create_from_memory};
use crate::state::SpilledFile;
use crate::store::StoreError;

/// Where an object is at hand.
#[derive(Clone, Debug)]
pub enum Source {
    Memory(Header, Bytes),
    /// It may go while it is wanted: then the first replica has it.
    File(SpilledFile),
}

/// Creates the level-0 object of `txid` in `to`. `after` is the page size of what it continues, if
/// that is known.
pub async fn copy(
    at_hand: Option<Source>,
    from: &Remote,
    to: &Remote,
    txid: Txid,
    after: Option<PageSize>,
) -> Result<Shipped, Trouble> {
    let continues = |header: &Header| match after.is_none_or(|size| size == header.page_size) {
        true => Ok(()),
        // No restore gets across a change of the page size but by a snapshot.
        false => Err(Trouble::Gone),
    };
    match at_hand {
        Some(Source::Memory(header, bytes)) => {
            continues(&header)?;
            send(to, header, bytes).await
        }
        Some(Source::File(file)) if file.header.min_txid == txid => {
            continues(&file.header)?;
            match create_from_file(to, &file).await {
                Ok(()) => Ok(Shipped { header: file.header, size: file.size, bytes: None, image: None }),
                // It was removed meanwhile, because the first replica has it.
                Err(UploadError::Db(_)) => copy_object(from, to, txid, continues).await,
                Err(error) => Err(error.into()),
            }
        }
        _ => copy_object(from, to, txid, continues).await,
    }
}

async fn send(to: &Remote, header: Header, bytes: Bytes) -> Result<Shipped, Trouble> {
    let ours = Fingerprint { header, size: bytes.len() as u64, checksum: checksum_at_end(&bytes) };
    create_from_memory(to, &ours, bytes.clone()).await?;
    Ok(Shipped { header, size: ours.size, bytes: Some(bytes), image: None })
}

async fn copy_object(
    from: &Remote,
    to: &Remote,
    txid: Txid,
    continues: impl FnOnce(&Header) -> Result<(), Trouble>,
) -> Result<Shipped, Trouble> {
    let name = from.l0_key(txid);
    let size = match from.store().head(&name).await {
        Ok(head) => head.size,
        Err(StoreError::NotFound { .. }) => return Err(Trouble::Gone),
        Err(error) => return Err(error.into()),
    };
    let object = LtxObject { level: Level::L0, min_txid: txid, max_txid: txid, size, modified_ms: 0, name };
    let invalid = |source| ReadError::Invalid { name: object.name.clone(), source };
    if size <= IN_MEMORY_BYTES {
        let bytes = from.read(&object).await?;
        let verified = blocking(move || Ok((Decoder::new(bytes.as_ref())?.finish()?.header, bytes))).await;
        let (header, bytes) = verified.map_err(invalid)?;
        continues(&header)?;
        return send(to, header, bytes).await;
    }
    let ends = from.ends(&object, size).await?;
    let header = Header::decode(&ends.header).map_err(invalid)?;
    continues(&header)?;
    stream(from, to, object, Fingerprint { header, size, checksum: checksum_at_end(&ends.tail) }).await
}

/// Passes a large object on while it is read and verified; it appears in `to` only if it is whole.
async fn stream(from: &Remote, to: &Remote, object: LtxObject, ours: Fingerprint) -> Result<Shipped, Trouble> {
    let passed = pass_on(from, &object, |body| create_from_body(to, &ours, body)).await;
    match (passed.0, passed.1.map_err(store_behind)) {
        (Ok(()), Ok(_)) => Ok(Shipped { header: ours.header, size: ours.size, bytes: None, image: None }),
        // Who reads has stopped because the receiver is gone, or the other way round: the first
        // cause counts.
        (Err(error @ UploadError::Foreign { .. }), _) => Err(error.into()),
        (_, Err(Ok(error))) => Err(error.into()),
        (Err(error), _) => Err(error.into()),
        (Ok(()), Err(Err(source))) => Err(ReadError::Invalid { name: object.name, source }.into()),
    }
}

/// Merges what `from` has, up to `limit`, into a snapshot in `to`; returns its header. It must go
/// beyond `after`.
pub async fn begin_anew(from: &Remote, to: &Remote, after: Option<Txid>, limit: Txid) -> Result<Header, Trouble> {
    let mut inputs = inputs(&from.listing().await?, limit);
    loop {
        if inputs.last().is_none_or(|last| Some(last.max_txid) <= after) {
            return Err(Trouble::Gone);
        }
        let merged = inputs.iter().map(|object| Input { object: object.clone(), bytes: None }).collect();
        match write_into(from, to, Level::SNAPSHOT, merged).await {
            Ok(snapshot) => return Ok(to.read_header(&snapshot).await?),
            // What has another page size can only be a full image: the snapshot begins with it.
            Err(WriteError::PageSize(image)) if inputs[0].name != image.name => {
                inputs.retain(|object| object.min_txid >= image.min_txid);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What one merge can take of the files that lead up to `limit`.
fn inputs(listing: &Listing, limit: Txid) -> Vec<LtxObject> {
    plan::files_up_to(listing, limit).into_iter().take(MAX_INPUTS).cloned().collect()
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble::Passing { why: error.to_string(), refused: !error.is_transient() }
    }
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Trouble {
        match error {
            ReadError::Store(error) => error.into(),
            error => Trouble::Passing { why: error.to_string(), refused: false },
        }
    }
}

impl From<UploadError> for Trouble {
    fn from(error: UploadError) -> Trouble {
        match error {
            UploadError::Store(error) => error.into(),
            UploadError::ReadBack(error) => error.into(),
            UploadError::Foreign { .. } => Trouble::Foreign(error.to_string()),
            UploadError::Db(error) => Trouble::Passing { why: error.to_string(), refused: false },
        }
    }
}

impl From<WriteError> for Trouble {
    fn from(error: WriteError) -> Trouble {
        match error {
            WriteError::Store(error) => error.into(),
            WriteError::Read(error) => error.into(),
            error => Trouble::Passing { why: error.to_string(), refused: false },
        }
    }
}
