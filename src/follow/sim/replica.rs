//! The database that is replicated, state by state, and its files in the bucket.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Dice;
use crate::ltx::{Header, Txid, WalPosition};
use crate::page::PageSize;
use crate::remote::{Layout, Level, Listing, LtxObject};
use crate::store::Listed;

/// One number stands for a page.
pub type Pages = Vec<u32>;

pub type Name = (u8, u64, u64);

#[derive(Clone, Debug)]
pub struct File {
    pub pages: BTreeMap<usize, u32>,
    pub commit: usize,
    pub timestamp_ms: i64,
    pub page_size: u32,
    pub is_damaged: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// States of the current history, from TXID 1 on.
    pub states: Vec<(Pages, i64)>,
    pub page_size: u32,
    pub files: BTreeMap<Name, File>,
    next_page: u32,
}

impl Replica {
    pub fn newest(&self) -> u64 {
        self.states.len() as u64
    }

    /// Another history begins, and the bucket is empty.
    pub fn begin(&mut self, page_size: u32) {
        (self.states, self.files, self.page_size) = (Vec::new(), BTreeMap::new(), page_size);
    }

    /// The database changes, and the change is uploaded.
    pub fn commit(&mut self, dice: &mut Dice, now_ms: i64) {
        let before = self.states.last().map_or_else(Pages::new, |(pages, _)| pages.clone());
        let mut pages = before.clone();
        let len = match dice.roll(6) {
            0 => 1 + dice.roll(9) as usize,
            1 => (pages.len() + 1).min(12),
            _ => pages.len().max(1),
        };
        pages.resize(len, 0);
        let mut changed: BTreeSet<usize> = (before.len()..len).collect();
        changed.insert(0);
        changed.extend((0..dice.roll(3)).map(|_| dice.roll(len as u64) as usize));
        for page in &changed {
            self.next_page += 1;
            pages[*page] = self.next_page;
        }
        let content = changed.into_iter().map(|page| (page, pages[page])).collect();
        self.states.push((pages, now_ms));
        let txid = self.newest();
        let (page_size, commit) = (self.page_size, len);
        // The first file of a history holds everything.
        self.files.insert(
            (0, txid, txid),
            File { pages: content, commit, timestamp_ms: now_ms, page_size, is_damaged: false },
        );
    }

    pub fn snapshot(&mut self) {
        let Some((pages, timestamp_ms)) = self.states.last().cloned() else { return };
        let content = pages.iter().copied().enumerate().collect();
        let file =
            File { pages: content, commit: pages.len(), timestamp_ms, page_size: self.page_size, is_damaged: false };
        self.files.insert((9, 1, self.newest()), file);
    }

    /// Merges what is at the level below and is not merged yet.
    pub fn compact(&mut self, level: u8) {
        let after = self.files.keys().filter(|name| name.0 == level).map(|name| name.2).max().unwrap_or(0);
        let inputs: Vec<Name> =
            self.files.keys().filter(|name| name.0 == level - 1 && name.2 > after).copied().collect();
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else { return };
        let is_whole = first.1 <= after + 1 && inputs.windows(2).all(|pair| pair[1].1 == pair[0].2 + 1);
        if !is_whole || inputs.iter().any(|name| self.files[name].is_damaged) {
            return;
        }
        let mut merged = self.files[last].clone();
        for name in inputs.iter().rev() {
            for (page, content) in self.files[name].pages.clone() {
                merged.pages.entry(page).or_insert(content);
            }
        }
        let commit = merged.commit;
        merged.pages.retain(|page, _| *page < commit);
        self.files.insert((level, first.1, last.2), merged);
    }

    /// Level 0 goes but for its newest, as far as it is compacted.
    pub fn retain_l0(&mut self) {
        let compacted = self.files.keys().filter(|name| name.0 == 1).map(|name| name.2).max().unwrap_or(0);
        let newest = self.newest();
        self.files.retain(|name, _| name.0 != 0 || name.2 > compacted || name.2 == newest);
    }

    /// The same, and sometimes what a snapshot holds.
    pub fn retain(&mut self, dice: &mut Dice) {
        self.retain_l0();
        let newest = self.newest();
        let snapshot = self.files.keys().filter(|name| name.0 == 9).map(|name| name.2).max().unwrap_or(0);
        if dice.roll(3) == 0 {
            self.files.retain(|name, _| {
                name.0 == 9 && name.2 == snapshot || name.0 != 9 && name.2 > snapshot || name.2 == newest
            });
        }
    }

    pub fn listing(&self, whole: bool) -> Listing {
        let listed = |(name, file): (&Name, &File)| Listed {
            name: key(*name),
            size: 200 + 100 * file.pages.len() as u64,
            modified_ms: file.timestamp_ms,
        };
        let shown = self.files.iter().filter(|(name, _)| whole || name.0 == 0);
        Listing::parse(Layout::S3, shown.map(listed).collect())
    }

    pub fn header(&self, object: &LtxObject) -> Option<Header> {
        let file = self.files.get(&name_of(object)).filter(|file| !file.is_damaged)?;
        Some(Header {
            page_size: PageSize::new(file.page_size).expect("a page size"),
            commit: file.commit as u32,
            min_txid: object.min_txid,
            max_txid: object.max_txid,
            timestamp_ms: file.timestamp_ms,
            wal: WalPosition::default(),
        })
    }
}

pub fn name_of(object: &LtxObject) -> Name {
    (object.level.get(), object.min_txid.get(), object.max_txid.get())
}

fn key((level, min, max): Name) -> String {
    let txid = |number| Txid::new(number).expect("not zero");
    Layout::S3.key(Level::new(level).expect("a level"), txid(min), txid(max)).to_string()
}
