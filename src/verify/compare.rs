//! The pages of a live database as checksums, and a restored file held against them.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use crate::fsx::{self, Context, FsError};
use crate::ltx::{Crc, Txid};
use crate::page::{PageSize, Pgno};
use crate::restore::RestoreError;

/// So many of the differing pages are named.
const NAMED_MAX: usize = 10;
const SUM_LEN: u64 = 8;

/// A checksum for each page of the database at one transaction, in a file without a name: memory is
/// not bound by the database.
pub(super) struct PageSums {
    pub txid: Txid,
    pub page_size: PageSize,
    pub pages: u32,
    sums: File,
    path: PathBuf,
}

impl PageSums {
    /// Of a database in which every page is zeros.
    pub fn new(txid: Txid, page_size: PageSize, pages: u32, sums: File, path: &Path) -> Result<PageSums, FsError> {
        sums.set_len(u64::from(pages) * SUM_LEN).on("set length of a file in", path)?;
        Ok(PageSums { txid, page_size, pages, sums, path: path.to_owned() })
    }

    /// Notes a page; a later note replaces an earlier one, and what is behind the end is not
    /// noted.
    pub fn note(&self, pgno: Pgno, page: &[u8]) -> Result<(), FsError> {
        if pgno.get() > self.pages {
            return Ok(());
        }
        let at = pgno.index() as u64 * SUM_LEN;
        self.sums.write_all_at(&sum(page).to_ne_bytes(), at).on("write to a file in", &self.path)
    }
}

/// Zero for a page of zeros, which is also what was not noted.
fn sum(page: &[u8]) -> u64 {
    if page.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let mut crc = Crc::new();
    crc.update(page);
    crc.value().max(1)
}

/// Pages that are not the same.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Differing {
    pub count: u64,
    pub first: Vec<u32>,
}

/// Holds a restored file against the sums. A page too many or too few differs.
pub(super) async fn compare(sums: PageSums, restored: &Path) -> Result<Differing, RestoreError> {
    let restored = restored.to_owned();
    let compared = spawn_blocking(move || compare_now(&sums, &restored)).await;
    Ok(compared.map_err(|_| RestoreError::Cancelled)??)
}

fn compare_now(sums: &PageSums, restored: &Path) -> Result<Differing, FsError> {
    let file = fsx::open(restored)?;
    let len = file.metadata().on("stat", restored)?.len();
    let restored_pages = len.div_ceil(u64::from(sums.page_size.get()));
    let mut wanted = BufReader::with_capacity(1 << 16, &sums.sums);
    io::Seek::rewind(&mut wanted).on("read a file in", &sums.path)?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut page = vec![0; sums.page_size.bytes()];
    let mut differing = Differing { count: restored_pages.abs_diff(u64::from(sums.pages)), first: Vec::new() };
    let lock_page = sums.page_size.lock_page();
    for number in 1..=sums.pages.min(u32::try_from(restored_pages).unwrap_or(u32::MAX)) {
        let mut stored = [0; SUM_LEN as usize];
        wanted.read_exact(&mut stored).on("read a file in", &sums.path)?;
        file.read_exact(&mut page).on("read", restored)?;
        if sum(&page) != u64::from_ne_bytes(stored) && number != lock_page.get() {
            differing.count += 1;
            if differing.first.len() < NAMED_MAX {
                differing.first.push(number);
            }
        }
    }
    if differing.first.is_empty() && differing.count > 0 {
        differing.first.push(sums.pages.min(u32::try_from(restored_pages).unwrap_or(u32::MAX)).saturating_add(1));
    }
    Ok(differing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(live: &[u8], restored: &[u8]) -> Differing {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("restored");
        std::fs::write(&path, restored.iter().flat_map(|byte| [*byte; 512]).collect::<Vec<u8>>()).expect("write");
        let page_size = PageSize::new(512).expect("valid");
        let scratch = fsx::create_new(&dir.path().join("sums"), 0o600).expect("create");
        let sums = PageSums::new(Txid::FIRST, page_size, live.len() as u32, scratch, dir.path()).expect("sums");
        for (at, byte) in live.iter().enumerate().rev() {
            let pgno = Pgno::new(at as u32 + 1).expect("counted from one");
            sums.note(pgno, &[byte ^ 1; 512]).expect("note");
            if *byte != 0 {
                sums.note(pgno, &[*byte; 512]).expect("note");
            }
        }
        for (at, _) in live.iter().enumerate().filter(|(_, byte)| **byte == 0) {
            sums.note(Pgno::new(at as u32 + 1).expect("counted from one"), &[0; 512]).expect("note");
        }
        sums.note(Pgno::new(99).expect("99"), &[5; 512]).expect("ignored");
        compare_now(&sums, &path).expect("compared")
    }

    #[test]
    fn every_page_counts() {
        let same = |differing: Differing| differing == Differing { count: 0, first: Vec::new() };
        assert!(same(compared(&[1, 2, 0, 4], &[1, 2, 0, 4])));
        assert_eq!(compared(&[1, 2, 3, 4], &[1, 9, 3, 0]), Differing { count: 2, first: vec![2, 4] });
        assert_eq!(compared(&[1, 2, 3], &[1, 2]), Differing { count: 1, first: vec![3] });
        assert_eq!(compared(&[1, 2], &[1, 2, 3, 4]), Differing { count: 2, first: vec![3] });
        let many = compared(&[1; 30], &[2; 30]);
        assert_eq!((many.count, many.first.len()), (30, NAMED_MAX));
    }
}
