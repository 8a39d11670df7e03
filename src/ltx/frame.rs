//! Page frames: which pages a file may hold in which order, and how one frame is read.
//!
//! ```text
//! pgno (4) │ flags (2) = 0 │ one LZ4 frame                   Litestream 0.5.0 to 0.5.15, and we (`lz4`)
//! pgno (4) │ flags (2) = 1 │ size (4) │ one raw LZ4 block    Litestream from 0.5.16 on
//! ```
//!
//! [`Flavour`] says which of them a new file gets.

use std::io::Read;

use super::index::IndexSum;
use super::page_head::{BLOCK_HEADER_LEN, END_OF_PAGES, FRAME_HEADER_LEN};
use super::{Crc, Flavour, Header, Result, be32, malformed, read_exact};
use crate::page::{PageSize, Pgno};
use lz4::max_block_len;

mod lz4;
mod write;

pub use write::{FrameWriter, max_written_len};

/// The longest frame of either flavour.
pub fn max_frame_len(page_size: PageSize) -> u64 {
    (FRAME_HEADER_LEN + lz4::max_len(page_size)) as u64
}

/// The order that pages have to come in: ascending, within the database, never the lock page; in
/// snapshots every one.
#[derive(Clone, Copy)]
pub struct PageOrder {
    lock_page: u32,
    commit: u32,
    gap_free: bool,
    last: u32,
}

impl PageOrder {
    pub fn new(header: &Header) -> PageOrder {
        PageOrder {
            lock_page: header.page_size.lock_page().get(),
            commit: header.commit,
            gap_free: header.is_snapshot(),
            last: 0,
        }
    }

    /// The order as it stands after `last`; used to read from the middle of a file.
    pub fn resume(header: &Header, last: Option<Pgno>) -> PageOrder {
        PageOrder { last: last.map_or(0, Pgno::get), ..PageOrder::new(header) }
    }

    /// The only page a snapshot may continue with.
    fn successor(&self) -> u64 {
        let next = u64::from(self.last) + 1;
        if next == u64::from(self.lock_page) { next + 1 } else { next }
    }

    /// Takes the next page, or says why it may not come here.
    pub fn admit(&mut self, number: u32) -> std::result::Result<Pgno, String> {
        let last = self.last;
        let Some(pgno) = Pgno::new(number) else { return Err("page number 0".into()) };
        if number > self.commit {
            return Err(format!("page {pgno} of a database of {} pages", self.commit));
        }
        if number == self.lock_page {
            return Err(format!("page {pgno} is the lock page, which is never stored"));
        }
        if number <= last {
            return Err(format!("page {pgno} follows page {last}"));
        }
        if self.gap_free && u64::from(number) != self.successor() {
            return Err(format!("page {pgno} follows page {last} in a snapshot, which must hold every page"));
        }
        self.last = number;
        Ok(pgno)
    }

    /// Whether the pages may end here.
    pub fn complete(&self) -> std::result::Result<(), String> {
        if self.gap_free && self.successor() <= u64::from(self.commit) {
            return Err(format!("a snapshot of {} pages that ends with page {}", self.commit, self.last));
        }
        Ok(())
    }
}

/// Reads contiguous frames: a whole file's, or a part's. It checks them, keeps the CRC of what it
/// read and the index that would describe it.
pub struct FrameReader {
    page_size: PageSize,
    order: PageOrder,
    offset: u64,
    crc: Crc,
    index: IndexSum,
    scratch: Vec<u8>,
    flavour: Option<Flavour>,
}

/// What is known about contiguous frames once they are read.
pub struct Frames {
    pub crc: Crc,
    pub(super) index: IndexSum,
    /// Offset of the first byte behind them.
    pub end: u64,
}

impl FrameReader {
    /// Frames that begin at byte `offset` of the file, behind the frame of page `after` (none at
    /// the file's first frame).
    pub fn new(header: &Header, offset: u64, after: Option<Pgno>) -> FrameReader {
        FrameReader {
            page_size: header.page_size,
            order: PageOrder::resume(header, after),
            offset,
            crc: Crc::new(),
            index: IndexSum::new(),
            scratch: Vec::new(),
            flavour: None,
        }
    }

    /// Reads one frame and inflates its page into `page`, which must be one page long; `None` is
    /// the end-of-pages mark.
    pub fn next_page(&mut self, reader: &mut impl Read, page: &mut [u8]) -> Result<Option<Pgno>> {
        assert_eq!(page.len(), self.page_size.bytes(), "the buffer must be one page long");
        let mut head = [0; FRAME_HEADER_LEN];
        read_exact(reader, &mut head, "page frames")?;
        self.crc.update(&head);
        if head == END_OF_PAGES {
            self.order.complete().map_err(malformed)?;
            self.offset += FRAME_HEADER_LEN as u64;
            return Ok(None);
        }
        let pgno = self.order.admit(be32(&head, 0)).map_err(malformed)?;
        let flavour = Flavour::of_page(&head).map_err(|flags| malformed(format!("page {pgno} has {flags}")))?;
        self.flavour = Some(flavour);
        let len = match flavour {
            Flavour::Block => self.read_block(reader, pgno, page)?,
            Flavour::Frame => FRAME_HEADER_LEN + lz4::read(reader, pgno, &mut self.scratch, page)?,
        };
        self.crc.update(page);
        self.index.push(pgno, self.offset, len as u64);
        self.offset += len as u64;
        Ok(Some(pgno))
    }

    fn read_block(&mut self, reader: &mut impl Read, pgno: Pgno, page: &mut [u8]) -> Result<usize> {
        let mut size = [0; BLOCK_HEADER_LEN - FRAME_HEADER_LEN];
        read_exact(reader, &mut size, "page frames")?;
        self.crc.update(&size);
        let size = be32(&size, 0) as usize;
        if size == 0 || size > max_block_len(self.page_size) {
            return Err(malformed(format!("page {pgno} has {size} compressed bytes")));
        }
        self.scratch.resize(max_block_len(self.page_size).max(self.scratch.len()), 0);
        let block = &mut self.scratch[..size];
        read_exact(reader, block, "page frames")?;
        match lz4_flex::block::decompress_into(block, page) {
            Ok(len) if len == page.len() => Ok(BLOCK_HEADER_LEN + size),
            Ok(len) => Err(malformed(format!("page {pgno} inflates to {len} bytes"))),
            Err(error) => Err(malformed(format!("page {pgno} does not inflate: {error}"))),
        }
    }

    /// The flavour of the last page.
    pub fn flavour(&self) -> Option<Flavour> {
        self.flavour
    }

    pub fn finish(self) -> Frames {
        Frames { crc: self.crc, index: self.index, end: self.offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ltx::testing::header;

    fn admit_all(order: &mut PageOrder, pages: impl IntoIterator<Item = u32>) -> std::result::Result<(), String> {
        pages.into_iter().try_for_each(|n| order.admit(n).map(|_| ()))
    }

    #[test]
    fn snapshots_hold_every_page() {
        let new = || PageOrder::new(&header(4096, 3, 1, 7));
        let mut order = new();
        admit_all(&mut order, 1..=3).expect("gap-free");
        order.complete().expect("complete");
        assert!(admit_all(&mut new(), [2]).is_err());
        assert!(admit_all(&mut new(), [1, 3]).is_err());
        assert!(admit_all(&mut new(), 1..=4).is_err());
        let mut short = new();
        admit_all(&mut short, 1..=2).expect("gap-free so far");
        assert!(short.complete().is_err());
    }

    #[test]
    fn other_files_hold_any_ascending_pages() {
        let new = || PageOrder::new(&header(4096, 9, 2, 2));
        let mut order = new();
        admit_all(&mut order, [2, 5, 9]).expect("ascending");
        order.complete().expect("any subset");
        for bad in [vec![0], vec![10], vec![3, 3], vec![3, 2]] {
            assert!(admit_all(&mut new(), bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_lock_page_is_stepped_over_at_every_page_size() {
        for shift in 9..=16 {
            let page_size = 1u32 << shift;
            let lock = 0x4000_0000 / page_size + 1;
            for (commit, first, snapshot_end) in
                [(lock - 1, lock - 1, lock - 1), (lock, lock - 1, lock - 1), (lock + 1, lock - 1, lock + 1)]
            {
                let h = header(page_size, commit, 1, 1);
                let mut order = PageOrder::resume(&h, Pgno::new(first - 1));
                order.admit(first).expect("the page before");
                if commit > lock {
                    assert!(order.complete().is_err(), "one page is still missing");
                    assert!(order.admit(lock).is_err(), "never the lock page");
                    order.admit(snapshot_end).expect("the page behind");
                }
                order.complete().expect("complete");
            }
            let mut order = PageOrder::new(&header(page_size, lock + 5, 2, 2));
            assert!(order.admit(lock).is_err());
            admit_all(&mut order, [lock - 1, lock + 1]).expect("both neighbours");
        }
    }

    #[test]
    fn the_last_page_number_does_not_overflow() {
        let mut order = PageOrder::resume(&header(512, u32::MAX, 1, 1), Pgno::new(u32::MAX - 1));
        order.admit(u32::MAX).expect("last page");
        order.complete().expect("complete");
    }
}
