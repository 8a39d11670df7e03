//! From a read mark to the bytes of an LTX file.
//!
//! A capture is cut exactly at a mark: the frames after the position up to the last frame that the
//! new read transaction sees. Of every page only the newest frame counts. Pages that the database
//! grew over without writing them are read through the same transaction, so that a batch is one
//! commit's state and nothing else.

use std::io::Write;
use std::mem;

use super::error::DbError;
use super::open::{Db, Progress};
use super::page_set::PageSet;
use super::position::{ImageReason, Position, Step};
use crate::ltx::{Encoded, Encoder, Flavour, Header, Txid, WalPosition, encoded_len_max};
use crate::page::{PageSize, Pgno};
use crate::sqlite::{FrameChecksum, Mark, WAL_HEADER_LEN, Wal, WalError, WalMark, frame_offset};

/// What a capture found: one LTX file to be. Its pages stay readable until the next capture of the
/// same [`Db`].
#[derive(Clone, Debug)]
pub struct Batch {
    pub header: Header,
    pub(super) flavour: Flavour,
    /// Set when the batch is the whole database.
    pub image: Option<ImageReason>,
    /// Nothing has changed: it only takes the next TXID ([`Db::seal`]).
    pub is_seal: bool,
    pub(super) pages: Pages,
    pub(super) position: Position,
}

#[derive(Clone, Debug)]
pub(super) enum Pages {
    /// Every page of the database.
    All,
    /// These pages, as SQLite shows them.
    Set(PageSet),
    /// Page numbers in ascending order, each with the WAL frame that holds it; frame 0 = ask
    /// SQLite.
    Listed(Vec<(Pgno, u32)>),
}

impl Batch {
    /// Bytes of page content, before compression.
    pub fn content_len(&self) -> u64 {
        match &self.pages {
            Pages::All => self.header.page_size.database_len(self.header.commit),
            Pages::Set(pages) => self.header.page_size.database_len(pages.len()),
            Pages::Listed(pages) => self.header.page_size.get() as u64 * pages.len() as u64,
        }
    }

    /// What the file will have at most.
    pub fn encoded_len_max(&self) -> u64 {
        let page_size = self.header.page_size;
        encoded_len_max(page_size, self.content_len() / u64::from(page_size.get()))
    }

    /// The same image for another reason, which a look at the replica gave.
    pub fn because(mut self, reason: ImageReason) -> Batch {
        self.image = Some(reason);
        self
    }

    /// The same image as a snapshot: the beginning of every later restore.
    pub fn into_snapshot(mut self) -> Batch {
        self.header.min_txid = Txid::FIRST;
        self.header.wal = WalPosition::default();
        self
    }

    /// Why this is an image, if that is doubt alone: then less may do, see [`Db::compare`].
    pub fn doubt(&self) -> Option<ImageReason> {
        self.image.filter(|reason| reason.is_doubt())
    }
}

impl Db {
    /// Captures everything committed since the last capture; `None` when there is nothing new. The
    /// captured watermark has moved when this returns: the batch must reach the bucket, or a spill
    /// file, before anything newer. `now_ms` is asked once nothing newer can come into it: a commit
    /// is never dated back.
    pub fn capture(&mut self, now_ms: impl FnOnce() -> i64) -> Result<Option<Batch>, DbError> {
        self.look_at_writes()?;
        let mark = self.spare.pin()?;
        let planned = self.plan(mark, now_ms());
        let Ok(Some(batch)) = planned else {
            self.spare.end()?;
            self.compare_with_file()?;
            return planned;
        };
        // Hand over: the new transaction keeps everything that the batch refers to, so the old one
        // may end.
        mem::swap(&mut self.reader, &mut self.spare);
        self.adopt(mark, &batch);
        self.spare.end()?;
        self.compare_with_file()?;
        Ok(Some(batch))
    }

    /// Writes the batch as an LTX file. Can be repeated: the bytes are the same each time.
    pub fn encode<W: Write>(&self, batch: &Batch, writer: W) -> Result<Encoded<W>, DbError> {
        let mut encoder = Encoder::with_flavour(writer, batch.header, batch.flavour)?;
        match &batch.pages {
            Pages::All => self.reader.for_each_page(batch.header.page_size, |pgno, page| -> Result<(), DbError> {
                Ok(encoder.page(pgno, page)?)
            })?,
            Pages::Set(pages) => {
                let mut page = vec![0; batch.header.page_size.bytes()];
                for pgno in pages.iter() {
                    self.reader.read_page(pgno, &mut page)?;
                    encoder.page(pgno, &page)?;
                }
            }
            Pages::Listed(pages) => self.encode_listed(pages, batch.header.page_size, &mut encoder)?,
        }
        Ok(encoder.finish()?)
    }

    fn encode_listed<W: Write>(
        &self,
        pages: &[(Pgno, u32)],
        page_size: PageSize,
        encoder: &mut Encoder<W>,
    ) -> Result<(), DbError> {
        let wal = self.existing_wal()?;
        let mut page = vec![0; page_size.bytes()];
        for &(pgno, frame) in pages {
            match frame {
                0 => self.reader.read_page(pgno, &mut page)?,
                frame => wal.read_page(frame, &mut page, page_size)?,
            }
            encoder.page(pgno, &page)?;
        }
        Ok(())
    }

    /// Moves the captured watermark to the end of `batch`, which was planned from `mark`.
    pub(super) fn adopt(&mut self, mark: Mark, batch: &Batch) {
        self.sample(batch);
        self.mark = mark;
        self.progress = Progress::Known(batch.position);
        self.was_reset_unread = false;
        self.sample_end_of_wal();
    }

    /// Decides what a capture up to `mark` consists of. The transaction behind `mark` must stay
    /// open until it is encoded.
    pub(super) fn plan(&self, mark: Mark, now_ms: i64) -> Result<Option<Batch>, DbError> {
        let txid = self.next_txid()?;
        let step = match self.progress {
            Progress::Known(position) => position.step_to(&mark),
            Progress::Unknown { reason, .. } => Step::Image(reason),
        };
        match step {
            Step::Nothing => Ok(None),
            // A database without a page has no content yet, and LTX cannot express it.
            Step::Image(_) if mark.pages == 0 => Ok(None),
            Step::Image(reason) => Ok(Some(self.image(txid, &mark, reason, now_ms))),
            Step::Frames { after, checksum } => {
                let Progress::Known(from) = self.progress else { unreachable!("frames follow a known position") };
                match self.frames(txid, &from, &mark, after, checksum, now_ms) {
                    Err(DbError::Wal(error @ WalError::Invalid { .. })) => {
                        tracing::warn!(db = %self.path.display(), "{error}: taking a full image");
                        Ok(Some(self.image(txid, &mark, ImageReason::WalUnreadable, now_ms)))
                    }
                    batch => batch.map(Some),
                }
            }
        }
    }

    fn frames(
        &self,
        txid: Txid,
        from: &Position,
        mark: &Mark,
        after: u32,
        checksum: Option<FrameChecksum>,
        now_ms: i64,
    ) -> Result<Batch, DbError> {
        let end = mark.wal.expect("frames are only planned up to a WAL mark");
        let newest = self.newest_frames(&end, after, checksum)?;
        let mut pages: Vec<(Pgno, u32)> = newest.into_iter().filter(|(pgno, _)| pgno.get() <= mark.pages).collect();
        add_unwritten_growth(&mut pages, from.pages, mark);
        let header = header(txid, mark, after, now_ms);
        let (flavour, pages) = (self.flavour, Pages::Listed(pages));
        Ok(Batch { header, flavour, image: None, is_seal: false, pages, position: Position::at(txid, mark) })
    }

    fn image(&self, txid: Txid, mark: &Mark, reason: ImageReason, now_ms: i64) -> Batch {
        let (header, flavour) = (header(txid, mark, 0, now_ms), self.flavour);
        let position = Position::at(txid, mark);
        Batch { header, flavour, image: Some(reason), is_seal: false, pages: Pages::All, position }
    }

    /// The newest frame of every page in the frames after `after` up to `end`, in page order.
    fn newest_frames(
        &self,
        end: &WalMark,
        after: u32,
        checksum: Option<FrameChecksum>,
    ) -> Result<Vec<(Pgno, u32)>, DbError> {
        let wal = self.existing_wal()?;
        let stale = |what| WalError::Invalid { path: self.wal_path.clone(), frame: after + 1, what };
        let header = wal.header()?.ok_or_else(|| stale("the WAL has no valid header"))?;
        if header.salts != end.salts {
            return Err(stale("the WAL header has other salts than the wal-index").into());
        }
        let mut frames = Vec::with_capacity((end.frames - after) as usize);
        let sum = wal.scan(&header, after, checksum, end.frames, |frame| frames.push((frame.pgno, frame.number)))?;
        if sum != end.checksum {
            return Err(stale("the frames do not end in the checksum of the wal-index").into());
        }
        Ok(newest_of_each(frames))
    }

    fn existing_wal(&self) -> Result<Wal, DbError> {
        let gone = || WalError::Invalid { path: self.wal_path.clone(), frame: 1, what: "the file is gone" };
        Ok(self.open_wal()?.ok_or_else(gone)?)
    }
}

/// The end of a level-0 file of which no frame can be named. Offset 0 is for compacted files:
/// Litestream, when it is to continue after such a one, fails for ever. This makes it begin with an
/// image.
pub(super) const BEFORE_ANY_WAL: WalPosition = WalPosition { offset: WAL_HEADER_LEN, size: 0, salt1: 0, salt2: 0 };

/// Of what the frames after `after` up to `mark` bring.
pub(super) fn header(txid: Txid, mark: &Mark, after: u32, now_ms: i64) -> Header {
    let wal = mark.wal.map_or(BEFORE_ANY_WAL, |end| frames_between(after, &end, mark.page_size));
    Header { page_size: mark.page_size, commit: mark.pages, min_txid: txid, max_txid: txid, timestamp_ms: now_ms, wal }
}

/// The frames after `after` up to `end`, in the terms of a header.
pub(super) fn frames_between(after: u32, end: &WalMark, page_size: PageSize) -> WalPosition {
    let offset = frame_offset(after, page_size);
    let size = frame_offset(end.frames, page_size) - offset;
    WalPosition { offset, size, salt1: end.salts.0, salt2: end.salts.1 }
}

/// Keeps the newest frame of every page, in page order.
pub(super) fn newest_of_each(mut frames: Vec<(Pgno, u32)>) -> Vec<(Pgno, u32)> {
    frames.sort_unstable_by_key(|&(pgno, number)| (pgno, std::cmp::Reverse(number)));
    frames.dedup_by_key(|&mut (pgno, _)| pgno);
    frames
}

/// Adds the pages that the database grew by but that no frame holds: a restore must find every page
/// in some file.
fn add_unwritten_growth(pages: &mut Vec<(Pgno, u32)>, old_pages: u32, mark: &Mark) {
    if mark.pages <= old_pages {
        return;
    }
    let mut missing = Vec::new();
    for number in old_pages + 1..=mark.pages {
        let pgno = Pgno::new(number).expect("counted from one");
        let is_written = pages.binary_search_by_key(&pgno, |&(p, _)| p).is_ok();
        if !is_written && pgno != mark.page_size.lock_page() {
            missing.push((pgno, 0));
        }
    }
    if !missing.is_empty() {
        pages.append(&mut missing);
        pages.sort_unstable_by_key(|&(pgno, _)| pgno);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grow(written: &[u32], old_pages: u32, pages: u32) -> Vec<(u32, u32)> {
        let mut list = written.iter().map(|&n| (Pgno::new(n).expect("non-zero"), n + 100)).collect();
        add_unwritten_growth(&mut list, old_pages, &Mark { page_size: PageSize::MAX, pages, wal: None });
        list.into_iter().map(|(pgno, frame)| (pgno.get(), frame)).collect()
    }

    #[test]
    fn every_page_of_the_growth_is_listed_once_and_in_order() {
        assert_eq!(grow(&[1, 5], 3, 6), [(1, 101), (4, 0), (5, 105), (6, 0)]);
        assert_eq!(grow(&[2], 6, 6), [(2, 102)]);
        assert_eq!(grow(&[2], 6, 3), [(2, 102)]);
    }

    #[test]
    fn the_lock_page_is_stepped_over() {
        let lock = PageSize::MAX.lock_page().get();
        assert_eq!(grow(&[lock + 1], lock - 1, lock + 1), [(lock + 1, lock + 101)]);
        assert_eq!(grow(&[], lock - 2, lock), [(lock - 1, 0)]);
    }
}
