//! An entry of the page index as bytes: page number, offset and length of a page frame, each an
//! unsigned LEB128 number.

use crate::page::Pgno;

/// Three varints: 32-bit page number, 64-bit offset, frame length.
pub(super) const MAX_ENTRY_LEN: usize = 5 + 10 + 10;

/// Appends an unsigned LEB128 number to `out` at `at`; returns the new end.
pub(super) fn put_uvarint(out: &mut [u8; MAX_ENTRY_LEN], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        out[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}

/// One index entry as it is written.
pub(super) fn with_entry<T>(pgno: Pgno, offset: u64, len: u64, use_bytes: impl FnOnce(&[u8]) -> T) -> T {
    let mut out = [0; MAX_ENTRY_LEN];
    let end = put_uvarint(&mut out, 0, u64::from(pgno.get()));
    let end = put_uvarint(&mut out, end, offset);
    let end = put_uvarint(&mut out, end, len);
    use_bytes(&out[..end])
}
