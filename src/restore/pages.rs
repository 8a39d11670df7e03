//! Who owns which page: the newest file that has it, as long as the database ends up long enough to
//! hold it.
//!
//! Files claim their pages newest first, one file after the other; what is taken stays taken. It
//! costs one bit for each page of the database, and for each file in hand one bit for each of its
//! frames.

use crate::ltx::Header;
use crate::page::Pgno;

/// The page numbers of a file in ascending order, as runs: one entry for a snapshot of any size.
#[derive(Default, PartialEq)]
pub(super) struct Runs {
    runs: Vec<(Pgno, u32)>,
    count: usize,
}

impl Runs {
    /// Adds a page number that is larger than all before.
    pub(super) fn push(&mut self, pgno: Pgno) {
        self.count += 1;
        match self.runs.last_mut() {
            Some((first, len)) if u64::from(first.get()) + u64::from(*len) == u64::from(pgno.get()) => *len += 1,
            _ => self.runs.push((pgno, 1)),
        }
    }

    /// How many page numbers there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn indexes(&self) -> impl Iterator<Item = usize> {
        self.runs.iter().flat_map(|(first, len)| first.index()..first.index() + *len as usize)
    }
}

/// A fixed number of bits.
pub(super) struct Bits(Vec<u64>);

impl Bits {
    fn new(len: usize) -> Bits {
        Bits(vec![0; len.div_ceil(64)])
    }

    pub(super) fn get(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    /// Whether the bit was clear.
    fn set(&mut self, at: usize) -> bool {
        let (word, bit) = (&mut self.0[at / 64], 1 << (at % 64));
        let was_clear = *word & bit == 0;
        *word |= bit;
        was_clear
    }
}

/// The pages of the database that have found their owner.
pub(super) struct Claims {
    taken: Bits,
    commit: usize,
    lock_page: Pgno,
    left: u64,
}

impl Claims {
    /// For the database that `newest` describes.
    pub(super) fn new(newest: &Header) -> Claims {
        let lock_page = newest.page_size.lock_page();
        let commit = newest.commit as usize;
        let without_lock_page = u64::from(newest.commit >= lock_page.get());
        Claims { taken: Bits::new(commit), commit, lock_page, left: u64::from(newest.commit) - without_lock_page }
    }

    /// Claims pages for the next older file: a bit for each of them, set where the file is their
    /// owner.
    pub(super) fn claim(&mut self, pages: &Runs) -> Bits {
        let mut owned = Bits::new(pages.count());
        for (frame, page) in pages.indexes().enumerate() {
            if page < self.commit && self.taken.set(page) {
                owned.set(frame);
                self.left -= 1;
            }
        }
        owned
    }

    /// The first page that no file has claimed.
    pub(super) fn first_missing(&self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        (0..self.commit).find(|page| *page != self.lock_page.index() && !self.taken.get(*page)).map(|page| page + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ltx::{Txid, WalPosition};
    use crate::page::PageSize;

    fn header(page_size: u32, commit: u32) -> Header {
        Header {
            page_size: PageSize::new(page_size).expect("valid"),
            commit,
            min_txid: Txid::FIRST,
            max_txid: Txid::FIRST,
            timestamp_ms: 0,
            wal: WalPosition::default(),
        }
    }

    fn runs(pages: impl IntoIterator<Item = u32>) -> Runs {
        let mut runs = Runs::default();
        pages.into_iter().for_each(|n| runs.push(Pgno::new(n).expect("not zero")));
        runs
    }

    fn owned(bits: &Bits, frames: usize) -> Vec<usize> {
        (0..frames).filter(|frame| bits.get(*frame)).collect()
    }

    #[test]
    fn the_newest_file_owns_a_page_and_pages_behind_the_end_have_no_owner() {
        let mut claims = Claims::new(&header(4096, 5));
        assert_eq!(owned(&claims.claim(&runs([2, 5])), 2), [0, 1]);
        assert_eq!(owned(&claims.claim(&runs([1, 2, 6, 7])), 4), [0]);
        assert_eq!((claims.left, claims.first_missing()), (2, Some(3)));
        assert_eq!(owned(&claims.claim(&runs(1..=200)), 200), [2, 3]);
        assert_eq!((claims.left, claims.first_missing()), (0, None));
    }

    #[test]
    fn the_lock_page_needs_no_owner() {
        let lock = PageSize::MAX.lock_page().get();
        for commit in [lock - 1, lock, lock + 1] {
            let mut claims = Claims::new(&header(65536, commit));
            claims.claim(&runs((1..lock).chain(lock + 1..=commit)));
            assert_eq!((claims.left, claims.first_missing()), (0, None), "{commit} pages");
        }
    }

    #[test]
    fn runs_keep_neighbours_together() {
        let pages = runs([1, 2, 3, 7, 9, 10, u32::MAX - 1, u32::MAX]);
        assert_eq!((pages.runs.len(), pages.count()), (4, 8));
        assert_eq!(
            pages.indexes().map(|i| i + 1).collect::<Vec<_>>(),
            [1, 2, 3, 7, 9, 10, u32::MAX as usize - 1, u32::MAX as usize]
        );
    }
}
