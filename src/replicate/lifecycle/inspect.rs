//! Looking into objects: is it what was written, is it whole, is it a full image?
//!
//! An inner `Err` says why an object does not count; the outer one, that it could not be read.

use crate::ltx::{Header, Index, IndexReader, LtxError, Tail};
use crate::remote::{LtxObject, ReadError, ReadPolicy, Remote};
use crate::replicate::fingerprint::Fingerprint;
use crate::replicate::upload::CHECKSUM_LEN;

pub type Verdict = Result<(), String>;

/// No page frame is shorter, and no index entry.
const FRAME_BYTES_MIN: u64 = 12;
const ENTRY_BYTES_MIN: u64 = 3;

/// Of what was stored a moment ago.
const ATTEMPTS: u32 = 3;

/// Whether the store has what was encoded: one request, for the checksum at its end, which covers
/// everything before it. What is longer would have been put there by another writer, and then
/// `object` has the size of that.
pub async fn is_written(remote: &Remote, object: &LtxObject, ours: &Fingerprint) -> Result<Verdict, ReadError> {
    let other_size = |size| Ok(Err(format!("it has {size} bytes instead of {}", ours.size)));
    if object.size != ours.size {
        return other_size(object.size);
    }
    let patient = remote.clone().with_policy(ReadPolicy { attempts: ATTEMPTS, ..ReadPolicy::default() });
    match patient.read_range(&object.name, ours.size - CHECKSUM_LEN, CHECKSUM_LEN).await {
        Ok(checksum) if checksum[..] == ours.checksum.to_be_bytes() => Ok(Ok(())),
        Ok(_) => Ok(Err("its checksum is not the one that was written".into())),
        // A store that keeps less than it was given must not be taken for one that is slow.
        Err(error) => match remote.store().head(&object.name).await {
            Ok(head) if head.size != ours.size => other_size(head.size),
            _ => Err(error),
        },
    }
}

/// Whether an object that an earlier run wrote has the header of its name and a sound end.
pub async fn is_sound(remote: &Remote, object: &LtxObject) -> Result<Verdict, ReadError> {
    Ok(remote.check_ends(object).await?.map(drop).map_err(|unsound| unsound.why))
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
    let ends = remote.ends(object, object.size).await?;
    let tail = Tail::parse(&ends.tail, object.size).map_err(|source| invalid(object, source))?;
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

/// Whether an object that was there already is a whole file of the same database state as one with
/// this header.
pub async fn is_equivalent(remote: &Remote, object: &LtxObject, ours: &Header) -> Result<Verdict, ReadError> {
    let theirs = match remote.decode(object, 1).await? {
        Ok(theirs) => theirs,
        Err(unsound) => return Ok(Err(unsound.why)),
    };
    let identity = |h: &Header| (h.min_txid, h.max_txid, h.page_size, h.commit);
    if identity(&theirs) != identity(ours) {
        return Ok(Err("it exists already and is of another history".into()));
    }
    Ok(Ok(()))
}
