//! A store in memory whose faults are programmed: the test double for every room above.
//!
//! Without faults it keeps the contract to the letter (the conformance suite runs against it too).
//! Each operation has a queue of faults; a call takes the first one. Reads of one object can have
//! faults of their own, which come first. Clones share everything, so a test keeps one to look
//! inside.
//!
//! ```ignore
//! let store = MemoryStore::new();
//! store.inject(Op::Put, Fault::LostReply, 1);
//! store.inject(Op::Get, Fault::Fail(|detail| StoreError::Denied { detail }), 3);
//! store.inject_at("0000/a.ltx", Fault::Flip(120), 1);
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};

use super::{Body, Chunks, Deleted, Head, Key, Listed, Put, Range, Result, Store, StoreError};
use crate::clock::{Clock, MACHINE};

/// Bodies are handed out in chunks of this size, so that readers meet more than one.
const CHUNK: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Put,
    Get,
    Head,
    List,
    Delete,
}

/// What goes wrong in one call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Nothing happens, and the call returns this error.
    Fail(fn(String) -> StoreError),
    /// The effect happens, the answer does not arrive: `Transient`.
    LostReply,
    /// A create-only put replaces what is there, as some servers do.
    IgnoreCreate,
    /// The call takes this long (in tokio's time, which tests can pause), then proceeds.
    Delay(Duration),
    /// The call never answers; nothing happens.
    Hang,
    /// A get's body ends after so many bytes, without an error.
    Truncate(usize),
    /// A get's body breaks off with `Transient` after so many bytes.
    Break(usize),
    /// After so many bytes of a get's body nothing comes any more.
    Stall(usize),
    /// A get's body has more bytes than were asked for.
    Extra,
    /// The lowest bit of the object's byte at this offset is flipped in a get's body. Waits for a
    /// get that contains it.
    Flip(usize),
}

#[derive(Clone)]
pub(crate) struct MemoryStore {
    address: Arc<str>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Object>,
    faults: HashMap<Op, VecDeque<(Fault, usize)>>,
    /// For gets of one object: name, fault, how often.
    read_faults: Vec<(String, Fault, usize)>,
    bytes_served: u64,
    calls: HashMap<Op, usize>,
    list_lag: usize,
    /// The server's clock; `None`: this machine's.
    clock: Option<Clock>,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    modified_ms: i64,
    metadata: Vec<(String, String)>,
    /// The first LIST (counted from 1) that shows it.
    visible_from: usize,
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::at("memory://")
    }
}

impl MemoryStore {
    pub(crate) fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// For a database with several replicas: notes are kept by the address.
    pub(crate) fn at(address: &str) -> MemoryStore {
        MemoryStore { address: address.into(), inner: Arc::default() }
    }

    /// The server's clock shows the time of a test.
    pub(crate) fn keep_time_by(&self, clock: Clock) {
        self.lock().clock = Some(clock);
    }

    /// The next `times` calls of `op` (after those already programmed) meet `fault`.
    pub(crate) fn inject(&self, op: Op, fault: Fault, times: usize) {
        if times > 0 {
            self.lock().faults.entry(op).or_default().push_back((fault, times));
        }
    }

    /// The next `times` gets of this object that the fault applies to meet it.
    pub(crate) fn inject_at(&self, name: &str, fault: Fault, times: usize) {
        self.lock().read_faults.push((name.to_owned(), fault, times));
    }

    /// Takes back every programmed fault.
    pub(crate) fn heal(&self) {
        let mut inner = self.lock();
        inner.faults.clear();
        inner.read_faults.clear();
    }

    /// Objects put from now on are missing in the next `lists` listings; get and head see them at
    /// once.
    pub(crate) fn set_list_lag(&self, lists: usize) {
        self.lock().list_lag = lists;
    }

    /// How many times `op` was called, failed calls included.
    pub(crate) fn calls(&self, op: Op) -> usize {
        self.lock().calls.get(&op).copied().unwrap_or(0)
    }

    /// How many bytes gets have returned.
    pub(crate) fn bytes_served(&self) -> u64 {
        self.lock().bytes_served
    }

    /// Drops every object's metadata, as copies from bucket to bucket may do.
    pub(crate) fn forget_metadata(&self) {
        self.lock().objects.values_mut().for_each(|object| object.metadata.clear());
    }

    /// The names of all objects, in order; no call is counted.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    /// The bytes under a name; no call is counted.
    pub(crate) fn bytes(&self, name: &str) -> Option<Bytes> {
        self.lock().objects.get(name).map(|o| o.bytes.clone())
    }

    /// Puts an object without a call, under any name.
    pub(crate) fn insert(&self, name: &str, bytes: impl Into<Bytes>, modified_ms: i64) {
        let object = Object { bytes: bytes.into(), modified_ms, metadata: Vec::new(), visible_from: 0 };
        self.lock().objects.insert(name.to_owned(), object);
    }

    /// Removes an object without a call.
    pub(crate) fn remove(&self, name: &str) -> bool {
        self.lock().objects.remove(name).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while it holds this lock")
    }

    /// Counts the call and plays the part of its fault that comes before the effect.
    async fn enter(&self, op: Op, what: &str) -> Result<Option<Fault>> {
        let fault = self.lock().enter(op);
        self.apply(fault, op, what).await
    }

    async fn apply(&self, fault: Option<Fault>, op: Op, what: &str) -> Result<Option<Fault>> {
        match fault {
            Some(Fault::Fail(error)) => return Err(error(format!("memory store: {op:?} {what}: injected fault"))),
            Some(Fault::Delay(pause)) => tokio::time::sleep(pause).await,
            Some(Fault::Hang) => std::future::pending().await,
            _ => {}
        }
        Ok(fault)
    }
}

impl Inner {
    fn enter(&mut self, op: Op) -> Option<Fault> {
        *self.calls.entry(op).or_default() += 1;
        let queue = self.faults.get_mut(&op)?;
        let (fault, left) = queue.front_mut()?;
        let fault = *fault;
        *left -= 1;
        if *left == 0 {
            queue.pop_front();
        }
        Some(fault)
    }

    /// A get of these bytes: its own fault, else the next of the queue.
    fn enter_get(&mut self, name: &str, asked: std::ops::Range<usize>) -> Option<Fault> {
        let applies = |fault: &Fault| !matches!(fault, Fault::Flip(at) if !asked.contains(at));
        match self.read_faults.iter_mut().find(|(n, fault, left)| n == name && *left > 0 && applies(fault)) {
            Some((_, fault, left)) => {
                *left -= 1;
                let fault = *fault;
                *self.calls.entry(Op::Get).or_default() += 1;
                Some(fault)
            }
            None => self.enter(Op::Get),
        }
    }
}

fn lost_reply(fault: Option<Fault>, what: &str) -> Result<()> {
    match fault {
        Some(Fault::LostReply) => Err(StoreError::Transient { detail: format!("memory store: {what}: reply lost") }),
        _ => Ok(()),
    }
}

fn not_found(key: &Key) -> StoreError {
    StoreError::NotFound { detail: format!("memory store: {key}: no such object") }
}

#[async_trait]
impl Store for MemoryStore {
    fn address(&self) -> &str {
        &self.address
    }

    async fn put(&self, key: &Key, put: Put) -> Result<()> {
        let fault = self.enter(Op::Put, key.as_str()).await?;
        let bytes = match put.body {
            Body::Bytes(bytes) => bytes,
            Body::Stream { mut chunks, .. } => {
                let mut whole = BytesMut::new();
                while let Some(chunk) = chunks.recv().await {
                    let aborted = |e| StoreError::Permanent { detail: format!("put {key}: body aborted: {e}") };
                    whole.extend_from_slice(&chunk.map_err(aborted)?);
                }
                whole.freeze()
            }
        };
        let mut inner = self.lock();
        let create = put.create && !matches!(fault, Some(Fault::IgnoreCreate));
        if create && inner.objects.contains_key(key.as_str()) {
            return Err(StoreError::AlreadyExists { detail: format!("memory store: create {key}: exists already") });
        }
        let visible_from = inner.calls.get(&Op::List).copied().unwrap_or(0) + inner.list_lag + 1;
        let object = Object {
            bytes,
            modified_ms: put.modified_ms.unwrap_or_else(|| inner.clock.unwrap_or(MACHINE).unix_ms()),
            metadata: put.metadata.into_iter().map(|(k, v)| (k.to_ascii_lowercase(), v)).collect(),
            visible_from,
        };
        inner.objects.insert(key.as_str().to_owned(), object);
        lost_reply(fault, key.as_str())
    }

    async fn get(&self, key: &Key, range: Range) -> Result<Chunks> {
        let end = range.start.saturating_add(range.len);
        let fault = self.lock().enter_get(key.as_str(), range.start as usize..end as usize);
        let fault = self.apply(fault, Op::Get, key.as_str()).await?;
        lost_reply(fault, key.as_str())?;
        let bytes = self.bytes(key.as_str()).ok_or_else(|| not_found(key))?;
        let size = bytes.len() as u64;
        if range.start >= size {
            return Err(not_found(key));
        }
        let (start, end) = (range.start as usize, end.min(size) as usize);
        let mut body = bytes.slice(start..end);
        let mut broken = None;
        match fault {
            Some(Fault::Truncate(len)) => body.truncate(len),
            Some(Fault::Break(len)) => {
                body.truncate(len);
                broken = Some(Err(StoreError::Transient { detail: format!("memory store: read {key}: broke off") }));
            }
            Some(Fault::Stall(len)) => body.truncate(len),
            Some(Fault::Extra) => body = [&body[..], &[0; 2 * CHUNK]].concat().into(),
            Some(Fault::Flip(at)) => {
                let mut flipped = body.to_vec();
                flipped[at - start] ^= 1;
                body = flipped.into();
            }
            _ => {}
        }
        self.lock().bytes_served += body.len() as u64;
        let chunks: Vec<Result<Bytes>> =
            std::iter::from_fn(move || (!body.is_empty()).then(|| Ok(body.split_to(body.len().min(CHUNK)))))
                .chain(broken)
                .collect();
        let chunks = stream::iter(chunks);
        Ok(match fault {
            Some(Fault::Stall(_)) => chunks.chain(stream::pending()).boxed(),
            _ => chunks.boxed(),
        })
    }

    async fn head(&self, key: &Key) -> Result<Head> {
        let fault = self.enter(Op::Head, key.as_str()).await?;
        lost_reply(fault, key.as_str())?;
        let inner = self.lock();
        let object = inner.objects.get(key.as_str()).ok_or_else(|| not_found(key))?;
        Ok(Head { size: object.bytes.len() as u64, modified_ms: object.modified_ms, metadata: object.metadata.clone() })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let fault = self.enter(Op::List, prefix).await?;
        lost_reply(fault, prefix)?;
        let inner = self.lock();
        let lists = inner.calls.get(&Op::List).copied().unwrap_or(0);
        let visible = |(name, object): &(&String, &Object)| name.starts_with(prefix) && object.visible_from <= lists;
        let entry = |(name, object): (&String, &Object)| Listed {
            name: name.clone(),
            size: object.bytes.len() as u64,
            modified_ms: object.modified_ms,
        };
        Ok(inner.objects.iter().filter(visible).map(entry).collect())
    }

    async fn delete(&self, keys: &[Key]) -> Result<Deleted> {
        let what = format!("{} keys", keys.len());
        let fault = self.enter(Op::Delete, &what).await?;
        let mut inner = self.lock();
        for key in keys {
            inner.objects.remove(key.as_str());
        }
        drop(inner);
        lost_reply(fault, &what)?;
        Ok(Deleted { deleted: keys.len(), refused: Vec::new() })
    }
}

mod tests;
