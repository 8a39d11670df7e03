//! What a replica costs a month at the rate at which it is written, by its own listing. Pure.
//!
//! TXIDs are consecutive, one for each upload: the highest one and the one that the oldest file
//! ends with say how many uploads there were between then and now, long after retention has removed
//! their files. Compacted files and snapshots stay for as long as the oldest one, so they are
//! counted, and so are their bytes.

use std::time::Duration;

use super::{Level, Listing, LtxObject};
use crate::store::price;

/// Checks of level 0 rely on one LIST for so long, while something is written.
const LISTS_PER_HOUR: f64 = 12.0;
/// Each compacted file is read at both ends when it was written.
const READS_OF_OUTPUT: f64 = 2.0;
/// Less than this says nothing about a month.
const LEAST: Duration = Duration::from_secs(60);
const HOUR_MS: f64 = 3_600_000.0;

/// What happened in an hour, on average since the oldest file was written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Over how long it was measured.
    pub hours: f64,
    pub uploads: f64,
    pub compactions: f64,
    /// Of both.
    pub bytes: f64,
    /// How many requests a LIST of the replica takes.
    pub lists: f64,
    /// What is there now.
    pub stored_bytes: u64,
}

/// One kind of what is paid for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub kind: &'static str,
    /// Requests in a month; of storage none.
    pub requests: f64,
    pub dollars: f64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Monthly {
    pub lines: Vec<Line>,
}

impl Monthly {
    pub fn dollars(&self) -> f64 {
        self.lines.iter().map(|line| line.dollars).sum()
    }
}

/// Measures the rates; `None` while the replica is too new to say.
pub fn rates(listing: &Listing, now_ms: i64) -> Option<Rates> {
    let oldest = listing.objects().min_by_key(|object| (object.modified_ms, object.max_txid))?;
    let newest = listing.newest_txid()?;
    let ms = now_ms.saturating_sub(oldest.modified_ms);
    if ms < i64::try_from(LEAST.as_millis()).unwrap_or(i64::MAX) {
        return None;
    }
    let hours = ms as f64 / HOUR_MS;
    let since = |object: &&LtxObject| object.modified_ms > oldest.modified_ms;
    let compacted: Vec<&LtxObject> = listing.objects().filter(|o| o.level != Level::L0).filter(since).collect();
    let level_0 = listing.level(Level::L0);
    let bytes = |objects: &mut dyn Iterator<Item = u64>| objects.sum::<u64>() as f64;
    let mean = match level_0.len() {
        0 => 0.0,
        count => bytes(&mut level_0.iter().map(|object| object.size)) / count as f64,
    };
    let uploads = newest.get().saturating_sub(oldest.max_txid.get()) as f64 / hours;
    Some(Rates {
        hours,
        uploads,
        compactions: compacted.len() as f64 / hours,
        bytes: uploads * mean + bytes(&mut compacted.iter().map(|object| object.size)) / hours,
        lists: listing.lists as f64,
        stored_bytes: listing.objects().map(|object| object.size).sum(),
    })
}

/// A month at these rates.
pub fn month(rates: &Rates) -> Monthly {
    let uploads = rates.uploads * price::HOURS;
    let compactions = rates.compactions * price::HOURS;
    // Each upload is read by one compaction at most, and an idle hour costs no request.
    let reads = uploads + READS_OF_OUTPUT * compactions;
    let lists = LISTS_PER_HOUR.min(rates.uploads) * rates.lists * price::HOURS;
    let line = |kind, request, requests| Line { kind, requests, dollars: price::of_requests(request, requests) };
    let storage = Line { kind: "storage", requests: 0.0, dollars: price::of_storage(rates.stored_bytes) };
    Monthly {
        lines: vec![
            line("uploads (PUT)", "PutObject", uploads),
            line("compaction (PUT)", "PutObject", compactions),
            line("reads (GET)", "GetObject", reads),
            line("listings (LIST)", "ListObjectsV2", lists),
            storage,
        ],
    }
}

/// What the uploads of a writer that never rests cost in a month; `None`: no limit is set.
pub fn ceiling(sync_interval: Duration) -> Option<f64> {
    let per_hour = (!sync_interval.is_zero()).then(|| 3600.0 / sync_interval.as_secs_f64())?;
    Some(price::of_requests("PutObject", per_hour * price::HOURS))
}

#[cfg(test)]
mod tests {
    use super::super::Layout;
    use super::*;
    use crate::store::Listed;

    fn listing(objects: &[(u8, u64, u64, u64, i64)]) -> Listing {
        let listed = objects.iter().map(|(level, min, max, size, minute)| Listed {
            name: format!("{level:04x}/{min:016x}-{max:016x}.ltx"),
            size: *size,
            modified_ms: minute * 60_000,
        });
        Listing::parse(Layout::S3, listed.collect())
    }

    #[test]
    fn rates_follow_from_txids_and_from_what_is_there() {
        let two_hours = listing(&[
            (9, 1, 100, 10_000, 0),
            (1, 101, 400, 4_000, 60),
            (0, 699, 699, 200, 119),
            (0, 700, 700, 400, 119),
        ]);
        let rates = rates(&two_hours, 120 * 60_000).expect("two hours");
        assert_eq!((rates.hours, rates.uploads, rates.compactions), (2.0, 300.0, 0.5));
        assert_eq!((rates.bytes, rates.stored_bytes), (300.0 * 300.0 + 2_000.0, 14_600));
        let month = month(&rates);
        let of = |kind: &str| month.lines.iter().find(|line| line.kind.starts_with(kind)).expect(kind).dollars;
        assert!((of("uploads") - 300.0 * 730.0 * 0.005 / 1000.0).abs() < 1e-9);
        assert!((month.dollars() - month.lines.iter().map(|line| line.dollars).sum::<f64>()).abs() < 1e-9);
        assert!(month.dollars() > of("uploads") && of("storage") > 0.0);
    }

    #[test]
    fn what_is_new_says_nothing_and_what_is_idle_costs_its_storage() {
        assert_eq!(rates(&listing(&[(0, 1, 1, 200, 5)]), 5 * 60_000 + 59_000), None);
        assert_eq!(rates(&Listing::default(), 0), None);
        let idle = rates(&listing(&[(9, 1, 7, 1 << 30, 0)]), 6_000_000).expect("rates");
        assert_eq!((idle.uploads, idle.compactions), (0.0, 0.0));
        assert_eq!(month(&idle).dollars(), 0.023);
    }

    #[test]
    fn the_ceiling_is_one_upload_for_each_interval() {
        assert!((ceiling(Duration::from_secs(1)).expect("a limit") - 13.14).abs() < 0.01);
        assert_eq!(ceiling(Duration::ZERO), None);
    }
}
