//! What a listing of a replica says about the moments that can be brought back, and about the
//! month's price. Pure.

use super::document::{PointsEntry, RangeEntry};
use super::figures::{milliseconds, timestamp};
use crate::remote::{Listing, month, rates};
use crate::restore::{Density, PointRange, points};

/// Ranges that are shown; the newest ones, because retention makes the old ones few.
const RANGES_MAX: usize = 40;
const HOLES_MAX: usize = 10;

/// A listing that was made at `now_ms`.
pub fn of_listing(replica: &str, listing: &Listing, now_ms: i64) -> PointsEntry {
    let points = points(listing);
    let old = points.old.iter().map(|old| RangeEntry {
        from: timestamp(old.from_ms),
        to: timestamp(old.to_ms),
        from_ms: old.from_ms,
        to_ms: old.to_ms,
        points: old.files,
        density: format!("generation {} of Litestream 0.3", old.generation),
        is_every_commit: false,
    });
    let mut ranges: Vec<RangeEntry> = old.chain(points.ranges.iter().map(range)).collect();
    ranges.sort_by_key(|range| (range.from_ms, range.to_ms));
    let more_ranges = ranges.len().saturating_sub(RANGES_MAX);
    ranges.drain(..more_ranges);
    let holes = points.holes.iter().take(HOLES_MAX);
    PointsEntry {
        replica: replica.into(),
        listed_at: timestamp(now_ms),
        listed_at_ms: now_ms,
        error: None,
        ranges,
        more_ranges,
        holes: holes
            .map(|hole| format!("The transactions {} to {} are in no file.", hole.first_missing, hole.last_missing))
            .collect(),
        objects: listing.objects().count(),
        stored_bytes: listing.objects().map(|object| object.size).sum(),
        month_dollars: rates(listing, now_ms).map(|rates| month(&rates).dollars()),
    }
}

/// The listing has failed.
pub fn of_failure(replica: &str, why: String, now_ms: i64) -> PointsEntry {
    PointsEntry {
        replica: replica.into(),
        listed_at: timestamp(now_ms),
        listed_at_ms: now_ms,
        error: Some(why),
        ..PointsEntry::default()
    }
}

fn range(range: &PointRange) -> RangeEntry {
    RangeEntry {
        from: timestamp(range.from_ms),
        to: timestamp(range.to_ms),
        from_ms: range.from_ms,
        to_ms: range.to_ms,
        points: range.points,
        density: match range.density {
            Density::EveryCommit => "every commit".into(),
            Density::Every { ms } => format!("about every {}", milliseconds(ms)),
            Density::Single => "one moment".into(),
        },
        is_every_commit: range.density == Density::EveryCommit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Layout;
    use crate::store::Listed;

    fn listing(objects: impl Iterator<Item = (u8, u64, u64, i64)>) -> Listing {
        let listed = objects.map(|(level, min, max, second)| Listed {
            name: format!("{level:04x}/{min:016x}-{max:016x}.ltx"),
            size: 500,
            modified_ms: 1_795_300_220_000 + second * 1000,
        });
        Listing::parse(Layout::S3, listed.collect())
    }

    #[test]
    fn ranges_have_their_times_and_density() {
        let few = [(9, 1, 4, 0), (1, 5, 7, 30), (1, 8, 9, 60), (0, 10, 10, 62), (0, 12, 12, 64)];
        let shown = of_listing("s3", &listing(few.into_iter()), 1_795_300_220_000 + 3_600_000);
        let words: Vec<&str> = shown.ranges.iter().map(|range| range.density.as_str()).collect();
        assert_eq!(words, ["about every 30 s", "every commit"]);
        assert_eq!((shown.ranges[0].from.as_str(), shown.ranges[0].points), ("2026-11-21T22:30:20Z", 3));
        assert_eq!(shown.holes, ["The transactions 000000000000000b to 000000000000000b are in no file."]);
        assert_eq!((shown.objects, shown.stored_bytes), (5, 2500));
        assert!(shown.month_dollars > Some(0.0));
    }

    #[test]
    fn a_torn_history_is_not_shown_without_end() {
        let torn = listing((1..500).map(|n| (0, n * 2, n * 2, n as i64)).chain([(9, 1, 2, 0)]));
        let shown = of_listing("s3", &torn, 0);
        assert!(shown.ranges.len() <= RANGES_MAX && shown.holes.len() <= HOLES_MAX);
    }
}
