//! An object as a stream for code that blocks: read in ranges, a bounded part of it in memory,
//! cancelled from outside.
//!
//! The reader is for a thread that may block. A failure of the store comes out of it as an
//! [`io::Error`] that carries the [`ReadError`].

use std::io::{self, BufReader, Read};

use bytes::{Buf, Bytes};
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ends::Unsound;
use super::{LtxObject, ReadError, Remote};
use crate::ltx::{Decoder, Header, LtxError};

/// What all readers of one piece of work together may hold in memory.
const READ_BUDGET_BYTES: u64 = 8 << 20;
const RANGE_BYTES_MIN: u64 = 64 * 1024;
const RANGE_BYTES_MAX: u64 = 4 << 20;

/// The reader was cancelled.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Cancelled;

pub struct RangeReader {
    remote: Remote,
    object: LtxObject,
    range_bytes: u64,
    at: u64,
    range: Bytes,
    runtime: Handle,
    cancel: CancellationToken,
}

impl RangeReader {
    /// One of `readers` that share the budget.
    pub fn new(remote: &Remote, object: &LtxObject, readers: usize) -> RangeReader {
        let share = READ_BUDGET_BYTES / readers.max(1) as u64;
        RangeReader {
            remote: remote.clone(),
            object: object.clone(),
            range_bytes: share.clamp(RANGE_BYTES_MIN, RANGE_BYTES_MAX),
            at: 0,
            range: Bytes::new(),
            runtime: Handle::current(),
            cancel: CancellationToken::new(),
        }
    }

    /// The same for bytes that need not be read.
    pub fn at_hand(remote: &Remote, object: &LtxObject, bytes: Bytes) -> RangeReader {
        RangeReader { at: object.size, range: bytes, ..RangeReader::new(remote, object, 1) }
    }

    pub fn cancelled_by(self, cancel: &CancellationToken) -> RangeReader {
        RangeReader { cancel: cancel.clone(), ..self }
    }

    /// The reader ends when this is dropped.
    pub fn cancel_on_drop(&self) -> DropGuard {
        self.cancel.clone().drop_guard()
    }
}

impl Read for RangeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.range.is_empty() && self.at < self.object.size {
            let len = self.range_bytes.min(self.object.size - self.at);
            let read = self.remote.read_range(&self.object.name, self.at, len);
            let read = self.runtime.block_on(self.cancel.run_until_cancelled(read));
            self.range = read.ok_or_else(|| io::Error::other(Cancelled))?.map_err(io::Error::other)?;
            self.at += len;
        }
        let len = buf.len().min(self.range.len());
        self.range.copy_to_slice(&mut buf[..len]);
        Ok(len)
    }
}

impl Remote {
    /// Reads an object from its first byte to its last: pages in order, index, checksum, and the
    /// TXIDs of its name. One of `readers` at a time. Dropping the future ends it within one read.
    pub async fn decode(&self, object: &LtxObject, readers: usize) -> Result<Result<Header, Unsound>, ReadError> {
        match self.decode_once(object, readers).await? {
            Err(_) => self.decode_once(object, readers).await,
            fits => Ok(fits),
        }
    }

    async fn decode_once(&self, object: &LtxObject, readers: usize) -> Result<Result<Header, Unsound>, ReadError> {
        let reader = RangeReader::new(self, object, readers);
        let _guard = reader.cancel_on_drop();
        let task = tokio::task::spawn_blocking(move || decode(BufReader::new(reader)));
        let decoded = match task.await {
            Ok(decoded) => decoded,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down, and this future with it.
                Err(_) => std::future::pending().await,
            },
        };
        match decoded {
            Ok(header) => Ok(object.check_txids(&header).map(|()| header).map_err(Unsound::foreign)),
            Err((_, LtxError::Io { source, .. })) if source.get_ref().is_some_and(|e| e.is::<ReadError>()) => {
                Err(source.downcast::<ReadError>().expect("it is one"))
            }
            Err((None, error)) => Ok(Err(Unsound::foreign(error.to_string()))),
            Err((Some(header), error)) => Ok(Err(match object.check_txids(&header) {
                Ok(()) => Unsound::damaged(error.to_string()),
                Err(why) => Unsound::foreign(why),
            })),
        }
    }
}

/// The header of a sound file; of another one the error, and the header if it got that far.
fn decode(reader: impl Read) -> Result<Header, (Option<Header>, LtxError)> {
    let decoder = Decoder::new(reader).map_err(|error| (None, error))?;
    let header = *decoder.header();
    decoder.finish().map(|decoded| decoded.header).map_err(|error| (Some(header), error))
}
