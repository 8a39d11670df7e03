//! The first 100 bytes of a database file (<https://www.sqlite.org/fileformat2.html#the_database_header>).

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::fsx::{self, Context};
use crate::page::PageSize;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
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

/// What lies at a database's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Missing,
    /// Zero bytes: a volume's placeholder or a crash at creation, never a database to keep.
    Empty,
    /// Bytes, but no SQLite header.
    NoHeader,
    Database(DbHeader),
}

/// Looks at the file with plain I/O. Only for a time when this process has no connection to it: closing the descriptor
/// would drop that connection's locks.
pub fn look_at_file(path: &Path) -> fsx::Result<Presence> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Presence::Missing),
        Err(error) => return Err(error).on("open", path),
    };
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    Read::by_ref(&mut file).take(HEADER_LEN as u64).read_to_end(&mut bytes).on("read", path)?;
    Ok(match DbHeader::parse(&bytes) {
        _ if bytes.is_empty() => Presence::Empty,
        None => Presence::NoHeader,
        Some(header) => Presence::Database(header),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_four_states_apart() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("x.db");
        let look = || look_at_file(&path).expect("look");
        assert_eq!(look(), Presence::Missing);
        std::fs::write(&path, b"").expect("write");
        assert_eq!(look(), Presence::Empty);
        std::fs::write(&path, vec![0; 4096]).expect("write");
        assert_eq!(look(), Presence::NoHeader);
        std::fs::remove_file(&path).expect("remove");
        let conn = rusqlite::Connection::open(&path).expect("open");
        conn.execute_batch("PRAGMA page_size=8192; PRAGMA journal_mode=WAL; CREATE TABLE t(x)").expect("create");
        drop(conn);
        let page_size = PageSize::new(8192).expect("valid");
        assert_eq!(look(), Presence::Database(DbHeader { page_size, is_wal: true }));
    }
}
