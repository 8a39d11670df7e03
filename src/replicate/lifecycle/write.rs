//! A compaction or a snapshot: a streaming merge into a new object, then proof that the store has
//! it.
//!
//! Memory is bounded by the number of inputs, not by their size: each is read in ranges of its
//! share of a budget, and what is merged leaves at once. The merge runs on a thread of its own;
//! dropping the future ends it within one read, and an unfinished body is never published. An
//! object that exists already is compared, never replaced.

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::inspect;
use crate::ltx::{Decoder, Header, LtxError, Txid, merge, merged_header};
use crate::remote::{Cancelled, Layout, Level, LtxObject, RangeReader, ReadError, Remote};
use crate::replicate::fingerprint::Fingerprint;
use crate::replicate::on_thread::outcome;
use crate::replicate::upload::ChunkWriter;
use crate::store::{Body, BodyWriter, StoreError, Unread};

const CHUNKS_IN_FLIGHT: usize = 2;

/// An object to merge, with its bytes if they are at hand.
#[derive(Clone, Debug)]
pub struct Input {
    pub object: LtxObject,
    pub bytes: Option<Bytes>,
}

/// Variants are the task's next move.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `Gone`: list again.
    #[error(transparent)]
    Read(ReadError),
    /// From this object on the database has another page size: no merge can cross it.
    #[error("the page size changes with {}", .0.name)]
    PageSize(Box<LtxObject>),
    /// The inputs are not what they should be; trying again soon is of no use.
    #[error("{} cannot be merged: {why}", named(.inputs))]
    Damaged { inputs: Vec<LtxObject>, why: String },
    /// The output is not what was encoded: nothing may rest on it.
    #[error("{name} is not what was written: {why}")]
    Unproved { name: String, why: String },
    #[error("interrupted")]
    Interrupted,
}

fn named(inputs: &[LtxObject]) -> String {
    match inputs {
        [] => String::new(),
        [one] => one.name.to_string(),
        [first, .., last] => format!("{} files from {} to {}", inputs.len(), first.name, last.name),
    }
}

/// Merges `inputs` into a new object of `level`; as a snapshot it begins at the first TXID whatever
/// the inputs say.
pub async fn write(remote: &Remote, level: Level, inputs: Vec<Input>) -> Result<LtxObject, WriteError> {
    write_into(remote, remote, level, inputs).await
}

/// The same with inputs of another replica.
pub async fn write_into(
    from: &Remote,
    remote: &Remote,
    level: Level,
    inputs: Vec<Input>,
) -> Result<LtxObject, WriteError> {
    let (announce, announced) = oneshot::channel();
    let read: u64 = inputs.iter().map(|input| input.object.size).sum();
    // Who wrote the inputs may have compressed them better, and saved 15 bytes on every page by the
    // other flavour.
    let (writer, body) = Body::channel(CHUNKS_IN_FLIGHT, read.saturating_mul(2));
    let cancel = CancellationToken::new();
    let _guard = cancel.clone().drop_guard();
    let work = Merge { remote: from.clone(), inputs, whole: level == Level::SNAPSHOT, cancel };
    let merging = tokio::task::spawn_blocking(move || work.run(announce, writer));
    let Ok(header) = announced.await else {
        return Err(outcome(merging).await.err().unwrap_or(WriteError::Interrupted));
    };
    let stored = remote.put(level, &header, body).await;
    let merged = outcome(merging).await;
    let name = remote.layout().key(level, header.min_txid, header.max_txid);
    let modified_ms = match remote.layout() {
        Layout::Directories => header.timestamp_ms,
        Layout::S3 => remote.clock().unix_ms(),
    };
    let (min_txid, max_txid) = (header.min_txid, header.max_txid);
    let mut object = LtxObject { level, min_txid, max_txid, size: 0, modified_ms, name };
    match (stored, merged) {
        (Ok(()), Ok(ours)) => {
            object.size = ours.size;
            proved(&object, inspect::is_written(remote, &object, &ours).await)?;
        }
        (Err(StoreError::AlreadyExists { .. }), ours) => {
            object.size = remote.store().head(&object.name).await?.size;
            let same = match ours {
                Ok(ours) => inspect::is_written(remote, &object, &ours).await.map_err(WriteError::Read)?.is_ok(),
                Err(_) => false,
            };
            if !same {
                proved(&object, inspect::is_equivalent(remote, &object, &header).await)?;
            }
        }
        // The body was cut off because the merge failed: that is the reason.
        (_, Err(error)) if !matches!(error, WriteError::Interrupted) => return Err(error),
        (Err(error), _) => return Err(error.into()),
        (Ok(()), Err(error)) => return Err(error),
    }
    Ok(object)
}

fn proved(object: &LtxObject, verdict: Result<inspect::Verdict, ReadError>) -> Result<(), WriteError> {
    let unproved = |why| WriteError::Unproved { name: object.name.to_string(), why };
    verdict.map_err(WriteError::Read)?.map_err(unproved)
}

struct Merge {
    remote: Remote,
    inputs: Vec<Input>,
    whole: bool,
    cancel: CancellationToken,
}

impl Merge {
    fn run(self, announce: oneshot::Sender<Header>, writer: BodyWriter) -> Result<Fingerprint, WriteError> {
        let mut decoders = Vec::with_capacity(self.inputs.len());
        for Input { object, bytes } in &self.inputs {
            let reader = match bytes {
                Some(bytes) => RangeReader::at_hand(&self.remote, object, bytes.clone()),
                None => RangeReader::new(&self.remote, object, self.inputs.len()),
            };
            let decoder = Decoder::new(reader.cancelled_by(&self.cancel)).map_err(|error| self.blame(error))?;
            let header = decoder.header();
            if (header.min_txid, header.max_txid) != (object.min_txid, object.max_txid) {
                let why = format!("{} holds {}-{}", object.name, header.min_txid, header.max_txid);
                return Err(self.damaged(why));
            }
            decoders.push(decoder);
        }
        let headers: Vec<Header> = decoders.iter().map(|decoder| *decoder.header()).collect();
        if let Some(at) = headers.windows(2).position(|pair| pair[0].page_size != pair[1].page_size) {
            return Err(WriteError::PageSize(Box::new(self.inputs[at + 1].object.clone())));
        }
        let mut header = merged_header(&headers).map_err(|error| self.blame(error))?;
        if self.whole {
            header.min_txid = Txid::FIRST;
        }
        // The receiver is gone: the writer will say so.
        let _ = announce.send(header);
        let merged = merge(decoders, header, ChunkWriter::new(writer)).map_err(|error| self.blame(error))?;
        merged.writer.finish().map_err(|_| WriteError::Interrupted)?;
        Ok(Fingerprint { header, size: merged.size, checksum: merged.checksum })
    }

    /// Finds out whether the store, the reader of the output or the inputs are to blame.
    fn blame(&self, error: LtxError) -> WriteError {
        match error {
            LtxError::Io { source, .. } => match source.downcast::<ReadError>() {
                Ok(error) => WriteError::Read(error),
                Err(source) if source.get_ref().is_some_and(|e| e.is::<Unread>() || e.is::<Cancelled>()) => {
                    WriteError::Interrupted
                }
                Err(source) => self.damaged(source.to_string()),
            },
            error => self.damaged(error.to_string()),
        }
    }

    fn damaged(&self, why: String) -> WriteError {
        WriteError::Damaged { inputs: self.inputs.iter().map(|input| input.object.clone()).collect(), why }
    }
}
