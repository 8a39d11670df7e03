//! A few pages of which it is known what the database file must hold: those that a checkpoint has
//! copied from the WAL.
//!
//! A checkpoint explains a change of the file, and may hide that a program wrote to it past SQLite
//! at the same moment. Whoever puts another file's content there, an older copy of the same
//! database included, replaces the pages that were written last. So some of the captured pages are
//! remembered, and compared with the file when a checkpoint has changed it.

use std::collections::BTreeMap;

use crate::page::Pgno;

/// As many pages are remembered: two small reads each, when they are compared.
const PAGES_MAX: usize = 32;
/// So many of one batch at most.
const OF_BATCH: usize = 4;

/// The newest captured frame of each of some pages, in the current generation of the WAL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Samples(BTreeMap<Pgno, u32>);

impl Samples {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A batch was captured: its pages in ascending order, each with its newest frame (0: it has
    /// none), of a database that has `size` pages then.
    pub fn add(&mut self, pages: &[(Pgno, u32)], size: u32) {
        self.0.retain(|pgno, frame| {
            if let Ok(at) = pages.binary_search_by_key(pgno, |(pgno, _)| *pgno) {
                *frame = pages[at].1;
            }
            // A page that was cut off may come again without having been written.
            *frame > 0 && pgno.get() <= size
        });
        let step = pages.len().div_ceil(OF_BATCH).max(1);
        let new: Vec<_> = pages.iter().rev().step_by(step).filter(|(_, frame)| *frame > 0).copied().collect();
        // Pages that are written all the time are never as a checkpoint has left them.
        while self.0.len() + new.len() > PAGES_MAX
            && let Some((&hottest, _)) = self.0.iter().max_by_key(|(_, frame)| **frame)
        {
            self.0.remove(&hottest);
        }
        self.0.extend(new);
    }

    /// The pages that the file must hold as these frames have them, once so many frames are in the
    /// file.
    pub fn copied(&self, done: u32) -> impl Iterator<Item = (Pgno, u32)> {
        self.0.iter().map(|(pgno, frame)| (*pgno, *frame)).filter(move |(_, frame)| *frame <= done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(list: &[(u32, u32)]) -> Vec<(Pgno, u32)> {
        list.iter().map(|(pgno, frame)| (Pgno::new(*pgno).expect("non-zero"), *frame)).collect()
    }

    fn copied(samples: &Samples, done: u32) -> Vec<(u32, u32)> {
        samples.copied(done).map(|(pgno, frame)| (pgno.get(), frame)).collect()
    }

    #[test]
    fn the_newest_frame_of_a_page_counts() {
        let mut samples = Samples::default();
        samples.add(&pages(&[(1, 3), (5, 2), (9, 0)]), 9);
        assert_eq!(copied(&samples, 9), [(1, 3), (5, 2)]);
        samples.add(&pages(&[(1, 4), (2, 5)]), 9);
        assert_eq!(copied(&samples, 9), [(1, 4), (2, 5), (5, 2)]);
        assert_eq!(copied(&samples, 3), [(5, 2)], "not copied yet");
        samples.add(&pages(&[(2, 0)]), 9);
        assert_eq!(copied(&samples, 9), [(1, 4), (5, 2)], "cut off and come again");
        samples.add(&pages(&[(1, 6)]), 4);
        assert_eq!(copied(&samples, 9), [(1, 6)], "cut off");
        samples.clear();
        assert_eq!(copied(&samples, 9), []);
    }

    #[test]
    fn there_are_never_many_and_the_cold_ones_stay() {
        let mut samples = Samples::default();
        for batch in 0..100 {
            // Page 1 is in every batch; the others are written once.
            let written: Vec<_> = (0..50).map(|n| (2 + batch * 50 + n, 1 + batch * 51 + n)).collect();
            samples.add(&pages(&[vec![(1, 51 * (batch + 1))], written].concat()), u32::MAX);
            assert!(samples.0.len() <= PAGES_MAX);
        }
        assert!(!copied(&samples, 51 * 8).is_empty(), "{samples:?}");
    }
}
