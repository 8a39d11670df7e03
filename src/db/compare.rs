//! Comparing the database with another copy of it, page by page.
//!
//! The live side is the one read transaction that a captured image refers to, read in page order
//! through SQLite; the other side hands out its pages in the same order. What is kept is one bit
//! for each page, so memory is a 32,768th of a database with 4 KiB pages. What the other side is,
//! and where its pages come from, is not known here.
//!
//! ```text
//! other   1 2 3 4 5 6 7        8 was cut off, or never was
//! live    1 2'3 4 5'6 7 8
//!           ^     ^     ^      these, and those written to the WAL last, become the next file
//! ```
//!
//! What is equal is evidence too: of the same lineage, if there is enough of it that says something
//! (`lineage.rs`). Where no page is where it was, the rows tell (`rows.rs`).

use super::came_after;
use super::capture::{BEFORE_ANY_WAL, Batch, Pages, frames_between};
use super::error::DbError;
use super::lineage::{Inconclusive, has_foreign_schema, is_blank, keeps_rows};
use super::open::Db;
use super::page_set::PageSet;
use super::position::Position;
use super::rows::{RowSample, Rows};
use crate::ltx::{Txid, Versions, WalPosition};
use crate::page::{PageSize, Pgno};
use crate::sqlite::WalMark;

/// Besides what differs, a file made by a comparison holds the pages of this many of the newest
/// frames of the WAL. A later start proves by them that the WAL is still the one that was compared,
/// as with any other file (Litestream looks for the last).
const TAIL_FRAMES: u32 = 32;

/// The other side of a comparison.
pub trait OtherPages {
    type Error: From<DbError>;

    /// The page of that number as the other side has it, and had it; `None` when it is beyond its
    /// end. Asked for in ascending order.
    fn page(&mut self, pgno: Pgno) -> Result<Option<Versions<'_>>, Self::Error>;
}

/// How long to go on comparing.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// With more differing pages than this the result is of no use.
    pub differing_max: u32,
    /// As many pages that show the same lineage are wanted even then.
    pub related_wanted: u32,
    /// Rows are compared, too, wherever they are.
    pub rows: bool,
}

/// What a comparison found.
#[derive(Debug)]
pub struct Comparison {
    /// Pages that were compared: all, unless a limit ended it.
    pub compared: u32,
    /// Pages of the live side that the other does not have like this.
    pub differing: u32,
    /// Pages that show the same lineage.
    pub related: u32,
    /// Pages of the other side that could show it.
    pub evidence: u32,
    /// Which of the other side's rows are here, if that was asked for.
    pub rows: Rows,
    /// There is no table here, and there are some on the other side.
    pub emptied: bool,
    /// No table or index here has a name of the other side's, as far as page 1 tells.
    pub foreign_schema: bool,
    /// Every page was compared.
    pub whole: bool,
    /// Pages that the other side wrote since the moment in question, as far as they say something
    /// (`came_after.rs`).
    pub moved: u32,
    /// Those of them that show that the live side came after them.
    pub kept: u32,
    inconclusive: Box<Inconclusive>,
    sample: Option<Box<RowSample>>,
    pages: PageSet,
}

impl Comparison {
    /// Of a model of the two sides: what of it the simulation knows.
    #[cfg(test)]
    pub fn modelled(
        compared: u32,
        differing: u32,
        (related, evidence): (u32, u32),
        (moved, kept): (u32, u32),
    ) -> Comparison {
        Comparison { compared, differing, related, evidence, moved, kept, whole: true, ..Comparison::new(compared) }
    }

    fn new(pages: u32) -> Comparison {
        Comparison {
            compared: 0,
            differing: 0,
            related: 0,
            evidence: 0,
            rows: Rows::default(),
            emptied: false,
            foreign_schema: false,
            whole: false,
            moved: 0,
            kept: 0,
            inconclusive: Box::default(),
            sample: None,
            pages: PageSet::new(pages),
        }
    }

    #[cfg(test)]
    pub fn since(self, moved: u32, kept: u32) -> Comparison {
        Comparison { moved, kept, ..self }
    }

    #[cfg(test)]
    pub fn made_up(pages: u32, differing: u32, related: u32, foreign_schema: bool) -> Comparison {
        let evidence = u32::MAX;
        Comparison {
            compared: pages,
            differing,
            related,
            evidence,
            foreign_schema,
            whole: true,
            ..Comparison::new(pages)
        }
    }

    #[cfg(test)]
    pub fn with_rows(self, theirs: usize, shared: usize) -> Comparison {
        Comparison { rows: Rows { theirs, shared }, ..self }
    }

    /// The other side has this page, and the live side is too short for it.
    pub fn cut_off(&mut self, theirs: &Versions<'_>) {
        self.weigh(None, theirs);
        self.hear(theirs);
        // There may be no page to come.
        self.rows = self.sample.as_ref().map(|sample| sample.rows()).unwrap_or_default();
    }

    /// What the other side has to tell of.
    fn hear(&mut self, theirs: &Versions<'_>) {
        self.evidence += u32::from(self.inconclusive.is_evidence(theirs.pgno, theirs.page));
        if let Some(sample) = &mut self.sample {
            sample.add_theirs(theirs.pgno, theirs.page);
        }
    }

    fn weigh(&mut self, here: Option<&[u8]>, theirs: &Versions<'_>) {
        if let Some(kept) = came_after::is_kept(here, theirs) {
            self.moved += 1;
            self.kept += u32::from(kept);
        }
    }

    fn add(&mut self, pgno: Pgno, live: &[u8], other: Option<Versions<'_>>) {
        self.compared += 1;
        if let Some(theirs) = &other {
            self.weigh(Some(live), theirs);
            self.hear(theirs);
        }
        if let Some(sample) = &mut self.sample {
            sample.add_ours(pgno, live);
        }
        let other = other.map(|theirs| theirs.page);
        let is_equal = other == Some(live);
        if !is_equal {
            self.differing += 1;
            self.pages.insert(pgno);
        }
        if pgno == Pgno::FIRST {
            self.emptied = is_blank(live) && other.is_some_and(|other| !is_blank(other));
            self.foreign_schema = other.is_some_and(|other| has_foreign_schema(live, other));
        } else if other.is_some_and(|other| self.is_related(pgno, live, other, is_equal)) {
            self.related += 1;
        }
    }

    fn is_related(&self, pgno: Pgno, live: &[u8], other: &[u8], is_equal: bool) -> bool {
        self.inconclusive.is_evidence(pgno, other) && (is_equal || keeps_rows(live, other))
    }

    fn is_over(&self, limits: &Limits) -> bool {
        self.differing > limits.differing_max && self.related >= limits.related_wanted
    }
}

impl Db {
    /// Compares every page that `batch`, the image captured last, refers to. Ends early when
    /// `limits` say so.
    pub fn compare<O: OtherPages>(
        &self,
        batch: &Batch,
        other: &mut O,
        limits: &Limits,
    ) -> Result<Comparison, O::Error> {
        let (page_size, pages) = (batch.header.page_size, batch.header.commit);
        let mut comparison = Comparison::new(pages);
        comparison.inconclusive = Box::new(self.inconclusive_pages(page_size, pages)?);
        comparison.sample = limits.rows.then(Box::default);
        let compared = self.reader.for_each_page(page_size, |pgno, page| -> Result<(), Stop<O::Error>> {
            comparison.add(pgno, page, other.page(pgno).map_err(Stop::Failed)?);
            if comparison.is_over(limits) { Err(Stop::Over) } else { Ok(()) }
        });
        match compared {
            Ok(()) => {
                let lock_page = u32::from(page_size.lock_page().get() <= pages);
                comparison.whole = comparison.compared == pages - lock_page;
            }
            Err(Stop::Over) => {}
            Err(Stop::Failed(error)) => return Err(error),
        }
        comparison.rows = comparison.sample.as_ref().map(|sample| sample.rows()).unwrap_or_default();
        Ok(comparison)
    }

    /// Adds every row that `batch`, the image captured last, refers to.
    pub fn sample_rows(&self, batch: &Batch, sample: &mut RowSample) -> Result<(), DbError> {
        self.reader.for_each_page(batch.header.page_size, |pgno, page| -> Result<(), DbError> {
            sample.add_ours(pgno, page);
            Ok(())
        })
    }

    /// Pages of the snapshot that was captured last that say nothing of a lineage.
    fn inconclusive_pages(&self, page_size: PageSize, pages: u32) -> Result<Inconclusive, DbError> {
        Inconclusive::find(pages, |pgno| {
            let mut page = vec![0; page_size.bytes()];
            self.reader.read_page(pgno, &mut page)?;
            Ok(page)
        })
    }

    /// Whether the snapshot that was captured last has no table at all.
    pub fn is_blank(&self) -> Result<bool, DbError> {
        let mut page = vec![0; self.mark.page_size.bytes()];
        self.reader.read_page(Pgno::FIRST, &mut page)?;
        Ok(is_blank(&page))
    }

    /// The image `batch` as the file of what `comparison` found: pages that differ, and those
    /// written last.
    pub fn narrow(&self, batch: &Batch, comparison: Comparison) -> Result<Batch, DbError> {
        let mut header = batch.header;
        let mut pages = comparison.pages;
        if let Some(wal) = self.mark.wal {
            header.wal = self.claim_tail(&wal, header.page_size, header.commit, &mut pages)?;
        }
        let (flavour, position) = (batch.flavour, batch.position);
        Ok(Batch { header, flavour, image: None, is_seal: false, pages: Pages::Set(pages), position })
    }

    /// The database is what TXID `txid` is: captures go on from the mark of the image `batch`, of
    /// which nothing is shipped.
    pub fn continue_at_mark(&mut self, batch: &Batch, txid: Txid) -> Position {
        let position = Position { txid, ..batch.position };
        self.continue_from(position);
        position
    }

    /// Adds the pages of the newest frames to `pages`, and says in the terms of a header which
    /// frames these are: none, when the file does not hold what the wal-index says: then no later
    /// start can go on from this WAL by itself.
    fn claim_tail(
        &self,
        wal: &WalMark,
        page_size: PageSize,
        commit: u32,
        pages: &mut PageSet,
    ) -> Result<WalPosition, DbError> {
        let after = wal.frames.saturating_sub(TAIL_FRAMES);
        let claim = frames_between(after, wal, page_size);
        if wal.frames == 0 {
            return Ok(claim);
        }
        let Some(file) = self.open_wal()? else { return Ok(BEFORE_ANY_WAL) };
        for number in after + 1..=wal.frames {
            let frame = file.raw_frame(number, page_size)?.filter(|frame| frame.salts == wal.salts);
            let Some(pgno) = frame.and_then(|frame| frame.pgno) else { return Ok(BEFORE_ANY_WAL) };
            if pgno.get() <= commit && pgno != page_size.lock_page() {
                pages.insert(pgno);
            }
        }
        Ok(claim)
    }
}

/// Why the visit of the pages ended before the last one.
enum Stop<E> {
    Over,
    Failed(E),
}

impl<E: From<DbError>> From<crate::sqlite::SqliteError> for Stop<E> {
    fn from(error: crate::sqlite::SqliteError) -> Stop<E> {
        Stop::Failed(DbError::from(error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pgno(number: u32) -> Pgno {
        Pgno::new(number).expect("non-zero")
    }

    fn versions(number: u32, page: &[u8]) -> Versions<'_> {
        Versions { pgno: pgno(number), page, is_since: false, before: None }
    }

    #[test]
    fn what_the_other_side_wrote_since_is_looked_for() {
        let mut comparison = Comparison::new(4);
        let theirs = |number, byte: &'static [u8; 512]| Versions { is_since: true, ..versions(number, byte) };
        comparison.add(pgno(2), &[7; 512], Some(theirs(2, &[7; 512])));
        comparison.add(pgno(3), &[7; 512], Some(theirs(3, &[8; 512])));
        comparison.add(pgno(4), &[7; 512], Some(versions(4, &[8; 512])));
        comparison.cut_off(&theirs(5, &[9; 512]));
        comparison.cut_off(&versions(6, &[9; 512]));
        assert_eq!((comparison.moved, comparison.kept, comparison.differing), (3, 1, 2));
    }

    #[test]
    fn only_pages_with_content_tell_of_a_lineage() {
        let leaf = |cells: u8| [[13, 0, 0, 0, cells, 2, 0, 0].as_slice(), &[0; 504]].concat();
        let mut comparison = Comparison::new(10);
        let mut see = |number, live: &[u8], other: Option<&[u8]>| {
            comparison.add(pgno(number), live, other.map(|page| versions(number, page)));
            (comparison.differing, comparison.related)
        };
        let first = [[0; 100].as_slice(), &leaf(3)[..412]].concat();
        assert_eq!(see(1, &first, Some(&first)), (0, 0), "page 1");
        assert_eq!(see(2, &[0; 512], Some(&[0; 512])), (0, 0), "zeros");
        assert_eq!(see(3, &leaf(0), Some(&leaf(0))), (0, 0), "a new table");
        assert_eq!(see(4, &leaf(3), Some(&leaf(3))), (0, 1));
        assert_eq!(see(5, &leaf(3), Some(&leaf(4))), (1, 1));
        assert_eq!(see(6, &leaf(3), None), (2, 1), "beyond the end of the other");
        assert_eq!(see(7, &[7; 512], Some(&[7; 512])), (2, 2), "an overflow page");
        assert_eq!(comparison.pages.iter().map(Pgno::get).collect::<Vec<_>>(), [5, 6]);
    }

    #[test]
    fn an_emptied_database_is_noticed() {
        let first = |cells: u8| [[0; 100].as_slice(), &[13, 0, 0, 0, cells, 2, 0, 0], &[0; 404]].concat();
        for (live, other, emptied) in [(0, 1, true), (0, 0, false), (1, 1, false), (1, 0, false)] {
            let mut comparison = Comparison::new(1);
            comparison.add(Pgno::FIRST, &first(live), Some(versions(1, &first(other))));
            assert_eq!(comparison.emptied, emptied, "{live} tables here, {other} there");
        }
    }

    #[test]
    fn too_much_difference_ends_it_once_the_lineage_is_clear() {
        let limits = Limits { differing_max: 1, related_wanted: 1, rows: false };
        let mut comparison = Comparison::new(10);
        for number in 2..5 {
            comparison.add(pgno(number), &[1; 512], None);
            assert!(!comparison.is_over(&limits), "whose it is must still be found out");
        }
        comparison.add(pgno(5), &[7; 512], Some(versions(5, &[7; 512])));
        assert!(comparison.is_over(&limits));
    }
}
