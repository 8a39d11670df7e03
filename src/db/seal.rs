//! One more TXID without a change: a single page, as it is.
//!
//! Whoever has created the next TXID is the only one who can continue the history. The page is that
//! of the newest frame of the WAL, if there is one, and the header names this frame: so the object
//! proves, as any other one does, that the WAL continues it (`resume.rs`).

use super::capture::{Batch, Pages, header};
use super::error::DbError;
use super::open::{Db, Progress};
use super::position::{Position, Step};
use crate::page::Pgno;
use crate::sqlite::{Mark, WalMark};

impl Db {
    /// Takes the next TXID for what is captured already. `None`: something is committed that is not
    /// captured, or there is no page.
    pub fn seal(&mut self, now_ms: impl FnOnce() -> i64) -> Result<Option<Batch>, DbError> {
        let Progress::Known(position) = self.progress else { return Ok(None) };
        let txid = self.next_txid()?;
        let mark = self.spare.pin()?;
        // The other transaction still shows what was captured last.
        self.spare.end()?;
        if mark.pages == 0 || position.step_to(&mark) != Step::Nothing {
            return Ok(None);
        }
        let (pgno, after) = self.newest_page(&position, &mark)?;
        let header = header(txid, &Mark { wal: position.wal, ..mark }, after, now_ms());
        // It is read through SQLite: after a reset the frame may be overwritten at any time.
        let pages = Pages::Listed(vec![(pgno, 0)]);
        let position = Position { txid, ..position };
        self.progress = Progress::Known(position);
        Ok(Some(Batch { header, flavour: self.flavour, image: None, is_seal: true, pages, position }))
    }

    /// The page of the newest frame, and the number of frames before it. Where that frame cannot be
    /// seen any more: the first page, and all frames.
    fn newest_page(&self, position: &Position, mark: &Mark) -> Result<(Pgno, u32), DbError> {
        let first = Pgno::new(1).expect("not zero");
        let Some(WalMark { frames, salts, .. }) = position.wal else { return Ok((first, 0)) };
        let (1.., Some(wal)) = (frames, self.open_wal()?) else { return Ok((first, frames)) };
        let frame = wal.raw_frame(frames, mark.page_size)?.filter(|frame| frame.salts == salts);
        // What was cut off is in no object.
        let pgno = frame.and_then(|frame| frame.pgno).filter(|pgno| pgno.get() <= mark.pages);
        Ok(pgno.map_or((first, frames), |pgno| (pgno, frames - 1)))
    }
}
