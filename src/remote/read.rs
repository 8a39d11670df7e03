//! Reading objects over a network that stalls, resets and stops short.
//!
//! A read is one range of one object. It goes on from the byte it got to, as often as the policy
//! allows; a time without a byte counts as a failure. Cancelling is dropping the future.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::{Listing, LtxObject, Remote};
use crate::clock::{Backoff, Clock};
use crate::ltx::{FRONT_LEN, Front, HEADER_LEN, Header, LtxError};
use crate::store::{Chunks, Key, Range, Result as StoreResult, StoreError};

/// Bytes that make a failed attempt count as progress, so that it does not use up the patience of
/// the policy.
const PROGRESS: u64 = 64 * 1024;

/// How patient reads are.
#[derive(Clone, Debug)]
pub struct ReadPolicy {
    /// Longest time without a byte.
    pub stall_timeout: Duration,
    /// Attempts in a row without progress.
    pub attempts: u32,
    pub first_pause: Duration,
    pub pause_cap: Duration,
}

impl Default for ReadPolicy {
    fn default() -> ReadPolicy {
        ReadPolicy {
            stall_timeout: Duration::from_secs(10),
            attempts: 6,
            first_pause: Duration::from_millis(200),
            pause_cap: Duration::from_secs(5),
        }
    }
}

/// Variants are the caller's next move.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It was listed and is no longer there: list again.
    #[error("{name} is gone")]
    Gone { name: Key },
    /// The store did not deliver it.
    #[error(transparent)]
    Store(StoreError),
    /// It was delivered and is not the LTX file it should be.
    #[error("{name}: {source}")]
    Invalid {
        name: Key,
        #[source]
        source: LtxError,
    },
}

impl ReadPolicy {
    /// For callers that retry by themselves.
    pub fn impatient() -> ReadPolicy {
        ReadPolicy { attempts: 1, ..ReadPolicy::default() }
    }

    pub(super) async fn retry<T, F>(&self, clock: Clock, mut operation: impl FnMut() -> F) -> StoreResult<T>
    where
        F: Future<Output = StoreResult<T>>,
    {
        let mut backoff = Backoff::new(self.first_pause, self.pause_cap);
        for _ in 1..self.attempts {
            match operation().await {
                Err(error) if error.is_transient() => {
                    let pause = backoff.next_pause(&mut clock.dice());
                    tracing::warn!("{error}; asking again in {pause:.1?}");
                    tokio::time::sleep(pause).await;
                }
                done => return done,
            }
        }
        operation().await
    }
}

impl Remote {
    /// Reads `len` bytes from `start` of an object.
    pub async fn read_range(&self, name: &Key, start: u64, len: u64) -> Result<Bytes, ReadError> {
        let mut buffer = BytesMut::with_capacity(usize::try_from(len).expect("ranges fit into memory"));
        self.stream_range(name, start, len, |chunk| buffer.extend_from_slice(chunk)).await?;
        Ok(buffer.freeze())
    }

    /// Reads a whole object.
    pub async fn read(&self, object: &LtxObject) -> Result<Bytes, ReadError> {
        self.read_range(&object.name, 0, object.size).await
    }

    /// Reads the header of an LTX object.
    pub async fn read_header(&self, object: &LtxObject) -> Result<Header, ReadError> {
        Ok(self.read_front(object, HEADER_LEN).await?.header)
    }

    /// Reads the header of an LTX object and, if `len` goes so far, the flavour of its first page.
    async fn read_front(&self, object: &LtxObject, len: usize) -> Result<Front, ReadError> {
        let bytes = self.read_range(&object.name, 0, len as u64).await?;
        Front::decode(&bytes).map_err(|source| ReadError::Invalid { name: object.name.clone(), source })
    }

    /// Passes `len` bytes from `start` of an object on as they come, each exactly once and in
    /// order.
    pub async fn stream_range(
        &self,
        name: &Key,
        start: u64,
        len: u64,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(), ReadError> {
        let mut reading = self.open_range(name, start, len);
        while let Some(chunk) = reading.next().await? {
            sink(&chunk);
        }
        Ok(())
    }

    /// Begins to read `len` bytes from `start` of an object, at the caller's pace.
    pub fn open_range(&self, name: &Key, start: u64, len: u64) -> Reading {
        let backoff = Backoff::new(self.policy.first_pause, self.policy.pause_cap);
        let (remote, name) = (self.clone(), name.clone());
        Reading { remote, name, at: start, left: len, answer: None, progress: 0, failures: 0, backoff }
    }

    /// The newest level-0 object that is what its name says, with its beginning. What is not is
    /// taken out of the listing.
    pub async fn newest_l0(&self, listing: &mut Listing) -> Result<Option<(LtxObject, Front)>, ReadError> {
        while let Some(object) = listing.newest_l0().cloned() {
            match self.check_front(&object).await? {
                Ok(front) => return Ok(Some((object, front))),
                Err(why) => listing.set_aside(&object, why),
            }
        }
        Ok(None)
    }

    /// Reads the header of an object and compares it with the name; an inner `Err` says why the
    /// object does not count. What does not fit is read once more, in case it was damaged on its
    /// way.
    pub async fn check_header(&self, object: &LtxObject) -> Result<Result<Header, String>, ReadError> {
        Ok(self.check(object, HEADER_LEN).await?.map(|front| front.header))
    }

    /// As [`Remote::check_header`], and reads the flavour of the first page with it.
    pub async fn check_front(&self, object: &LtxObject) -> Result<Result<Front, String>, ReadError> {
        // Shorter than that it is no LTX file, which its header alone may not show.
        let len = if object.size < FRONT_LEN as u64 { HEADER_LEN } else { FRONT_LEN };
        self.check(object, len).await
    }

    async fn check(&self, object: &LtxObject, len: usize) -> Result<Result<Front, String>, ReadError> {
        match self.check_once(object, len).await? {
            Err(_) => self.check_once(object, len).await,
            fits => Ok(fits),
        }
    }

    async fn check_once(&self, object: &LtxObject, len: usize) -> Result<Result<Front, String>, ReadError> {
        let front = match self.read_front(object, len).await {
            Ok(front) => front,
            Err(ReadError::Invalid { source, .. }) => return Ok(Err(source.to_string())),
            Err(error) => return Err(error),
        };
        Ok(object.check_txids(&front.header).map(|()| front))
    }
}

/// A read on its way: bytes come in order, each exactly once, however often the answer broke off.
pub struct Reading {
    remote: Remote,
    name: Key,
    at: u64,
    left: u64,
    answer: Option<Chunks>,
    /// Bytes of the current answer.
    progress: u64,
    /// Attempts in a row without progress.
    failures: u32,
    backoff: Backoff,
}

impl Reading {
    /// The next bytes; `None` when all have come.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        while self.left > 0 {
            let error = match self.attempt().await {
                Ok(chunk) => {
                    let len = chunk.len() as u64;
                    (self.at, self.left, self.progress) = (self.at + len, self.left - len, self.progress + len);
                    return Ok(Some(chunk));
                }
                Err(error) => error,
            };
            self.answer = None;
            if std::mem::take(&mut self.progress) >= PROGRESS {
                self.failures = 0;
                self.backoff.reset();
            }
            self.failures += 1;
            match error {
                StoreError::NotFound { .. } => return Err(ReadError::Gone { name: self.name.clone() }),
                error if !error.is_transient() || self.failures >= self.remote.policy.attempts => {
                    return Err(ReadError::Store(error));
                }
                error => tracing::debug!("read {} from byte {}: {error}", self.name, self.at),
            }
            tokio::time::sleep(self.backoff.next_pause(&mut self.remote.clock.dice())).await;
        }
        Ok(None)
    }

    async fn attempt(&mut self) -> StoreResult<Bytes> {
        let patience = self.remote.policy.stall_timeout;
        let broke_off = |what| StoreError::Transient {
            detail: format!("get {} from {}: {what}", self.name, self.remote.address()),
        };
        let stalled = |_| broke_off(format!("not a byte for {patience:?}"));
        let answer = match &mut self.answer {
            Some(answer) => answer,
            None => {
                let get = self.remote.store.get(&self.name, Range { start: self.at, len: self.left });
                self.answer.insert(tokio::time::timeout(patience, get).await.map_err(stalled)??)
            }
        };
        let next = tokio::time::timeout(patience, answer.next()).await.map_err(stalled)?;
        let chunk = next.ok_or_else(|| broke_off(format!("the answer ended {} bytes early", self.left)))??;
        if chunk.len() as u64 > self.left {
            return Err(broke_off("more bytes came than were asked for".into()));
        }
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ltx::{Encoder, Txid, WalPosition};
    use crate::page::{PageSize, Pgno};
    use crate::remote::{Layout, Level};
    use crate::store::memory::{Fault, MemoryStore, Op};
    use crate::store::{Body, Put, Store};

    fn remote() -> (MemoryStore, Remote, Key) {
        let store = MemoryStore::new();
        (store.clone(), Remote::new(Arc::new(store), Layout::S3), Key::new("x").expect("key"))
    }

    async fn with_bytes(len: usize) -> (MemoryStore, Remote, Key, Vec<u8>) {
        let (store, remote, key) = remote();
        let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        store.put(&key, Put::create(bytes.clone())).await.expect("put");
        (store, remote, key, bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn reads_go_on_where_they_were_cut() {
        let (store, remote, key, bytes) = with_bytes(500_000).await;
        for fault in [
            Fault::Truncate(100_000),
            Fault::Break(100_000),
            Fault::Stall(100_000),
            Fault::Fail(|detail| StoreError::Transient { detail }),
            Fault::Extra,
        ] {
            let (gets, served) = (store.calls(Op::Get), store.bytes_served());
            store.inject_at("x", fault, 2);
            assert_eq!(remote.read_range(&key, 7, 410_000).await.expect("resumed"), bytes[7..410_007], "{fault:?}");
            assert_eq!(store.calls(Op::Get) - gets, 3, "{fault:?}");
            if !matches!(fault, Fault::Extra) {
                assert!(store.bytes_served() - served <= 410_000, "{fault:?} read bytes again");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_without_progress_and_lasts_with_it() {
        let (store, remote, key, _) = with_bytes(500_000).await;
        store.inject_at("x", Fault::Truncate(10), 100);
        assert!(matches!(remote.read_range(&key, 0, 1000).await, Err(ReadError::Store(StoreError::Transient { .. }))));
        assert_eq!(store.calls(Op::Get), 6);
        store.heal();
        store.inject_at("x", Fault::Truncate(70_000), 100);
        assert_eq!(remote.read_range(&key, 0, 500_000).await.expect("slowly").len(), 500_000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_retrying_cannot_mend_is_said_at_once() {
        let (store, remote, key, _) = with_bytes(10).await;
        let missing = Key::new("y").expect("key");
        assert!(matches!(remote.read_range(&missing, 0, 1).await, Err(ReadError::Gone { name }) if name == missing));
        store.inject_at("x", Fault::Fail(|detail| StoreError::Denied { detail }), 1);
        assert!(matches!(remote.read_range(&key, 0, 1).await, Err(ReadError::Store(StoreError::Denied { .. }))));
        assert_eq!(store.calls(Op::Get), 2);
    }

    fn l0(txid: u64) -> Vec<u8> {
        let txid = Txid::new(txid).expect("not zero");
        let wal = WalPosition::default();
        let page_size = PageSize::new(512).expect("valid");
        let header = Header { page_size, commit: 1, min_txid: txid, max_txid: txid, timestamp_ms: 5, wal };
        let mut encoder = Encoder::new(Vec::new(), header).expect("valid");
        encoder.page(Pgno::FIRST, &[1; 512]).expect("page");
        encoder.finish().expect("complete").writer
    }

    #[tokio::test]
    async fn the_newest_level_0_object_is_one_that_holds_what_it_says() {
        let (store, remote, _) = remote();
        for txid in [1, 2] {
            let header = Header::decode(l0(txid)[..100].try_into().expect("100")).expect("valid");
            remote.put_l0(&header, Body::Bytes(l0(txid).into())).await.expect("put");
        }
        let max = Txid::new(u64::MAX).expect("not zero");
        store.insert(remote.l0_key(max).as_str(), vec![7; 400], 1);
        store.insert(remote.l0_key(Txid::new(9).expect("9")).as_str(), l0(3), 1);
        let mut listing = remote.listing().await.expect("list");
        assert_eq!(listing.newest_txid(), Some(max));
        let (object, front) = remote.newest_l0(&mut listing).await.expect("reads").expect("two are fine");
        assert_eq!((object.max_txid.get(), front.header.max_txid.get()), (2, 2));
        assert_eq!(listing.level(Level::L0).len(), 2);
        assert_eq!(listing.ignored.len(), 2);
    }
}
