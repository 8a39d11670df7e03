//! The index that would describe some frames, without keeping it.

use crate::ltx::Crc;
use crate::ltx::entry::with_entry;
use crate::page::Pgno;

/// The index of some frames, kept as checksum and length only.
#[derive(Clone)]
pub struct IndexSum {
    crc: Crc,
    len: u64,
}

impl IndexSum {
    pub fn new() -> IndexSum {
        IndexSum { crc: Crc::new(), len: 0 }
    }

    pub fn push(&mut self, pgno: Pgno, offset: u64, len: u64) {
        with_entry(pgno, offset, len, |bytes| self.push_raw(bytes));
    }

    pub fn push_raw(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.len += bytes.len() as u64;
    }

    pub fn append(&mut self, following: &IndexSum) {
        self.crc.append(&following.crc);
        self.len += following.len;
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn crc(&self) -> &Crc {
        &self.crc
    }

    pub fn is_same(&self, other: &IndexSum) -> bool {
        self.len == other.len && self.crc.value() == other.crc.value()
    }
}
