//! Neighbouring pages, gathered and written together: a file system takes one large write far
//! better than many small ones.
//!
//! The base of a plan is written last, when the pages of all newer files are in their places. Where
//! it goes on only a few such pages further, they are read back (they were written a moment ago)
//! and written once more with their neighbours: a base with a newer page here and there is one
//! range then, not thousands of fragments.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::fsx::{Context, FsError};
use crate::page::{PageSize, Pgno};

/// This many bytes are written together at most.
const WRITE_LEN: usize = 256 * 1024;
/// As many bytes of newer pages are bridged at most; behind them a new write begins.
const BRIDGE_LEN: usize = 32 * 1024;

/// The database that is being put together.
#[derive(Clone, Copy)]
pub(super) struct TargetPages<'a> {
    pub file: &'a File,
    pub path: &'a Path,
    pub page_size: PageSize,
}

/// Pages that follow each other and wait to be written.
pub(super) struct Run<'a> {
    target: TargetPages<'a>,
    buffer: &'a mut Vec<u8>,
    first: Pgno,
    filled: usize,
    /// Without the bridge at the end that leads nowhere yet.
    owned: usize,
    written: Option<Range<u64>>,
}

impl<'a> Run<'a> {
    /// `buffer` is memory to work in.
    pub(super) fn new(target: TargetPages<'a>, buffer: &'a mut Vec<u8>) -> Run<'a> {
        buffer.resize(WRITE_LEN.max(target.page_size.bytes()), 0);
        Run { target, buffer, first: Pgno::FIRST, filled: 0, owned: 0, written: None }
    }

    /// Where the next page is to be put before it is kept, bridged or passed over.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..self.filled + self.target.page_size.bytes()]
    }

    /// The page in the room is to be written as `pgno`.
    pub(super) fn keep(&mut self, pgno: Pgno) -> Result<(), FsError> {
        if self.filled > 0 && self.next() != pgno.index() {
            let page = self.filled..self.filled + self.target.page_size.bytes();
            self.flush()?;
            self.buffer.copy_within(page, 0);
        }
        if self.filled == 0 {
            self.first = pgno;
        }
        self.filled += self.target.page_size.bytes();
        self.owned = self.filled;
        self.make_room()
    }

    /// `pgno` has its content already: it may connect what is here with what follows.
    pub(super) fn bridge(&mut self, pgno: Pgno) -> Result<(), FsError> {
        let follows = self.filled > 0 && self.next() == pgno.index();
        if !follows || self.filled - self.owned >= BRIDGE_LEN {
            return self.flush();
        }
        let (target, at) = (self.target, pgno.offset(self.target.page_size));
        target.file.read_exact_at(self.room(), at).on("read back", target.path)?;
        self.filled += target.page_size.bytes();
        self.make_room()
    }

    /// Writes what waits. Returns where all that was kept is, first byte to last.
    pub(super) fn finish(mut self) -> Result<Option<Range<u64>>, FsError> {
        self.flush()?;
        Ok(self.written)
    }

    fn next(&self) -> usize {
        self.first.index() + self.filled / self.target.page_size.bytes()
    }

    fn make_room(&mut self) -> Result<(), FsError> {
        let is_full = self.filled + self.target.page_size.bytes() > self.buffer.len();
        if is_full { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), FsError> {
        if self.owned > 0 {
            let start = self.first.offset(self.target.page_size);
            self.target.file.write_all_at(&self.buffer[..self.owned], start).on("write", self.target.path)?;
            let begin = self.written.as_ref().map_or(start, |written| written.start);
            self.written = Some(begin..start + self.owned as u64);
        }
        (self.filled, self.owned) = (0, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 4096;

    /// Writes the pages that are kept as `k`, over a file in which all pages are `.`; the room of
    /// the others holds `x`.
    fn written(pages: &[(u32, bool)], page_count: usize) -> (String, Option<Range<u64>>) {
        let file = tempfile::tempfile().expect("file");
        file.write_all_at(&vec![b'.'; page_count * SIZE as usize], 0).expect("fill");
        let target = TargetPages { file: &file, path: Path::new("db"), page_size: PageSize::new(SIZE).expect("valid") };
        let mut buffer = Vec::new();
        let mut run = Run::new(target, &mut buffer);
        for &(pgno, kept) in pages {
            run.room().fill(if kept { b'k' } else { b'x' });
            let pgno = Pgno::new(pgno).expect("not zero");
            if kept { run.keep(pgno).expect("keep") } else { run.bridge(pgno).expect("bridge") }
        }
        let span = run.finish().expect("finish");
        let mut content = vec![0; page_count * SIZE as usize];
        file.read_exact_at(&mut content, 0).expect("read");
        let pages = content.chunks(SIZE as usize);
        let uniform = |page: &[u8]| page.iter().all(|byte| *byte == page[0]);
        (pages.map(|page| if uniform(page) { char::from(page[0]) } else { '?' }).collect(), span)
    }

    #[test]
    fn only_what_is_kept_changes() {
        let table = [
            (vec![(1, true), (2, true), (4, true)], "kk.k", 0..4),
            (vec![(1, false), (2, true), (3, false), (4, true)], ".k.k", 1..4),
            (vec![(1, true), (2, false), (3, false)], "k..", 0..1),
            (vec![(1, true), (3, false), (4, true)], "k..k", 0..4),
            (vec![(2, true), (4, true), (5, false), (6, true)], ".k.k.k", 1..6),
        ];
        for (pages, expected, span) in table {
            let span = span.start * u64::from(SIZE)..span.end * u64::from(SIZE);
            assert_eq!(written(&pages, expected.len()), (expected.to_owned(), Some(span)), "{pages:?}");
        }
        assert_eq!(written(&[(1, false), (2, false)], 2), ("..".to_owned(), None));
    }

    #[test]
    fn long_runs_and_long_bridges_are_cut() {
        let (write, bridge) = (WRITE_LEN as u32 / SIZE, BRIDGE_LEN as u32 / SIZE);
        for gap in [1, bridge - 1, bridge, bridge + 1, write, 3 * write] {
            for front in [1, write - 1, write, write + 1] {
                let last = front + gap + 2;
                let kept = |page: u32| page <= front || page > front + gap;
                let pages: Vec<_> = (1..=last).map(|page| (page, kept(page))).collect();
                let expected: String = (1..=last).map(|page| if kept(page) { 'k' } else { '.' }).collect();
                let span = 0..u64::from(last) * u64::from(SIZE);
                assert_eq!(written(&pages, last as usize), (expected, Some(span)), "{front} pages, {gap} between");
            }
        }
    }
}
