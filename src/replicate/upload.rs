//! Creating the next level-0 object, and what it means if it exists already.
//!
//! The log is the lock: whoever creates TXID n+1 owns the history from there on. "Already exists"
//! has two meanings, told apart by reading the object back: it is ours (an earlier attempt whose
//! reply was lost), or another writer's.

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::disk::Disk;
use super::error::UploadError;
use super::fingerprint::{Fingerprint, IN_MEMORY_BYTES};
use super::on_thread::{OnThread, blocking};
use crate::db::{Batch, DbError};
use crate::fsx::{self, Context};
use crate::ltx::{Decoder, HEADER_LEN, Header, Txid, WalPosition, merge};
use crate::remote::{Level, ReadError, Remote};
use crate::state::SpilledFile;
use crate::store::{Body, BodyError, BodyWriter, Key, StoreError};

pub use crate::store::ChunkWriter;

const CHUNK_BYTES: usize = 1 << 20;
const CHUNKS_IN_FLIGHT: usize = 4;
/// At the end of an LTX file.
pub const CHECKSUM_LEN: u64 = 8;

/// Time for one attempt: a floor, and what a slow link needs for the bytes.
const ATTEMPT_FLOOR: Duration = Duration::from_secs(20);
const SLOW_LINK_BYTES_PER_SECOND: u64 = 64 * 1024;

/// Creates the object from memory.
pub async fn create_from_memory(remote: &Remote, ours: &Fingerprint, bytes: Bytes) -> Result<(), UploadError> {
    settle(remote, ours, put(remote, ours, Body::Bytes(bytes)).await).await
}

/// Creates the object from what comes in a stream.
pub async fn create_from_body(remote: &Remote, ours: &Fingerprint, body: Body) -> Result<(), UploadError> {
    settle(remote, ours, put(remote, ours, body).await).await
}

/// Creates the object from a file.
pub async fn create_from_file(remote: &Remote, file: &SpilledFile) -> Result<(), UploadError> {
    let ours = Fingerprint::of(file);
    if file.size <= IN_MEMORY_BYTES {
        let path = file.path.clone();
        let bytes = blocking(move || fsx::read(&path)).await.map_err(DbError::from)?;
        return create_from_memory(remote, &ours, bytes.into()).await;
    }
    let (writer, body) = Body::channel(CHUNKS_IN_FLIGHT, file.size);
    let path = file.path.clone();
    let reader = tokio::task::spawn_blocking(move || send_file(&path, writer));
    let stored = put(remote, &ours, body).await;
    // It ends by itself: the receiver is gone now.
    let _ = reader.await;
    settle(remote, &ours, stored).await
}

/// Creates the object while it is encoded from the database.
pub async fn create_from_database(
    remote: &Remote,
    disk: &OnThread<Disk>,
    batch: Batch,
) -> Result<Fingerprint, UploadError> {
    let header = batch.header;
    let (writer, body) = Body::channel(CHUNKS_IN_FLIGHT, batch.encoded_len_max());
    let encode = encode_into(disk, batch.clone(), writer);
    let placeholder = Fingerprint { header, size: 0, checksum: 0 };
    let (stored, encoded) = tokio::join!(put(remote, &placeholder, body), encode);
    let ours = match (encoded, &stored) {
        (Ok(ours), _) => ours,
        // The store refused before it had read everything: the fingerprint is still needed to tell
        // whose object is there.
        (Err(_), Err(StoreError::AlreadyExists { .. })) => fingerprint(disk, batch).await?,
        (Err(error), _) => return Err(stored.err().map_or_else(|| error.into(), UploadError::from)),
    };
    settle(remote, &ours, stored).await.map(|()| ours)
}

/// Creates the snapshot that makes an image, which the bucket has, the beginning of every later
/// restore. One that is there already came from an attempt whose reply was lost: no other writer
/// owns the TXID.
pub async fn create_snapshot(remote: &Remote, disk: &OnThread<Disk>, image: Batch) -> Result<(), UploadError> {
    let (writer, body) = Body::channel(CHUNKS_IN_FLIGHT, image.encoded_len_max());
    let snapshot = image.into_snapshot();
    let header = snapshot.header;
    let (stored, sent) = tokio::join!(remote.put(Level::SNAPSHOT, &header, body), encode_into(disk, snapshot, writer));
    snapshot_outcome(remote, &header, stored, sent.map(|_| ())).await
}

/// The same from a local file that holds the image.
pub async fn create_snapshot_from_file(remote: &Remote, file: &SpilledFile) -> Result<(), UploadError> {
    let header = Header { min_txid: Txid::FIRST, wal: WalPosition::default(), ..file.header };
    let (writer, body) = Body::channel(CHUNKS_IN_FLIGHT, file.size);
    let path = file.path.clone();
    let encode = blocking(move || -> Result<(), DbError> {
        let image = Decoder::new(BufReader::new(fsx::open(&path)?))?;
        let encoded = merge(vec![image], header, ChunkWriter::new(writer))?;
        encoded.writer.finish().on("send", &path)?;
        Ok(())
    });
    let (stored, sent) = tokio::join!(remote.put(Level::SNAPSHOT, &header, body), encode);
    snapshot_outcome(remote, &header, stored, sent).await
}

async fn snapshot_outcome(
    remote: &Remote,
    header: &Header,
    stored: Result<(), StoreError>,
    sent: Result<(), DbError>,
) -> Result<(), UploadError> {
    match (stored, sent) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(StoreError::AlreadyExists { .. }), _) => {
            let key = remote.layout().key(Level::SNAPSHOT, header.min_txid, header.max_txid);
            require_ltx(remote, &key).await.map(drop)
        }
        (Err(error), _) => Err(error.into()),
        (Ok(()), Err(error)) => Err(error.into()),
    }
}

fn encode_into(
    disk: &OnThread<Disk>,
    batch: Batch,
    writer: BodyWriter,
) -> impl Future<Output = Result<Fingerprint, DbError>> + Send + use<> {
    disk.with(move |disk| {
        let encoded = disk.db.encode(&batch, ChunkWriter::new(writer))?;
        encoded.writer.finish().on("send", disk.db.path())?;
        Ok(Fingerprint { header: batch.header, size: encoded.size, checksum: encoded.checksum })
    })
}

async fn fingerprint(disk: &OnThread<Disk>, batch: Batch) -> Result<Fingerprint, DbError> {
    disk.with(move |disk| {
        let encoded = disk.db.encode(&batch, io::sink())?;
        Ok(Fingerprint { header: batch.header, size: encoded.size, checksum: encoded.checksum })
    })
    .await
}

async fn put(remote: &Remote, ours: &Fingerprint, body: Body) -> Result<(), StoreError> {
    let limit = match body {
        Body::Bytes(_) => ATTEMPT_FLOOR + Duration::from_secs(ours.size / SLOW_LINK_BYTES_PER_SECOND),
        // However large it is, the store notices by itself when nothing moves any more.
        Body::Stream { .. } => Duration::MAX,
    };
    match tokio::time::timeout(limit, remote.put_l0(&ours.header, body)).await {
        Ok(stored) => stored,
        Err(_) => {
            let detail =
                format!("put {} to {}: no answer in {limit:?}", remote.l0_key(ours.header.min_txid), remote.address());
            Err(StoreError::Transient { detail })
        }
    }
}

async fn settle(remote: &Remote, ours: &Fingerprint, stored: Result<(), StoreError>) -> Result<(), UploadError> {
    match stored {
        Ok(()) => Ok(()),
        Err(StoreError::AlreadyExists { .. }) => match is_ours(remote, ours).await? {
            true => Ok(()),
            false => Err(UploadError::Foreign { header: Box::new(ours.header), address: remote.address().to_owned() }),
        },
        Err(error) => Err(error.into()),
    }
}

/// Reads the object under our TXID back and compares header, length and checksum.
pub async fn is_ours(remote: &Remote, ours: &Fingerprint) -> Result<bool, UploadError> {
    let key = remote.l0_key(ours.header.min_txid);
    let head = remote.store().head(&key).await?;
    let read = |start, len| remote.read_range(&key, start, len);
    if head.size != ours.size {
        // It takes more than a size to end this application's turn: something between here and the
        // store may have answered.
        require_ltx(remote, &key).await?;
        return Ok(false);
    }
    let header = read(0, HEADER_LEN as u64).await.map_err(UploadError::ReadBack)?;
    let checksum = read(ours.size - CHECKSUM_LEN, CHECKSUM_LEN).await.map_err(UploadError::ReadBack)?;
    Ok(header[..] == ours.header.encode() && checksum[..] == ours.checksum.to_be_bytes())
}

/// The header of an LTX file must be there.
async fn require_ltx(remote: &Remote, key: &Key) -> Result<Header, UploadError> {
    let bytes = remote.read_range(key, 0, HEADER_LEN as u64).await.map_err(UploadError::ReadBack)?;
    let invalid = |source| UploadError::ReadBack(ReadError::Invalid { name: key.clone(), source });
    Header::decode(bytes.as_ref().try_into().expect("that many bytes were read")).map_err(invalid)
}

fn send_file(path: &Path, writer: BodyWriter) {
    let copy = || -> io::Result<()> {
        let mut file = std::fs::File::open(path)?;
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let len = file.read(&mut chunk)?;
            chunk.truncate(len);
            if len == 0 || writer.blocking_send(chunk.into()).is_err() {
                return Ok(());
            }
        }
    };
    match copy() {
        Ok(()) => writer.finish(),
        Err(error) => writer.abort(BodyError(format!("read {}: {error}", path.display()))),
    }
}
