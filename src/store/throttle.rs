//! A store that is read at a limited rate: a token bucket over the bytes of every GET.
//!
//! For work in the background, which must not take the line from the work in the foreground.
//! Everything but reading is passed on as it is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Chunks, Deleted, Head, Key, Lacks, Listed, Put, Range, Result, Store, Traffic};
use crate::clock::MACHINE;

/// So much of a second's worth may come at once.
const BURST: f64 = 0.25;

/// When the next byte may come. Time is handed in.
#[derive(Debug)]
struct Bucket {
    bytes_per_second: f64,
    /// Everything before this moment is paid for.
    paid_until: Option<Instant>,
}

impl Bucket {
    /// Takes `bytes` and says how long to wait for them.
    fn take(&mut self, bytes: usize, now: Instant) -> Duration {
        let earliest = now.checked_sub(Duration::from_secs_f64(BURST)).unwrap_or(now);
        let from = self.paid_until.map_or(earliest, |until| until.max(earliest));
        let until = from + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        self.paid_until = Some(until);
        until.saturating_duration_since(now)
    }
}

/// Stores that share one limit.
#[derive(Clone)]
pub struct Limit(Arc<Mutex<Bucket>>);

impl Limit {
    pub fn new(bytes_per_second: u64) -> Limit {
        let bytes_per_second = bytes_per_second.max(1) as f64;
        Limit(Arc::new(Mutex::new(Bucket { bytes_per_second, paid_until: None })))
    }

    async fn pay(&self, bytes: usize) {
        let wait = self.0.lock().await.take(bytes, MACHINE.instant());
        tokio::time::sleep(wait).await;
    }
}

/// The other store, read no faster than the limit.
pub struct Throttled {
    store: Arc<dyn Store>,
    limit: Limit,
}

impl Throttled {
    pub fn new(store: Arc<dyn Store>, limit: Limit) -> Throttled {
        Throttled { store, limit }
    }
}

#[async_trait]
impl Store for Throttled {
    fn address(&self) -> &str {
        self.store.address()
    }

    fn traffic(&self) -> Option<&Arc<Traffic>> {
        self.store.traffic()
    }

    fn lacks(&self) -> Lacks {
        self.store.lacks()
    }

    async fn put(&self, key: &Key, put: Put) -> Result<()> {
        self.store.put(key, put).await
    }

    async fn get(&self, key: &Key, range: Range) -> Result<Chunks> {
        let (chunks, limit) = (self.store.get(key, range).await?, self.limit.clone());
        let paid = chunks.then(move |chunk| {
            let limit = limit.clone();
            async move {
                if let Ok(bytes) = &chunk {
                    limit.pay(bytes.len()).await;
                }
                chunk
            }
        });
        Ok(paid.boxed())
    }

    async fn head(&self, key: &Key) -> Result<Head> {
        self.store.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        self.store.list(prefix).await
    }

    async fn list_own(&self, prefixes: &[String]) -> Result<Vec<Listed>> {
        self.store.list_own(prefixes).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Deleted> {
        self.store.delete(keys).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test(start_paused = true)]
    async fn bytes_come_at_the_rate_and_all_of_them() {
        let store = Arc::new(MemoryStore::new());
        let key = Key::new("x").expect("key");
        store.put(&key, Put::create(vec![7; 100_000])).await.expect("put");
        let throttled = Throttled::new(store, Limit::new(10_000));
        let began = Instant::now();
        for _ in 0..2 {
            let chunks: Vec<_> = throttled.get(&key, Range::WHOLE).await.expect("get").collect().await;
            let bytes: usize = chunks.into_iter().map(|chunk| chunk.expect("bytes").len()).sum();
            assert_eq!(bytes, 100_000);
        }
        // The clock is the test's own: 200,000 bytes less the burst of a quarter of a second.
        let took = began.elapsed().as_secs_f64();
        assert!((19.7..=20.1).contains(&took), "{took}");
        assert_eq!(throttled.list("").await.expect("list").len(), 1);
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let mut bucket = Bucket { bytes_per_second: 1000.0, paid_until: None };
        let start = Instant::now() + Duration::from_secs(100);
        assert_eq!(bucket.take(250, start), Duration::ZERO);
        assert_eq!(bucket.take(1000, start), Duration::from_secs(1));
        let later = start + Duration::from_secs(50);
        assert_eq!(bucket.take(250, later), Duration::ZERO);
        assert_eq!(bucket.take(500, later), Duration::from_millis(500));
    }
}
