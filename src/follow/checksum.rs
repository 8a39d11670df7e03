//! How a state of the copy is known again: a checksum over all pages, in any order.
//!
//! It is the exclusive or of one number for each page, as LTX and LiteFS compute it, so it follows
//! from the one before and the pages that change. SQLite sets some fields of page 1 by itself
//! whenever it writes that page, and the journal mode is the copy's own: those count as zeros.

use std::ops::Range;

use crate::ltx::Crc;
use crate::page::Pgno;

/// Read and write version of the file format: 2 in WAL mode.
const FORMAT: Range<usize> = 18..20;
/// Change counter; version-valid-for and the number of the SQLite version.
const SET_BY_SQLITE: [Range<usize>; 2] = [24..28, 92..100];

/// The number of one page.
pub fn of_page(pgno: Pgno, page: &[u8]) -> u64 {
    let mut crc = Crc::new();
    crc.update(&pgno.get().to_be_bytes());
    match pgno {
        Pgno::FIRST => crc.update(&without_own_fields(page)),
        _ => crc.update(page),
    }
    crc.file_checksum()
}

/// Whether both say the same, whatever SQLite has set by itself.
pub fn is_same(pgno: Pgno, one: &[u8], other: &[u8]) -> bool {
    one == other || pgno == Pgno::FIRST && without_own_fields(one) == without_own_fields(other)
}

/// Page 1 as a copy has to have it.
pub fn in_wal_mode(first: &mut [u8]) {
    first[FORMAT].fill(2);
}

fn without_own_fields(first: &[u8]) -> Vec<u8> {
    let mut masked = first.to_vec();
    masked[FORMAT].fill(0);
    SET_BY_SQLITE.into_iter().for_each(|field| masked[field].fill(0));
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlite_sets_does_not_count_and_everything_else_does() {
        let page: Vec<u8> = (0..512_u32).map(|n| n as u8).collect();
        let second = Pgno::new(2).expect("not zero");
        assert_ne!(of_page(Pgno::FIRST, &page), of_page(second, &page), "the number of the page counts");
        for at in 0..512 {
            let mut changed = page.clone();
            changed[at] ^= 1;
            let is_own = FORMAT.contains(&at) || SET_BY_SQLITE.iter().any(|field| field.contains(&at));
            assert_eq!(is_same(Pgno::FIRST, &page, &changed), is_own, "byte {at}");
            assert_eq!(of_page(Pgno::FIRST, &page) == of_page(Pgno::FIRST, &changed), is_own, "byte {at}");
            assert!(!is_same(second, &page, &changed));
        }
    }
}
