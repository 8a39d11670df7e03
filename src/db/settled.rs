//! A few pages of the database file that no checkpoint changes: they are in no frame of the WAL
//! that is not copied yet. Pure.
//!
//! [`Samples`](super::samples::Samples) knows what a checkpoint has written. That is nothing where
//! each page that it copied was written again since: then a file that another program has put there
//! at the same moment is told by the pages that the checkpoint has left alone.

use std::collections::BTreeMap;

use crate::page::Pgno;

/// As many pages are remembered, spread over the database: another file differs in one of them.
const PAGES_MAX: u32 = 16;

/// Pages, each with the hash of what the file holds of it.
#[derive(Debug, Default)]
pub(super) struct Settled(BTreeMap<Pgno, u64>);

impl Settled {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// A batch was captured: its pages in ascending order, of a database that has `size` pages
    /// then. A later checkpoint will change them.
    pub fn captured(&mut self, pages: &[(Pgno, u32)], size: u32) {
        self.0.retain(|page, _| {
            page.get() <= size && pages.binary_search_by_key(page, |(captured, _)| *captured).is_err()
        });
    }

    /// The pages that are to be remembered once the file holds the whole database; none while
    /// enough are left.
    pub fn wanted(&self, size: u32) -> Vec<Pgno> {
        let all = size.min(PAGES_MAX);
        if self.0.len() as u64 * 2 >= u64::from(all) {
            return Vec::new();
        }
        let at = |n: u32| Pgno::new((u64::from(size) * u64::from(n) / u64::from(all)) as u32 + 1);
        (0..all).filter_map(at).filter(|page| !self.0.contains_key(page)).collect()
    }

    pub fn add(&mut self, pages: impl IntoIterator<Item = (Pgno, u64)>) {
        // Those that were left are kept: all of them are few.
        self.0.extend(pages);
    }

    pub fn iter(&self) -> impl Iterator<Item = (Pgno, u64)> {
        self.0.iter().map(|(page, hash)| (*page, *hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: u32) -> Pgno {
        Pgno::new(number).expect("non-zero")
    }

    fn remembered(settled: &Settled) -> Vec<u32> {
        settled.iter().map(|(page, _)| page.get()).collect()
    }

    fn filled(size: u32) -> Settled {
        let mut settled = Settled::default();
        let wanted = settled.wanted(size);
        settled.add(wanted.into_iter().map(|page| (page, 0)));
        settled
    }

    #[test]
    fn they_are_spread_over_the_database() {
        for (size, first, last, count) in [(0, None, None, 0), (1, Some(1), Some(1), 1), (3, Some(1), Some(3), 3)] {
            let pages = remembered(&filled(size));
            assert_eq!((pages.first().copied(), pages.last().copied(), pages.len()), (first, last, count), "{size}");
        }
        let pages = remembered(&filled(u32::MAX - 1));
        assert_eq!((pages.len(), pages[0]), (16, 1));
        assert!(*pages.last().expect("16") > u32::MAX / 16 * 14, "{pages:?}");
    }

    #[test]
    fn what_is_written_or_cut_off_is_forgotten() {
        let mut settled = filled(8);
        settled.captured(&[(page(2), 1), (page(5), 2)], 7);
        assert_eq!(remembered(&settled), [1, 3, 4, 6, 7]);
        assert!(settled.wanted(7).is_empty(), "enough are left");
        settled.captured(&[(page(1), 3), (page(3), 4), (page(4), 5)], 7);
        assert_eq!(settled.wanted(7), [1, 2, 3, 4, 5].map(page));
    }
}
