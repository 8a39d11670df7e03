//! Files of a replica as one stream of pages.
//!
//! Small files are read beforehand, several at a time, and verified; of a large one only a part is
//! in memory. When the stream breaks, the file that is damaged is looked for, so that it can be
//! done without.

use std::io::BufReader;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::core::{Position, Trouble};
use crate::ltx::{Decoder, LtxError, Merged};
use crate::page::PageSize;
use crate::remote::{Cancelled, Level, LtxObject, RangeReader, ReadError, Remote};
use crate::replicate::blocking;
use crate::store::StoreError;

/// Files up to this size are read beforehand …
const SMALL_BYTES: u64 = 512 * 1024;
/// … as long as all of them take no more memory than this …
const SMALL_BYTES_TOTAL: u64 = 16 << 20;
/// … so many at a time.
const READS: usize = 8;

/// An opened file.
pub type Opened = Decoder<BufReader<RangeReader>>;

/// Opens the files, oldest first, for a thread that may block.
pub async fn open(
    remote: &Remote,
    files: &[LtxObject],
    page_size: PageSize,
    cancel: &CancellationToken,
) -> Result<Merged<BufReader<RangeReader>>, Trouble> {
    let mut total = 0;
    let is_small = |object: &LtxObject| {
        let fits = object.size <= SMALL_BYTES && total + object.size <= SMALL_BYTES_TOTAL;
        total += if fits { object.size } else { 0 };
        fits
    };
    let small: Vec<bool> = files.iter().map(is_small).collect();
    let readers = small.iter().filter(|small| !**small).count();
    let works = files.iter().zip(small).map(|(object, small)| reader(remote, object, small, readers));
    let opened = stream::iter(works).buffered(READS).try_collect::<Vec<_>>();
    let Some(opened) = cancel.run_until_cancelled(opened).await else { return Err(Trouble::Cancelled) };
    let readers: Vec<_> = opened?.into_iter().map(|reader| reader.cancelled_by(cancel)).collect();
    let objects = files.to_vec();
    blocking(move || {
        let opened = readers.into_iter().zip(&objects).map(|(reader, object)| decoder(reader, object, page_size));
        let opened: Vec<Opened> = opened.collect::<Result<_, _>>()?;
        Merged::new(opened).map_err(|error| Trouble::Passing(format!("the files do not fit each other: {error}")))
    })
    .await
}

/// Opens files that are in memory. One that is not sound is not to be had like this.
pub async fn at_hand(
    remote: &Remote,
    files: Vec<(Position, Bytes)>,
    page_size: PageSize,
    cancel: &CancellationToken,
) -> Result<Merged<BufReader<RangeReader>>, Trouble> {
    let object = |(Position { txid, timestamp_ms }, bytes): &(Position, Bytes)| LtxObject {
        level: Level::L0,
        min_txid: *txid,
        max_txid: *txid,
        size: bytes.len() as u64,
        modified_ms: *timestamp_ms,
        name: remote.l0_key(*txid),
    };
    let files: Vec<_> = files.into_iter().map(|file| (object(&file), file.0, file.1)).collect();
    let (remote, cancel) = (remote.clone(), cancel.clone());
    blocking(move || {
        let open = |(object, position, bytes): (LtxObject, Position, Bytes)| {
            let whole = Decoder::new(&bytes[..]).and_then(|decoder| {
                let header = *decoder.header();
                decoder.finish().map(|_| header)
            });
            if whole.map_err(|_| Trouble::Gone)?.timestamp_ms != position.timestamp_ms {
                return Err(Trouble::Gone);
            }
            let reader = RangeReader::at_hand(&remote, &object, bytes).cancelled_by(&cancel);
            decoder(reader, &object, page_size).map_err(|trouble| match trouble {
                Trouble::Damaged { .. } => Trouble::Gone,
                trouble => trouble,
            })
        };
        let opened: Vec<Opened> = files.into_iter().map(open).collect::<Result<_, _>>()?;
        Merged::new(opened).map_err(|_| Trouble::Gone)
    })
    .await
}

async fn reader(remote: &Remote, object: &LtxObject, small: bool, readers: usize) -> Result<RangeReader, Trouble> {
    if !small {
        return Ok(RangeReader::new(remote, object, readers));
    }
    let bytes = remote.read(object).await.map_err(of_read)?;
    let whole = Decoder::new(&bytes[..]).and_then(|decoder| decoder.finish().map(drop));
    match whole {
        Ok(()) => Ok(RangeReader::at_hand(remote, object, bytes)),
        // It may have been damaged on its way.
        Err(_) => match remote.decode(object, 1).await.map_err(of_read)? {
            Ok(_) => Ok(RangeReader::new(remote, object, READS)),
            Err(unsound) => Err(Trouble::Damaged { name: object.name.clone(), why: unsound.why }),
        },
    }
}

fn decoder(reader: RangeReader, object: &LtxObject, page_size: PageSize) -> Result<Opened, Trouble> {
    let damaged = |why| Trouble::Damaged { name: object.name.clone(), why };
    let decoder = Decoder::new(BufReader::new(reader)).map_err(|error| match of_source(error) {
        Source::Read(trouble) => trouble,
        Source::Damaged(why) => damaged(why),
    })?;
    object.check_txids(decoder.header()).map_err(damaged)?;
    let found = decoder.header().page_size;
    match found == page_size {
        true => Ok(decoder),
        false => Err(Trouble::OtherPageSize(format!("{} bytes instead of {page_size}, in {}", found, object.name))),
    }
}

/// Why a stream broke: which of the files is damaged, if one is.
pub async fn explain(remote: &Remote, files: &[LtxObject], error: LtxError, cancel: &CancellationToken) -> Trouble {
    let why = match of_source(error) {
        Source::Read(trouble) => return trouble,
        Source::Damaged(why) => why,
    };
    for object in files {
        let Some(decoded) = cancel.run_until_cancelled(remote.decode(object, 1)).await else {
            return Trouble::Cancelled;
        };
        match decoded {
            Ok(Ok(_)) => {}
            Ok(Err(unsound)) => return Trouble::Damaged { name: object.name.clone(), why: unsound.why },
            Err(error) => return of_read(error),
        }
    }
    Trouble::Passing(why)
}

enum Source {
    Read(Trouble),
    Damaged(String),
}

/// Whether the store or the content of a file is to blame.
fn of_source(error: LtxError) -> Source {
    match error {
        LtxError::Io { source, .. } if source.get_ref().is_some_and(|e| e.is::<Cancelled>()) => {
            Source::Read(Trouble::Cancelled)
        }
        LtxError::Io { source, .. } if source.get_ref().is_some_and(|e| e.is::<ReadError>()) => {
            Source::Read(of_read(source.downcast::<ReadError>().expect("it is one")))
        }
        error => Source::Damaged(error.to_string()),
    }
}

pub fn of_read(error: ReadError) -> Trouble {
    match error {
        ReadError::Gone { .. } => Trouble::Gone,
        ReadError::Store(error) => of_store(&error),
        ReadError::Invalid { name, source } => Trouble::Damaged { name, why: source.to_string() },
    }
}

pub fn of_store(error: &StoreError) -> Trouble {
    Trouble::Passing(error.to_string())
}
