//! A real database whose every state is put into a replica, page for page.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::ltx::{Decoder, Encoder, Header, Txid, WalPosition, merge, merged_header};
use crate::page::{PageSize, Pgno};
use crate::remote::{Layout, Level, Remote};
use crate::store::Body;
use crate::store::memory::MemoryStore;

pub struct Source {
    pub dir: TempDir,
    pub db: Connection,
    pub store: MemoryStore,
    pub remote: Remote,
    page_size: PageSize,
    /// A number for each page of the last state.
    pages: Vec<u64>,
    files: Vec<Vec<u8>>,
}

pub fn txid(number: u64) -> Txid {
    Txid::new(number).expect("not zero")
}

impl Source {
    pub fn new(page_size: u32, auto_vacuum: &str) -> Source {
        let dir = tempfile::tempdir().expect("tempdir");
        let db = Connection::open(dir.path().join("source.db")).expect("open");
        db.execute_batch(&format!(
            "PRAGMA page_size={page_size}; PRAGMA auto_vacuum={auto_vacuum}; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;
             CREATE TABLE t(id INTEGER PRIMARY KEY, x, y); CREATE INDEX t_x ON t(x)"
        ))
        .expect("create");
        let store = MemoryStore::new();
        let remote = Remote::new(Arc::new(store.clone()), Layout::S3);
        let page_size = PageSize::new(page_size).expect("a page size");
        Source { dir, db, store, remote, page_size, pages: Vec::new(), files: Vec::new() }
    }

    pub fn copy(&self) -> PathBuf {
        self.dir.path().join("copy.db")
    }

    pub fn txid(&self) -> u64 {
        self.files.len() as u64
    }

    pub fn time_ms(number: u64) -> i64 {
        1_795_000_000_000 + number as i64 * 1000
    }

    /// The state that the database is in now is uploaded as the next TXID.
    pub async fn upload(&mut self) {
        let (header, file) = self.capture();
        self.files.push(file.clone());
        self.remote.put(Level::L0, &header, Body::Bytes(file.into())).await.expect("put");
    }

    /// Runs these, and uploads.
    pub async fn execute(&mut self, sql: &str) {
        self.db.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        self.upload().await;
    }

    fn capture(&mut self) -> (Header, Vec<u8>) {
        let number = self.txid() + 1;
        let pages: u32 = self.db.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("count");
        let header = Header {
            page_size: self.page_size,
            commit: pages,
            min_txid: txid(number),
            max_txid: txid(number),
            timestamp_ms: Source::time_ms(number),
            wal: WalPosition { offset: 32, size: number * 100, salt1: 1, salt2: 2 },
        };
        let mut encoder = Encoder::new(Vec::new(), header).expect("header");
        self.pages.resize(pages as usize, u64::MAX);
        let mut statement = self.db.prepare("SELECT pgno, data FROM sqlite_dbpage('main')").expect("prepare");
        let mut rows = statement.query([]).expect("query");
        while let Some(row) = rows.next().expect("next") {
            let (number, data): (u32, Vec<u8>) = (row.get(0).expect("number"), row.get(1).expect("data"));
            let pgno = Pgno::new(number).expect("not zero");
            let hash = crate::fsx::hash(&data);
            if pgno != self.page_size.lock_page() && self.pages[pgno.index()] != hash {
                self.pages[pgno.index()] = hash;
                encoder.page(pgno, &data).expect("page");
            }
        }
        (header, encoder.finish().expect("complete").writer)
    }

    /// Merges TXIDs into a file of a level.
    pub async fn compact(&self, level: u8, min: u64, max: u64) {
        let inputs: Vec<_> =
            (min..=max).map(|number| Decoder::new(&self.files[number as usize - 1][..]).expect("header")).collect();
        let headers: Vec<Header> = inputs.iter().map(|input| *input.header()).collect();
        let target = merged_header(&headers).expect("one history");
        let file = merge(inputs, target, Vec::new()).expect("merge").writer;
        self.remote.put(Level::new(level).expect("a level"), &target, Body::Bytes(file.into())).await.expect("put");
    }

    pub fn name(level: u8, min: u64, max: u64) -> String {
        Layout::S3.key(Level::new(level).expect("a level"), txid(min), txid(max)).to_string()
    }

    pub fn remove_l0(&self, min: u64, max: u64) {
        for number in min..=max {
            assert!(self.store.remove(&Source::name(0, number, number)), "{number} is there");
        }
    }

    /// The history up to now is another one's: the bucket is empty, and the numbers begin again.
    pub fn begin_anew(&mut self) {
        self.store.names().iter().for_each(|name| assert!(self.store.remove(name)));
        (self.files, self.pages) = (Vec::new(), Vec::new());
    }

    /// The copy, page for page, but for what SQLite sets by itself.
    #[track_caller]
    pub fn assert_is_copied(&self) {
        let copy = Connection::open(self.copy()).expect("open");
        let pages = |db: &Connection| -> Vec<(u32, Vec<u8>)> {
            let mut statement = db.prepare("SELECT pgno, data FROM sqlite_dbpage('main')").expect("prepare");
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("query");
            rows.collect::<Result<_, _>>().expect("read")
        };
        let (ours, theirs) = (pages(&self.db), pages(&copy));
        assert_eq!(ours.len(), theirs.len(), "pages");
        for ((number, our), (_, their)) in ours.iter().zip(&theirs) {
            let differ: Vec<usize> = (0..our.len()).filter(|at| our[*at] != their[*at]).collect();
            let is_own = |at: &usize| *number == 1 && (24..28).chain(92..100).any(|own| own == *at);
            assert!(differ.iter().all(is_own), "page {number} differs at {differ:?}");
        }
    }
}
