//! Looking into objects: is it what was written, is it whole, is it a full image?
//!
//! An inner `Err` says why an object does not count; the outer one, that nobody could look.

use std::io::{BufReader, Read};

use super::write::RangeReader;
use crate::ltx::{Decoder, HEADER_LEN, Header, Index, IndexReader, LtxError, TAIL_LEN, Tail};
use crate::remote::{LtxObject, ReadError, Remote};
use crate::replicate::upload::{Fingerprint, blocking};
use crate::store::StoreError;

pub type Verdict = Result<(), String>;

/// Up to this size an object is read in one request.
const SMALL_BYTES: u64 = 256 * 1024;
/// No page frame is shorter, and no index entry.
const FRAME_BYTES_MIN: u64 = 12;
const ENTRY_BYTES_MIN: u64 = 3;

/// Whether the store has exactly what was encoded: size, header and checksum.
pub async fn is_written(remote: &Remote, object: &LtxObject, ours: &Fingerprint) -> Result<Verdict, ReadError> {
    let head = remote.store().head(&object.name).await.map_err(|error| match error {
        StoreError::NotFound { .. } => ReadError::Gone { name: object.name.clone() },
        error => ReadError::Store(error),
    })?;
    if head.size != ours.size {
        return Ok(Err(format!("it has {} bytes instead of {}", head.size, ours.size)));
    }
    let (header, tail) = ends(remote, object, head.size).await?;
    if header[..] != ours.header.encode() || tail[tail.len() - 8..] != ours.checksum.to_be_bytes() {
        return Ok(Err("its header or checksum is not the one that was written".into()));
    }
    Ok(Ok(()))
}

/// Whether an object that an earlier run wrote has the header of its name and a sound end.
pub async fn is_sound(remote: &Remote, object: &LtxObject) -> Result<Verdict, ReadError> {
    let (header, tail) = ends(remote, object, object.size).await?;
    let sound = Header::decode(&header).and_then(|header| Tail::parse(&tail, object.size).map(|_| header));
    Ok(match sound {
        Ok(header) if (header.min_txid, header.max_txid) == (object.min_txid, object.max_txid) => Ok(()),
        Ok(header) => Err(format!("it holds the TXIDs {}-{}, not those of its name", header.min_txid, header.max_txid)),
        Err(error) => Err(error.to_string()),
    })
}

async fn ends(remote: &Remote, object: &LtxObject, size: u64) -> Result<([u8; HEADER_LEN], [u8; TAIL_LEN]), ReadError> {
    let tail_at = size.saturating_sub(TAIL_LEN as u64);
    let (header, tail) = if size <= SMALL_BYTES {
        let whole = remote.read_range(&object.name, 0, size).await?;
        (whole.slice(..whole.len().min(HEADER_LEN)), whole.slice(tail_at as usize..))
    } else {
        let header = remote.read_range(&object.name, 0, HEADER_LEN as u64).await?;
        (header, remote.read_range(&object.name, tail_at, TAIL_LEN as u64).await?)
    };
    let short = || invalid(object, LtxError::Truncated { within: "header" });
    Ok((header.as_ref().try_into().map_err(|_| short())?, tail.as_ref().try_into().map_err(|_| short())?))
}

fn invalid(object: &LtxObject, source: LtxError) -> ReadError {
    ReadError::Invalid { name: object.name.clone(), source }
}

/// Whether the object holds every page of the database. Most often its size alone says no.
pub async fn is_image(remote: &Remote, object: &LtxObject) -> Result<bool, ReadError> {
    let header = remote.read_header(object).await?;
    let lock_page = u32::from(header.page_size.lock_page().get() <= header.commit);
    let pages = u64::from(header.commit - lock_page);
    if object.size < pages.saturating_mul(FRAME_BYTES_MIN) {
        return Ok(false);
    }
    let (_, tail) = ends(remote, object, object.size).await?;
    let tail = Tail::parse(&tail, object.size).map_err(|source| invalid(object, source))?;
    if tail.index_len < pages.saturating_mul(ENTRY_BYTES_MIN) {
        return Ok(false);
    }
    let mut reader = IndexReader::new(&header, tail);
    let (mut found, mut broken) = (0, None);
    let count = |chunk: &[u8]| {
        if broken.is_none() {
            broken = reader.push(chunk, |_| found += 1).err();
        }
    };
    remote.stream_range(&object.name, tail.index_offset, tail.index_len, count).await?;
    let index: Result<Index, LtxError> = broken.map_or_else(|| reader.finish(), Err);
    index.map_err(|source| invalid(object, source))?;
    Ok(found == pages)
}

/// Whether an object that was there already is a whole file of the same database state as one with this header.
pub async fn is_equivalent(remote: &Remote, object: &LtxObject, ours: &Header) -> Result<Verdict, ReadError> {
    let reader = RangeReader::new(remote, object, 1);
    let _guard = reader.cancel_on_drop();
    let decoded = blocking(move || decode(BufReader::new(reader))).await;
    let theirs = match decoded {
        Ok(theirs) => theirs,
        Err(LtxError::Io { source, .. }) if source.get_ref().is_some_and(|e| e.is::<ReadError>()) => {
            return Err(source.downcast::<ReadError>().expect("it is one"));
        }
        Err(error) => return Ok(Err(error.to_string())),
    };
    let identity = |h: &Header| (h.min_txid, h.max_txid, h.page_size, h.commit);
    if identity(&theirs) != identity(ours) {
        return Ok(Err("it exists already and is of another history".into()));
    }
    Ok(Ok(()))
}

fn decode(reader: impl Read) -> Result<Header, LtxError> {
    Ok(Decoder::new(reader)?.finish()?.header)
}
