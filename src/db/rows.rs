//! Which of another database's rows are here, wherever they are. Pure.
//!
//! `VACUUM INTO`, `.dump` and a migration that builds a new file leave no page where it was, but
//! the rows are the same: a row is its record, without its row id and its place. Of each side a
//! sample is kept, chosen by the rows' hashes, so that the same rows are in both; memory does not
//! grow with the database.

use std::collections::HashSet;

use super::lineage::{SCHEMA_AT, TABLE_LEAF, row_offsets};
use crate::page::Pgno;
use crate::sqlite::varint;

const INDEX_LEAF: u8 = 10;
/// Rows of each side that are kept at most.
const SAMPLE_MAX: usize = 4096;
/// A shorter record may be anybody's.
const RECORD_MIN: usize = 8;
/// So much of a record is looked at: it is in the row's own page whatever the size of the pages.
const LOOKED_AT: usize = 32;

/// How many of the other side's rows are in the sample, and how many of these are here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub theirs: usize,
    pub shared: usize,
}

impl Rows {
    /// More than half of the other side's rows are here: it is the same application's database,
    /// built anew.
    pub fn are_the_same(&self) -> bool {
        self.shared * 2 > self.theirs
    }
}

#[derive(Clone, Debug)]
pub struct RowSample {
    ours: HashSet<u64>,
    theirs: HashSet<u64>,
    /// Rows with a hash up to this one are in the sample.
    limit: u64,
}

impl Default for RowSample {
    fn default() -> RowSample {
        RowSample { ours: HashSet::new(), theirs: HashSet::new(), limit: u64::MAX }
    }
}

impl RowSample {
    pub fn add_ours(&mut self, pgno: Pgno, page: &[u8]) {
        self.ours.extend(hashes(pgno, page).filter(|hash| *hash <= self.limit));
        self.shrink();
    }

    pub fn add_theirs(&mut self, pgno: Pgno, page: &[u8]) {
        self.theirs.extend(hashes(pgno, page).filter(|hash| *hash <= self.limit));
        self.shrink();
    }

    pub fn rows(&self) -> Rows {
        Rows { theirs: self.theirs.len(), shared: self.theirs.intersection(&self.ours).count() }
    }

    fn shrink(&mut self) {
        while self.ours.len().max(self.theirs.len()) > SAMPLE_MAX {
            self.limit /= 2;
            let limit = self.limit;
            self.ours.retain(|hash| *hash <= limit);
            self.theirs.retain(|hash| *hash <= limit);
        }
    }
}

/// Of the rows on a leaf of a table or an index.
fn hashes(pgno: Pgno, page: &[u8]) -> impl Iterator<Item = u64> {
    let is_leaf = pgno != Pgno::FIRST && [TABLE_LEAF, INDEX_LEAF].contains(&page[0]);
    let node = if is_leaf { 0 } else { SCHEMA_AT };
    row_offsets(page, node).filter(move |_| is_leaf).filter_map(|at| hash(page[0], &page[at..]))
}

fn hash(kind: u8, cell: &[u8]) -> Option<u64> {
    let (payload, mut record) = varint(cell)?;
    if kind == TABLE_LEAF {
        (_, record) = varint(record)?;
    }
    let payload_len = usize::try_from(payload).ok()?;
    let looked_at = record.get(..payload_len.min(LOOKED_AT))?;
    if payload_len < RECORD_MIN || is_of_schema(looked_at) {
        return None;
    }
    // FNV-1a, and the mixing of SplitMix64: the smallest hashes are to be anybody's.
    let bytes = payload.to_be_bytes();
    let sum = bytes
        .iter()
        .chain(looked_at)
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (sum ^ sum >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(mixed ^ mixed >> 31)
}

/// Whether it is a row of `sqlite_schema`, which a new database of the same application has as
/// well.
fn is_of_schema(record: &[u8]) -> bool {
    let kinds: [&[u8]; 4] = [b"table", b"index", b"view", b"trigger"];
    let Some((header_len, rest)) = varint(record) else { return false };
    let Some((serial, _)) = varint(rest) else { return false };
    let (Ok(start), Some(odd)) = (usize::try_from(header_len), serial.checked_sub(13)) else { return false };
    let Ok(len) = usize::try_from(odd / 2) else { return false };
    let kind = start.checked_add(len).and_then(|end| record.get(start..end));
    serial % 2 == 1 && kind.is_some_and(|kind| kinds.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(sql: &str) -> Vec<Vec<u8>> {
        let db = rusqlite::Connection::open_in_memory().expect("open");
        db.execute_batch(sql).expect("write");
        let mut statement = db.prepare("SELECT data FROM sqlite_dbpage ORDER BY pgno").expect("prepare");
        statement.query_map([], |row| row.get(0)).expect("query").map(|page| page.expect("a page")).collect()
    }

    fn shared(ours: &[Vec<u8>], theirs: &[Vec<u8>]) -> Rows {
        let mut sample = RowSample::default();
        let numbered = |pages| (1..).filter_map(Pgno::new).zip::<&[Vec<u8>]>(pages);
        numbered(ours).for_each(|(pgno, page)| sample.add_ours(pgno, page));
        numbered(theirs).for_each(|(pgno, page)| sample.add_theirs(pgno, page));
        sample.rows()
    }

    fn many(count: u32, name: &str) -> String {
        format!(
            "INSERT INTO t(x) SELECT '{name} of row ' || i FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
             WHERE i < {count}) SELECT i FROM n)"
        )
    }

    #[test]
    fn rows_are_found_wherever_they_lie_and_a_new_database_has_none_of_them() {
        const SCHEMA: &str =
            "CREATE TABLE v(version TEXT); CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX by_x ON t(x)";
        const SEED: &str = "INSERT INTO v VALUES ('2026-01-01 the first')";
        for (count, page_size) in [(20, 4096), (3_000, 1024), (30_000, 4096)] {
            let theirs = pages(&format!("{SCHEMA}; {SEED}; {}", many(count, "content")));
            let other_way = "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE TABLE v(version TEXT)";
            let rebuilt = pages(&format!(
                "PRAGMA page_size={page_size}; PRAGMA auto_vacuum=FULL; {other_way}; {}; {SEED}; CREATE INDEX by_x ON t(x); \
                 DELETE FROM t WHERE id % 4 = 0",
                many(count, "content")
            ));
            let found = shared(&rebuilt, &theirs);
            assert!(found.are_the_same() && found.shared < found.theirs, "{found:?}");
            assert!(found.theirs <= SAMPLE_MAX && found.theirs >= 20, "{found:?}");
            let anew = pages(&format!("{SCHEMA}; {SEED}; {}", many(3, "another life")));
            assert!(!shared(&anew, &theirs).are_the_same());
            let stranger = pages(&format!("CREATE TABLE t(x); {}", many(count, "stranger")));
            assert_eq!(shared(&stranger, &theirs).shared, 0);
        }
        assert!(!Rows::default().are_the_same(), "no row shows nothing");
    }
}
