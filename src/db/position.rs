//! How far a database is captured, and what the next read mark means for it. Pure: no I/O, no
//! clock.

use std::fmt;

use crate::ltx::Txid;
use crate::page::PageSize;
use crate::sqlite::{FrameChecksum, Mark, WalMark};

/// Everything up to here is captured as the TXIDs up to `txid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub txid: Txid,
    pub page_size: PageSize,
    /// Size of the database in pages at that commit.
    pub pages: u32,
    /// The last captured frame; `None` when the state came from the database file alone.
    pub wal: Option<WalMark>,
    /// The WAL generation of `wal` is captured to its end: whatever follows in a new generation
    /// continues it.
    pub sealed: bool,
}

/// What is between a position and a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// The frames after `after` up to the mark; `checksum` is that of frame `after`, `None` at the
    /// start of a generation.
    Frames {
        after: u32,
        checksum: Option<FrameChecksum>,
    },
    /// Continuity cannot be proved: only the whole database will do, or what a comparison leaves of
    /// it.
    Image(ImageReason),
}

/// Why a full image is taken. Shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageReason {
    FirstBackup,
    NoPosition,
    LocalChanges,
    HistoryGone,
    HistoryBroken,
    Accepted,
    FileReplaced,
    FileOverwritten,
    PageSizeChanged,
    WalRestarted,
    WalTruncated,
    WalRewritten,
    CommitsLost,
    WalUnreadable,
}

impl ImageReason {
    /// The database may be exactly what the history ends with, or a stranger: the WAL cannot tell.
    /// In the other cases there is no history to compare it with.
    pub fn is_doubt(self) -> bool {
        match self {
            ImageReason::FirstBackup
            | ImageReason::HistoryGone
            | ImageReason::HistoryBroken
            | ImageReason::Accepted => false,
            ImageReason::NoPosition
            | ImageReason::FileReplaced
            | ImageReason::FileOverwritten
            | ImageReason::PageSizeChanged
            | ImageReason::LocalChanges
            | ImageReason::WalRestarted
            | ImageReason::WalTruncated
            | ImageReason::WalRewritten
            | ImageReason::CommitsLost
            | ImageReason::WalUnreadable => true,
        }
    }
}

impl ImageReason {
    /// It follows from what programs do with a database every day.
    pub fn is_ordinary(self) -> bool {
        use ImageReason::{LocalChanges, NoPosition, WalRestarted, WalTruncated};
        matches!(self, NoPosition | LocalChanges | WalRestarted | WalTruncated)
    }

    /// What came before does not lead to this image: no restore can cross over to it, so it has to
    /// be a beginning too.
    pub fn begins_anew(self) -> bool {
        match self {
            // Whatever is there, and whatever it is worth: the order is to go on from here.
            ImageReason::Accepted => true,
            ImageReason::HistoryGone | ImageReason::HistoryBroken | ImageReason::PageSizeChanged => true,
            _ => false,
        }
    }
}

impl fmt::Display for ImageReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ImageReason::FirstBackup => "this is the first backup",
            ImageReason::NoPosition => "the newest object in the replica does not say where in the WAL it ends",
            ImageReason::LocalChanges => "the database may have changed while it was not replicated",
            ImageReason::HistoryGone => "objects of the history are gone from the replica",
            ImageReason::HistoryBroken => "the files in the replica do not make a database",
            ImageReason::Accepted => "`millstream reset` has made it the newest state",
            ImageReason::FileReplaced => "another file is in its place now",
            ImageReason::FileOverwritten => {
                "its file was changed and no checkpoint explains it (written to past SQLite, by cp, dd, rsync?)"
            }
            ImageReason::PageSizeChanged => "the page size of the database changed",
            ImageReason::WalRestarted => "the WAL was restarted by another process",
            ImageReason::WalTruncated => "the WAL was truncated by another process",
            ImageReason::WalRewritten => "the WAL is not the one that was replicated",
            ImageReason::CommitsLost => {
                "the WAL here ends before what was uploaded from it: this disk has lost commits that the replica has (a power loss?)"
            }
            ImageReason::WalUnreadable => "the WAL file does not hold what SQLite says it holds",
        })
    }
}

impl Position {
    /// Decides what a capture up to `mark` has to read.
    pub fn step_to(&self, mark: &Mark) -> Step {
        if mark.page_size != self.page_size {
            return Step::Image(ImageReason::PageSizeChanged);
        }
        let Some(wal) = mark.wal.filter(|wal| wal.frames > 0) else {
            // The WAL is empty: everything is in the database file.
            let unchanged = self.sealed && mark.pages == self.pages;
            return if unchanged { Step::Nothing } else { Step::Image(ImageReason::WalTruncated) };
        };
        match self.wal {
            Some(ours) if ours.salts == wal.salts => same_generation(ours, wal),
            _ if self.sealed => Step::Frames { after: 0, checksum: None },
            _ => Step::Image(ImageReason::WalRestarted),
        }
    }

    /// The position after everything up to `mark` was captured as `txid` under a pin.
    pub fn at(txid: Txid, mark: &Mark) -> Position {
        // An empty generation has no end that could be missed: the first frames of the next one
        // continue it.
        let sealed = mark.wal.is_none_or(|wal| wal.frames == 0);
        Position { txid, page_size: mark.page_size, pages: mark.pages, wal: mark.wal, sealed }
    }
}

fn same_generation(ours: WalMark, wal: WalMark) -> Step {
    if wal.frames > ours.frames {
        // A generation that was empty starts its chain with the header's checksum.
        let checksum = (ours.frames > 0).then_some(ours.checksum);
        return Step::Frames { after: ours.frames, checksum };
    }
    let is_same = wal.frames == ours.frames && wal.checksum == ours.checksum;
    if is_same { Step::Nothing } else { Step::Image(ImageReason::WalRewritten) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Salts;

    const SIZE: PageSize = PageSize::MAX;

    fn wal(generation: u32, frames: u32) -> WalMark {
        WalMark { salts: Salts(generation, 7), frames, checksum: FrameChecksum(generation, frames) }
    }

    fn mark(wal: Option<WalMark>) -> Mark {
        Mark { page_size: SIZE, pages: 10, wal }
    }

    fn position(wal: Option<WalMark>, sealed: bool) -> Position {
        Position { sealed, ..Position::at(Txid::FIRST, &mark(wal)) }
    }

    #[test]
    fn the_step_table() {
        use ImageReason::*;
        let from_start = Step::Frames { after: 0, checksum: None };
        let table = [
            // position's WAL, sealed, mark's WAL, step
            (Some(wal(1, 5)), false, Some(wal(1, 5)), Step::Nothing),
            (Some(wal(1, 5)), true, Some(wal(1, 5)), Step::Nothing),
            (Some(wal(1, 5)), false, Some(wal(1, 9)), Step::Frames { after: 5, checksum: Some(wal(1, 5).checksum) }),
            (Some(wal(1, 5)), true, Some(wal(1, 9)), Step::Frames { after: 5, checksum: Some(wal(1, 5).checksum) }),
            (Some(wal(1, 5)), true, Some(wal(2, 3)), from_start),
            (Some(wal(1, 5)), false, Some(wal(2, 3)), Step::Image(WalRestarted)),
            (Some(wal(1, 5)), true, Some(wal(9, 3)), from_start),
            (Some(wal(1, 5)), false, Some(wal(1, 4)), Step::Image(WalRewritten)),
            (Some(wal(1, 5)), true, Some(wal(1, 4)), Step::Image(WalRewritten)),
            (Some(wal(1, 5)), true, None, Step::Nothing),
            (Some(wal(1, 5)), false, None, Step::Image(WalTruncated)),
            (Some(wal(1, 5)), true, Some(wal(2, 0)), Step::Nothing),
            (Some(wal(1, 5)), false, Some(wal(2, 0)), Step::Image(WalTruncated)),
            (Some(wal(1, 0)), true, Some(wal(1, 2)), from_start),
            (None, true, None, Step::Nothing),
            (None, true, Some(wal(1, 2)), from_start),
            (None, false, Some(wal(1, 2)), Step::Image(WalRestarted)),
        ];
        for (ours, sealed, theirs, step) in table {
            let name = format!("{ours:?} sealed={sealed} → {theirs:?}");
            assert_eq!(position(ours, sealed).step_to(&mark(theirs)), step, "{name}");
        }
    }

    #[test]
    fn another_checksum_at_the_same_frame_is_another_history() {
        let rewritten = WalMark { checksum: FrameChecksum(99, 99), ..wal(1, 5) };
        let step = position(Some(wal(1, 5)), false).step_to(&mark(Some(rewritten)));
        assert_eq!(step, Step::Image(ImageReason::WalRewritten));
    }

    #[test]
    fn another_page_size_or_an_unexplained_size_needs_an_image() {
        let other = Mark { page_size: PageSize::new(512).expect("valid"), ..mark(Some(wal(1, 6))) };
        let step = position(Some(wal(1, 5)), true).step_to(&other);
        assert_eq!(step, Step::Image(ImageReason::PageSizeChanged));
        let grown = Mark { pages: 11, ..mark(None) };
        assert_eq!(position(None, true).step_to(&grown), Step::Image(ImageReason::WalTruncated));
    }

    #[test]
    fn only_an_empty_generation_is_sealed_by_a_capture() {
        assert!(Position::at(Txid::FIRST, &mark(None)).sealed);
        assert!(Position::at(Txid::FIRST, &mark(Some(wal(1, 0)))).sealed);
        assert!(!Position::at(Txid::FIRST, &mark(Some(wal(1, 1)))).sealed);
    }
}
