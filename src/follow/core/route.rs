//! Which files lead from the state of a copy to the newest one. Pure.
//!
//! ```text
//!  copy at 103
//!  snapshot 1──────────100
//!  level 1                 101──105 106──110
//!  level 0                                   111 112
//! ```
//!
//! A file of the TXIDs min to max brings every state from min-1 to max-1 to max, whatever its
//! level: it holds the newest version of every page that changed in them. So files that follow each
//! other without a gap are a way, and of all ways to the furthest end the one is taken that costs
//! least to read. A whole image, which begins with the first TXID, brings every state there, also
//! one that is not known.

use std::collections::BTreeMap;

use crate::ltx::Txid;
use crate::remote::{Listing, LtxObject};

/// A request costs as much time as reading so many bytes.
const REQUEST_BYTES: u64 = 64 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// Never empty, in the order of their TXIDs.
    Files(Vec<LtxObject>),
    /// There is nothing newer.
    AtEnd,
    /// There is, and nothing leads there: the first object behind the gap.
    Gap(LtxObject),
}

/// The way from the state at `from`, or from an unknown one, over the files that `is_usable` lets.
pub fn route(listing: &Listing, from: Option<Txid>, is_usable: impl Fn(&LtxObject) -> bool) -> Route {
    let start = from.map_or(0, Txid::get);
    let mut objects: Vec<&LtxObject> = listing.objects().filter(|o| o.max_txid.get() > start && is_usable(o)).collect();
    objects.sort_by_key(|o| (o.max_txid, o.min_txid));
    // For each end that is reached: the bytes to get there, and the file that it takes last.
    let mut ends: BTreeMap<u64, (u64, Option<&LtxObject>)> = BTreeMap::from([(start, (0, None))]);
    for object in &objects {
        let bases = ends.range(object.min_txid.get() - 1..object.max_txid.get());
        let Some(least) = bases.map(|(_, (bytes, _))| *bytes).min() else { continue };
        let bytes = least + object.size + REQUEST_BYTES;
        let there = ends.entry(object.max_txid.get()).or_insert((bytes, Some(object)));
        if bytes < there.0 {
            *there = (bytes, Some(object));
        }
    }
    let (mut end, mut last) = ends.last_key_value().map(|(end, (_, last))| (*end, *last)).expect("the start is one");
    let furthest = end;
    let mut files = Vec::new();
    while let Some(object) = last {
        files.push(object.clone());
        let bases = ends.range(object.min_txid.get() - 1..end);
        let (base, (_, before)) = bases.min_by_key(|(_, (bytes, _))| *bytes).expect("it was reached from one");
        (end, last) = (*base, *before);
    }
    files.reverse();
    match objects.into_iter().filter(|o| o.max_txid.get() > furthest).min_by_key(|o| o.min_txid) {
        _ if !files.is_empty() => Route::Files(files),
        Some(beyond) => Route::Gap(beyond.clone()),
        None => Route::AtEnd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{Layout, Level};
    use crate::store::Listed;

    fn listing(files: &[(u8, u64, u64, u64)]) -> Listing {
        let txid = |number| Txid::new(number).expect("not zero");
        let listed = |&(level, min, max, size): &(u8, u64, u64, u64)| {
            let name = Layout::S3.key(Level::new(level).expect("a level"), txid(min), txid(max)).to_string();
            Listed { name, size, modified_ms: 1 }
        };
        Listing::parse(Layout::S3, files.iter().map(listed).collect())
    }

    /// Minimum and maximum of each file of the way.
    fn way(files: &[(u8, u64, u64, u64)], from: u64) -> Option<Vec<(u64, u64)>> {
        match route(&listing(files), Txid::new(from), |_| true) {
            Route::Files(files) => Some(files.iter().map(|o| (o.min_txid.get(), o.max_txid.get())).collect()),
            Route::AtEnd => Some(Vec::new()),
            Route::Gap(_) => None,
        }
    }

    #[test]
    fn the_cheapest_way_to_the_furthest_end() {
        let files =
            [(9, 1, 100, 1 << 30), (1, 101, 105, 5000), (1, 106, 110, 5000), (0, 111, 111, 500), (0, 112, 112, 500)];
        assert_eq!(way(&files, 103), Some(vec![(101, 105), (106, 110), (111, 111), (112, 112)]));
        assert_eq!(way(&files, 110), Some(vec![(111, 111), (112, 112)]));
        assert_eq!(way(&files, 112), Some(vec![]));
        assert_eq!(way(&files, 0).map(|way| (way.len(), way[0])), Some((5, (1, 100))));
        let both = [files.as_slice(), &[(0, 110, 110, 500), (2, 101, 112, 1 << 20)]].concat();
        assert_eq!(way(&both, 109), Some(vec![(110, 110), (111, 111), (112, 112)]), "small ones, not the large one");
        assert_eq!(way(&both, 100).map(|way| way.len()), Some(4));
        let cheap = [files.as_slice(), &[(2, 101, 112, 1000)]].concat();
        assert_eq!(way(&cheap, 104), Some(vec![(101, 112)]));
    }

    #[test]
    fn a_whole_image_bridges_what_nothing_else_does_and_a_gap_is_one() {
        assert_eq!(way(&[(9, 1, 100, 1 << 30), (0, 101, 101, 500)], 50), Some(vec![(1, 100), (101, 101)]));
        assert_eq!(way(&[(0, 52, 52, 500), (0, 53, 53, 500)], 50), None);
        assert_eq!(way(&[(0, 51, 51, 500), (0, 53, 53, 500)], 50), Some(vec![(51, 51)]), "as far as it goes");
        assert_eq!(way(&[(0, 51, 51, 500)], 0), None, "nothing is known, and no image is there");
        assert_eq!(way(&[], 7), Some(vec![]));
        let unusable = route(&listing(&[(0, 51, 51, 500)]), Txid::new(50), |_| false);
        assert_eq!(unusable, Route::AtEnd);
        assert!(way(&[(0, u64::MAX, u64::MAX, 500)], 5).is_none());
    }
}
