//! A store whose operations are counted and timed; everything is passed on as it is.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::traffic::{Operation, Traffic};
use super::{Body, Chunks, Deleted, Head, Key, Lacks, Listed, OpenUpload, Put, Range, Result, Store};
use crate::clock::MACHINE;

pub struct Counted {
    store: Arc<dyn Store>,
    traffic: Arc<Traffic>,
}

impl Counted {
    pub fn new(store: Arc<dyn Store>, traffic: Arc<Traffic>) -> Counted {
        Counted { store, traffic }
    }

    fn did<T>(&self, operation: Operation, began: Instant, done: Result<T>) -> Result<T> {
        self.traffic.did(operation, MACHINE.instant().saturating_duration_since(began), &done);
        done
    }

    async fn put_counting(&self, key: &Key, put: Put) -> Result<()> {
        let Put { body: Body::Stream { mut chunks, expected_len }, create, modified_ms, metadata } = put else {
            let Body::Bytes(bytes) = &put.body else { return self.store.put(key, put).await };
            let len = bytes.len();
            let done = self.store.put(key, put).await;
            if done.is_ok() {
                self.traffic.moved(Operation::Put, len);
            }
            return done;
        };
        let (sender, receiver) = mpsc::channel(1);
        let body = Body::Stream { chunks: receiver, expected_len };
        let pass_on = async {
            while let Some(chunk) = chunks.recv().await {
                if let Ok(bytes) = &chunk {
                    self.traffic.moved(Operation::Put, bytes.len());
                }
                if sender.send(chunk).await.is_err() {
                    break;
                }
            }
            drop(sender);
            std::future::pending().await
        };
        tokio::select! {
            done = self.store.put(key, Put { body, create, modified_ms, metadata }) => done,
            () = pass_on => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Counted {
    fn address(&self) -> &str {
        self.store.address()
    }

    fn traffic(&self) -> Option<&Arc<Traffic>> {
        Some(&self.traffic)
    }

    fn lacks(&self) -> Lacks {
        self.store.lacks()
    }

    async fn put(&self, key: &Key, put: Put) -> Result<()> {
        let began = MACHINE.instant();
        let done = self.put_counting(key, put).await;
        self.did(Operation::Put, began, done)
    }

    /// Timed until the first byte may be read.
    async fn get(&self, key: &Key, range: Range) -> Result<Chunks> {
        let began = MACHINE.instant();
        let chunks = self.store.get(key, range).await;
        let traffic = self.traffic.clone();
        let counted = self.did(Operation::Get, began, chunks)?.inspect(move |chunk| {
            if let Ok(bytes) = chunk {
                traffic.moved(Operation::Get, bytes.len());
            }
        });
        Ok(counted.boxed())
    }

    async fn head(&self, key: &Key) -> Result<Head> {
        let began = MACHINE.instant();
        let done = self.store.head(key).await;
        self.did(Operation::Head, began, done)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let began = MACHINE.instant();
        let done = self.store.list(prefix).await;
        self.did(Operation::List, began, done)
    }

    async fn list_own(&self, prefixes: &[String]) -> Result<Vec<Listed>> {
        let began = MACHINE.instant();
        let done = self.store.list_own(prefixes).await;
        self.did(Operation::List, began, done)
    }

    async fn delete(&self, keys: &[Key]) -> Result<Deleted> {
        let began = MACHINE.instant();
        let done = self.store.delete(keys).await;
        self.did(Operation::Delete, began, done)
    }

    async fn open_uploads(&self) -> Result<Vec<OpenUpload>> {
        self.store.open_uploads().await
    }

    async fn end_uploads(&self, uploads: &[OpenUpload]) -> Result<()> {
        self.store.end_uploads(uploads).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn every_byte_counts_however_it_comes() {
        let traffic = Arc::new(Traffic::new("memory", "memory"));
        let store = Counted::new(Arc::new(MemoryStore::new()), traffic.clone());
        let [whole, streamed] = ["whole", "streamed"].map(|name| Key::new(name).expect("a key"));
        store.put(&whole, Put::create(vec![1; 1000])).await.expect("put");
        assert!(store.put(&whole, Put::create(vec![1; 1000])).await.is_err(), "it exists");
        let (sender, chunks) = mpsc::channel(1);
        let body = Body::Stream { chunks, expected_len: 1 << 20 };
        let put = Put { body, create: true, modified_ms: None, metadata: Vec::new() };
        let send = async move {
            for _ in 0..7 {
                sender.send(Ok(vec![2; 100].into())).await.expect("taken");
            }
        };
        let (done, ()) = tokio::join!(store.put(&streamed, put), send);
        done.expect("put");
        let read: Vec<_> = store.get(&streamed, Range::WHOLE).await.expect("get").collect().await;
        assert_eq!(read.into_iter().map(|chunk| chunk.expect("bytes").len()).sum::<usize>(), 700);
        let operated: Vec<_> = traffic.operated().map(|o| (o.operation, o.count, o.bytes, o.errors)).collect();
        assert_eq!(operated, [(Operation::Put, 3, 1700, vec![]), (Operation::Get, 1, 700, vec![])]);
    }
}
