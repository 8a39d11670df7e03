//! The first 100 bytes of a database file
//! (<https://www.sqlite.org/fileformat2.html#the_database_header>).

use crate::page::PageSize;

pub(super) const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_LEN: usize = 100;

/// What the header tells that replication needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbHeader {
    pub page_size: PageSize,
    /// Both format versions are 2: the database is in WAL mode.
    pub is_wal: bool,
}

impl DbHeader {
    /// `None` when these bytes do not begin a SQLite database.
    pub fn parse(bytes: &[u8]) -> Option<DbHeader> {
        let bytes: &[u8; HEADER_LEN] = bytes.get(..HEADER_LEN)?.try_into().ok()?;
        if &bytes[..16] != MAGIC {
            return None;
        }
        let page_size = PageSize::from_db_header(u16::from_be_bytes([bytes[16], bytes[17]]))?;
        Some(DbHeader { page_size, is_wal: bytes[18] == 2 && bytes[19] == 2 })
    }
}
