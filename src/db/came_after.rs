//! Does a page show that the database here came after one that another writer uploaded? Pure.
//!
//! Two nodes, one after the other, and the first one comes back with its old disk: it has the same
//! tables and mostly the same pages as the newest state, so likeness proves nothing. What counts
//! are the pages that were written *since* the moment at which this disk was in step for the last
//! time, and of these only what was written into them then:
//!
//! ```text
//! before        the page as it was, in the history                    a b c
//! theirs        the page as it is now, in the history                 a b c d e    with d and e
//! here   equal  it is that page                                       a b c d e    kept
//!        later  what was added is still there, and more came after    a b c d e f  kept
//!        old    nothing of it ever was here                           a b c        not kept
//!        other  another branch                                        a b c x y    not kept
//! ```
//!
//! Page 1, interior pages of b-trees and pages of zeros look alike in branches that have nothing to
//! do with each other: they say nothing. The same goes for a page from which rows were only taken
//! away.

use std::collections::HashSet;

use crate::ltx::Versions;
use crate::page::Pgno;
use crate::sqlite::varint;

const INDEX_LEAF: u8 = 10;
const TABLE_LEAF: u8 = 13;
const INTERIOR: [u8; 2] = [2, 5];
/// Length of a leaf's header; the offsets of its cells follow.
const LEAF_HEADER_LEN: usize = 8;

/// Whether the page here (`None`: the database here is too short for it) shows that it came after
/// theirs; `None`: it says nothing.
pub fn is_kept(here: Option<&[u8]>, theirs: &Versions<'_>) -> Option<bool> {
    let Versions { pgno, page, is_since, before } = *theirs;
    let is_evidence =
        is_since && pgno != Pgno::FIRST && !INTERIOR.contains(&page[0]) && page.iter().any(|byte| *byte != 0);
    if !is_evidence || before == Some(page) {
        return None;
    }
    let Some(here) = here else { return Some(false) };
    if here == page || before == Some(here) {
        return Some(here == page);
    }
    // A new page may hold what was moved there from another one: only its equal says something.
    let Some(before) = before.filter(|before| is_leaf(page) && before[0] == page[0] && here[0] == page[0]) else {
        return Some(false);
    };
    let [before, here] = [before, here].map(|page| cells(page).collect::<HashSet<_>>());
    let (mut added, mut kept) = (0, 0);
    for cell in cells(page).filter(|cell| !before.contains(cell)) {
        added += 1;
        kept += u32::from(here.contains(cell));
    }
    (added > 0).then_some(kept * 2 >= added)
}

fn is_leaf(page: &[u8]) -> bool {
    page[0] == TABLE_LEAF || page[0] == INDEX_LEAF
}

/// The cells of a leaf, each as far as it surely is in this page. Nothing is believed that is
/// outside of it.
fn cells(page: &[u8]) -> impl Iterator<Item = &[u8]> {
    let count = usize::from(u16::from_be_bytes([page[3], page[4]]));
    let offsets = page[LEAF_HEADER_LEN..].chunks_exact(2).take(count);
    let offsets = offsets.map(|pair| usize::from(u16::from_be_bytes([pair[0], pair[1]])));
    offsets.filter(|at| *at < page.len()).map(|at| cell_at(page, at))
}

fn cell_at(page: &[u8], at: usize) -> &[u8] {
    let is_table = page[0] == TABLE_LEAF;
    let Some((payload, mut rest)) = varint(&page[at..]) else { return &[] };
    if is_table {
        rest = varint(rest).map_or(rest, |(_row_id, rest)| rest);
    }
    // SQLite's rule: a payload that is longer than one bound is in overflow pages from some point
    // on that is beyond the other.
    let share = |of_255: usize| (page.len().saturating_sub(12) * of_255 / 255).saturating_sub(23);
    let whole_max = if is_table { page.len().saturating_sub(35) } else { share(64) };
    let here = usize::try_from(payload).ok().filter(|payload| *payload <= whole_max).unwrap_or(share(32));
    &page[at..(page.len() - rest.len() + here).min(page.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Page 2, a table's only leaf, and page 3, that of its index, after these statements.
    fn leaves(sql: &[&str]) -> [Vec<u8>; 2] {
        let db = rusqlite::Connection::open_in_memory().expect("open");
        let schema = "PRAGMA page_size=4096; CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX by_x ON t(x)";
        db.execute_batch(schema).expect("create");
        sql.iter().for_each(|sql| db.execute_batch(sql).expect("write"));
        [2, 3].map(|pgno| {
            let query = "SELECT data FROM sqlite_dbpage WHERE pgno = ?1";
            db.query_row(query, [pgno], |row| row.get::<_, Vec<u8>>(0)).expect("a page")
        })
    }

    #[test]
    fn the_table() {
        const BEFORE: &str = "INSERT INTO t(x) VALUES ('alpha'), ('beta'), ('gamma')";
        const THEIRS: &str = "INSERT INTO t(x) VALUES ('delta'), ('epsilon')";
        let before = leaves(&[BEFORE]);
        let theirs = leaves(&[BEFORE, THEIRS]);
        let table = [
            ("equal", vec![BEFORE, THEIRS], Some(true)),
            ("more came after it", vec![BEFORE, THEIRS, "INSERT INTO t(x) VALUES ('zeta'), ('aaa')"], Some(true)),
            ("one of two was changed", vec![BEFORE, THEIRS, "UPDATE t SET x = 'other' WHERE id = 5"], Some(true)),
            ("old", vec![BEFORE], Some(false)),
            ("another branch", vec![BEFORE, "INSERT INTO t(x) VALUES ('deltA'), ('epsiloN')"], Some(false)),
            ("another branch, later", vec![BEFORE, "INSERT INTO t(x) VALUES (1), (2), (3), (4), (5)"], Some(false)),
            ("nothing of it is left", vec![BEFORE, THEIRS, "UPDATE t SET x = id"], Some(false)),
        ];
        let pgno = Pgno::new(2).expect("two");
        for (case, sql, wanted) in table {
            let here = leaves(&sql);
            for (at, tree) in ["table", "index"].into_iter().enumerate() {
                let theirs = Versions { pgno, page: &theirs[at], is_since: true, before: Some(&before[at]) };
                assert_eq!(is_kept(Some(&here[at]), &theirs), wanted, "{case}: {tree}");
                assert_eq!(is_kept(Some(&here[at]), &Versions { is_since: false, ..theirs }), None);
            }
        }
    }

    #[test]
    fn what_says_nothing() {
        let pgno = Pgno::new(2).expect("two");
        let [rows, fewer] = ["SELECT 1", "DELETE FROM t WHERE id > 1"].map(|sql| {
            let [table, _] = leaves(&["INSERT INTO t(x) VALUES (1), (2), (3)", sql]);
            table
        });
        let [other, _] = leaves(&["INSERT INTO t(x) VALUES (1), (2), (7)"]);
        let kept = |pgno, here: Option<&[u8]>, page: &[u8], before: Option<&[u8]>| {
            is_kept(here, &Versions { pgno, page, is_since: true, before })
        };
        assert_eq!(kept(Pgno::FIRST, Some(&rows), &rows, None), None, "page 1");
        assert_eq!(kept(pgno, Some(&[0; 512]), &[0; 512], None), None, "zeros");
        let interior = [[5].as_slice(), &[1; 511]].concat();
        assert_eq!(kept(pgno, Some(&interior), &interior, None), None, "an interior page");
        assert_eq!(kept(pgno, Some(&rows), &rows, Some(&rows)), None, "it was written as it was");
        assert_eq!(kept(pgno, Some(&other), &fewer, Some(&rows)), None, "rows were only taken away");
        assert_eq!(kept(pgno, Some(&rows), &fewer, Some(&rows)), Some(false), "but not here");
        assert_eq!(kept(pgno, None, &rows, Some(&fewer)), Some(false), "there is no such page here");
        assert_eq!(kept(pgno, Some(&other), &rows, None), Some(false), "a new page is equal or it is not");
        assert_eq!(kept(pgno, Some(&[7; 512]), &[7; 512], None), Some(true), "an overflow page");
    }

    #[test]
    fn no_damage_leads_out_of_the_page() {
        let [before, _] = leaves(&["INSERT INTO t(x) VALUES (zeroblob(9000)), ('b')"]);
        let [page, _] = leaves(&["INSERT INTO t(x) VALUES (zeroblob(9000)), ('b'), ('c')"]);
        let pgno = Pgno::new(2).expect("two");
        for at in 0..page.len() {
            let mut damaged = page.clone();
            damaged[at] = 0xff;
            let [a, b, c] = [(&damaged, &page, &before), (&page, &damaged, &before), (&page, &before, &damaged)].map(
                |(here, page, before)| {
                    is_kept(Some(here), &Versions { pgno, page, is_since: true, before: Some(before) })
                },
            );
            assert!(a.is_some() || b.is_some() || c.is_some() || at < LEAF_HEADER_LEN, "{at}");
        }
    }
}
