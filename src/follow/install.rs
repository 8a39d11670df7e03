//! A stream of pages into the copy, in one transaction.
//!
//! Page 1 comes last, and then the cut at the end of the database (`sqlite::LiveCopy`). A page that
//! is there already is not written. Files are verified at their ends, so everything is written
//! before it is known to be sound, and committed after.

use std::io::Read;

use super::checksum;
use crate::fsx::FsError;
use crate::ltx::{Header, LtxError, Merged, Txid};
use crate::page::{PageSize, Pgno};
use crate::sqlite::{LiveCopy, SqliteError};
use crate::state::CopyState;

/// What the copy is before an install.
#[derive(Clone, Copy, Debug)]
pub enum Base {
    /// A state of the history. The files hold what has changed since.
    State(CopyState),
    /// So many pages of whatever. The files hold the whole database.
    Unknown { pages: u32 },
}

impl Base {
    pub fn pages(&self) -> u32 {
        match self {
            Base::State(state) => state.pages,
            Base::Unknown { pages } => *pages,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The files could not be read, or are damaged.
    #[error(transparent)]
    Source(#[from] LtxError),
    #[error(transparent)]
    Copy(#[from] SqliteError),
    /// The state could not be noted.
    #[error(transparent)]
    Note(#[from] FsError),
    #[error("the files up to TXID {txid} lack page {pgno}, which the copy does not have either")]
    Incomplete { txid: Txid, pgno: u32 },
    #[error("the pages of the replica have {replica} bytes, those of the copy {copy}")]
    OtherPageSize { replica: PageSize, copy: PageSize },
}

/// Writes the pages into the open transaction and commits it; returns the new state, and how many
/// pages were written. `note` is told of the state before it is committed. After an error nothing
/// may be committed.
pub fn install<R: Read>(
    copy: &LiveCopy,
    base: Base,
    merged: Merged<R>,
    note: impl FnOnce(&CopyState) -> Result<(), FsError>,
) -> Result<(CopyState, u64), InstallError> {
    let header = *merged.header();
    if header.page_size != copy.page_size() {
        return Err(InstallError::OtherPageSize { replica: header.page_size, copy: copy.page_size() });
    }
    let mut writer = Writer::new(copy, base, header);
    writer.write_all(merged)?;
    let state = writer.state();
    note(&state)?;
    copy.commit()?;
    Ok((state, writer.written))
}

struct Writer<'a> {
    copy: &'a LiveCopy,
    base: Base,
    header: Header,
    checksum: u64,
    written: u64,
    /// A page as it is in the copy.
    old: Vec<u8>,
    /// The next page that must come: of the whole database, or of what was added to it.
    expected: u32,
}

impl<'a> Writer<'a> {
    fn new(copy: &'a LiveCopy, base: Base, header: Header) -> Writer<'a> {
        let (checksum, expected) = match base {
            Base::State(state) => (state.checksum, state.pages + 1),
            Base::Unknown { .. } => (0, 1),
        };
        Writer { copy, base, header, checksum, written: 0, old: vec![0; header.page_size.bytes()], expected }
    }

    fn write_all<R: Read>(&mut self, mut merged: Merged<R>) -> Result<(), InstallError> {
        let mut first: Option<Vec<u8>> = None;
        while let Some((pgno, page)) = merged.next_page()? {
            if pgno == self.header.page_size.lock_page() {
                continue;
            }
            self.expect(pgno.get())?;
            match pgno {
                Pgno::FIRST => first = Some(page.to_vec()),
                _ => self.write(pgno, page)?,
            }
        }
        self.expect(self.header.commit + 1)?;
        merged.finish()?;
        if let Some(mut first) = first {
            checksum::in_wal_mode(&mut first);
            self.write(Pgno::FIRST, &first)?;
        }
        self.cut()
    }

    /// Fails if pages are left out that the copy does not have.
    fn expect(&mut self, number: u32) -> Result<(), InstallError> {
        let lock_page = self.header.page_size.lock_page().get();
        if self.expected == lock_page && number > lock_page {
            self.expected += 1;
        }
        match number {
            number if number > self.expected => {
                Err(InstallError::Incomplete { txid: self.header.max_txid, pgno: self.expected })
            }
            number => {
                self.expected = self.expected.max(number.saturating_add(1));
                Ok(())
            }
        }
    }

    fn write(&mut self, pgno: Pgno, page: &[u8]) -> Result<(), InstallError> {
        let is_there = pgno.get() <= self.base.pages() && self.copy.read_page(pgno, &mut self.old)?;
        let was = match self.base {
            Base::State(_) if is_there => checksum::of_page(pgno, &self.old),
            _ => 0,
        };
        self.checksum ^= was ^ checksum::of_page(pgno, page);
        if !is_there || !checksum::is_same(pgno, &self.old, page) {
            self.copy.write_page(pgno, page)?;
            self.written += 1;
        }
        Ok(())
    }

    /// The pages behind the end go.
    fn cut(&mut self) -> Result<(), InstallError> {
        let (end, pages) = (self.header.commit, self.base.pages());
        if end >= pages {
            return Ok(());
        }
        if let Base::State(_) = self.base {
            let lock_page = self.header.page_size.lock_page();
            for pgno in (end + 1..=pages).filter_map(Pgno::new).filter(|pgno| *pgno != lock_page) {
                if self.copy.read_page(pgno, &mut self.old)? {
                    self.checksum ^= checksum::of_page(pgno, &self.old);
                }
            }
        }
        // A cut that no page of is written belongs to no transaction.
        if self.written == 0 && self.copy.read_page(Pgno::FIRST, &mut self.old)? {
            self.copy.write_page(Pgno::FIRST, &self.old)?;
        }
        self.copy.truncate(end)?;
        Ok(())
    }

    fn state(&self) -> CopyState {
        let Header { max_txid, timestamp_ms, commit, .. } = self.header;
        CopyState { txid: max_txid, timestamp_ms, pages: commit, checksum: self.checksum }
    }
}
