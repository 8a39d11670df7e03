//! A store in memory for the tests of `remote` and `restore`, with the faults that reads meet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::store::{Body, Chunks, Deleted, Head, Key, Listed, Put, Range, Result, Store, StoreError};

/// What happens to the next reads of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The body ends after so many bytes, as if that were all.
    Cut(usize),
    /// The body breaks off with an error after so many bytes.
    Break(usize),
    /// After so many bytes nothing comes any more.
    Stall(usize),
    /// The read fails with a transient error.
    Fail,
    Denied,
    NotFound,
    /// More bytes come than were asked for.
    Extra,
    /// The lowest bit of the object's byte at this offset is flipped, if the range contains it.
    Flip(usize),
}

#[derive(Clone, Default)]
pub(crate) struct TestStore(Arc<Mutex<Inner>>);

/// Content, time and metadata.
type Object = (Bytes, i64, Vec<(String, String)>);

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Object>,
    faults: Vec<(String, Fault, usize)>,
    gets: usize,
    heads: usize,
    lists: usize,
    served: u64,
    list_fault: bool,
}

impl TestStore {
    pub(crate) fn new() -> TestStore {
        TestStore::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics while it holds this lock")
    }

    pub(crate) fn insert(&self, name: &str, bytes: impl Into<Bytes>, modified_ms: i64) {
        self.lock().objects.insert(name.into(), (bytes.into(), modified_ms, Vec::new()));
    }

    pub(crate) fn remove(&self, name: &str) -> bool {
        self.lock().objects.remove(name).is_some()
    }

    pub(crate) fn bytes(&self, name: &str) -> Option<Bytes> {
        self.lock().objects.get(name).map(|o| o.0.clone())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    /// The next `times` reads of `name` that the fault applies to meet it.
    pub(crate) fn inject(&self, name: &str, fault: Fault, times: usize) {
        self.lock().faults.push((name.into(), fault, times));
    }

    /// Every LIST fails from now on.
    pub(crate) fn fail_lists(&self) {
        self.lock().list_fault = true;
    }

    pub(crate) fn heal(&self) {
        let mut inner = self.lock();
        inner.faults.clear();
        inner.list_fault = false;
    }

    pub(crate) fn forget_metadata(&self) {
        self.lock().objects.values_mut().for_each(|o| o.2.clear());
    }

    pub(crate) fn gets(&self) -> usize {
        self.lock().gets
    }

    pub(crate) fn heads(&self) -> usize {
        self.lock().heads
    }

    pub(crate) fn lists(&self) -> usize {
        self.lock().lists
    }

    pub(crate) fn bytes_served(&self) -> u64 {
        self.lock().served
    }
}

impl Inner {
    fn take_fault(&mut self, name: &str, from: usize, to: usize) -> Option<Fault> {
        let applies = |fault: &Fault| !matches!(fault, Fault::Flip(at) if !(from..to).contains(at));
        let fault = self.faults.iter_mut().find(|(n, f, left)| n == name && *left > 0 && applies(f))?;
        fault.2 -= 1;
        Some(fault.1)
    }
}

fn not_found(key: &Key) -> StoreError {
    StoreError::NotFound { detail: format!("{key} does not exist") }
}

fn transient(key: &Key) -> StoreError {
    StoreError::Transient { detail: format!("get {key}: connection reset") }
}

#[async_trait]
impl Store for TestStore {
    fn address(&self) -> &str {
        "test://store"
    }

    async fn put(&self, key: &Key, put: Put) -> Result<()> {
        let Body::Bytes(bytes) = put.body else { unimplemented!("tests put bytes") };
        let mut inner = self.lock();
        if put.create && inner.objects.contains_key(key.as_str()) {
            return Err(StoreError::AlreadyExists { detail: format!("{key} exists") });
        }
        let metadata = put.metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        inner.objects.insert(key.to_string(), (bytes, put.modified_ms.unwrap_or(1), metadata));
        Ok(())
    }

    async fn get(&self, key: &Key, range: Range) -> Result<Chunks> {
        let mut inner = self.lock();
        inner.gets += 1;
        let bytes = inner.objects.get(key.as_str()).map(|o| o.0.clone()).ok_or_else(|| not_found(key))?;
        let (from, to) = (range.start as usize, bytes.len().min((range.start + range.len) as usize));
        if from >= bytes.len() {
            return Err(not_found(key));
        }
        let fault = inner.take_fault(key.as_str(), from, to);
        let mut body = bytes.slice(from..to).to_vec();
        match fault {
            Some(Fault::Fail) => return Err(transient(key)),
            Some(Fault::Denied) => return Err(StoreError::Denied { detail: format!("get {key}: 403") }),
            Some(Fault::NotFound) => return Err(not_found(key)),
            Some(Fault::Cut(n) | Fault::Break(n) | Fault::Stall(n)) => body.truncate(n),
            Some(Fault::Extra) => body.extend_from_slice(&[0; 100_000]),
            Some(Fault::Flip(at)) => body[at - from] ^= 1,
            None => {}
        }
        inner.served += body.len() as u64;
        let chunks: Vec<Result<Bytes>> = body.chunks(50_000).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let chunks = stream::iter(chunks);
        Ok(match fault {
            Some(Fault::Break(_)) => chunks.chain(stream::iter([Err(transient(key))])).boxed(),
            Some(Fault::Stall(_)) => chunks.chain(stream::pending()).boxed(),
            _ => chunks.boxed(),
        })
    }

    async fn head(&self, key: &Key) -> Result<Head> {
        let mut inner = self.lock();
        inner.heads += 1;
        let (bytes, modified_ms, metadata) = inner.objects.get(key.as_str()).ok_or_else(|| not_found(key))?;
        Ok(Head { size: bytes.len() as u64, modified_ms: *modified_ms, metadata: metadata.clone() })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let mut inner = self.lock();
        inner.lists += 1;
        if inner.list_fault {
            return Err(StoreError::Transient { detail: "list: 503".into() });
        }
        let matching = inner.objects.iter().filter(|(name, _)| name.starts_with(prefix));
        let entry = |(name, (bytes, modified_ms, _)): (&String, &Object)| Listed {
            name: name.clone(),
            size: bytes.len() as u64,
            modified_ms: *modified_ms,
        };
        Ok(matching.map(entry).collect())
    }

    async fn delete(&self, keys: &[Key]) -> Result<Deleted> {
        let mut inner = self.lock();
        keys.iter().for_each(|key| drop(inner.objects.remove(key.as_str())));
        Ok(Deleted { deleted: keys.len(), refused: Vec::new() })
    }
}
