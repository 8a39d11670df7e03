//! When the content of an object came to be: what point-in-time restores go by.
//!
//! S3's own time is that of the upload, so Litestream puts the time of the commit into the
//! metadata, which a LIST does not show. Times ascend with the TXIDs of a level, so the place of a
//! point in time is found with a handful of HEADs, not with one for each object.

use super::{Layout, Level, Listing, LtxObject, ReadError, Remote};
use crate::store::StoreError;

/// S3 shows it as `x-amz-meta-litestream-timestamp`.
pub(super) const METADATA_KEY: &str = "litestream-timestamp";

/// RFC 3339 in UTC with as many digits of the fraction as there are, as Go's `RFC3339Nano` writes
/// it.
pub(super) fn format(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(time) => time.to_string(),
        // Beyond year 9999; no clock says this, but a header can.
        Err(_) => jiff::Timestamp::UNIX_EPOCH.to_string(),
    }
}

fn parse(text: &str) -> Option<i64> {
    text.trim().parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

impl Remote {
    /// When the newest transaction in the object was shipped, Unix milliseconds.
    pub async fn created_ms(&self, object: &LtxObject) -> Result<i64, StoreError> {
        if object.name != self.layout.key(object.level, object.min_txid, object.max_txid) {
            // It was copied from another kind of store, and its time is that of the copy.
            return self.stated_in_header(object).await;
        }
        if self.layout == Layout::Directories {
            return Ok(object.modified_ms);
        }
        let head = self.policy.retry(self.clock, || self.store.head(&object.name)).await?;
        let stated = head.metadata.iter().find(|(key, _)| key == METADATA_KEY).and_then(|(_, value)| parse(value));
        Ok(stated.unwrap_or(head.modified_ms))
    }

    async fn stated_in_header(&self, object: &LtxObject) -> Result<i64, StoreError> {
        match self.read_header(object).await {
            Ok(header) => Ok(header.timestamp_ms),
            Err(ReadError::Invalid { .. }) => Ok(object.modified_ms),
            Err(ReadError::Store(error)) => Err(error),
            Err(error @ ReadError::Gone { .. }) => Err(StoreError::NotFound { detail: error.to_string() }),
        }
    }

    /// The listing as it was strictly before a point in time, Unix milliseconds.
    pub async fn listing_before(&self, listing: &Listing, before_ms: i64) -> Result<Listing, StoreError> {
        let counts = Level::all().map(|level| self.count_before(listing.level(level), before_ms));
        let counts = futures_util::future::try_join_all(counts).await?;
        let counts = counts.try_into().expect("one count for each level");
        Ok(listing.clone().truncated(counts))
    }

    async fn count_before(&self, objects: &[LtxObject], before_ms: i64) -> Result<usize, StoreError> {
        let (mut low, mut high) = (0, objects.len());
        // Most often the point in time is behind the last object or before the first.
        let mut probe = objects.len().saturating_sub(1);
        while low < high {
            if self.created_ms(&objects[probe]).await? < before_ms {
                low = probe + 1;
            } else {
                high = probe;
            }
            probe = low + (high - low) / 2;
        }
        Ok(low)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ltx::{Header, Txid, WalPosition};
    use crate::page::PageSize;
    use crate::store::Body;
    use crate::store::memory::{MemoryStore, Op};

    #[test]
    fn timestamps_are_written_as_go_writes_them() {
        let cases = [
            (1_795_288_837_575, "2026-11-21T19:20:37.575Z"),
            (1_795_288_837_500, "2026-11-21T19:20:37.5Z"),
            (1_795_288_837_010, "2026-11-21T19:20:37.01Z"),
            (1_795_288_837_000, "2026-11-21T19:20:37Z"),
            (0, "1970-01-01T00:00:00Z"),
        ];
        for (unix_ms, text) in cases {
            assert_eq!(format(unix_ms), text);
            assert_eq!(parse(text), Some(unix_ms));
        }
        assert_eq!(parse("2026-11-21T20:20:37.575123456+01:00"), Some(1_795_288_837_575));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(format(i64::MAX), "1970-01-01T00:00:00Z");
    }

    /// A level-0 object for each time, TXID 1 and up.
    async fn remote_with(layout: Layout, times_ms: &[i64]) -> (MemoryStore, Remote) {
        let store = MemoryStore::new();
        let remote = Remote::new(Arc::new(store.clone()), layout);
        for (n, timestamp_ms) in times_ms.iter().enumerate() {
            let txid = Txid::new(n as u64 + 1).expect("not zero");
            let header = Header {
                page_size: PageSize::MAX,
                commit: 1,
                min_txid: txid,
                max_txid: txid,
                timestamp_ms: *timestamp_ms,
                wal: WalPosition::default(),
            };
            remote.put_l0(&header, Body::Bytes(vec![0; 200].into())).await.expect("put");
        }
        (store, remote)
    }

    #[tokio::test]
    async fn a_point_in_time_is_found_with_few_heads() {
        let times: Vec<i64> = (1..=1000).map(|n| n * 10).collect();
        let (store, remote) = remote_with(Layout::S3, &times).await;
        let listing = remote.listing().await.expect("list");
        for (before_ms, wanted) in [(10, 0), (11, 1), (5000, 499), (5001, 500), (10_000, 999), (99_999, 1000)] {
            let heads = store.calls(Op::Head);
            let cut = remote.listing_before(&listing, before_ms).await.expect("heads");
            assert_eq!(cut.level(Level::L0).len(), wanted, "before {before_ms}");
            assert!(store.calls(Op::Head) - heads <= 11, "{} heads", store.calls(Op::Head) - heads);
        }
    }

    #[tokio::test]
    async fn directories_need_no_head() {
        let (store, remote) = remote_with(Layout::Directories, &[10, 20, 30]).await;
        let listing = remote.listing().await.expect("list");
        assert_eq!(remote.listing_before(&listing, 30).await.expect("no requests").objects().count(), 2);
        assert_eq!(store.calls(Op::Head), 0);
    }

    #[tokio::test]
    async fn what_was_copied_from_another_kind_of_store_counts_by_its_header() {
        for (from, to) in [(Layout::S3, Layout::Directories), (Layout::Directories, Layout::S3)] {
            let (store, _) = remote_with(from, &[10, 20, 30]).await;
            store.forget_metadata();
            let remote = Remote::new(Arc::new(store), to);
            let listing = remote.listing().await.expect("list");
            let cut = remote.listing_before(&listing, 30).await.expect("headers");
            assert_eq!(cut.objects().count(), 2);
        }
    }

    #[tokio::test]
    async fn objects_without_metadata_count_by_the_stores_time() {
        let (store, remote) = remote_with(Layout::S3, &[10]).await;
        let object = remote.listing().await.expect("list").newest_l0().expect("one").clone();
        assert_eq!(remote.created_ms(&object).await.expect("head"), 10);
        store.forget_metadata();
        assert_eq!(remote.created_ms(&object).await.expect("head"), object.modified_ms);
    }
}
