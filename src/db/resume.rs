//! Proving that the WAL on disk continues what the bucket has.
//!
//! The newest level-0 object says where in which WAL generation it ended. Continuing from there is
//! right only if that generation still stands (or was restarted exactly once, with its end still
//! visible), its checksums hold up to that frame, and the pages in those frames are the pages in
//! the object. The last check matters after a power loss: with `synchronous=NORMAL` the local WAL
//! may have lost commits that the bucket has, and then have been written anew with the same salts.
//! Whatever cannot be proved is answered with a full image.
//!
//! That our own reset captured a generation to its end is no proof for later: when everybody has
//! left the database, the next one to open it recovers the WAL, no longer knows that it was copied,
//! and goes on behind that end.

use std::cmp::Ordering;

use super::capture::newest_of_each;
use super::error::DbError;
use super::open::Db;
use super::position::{ImageReason, Position};
use crate::ltx::{Header, WalPosition};
use crate::page::Pgno;
use crate::sqlite::{FrameChecksum, Salts, Wal, WalError, WalMark, frame_len, frame_offset};

/// More restarts of one WAL than happen while nothing replicates. Two WALs that were created anew
/// are that close by chance once in 65,536 times.
const RESTARTS_MAX: u32 = 1 << 16;

/// A place in the WAL from which to continue, if the pages confirm it.
#[derive(Debug)]
pub struct Candidate {
    /// Pages whose frames must equal the object's content: the newest frame of each, in page order.
    pages: Vec<(Pgno, u32)>,
    position: Position,
}

/// Two states of a WAL file, or of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalRelation {
    None,
    /// One generation: whoever made the object had this database, or a copy of it. What it held may
    /// be lost here nevertheless, in a power loss.
    Same,
    /// A later generation of one file: what the object holds was checkpointed here.
    Later,
}

/// Where an object ends, seen from the end of the WAL here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Before,
    Here,
    Behind,
    /// It was made from another WAL, or does not say from which.
    Elsewhere,
}

/// The frames that an object's header claims: those after `after` up to `end`, of the generation
/// `salts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    salts: Salts,
    after: u32,
    end: u32,
}

impl Claim {
    /// `None` when the header does not name whole frames (compacted files carry no WAL position).
    fn of(header: &Header) -> Option<Claim> {
        let frames = |offset: u64| {
            let bytes = offset.checked_sub(crate::sqlite::WAL_HEADER_LEN)?;
            let frame_len = frame_len(header.page_size);
            (bytes % frame_len == 0).then(|| u32::try_from(bytes / frame_len).ok())?
        };
        let salts = Salts(header.wal.salt1, header.wal.salt2);
        let (after, end) = (frames(header.wal.offset)?, frames(header.wal.end())?);
        (salts != Salts(0, 0)).then_some(Claim { salts, after, end })
    }

    /// The end of a generation that is over. Its checksum is never used: the next capture begins a
    /// new chain.
    fn end_mark(&self) -> WalMark {
        WalMark { salts: self.salts, frames: self.end, checksum: FrameChecksum(0, 0) }
    }

    /// Where a WAL at `now` stands to the one of this claim: SQLite begins to count at random when
    /// it creates the file, and counts up by one at every restart.
    fn wal_relation(&self, now: Salts) -> WalRelation {
        match now.0.wrapping_sub(self.salts.0) {
            0 if now == self.salts => WalRelation::Same,
            1..RESTARTS_MAX => WalRelation::Later,
            _ => WalRelation::None,
        }
    }

    fn side(&self, now: &WalMark) -> Side {
        match (self.wal_relation(now.salts), self.end.cmp(&now.frames)) {
            (WalRelation::Same, Ordering::Less) => Side::Before,
            (WalRelation::Same, Ordering::Equal) => Side::Here,
            (WalRelation::Same, Ordering::Greater) => Side::Behind,
            (WalRelation::Later, _) => Side::Before,
            (WalRelation::None, _) if (1..RESTARTS_MAX).contains(&self.salts.0.wrapping_sub(now.salts.0)) => {
                Side::Behind
            }
            (WalRelation::None, _) => Side::Elsewhere,
        }
    }

    /// The generation after this one, and only that: SQLite counts the first salt up by one at
    /// every restart.
    fn was_restarted_once(&self, now: Salts) -> bool {
        now.0 == self.salts.0.wrapping_add(1)
    }
}

impl Candidate {
    /// Whether there is anything to compare.
    pub fn has_pages(&self) -> bool {
        !self.pages.is_empty()
    }

    /// The pages to fetch from the object for [`Db::confirm`], at most `limit`, the one that was
    /// written last included.
    pub fn pages(&self, limit: usize) -> Vec<Pgno> {
        let last = self.pages.iter().max_by_key(|&&(_, frame)| frame).map(|&(pgno, _)| pgno);
        let mut wanted: Vec<Pgno> =
            last.into_iter().chain(self.pages.iter().map(|&(pgno, _)| pgno)).take(limit.max(1)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }
}

impl Db {
    /// Looks for the place in the pinned WAL where the object with this header ended.
    pub fn candidate(&self, newest: &Header) -> Result<Result<Candidate, ImageReason>, DbError> {
        if !self.can_be_continued() {
            return Ok(Err(ImageReason::WalRestarted));
        }
        if newest.page_size != self.mark.page_size {
            return Ok(Err(ImageReason::PageSizeChanged));
        }
        let Some(claim) = Claim::of(newest) else { return Ok(Err(ImageReason::NoPosition)) };
        let (Some(now), Some(wal)) = (self.mark.wal, self.open_wal()?) else {
            return Ok(Err(ImageReason::LocalChanges));
        };
        let found = if now.salts == claim.salts {
            self.same_generation(&wal, &claim, now)
        } else if !claim.was_restarted_once(now.salts) {
            return Ok(Err(ImageReason::LocalChanges));
        } else if now.frames < claim.end {
            self.restarted_once(&wal, &claim, now)
        } else {
            return Ok(Err(ImageReason::LocalChanges));
        };
        let (mut pages, end, sealed) = match found {
            Ok(Ok(found)) => found,
            Ok(Err(reason)) => return Ok(Err(reason)),
            Err(DbError::Wal(WalError::Invalid { .. })) => return Ok(Err(ImageReason::WalRewritten)),
            Err(error) => return Err(error),
        };
        // Pages that the same transactions cut off again are in frames, but in no object.
        pages.retain(|(pgno, _)| pgno.get() <= newest.commit);
        let position = Position {
            txid: newest.max_txid,
            page_size: newest.page_size,
            pages: newest.commit,
            wal: Some(end),
            sealed,
        };
        Ok(Ok(Candidate { pages, position }))
    }

    /// Whether a place in the WAL, or the file below it, can be continued from: commits that were
    /// in the WAL when it was reset, and were not captured, are in no WAL any more.
    pub fn can_be_continued(&self) -> bool {
        !self.was_reset_unread
    }

    /// How the pinned WAL stands to the one from which the object with this header was made.
    pub fn wal_relation(&self, newest: &Header) -> WalRelation {
        let now = self.mark.wal.map(|wal| wal.salts);
        now.zip(Claim::of(newest)).map_or(WalRelation::None, |(now, claim)| claim.wal_relation(now))
    }

    /// Where the object with this header ends, seen from the end of the pinned WAL.
    pub fn side_of(&self, header: &Header) -> Side {
        self.mark.wal.zip(Claim::of(header)).map_or(Side::Elsewhere, |(now, claim)| claim.side(&now))
    }

    /// Whether nothing was committed here after that position: the pinned WAL ends there, or is
    /// empty as it was.
    pub fn ends_at(&self, position: &Position) -> bool {
        let frames = self.mark.wal.filter(|wal| wal.frames > 0);
        match (frames, position.wal) {
            (None, None) => true,
            (Some(now), Some(then)) => (now.salts, now.frames) == (then.salts, then.frames),
            _ => false,
        }
    }

    /// The proved position, if every one of these pages of the object equals its frame; `None` if
    /// any differs.
    pub fn confirm(&self, candidate: &Candidate, pages: &[(Pgno, Vec<u8>)]) -> Result<Option<Position>, DbError> {
        let Some(wal) = self.open_wal()? else { return Ok(None) };
        let mut local = vec![0; candidate.position.page_size.bytes()];
        for (pgno, remote) in pages {
            let Ok(at) = candidate.pages.binary_search_by_key(pgno, |&(p, _)| p) else { continue };
            wal.read_page(candidate.pages[at].1, &mut local, candidate.position.page_size)?;
            if local != *remote {
                return Ok(None);
            }
        }
        Ok(Some(candidate.position))
    }

    /// That position once more, if the pinned WAL still holds what it held when the position was
    /// noted.
    pub fn resume_at(&self, noted: &Position) -> Result<Option<Position>, DbError> {
        let Some(end) = noted.wal else { return Ok(None) };
        let Ok(candidate) = self.candidate(&header_ending_at(noted, &end))? else { return Ok(None) };
        Ok(Some(candidate.position).filter(|position| is_same_end(&end, position, self.mark.wal)))
    }

    fn same_generation(&self, wal: &Wal, claim: &Claim, now: WalMark) -> Result<Found, DbError> {
        let Some(header) = wal.header()?.filter(|h| h.salts == claim.salts) else {
            // The generation exists in the wal-index only: no frame of it was ever written.
            let untouched = claim.end == 0 && now.frames == 0;
            let found = (Vec::new(), now, true);
            return Ok(if untouched { Ok(found) } else { Err(ImageReason::WalRewritten) });
        };
        if now.frames < claim.end {
            return Ok(Err(ImageReason::CommitsLost));
        }
        let mut pages = Vec::new();
        let checksum = wal.scan(&header, 0, None, claim.end, |frame| {
            if frame.number > claim.after {
                pages.push((frame.pgno, frame.number));
            }
        })?;
        let end = WalMark { salts: claim.salts, frames: claim.end, checksum };
        Ok(Ok((newest_of_each(pages), end, claim.end == 0)))
    }

    /// The WAL was restarted while we were away. Its old end may still stand behind the new frames;
    /// if the last frame we shipped was the last of its generation, nothing is missing between it
    /// and the new first frame.
    fn restarted_once(&self, wal: &Wal, claim: &Claim, now: WalMark) -> Result<Found, DbError> {
        let page_size = self.mark.page_size;
        let is_old = |number: u32| -> Result<Option<Pgno>, DbError> {
            let frame = wal.raw_frame(number, page_size)?;
            Ok(frame.filter(|f| f.salts == claim.salts).and_then(|f| f.pgno))
        };
        // A frame of yet another generation behind that end shows that the generation never went
        // beyond it. Nothing behind it shows nothing: `journal_size_limit` may have cut the file
        // there.
        let beyond = wal.raw_frame(claim.end + 1, page_size)?;
        if beyond.is_none_or(|frame| frame.salts == claim.salts) {
            return Ok(Err(ImageReason::LocalChanges));
        }
        let mut pages = Vec::new();
        for number in claim.after.max(now.frames) + 1..=claim.end {
            match is_old(number)? {
                Some(pgno) => pages.push((pgno, number)),
                None => return Ok(Err(ImageReason::LocalChanges)),
            }
        }
        if pages.is_empty() {
            return Ok(Err(ImageReason::LocalChanges));
        }
        Ok(Ok((newest_of_each(pages), claim.end_mark(), true)))
    }
}

/// The header that an object which ends at this position would have.
fn header_ending_at(position: &Position, end: &WalMark) -> Header {
    let Position { txid, page_size, pages, .. } = *position;
    let offset = frame_offset(end.frames, page_size);
    let wal = WalPosition { offset, size: 0, salt1: end.salts.0, salt2: end.salts.1 };
    Header { page_size, commit: pages, min_txid: txid, max_txid: txid, timestamp_ms: 0, wal }
}

/// Whether the position that was found is the one that was noted. In a later generation of the WAL
/// there is no checksum to compare: what is left of this one has proved that it went no further.
fn is_same_end(noted: &WalMark, found: &Position, current: Option<WalMark>) -> bool {
    let is_current = found.wal.map(|wal| wal.salts) == current.map(|wal| wal.salts);
    !is_current || found.wal.is_some_and(|wal| wal.checksum == noted.checksum)
}

type Found = Result<(Vec<(Pgno, u32)>, WalMark, bool), ImageReason>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ltx::Txid;
    use crate::page::PageSize;

    #[test]
    fn a_noted_position_is_believed_for_its_very_frames() {
        let noted = WalMark { salts: Salts(4, 7), frames: 5, checksum: FrameChecksum(1, 2) };
        let found =
            |wal| Position { txid: Txid::FIRST, page_size: PageSize::MAX, pages: 3, wal: Some(wal), sealed: false };
        let header = header_ending_at(&found(noted), &noted);
        assert_eq!((header.wal.end(), header.commit), (frame_offset(5, PageSize::MAX), 3));
        let now = Some(WalMark { frames: 9, checksum: FrameChecksum(8, 8), ..noted });
        assert!(is_same_end(&noted, &found(noted), now));
        let rewritten = found(WalMark { checksum: FrameChecksum(9, 9), ..noted });
        assert!(!is_same_end(&noted, &rewritten, now));
        let restarted = now.map(|wal| WalMark { salts: Salts(5, 1), ..wal });
        assert!(is_same_end(&noted, &rewritten, restarted));
    }

    #[test]
    fn the_end_of_an_object_is_told_from_the_end_of_the_wal() {
        let now = WalMark { salts: Salts(100, 7), frames: 3, checksum: FrameChecksum(1, 2) };
        let table = [
            (Salts(100, 7), 2, Side::Before),
            (Salts(100, 7), 3, Side::Here),
            (Salts(100, 7), 4, Side::Behind),
            (Salts(99, 1), 9, Side::Before),
            (Salts(101, 1), 1, Side::Behind),
            (Salts(100, 8), 3, Side::Elsewhere),
            (Salts(100 + RESTARTS_MAX, 8), 3, Side::Elsewhere),
        ];
        for (salts, end, side) in table {
            assert_eq!(Claim { salts, after: 0, end }.side(&now), side, "{salts:?} up to {end}");
        }
    }

    #[test]
    fn a_lineage_is_counted_and_not_taken_for_another() {
        let claim = |salt1| Claim { salts: Salts(salt1, 7), after: 0, end: 3 };
        let table = [
            (100, Salts(100, 7), WalRelation::Same),
            (100, Salts(100, 8), WalRelation::None),
            (100, Salts(101, 9), WalRelation::Later),
            (100, Salts(100 + (1 << 16) - 1, 9), WalRelation::Later),
            (100, Salts(100 + (1 << 16), 9), WalRelation::None),
            (100, Salts(99, 9), WalRelation::None),
            (u32::MAX, Salts(0, 9), WalRelation::Later),
            (0, Salts(u32::MAX, 9), WalRelation::None),
        ];
        for (then, now, wal_relation) in table {
            assert_eq!(claim(then).wal_relation(now), wal_relation, "{then} → {now:?}");
        }
    }
}
