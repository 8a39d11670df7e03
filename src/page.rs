//! The words every floor shares: page numbers, page sizes, and the one page SQLite never uses.
//!
//! Nothing here does I/O. Both types are validated on construction, so no other module has to ask
//! again whether a page size is a power of two or a page number is zero.

use std::fmt;

/// Byte offset of the page that SQLite reserves for file locks; the page that contains it is never
/// read or written.
const LOCK_BYTE_OFFSET: u32 = 0x4000_0000;

/// A database page size: a power of two from 512 to 65536 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageSize(u32);

impl PageSize {
    #[cfg(test)]
    pub const MAX: PageSize = PageSize(65536);

    /// `None` unless `bytes` is a power of two from 512 to 65536.
    pub const fn new(bytes: u32) -> Option<PageSize> {
        if bytes.is_power_of_two() && bytes >= 512 && bytes <= 65536 { Some(PageSize(bytes)) } else { None }
    }

    /// Reads the two-byte encoding of the SQLite database header, where 1 means 65536.
    pub const fn from_db_header(encoded: u16) -> Option<PageSize> {
        PageSize::new(if encoded == 1 { 65536 } else { encoded as u32 })
    }

    pub const fn get(self) -> u32 {
        self.0
    }

    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// The page that holds SQLite's lock bytes (byte 0x40000000). It is in no LTX file and reads as
    /// zeros.
    pub const fn lock_page(self) -> Pgno {
        Pgno(LOCK_BYTE_OFFSET / self.0 + 1)
    }

    /// Length in bytes of a database of `pages` pages.
    pub const fn database_len(self, pages: u32) -> u64 {
        self.0 as u64 * pages as u64
    }
}

impl fmt::Debug for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A page number; the first page of a database is 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pgno(u32);

impl Pgno {
    pub const FIRST: Pgno = Pgno(1);

    /// `None` for zero, which SQLite and LTX use as "no page".
    pub const fn new(number: u32) -> Option<Pgno> {
        if number == 0 { None } else { Some(Pgno(number)) }
    }

    pub const fn get(self) -> u32 {
        self.0
    }

    /// Position among the pages, counted from zero.
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }

    /// Byte offset of this page in the database file.
    pub const fn offset(self, page_size: PageSize) -> u64 {
        (self.0 as u64 - 1) * page_size.get() as u64
    }
}

impl fmt::Debug for Pgno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Pgno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_powers_of_two_in_range() {
        for good in [512, 1024, 4096, 65536] {
            assert_eq!(PageSize::new(good).map(PageSize::get), Some(good));
        }
        for bad in [0, 1, 256, 513, 3000, 131_072, u32::MAX] {
            assert_eq!(PageSize::new(bad), None, "{bad}");
        }
        assert_eq!(PageSize::from_db_header(1), Some(PageSize::MAX));
        assert_eq!(PageSize::from_db_header(4096).map(PageSize::get), Some(4096));
        assert_eq!(PageSize::from_db_header(0), None);
    }

    #[test]
    fn lock_page_holds_byte_0x40000000() {
        let lock = |size| PageSize::new(size).map(|s| s.lock_page().get());
        assert_eq!(lock(4096), Some(262_145));
        assert_eq!(lock(65536), Some(16_385));
        assert_eq!(lock(512), Some(2_097_153));
    }

    #[test]
    fn offsets_count_from_the_first_page() {
        let size = PageSize::new(4096).expect("valid");
        assert_eq!(Pgno::FIRST.offset(size), 0);
        assert_eq!(Pgno::new(3).map(|p| p.offset(size)), Some(8192));
        assert_eq!(Pgno::new(0), None);
        assert_eq!(PageSize::MAX.database_len(u32::MAX), 65536 * u64::from(u32::MAX));
    }
}
