//! The writing end of a streamed body: what is not finished is aborted.
//!
//! A bare channel ends when its sender is dropped, whatever the reason: a task that was cancelled
//! or panicked half-way would leave the first half of an object in the bucket, reported as a
//! success. [`BodyWriter`] keeps one place of the channel reserved for the bad news.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::{Body, BodyError};

/// What a [`ChunkWriter`] gathers.
const CHUNK_BYTES: usize = 1 << 20;

type Chunk = Result<Bytes, BodyError>;

/// Makes a streamed body. Dropped without [`finish`](BodyWriter::finish), it aborts the put.
pub struct BodyWriter {
    chunks: mpsc::Sender<Chunk>,
    /// Room for the last message, which must never find the channel full.
    last: Option<mpsc::OwnedPermit<Chunk>>,
}

/// The put is over (failed, or its caller went away): there is no use in making more of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reader of this body is gone")]
pub struct Unread;

impl Body {
    /// A streamed body of about `expected_len` bytes at most and its writer, with room for `depth`
    /// chunks in between.
    pub fn channel(depth: usize, expected_len: u64) -> (BodyWriter, Body) {
        let (chunks, receiver) = mpsc::channel(depth + 1);
        let last = chunks.clone().try_reserve_owned().expect("a new channel has room");
        (BodyWriter { chunks, last: Some(last) }, Body::Stream { chunks: receiver, expected_len })
    }
}

impl BodyWriter {
    /// For threads outside the runtime (`spawn_blocking`).
    pub fn blocking_send(&self, chunk: Bytes) -> Result<(), Unread> {
        self.chunks.blocking_send(Ok(chunk)).map_err(|_| Unread)
    }

    /// The body is complete: the object may appear.
    pub fn finish(mut self) {
        self.last = None;
    }

    /// The body cannot be completed: nothing may appear.
    pub fn abort(mut self, why: BodyError) {
        if let Some(last) = self.last.take() {
            last.send(Err(why));
        }
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        if let Some(last) = self.last.take() {
            last.send(Err(BodyError("its writer stopped before the end".into())));
        }
    }
}

/// Gathers what an encoder writes into chunks for the upload. The object appears only if `finish`
/// is reached.
pub struct ChunkWriter {
    body: BodyWriter,
    buffer: BytesMut,
}

impl ChunkWriter {
    pub fn new(body: BodyWriter) -> ChunkWriter {
        ChunkWriter { body, buffer: BytesMut::with_capacity(CHUNK_BYTES) }
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.send()?;
        self.body.finish();
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.buffer.reserve(CHUNK_BYTES);
        self.body.blocking_send(chunk).map_err(io::Error::other)
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryStore;
    use super::super::{Key, Put, Store, StoreError};
    use super::*;

    async fn put(write: impl FnOnce(BodyWriter)) -> (Result<(), StoreError>, MemoryStore) {
        let store = MemoryStore::new();
        let (writer, body) = Body::channel(2, 10);
        write(writer);
        let key = Key::new("k").expect("valid");
        (store.put(&key, Put { body, ..Put::create("") }).await, store)
    }

    /// Fills the channel, so that the last message has only its reserved place.
    fn fill(writer: &BodyWriter) {
        for chunk in ["first ", "half"] {
            writer.chunks.try_send(Ok(Bytes::from(chunk))).expect("room for two");
        }
        assert!(writer.chunks.try_send(Ok(Bytes::from("more"))).is_err(), "and no more");
    }

    #[tokio::test]
    async fn only_a_finished_body_appears() {
        let (result, store) = put(|writer| {
            fill(&writer);
            writer.finish();
        })
        .await;
        result.expect("finished");
        assert_eq!(store.bytes("k").as_deref(), Some(b"first half".as_slice()));
    }

    #[tokio::test]
    async fn an_abandoned_or_aborted_body_does_not() {
        let abandon = |writer: BodyWriter| fill(&writer);
        let abort = |writer: BodyWriter| {
            fill(&writer);
            writer.abort(BodyError("no more pages".into()));
        };
        let outcomes = [(put(abandon).await, "stopped before the end"), (put(abort).await, "no more pages")];
        for ((result, store), why) in outcomes {
            let error = result.expect_err(why);
            assert!(matches!(error, StoreError::Permanent { .. }) && error.to_string().contains(why), "{error:?}");
            assert_eq!(store.names(), Vec::<String>::new());
        }
    }

    #[tokio::test]
    async fn a_writer_learns_that_nobody_reads() {
        let (writer, body) = Body::channel(1, 1);
        drop(body);
        let blocking = tokio::task::spawn_blocking(move || writer.blocking_send(Bytes::from("x")));
        assert_eq!(blocking.await.expect("no panic"), Err(Unread));
    }
}
