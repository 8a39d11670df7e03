//! What shows that two databases are of one lineage: pages that are the same in the same place, if
//! they could be of no other database. Pure.
//!
//! Of no page that any other database may have as well is anything believed: page 1, the pages of
//! the schema (a new database of the same application has the same ones), pages of zeros, b-tree
//! pages without a cell, interior pages of tables, the map of pointers that `auto_vacuum` keeps,
//! the trunk of the freelist. A table's page that was written to still counts if half of the
//! other's rows stand where they were.

use std::collections::HashSet;

use crate::page::Pgno;
use crate::sqlite::varint;

/// A page with these flags in its first byte is a b-tree page; its number of cells is at 3, and in
/// a leaf their offsets from 8.
const BTREE_FLAGS: [u8; 4] = [2, 5, 10, 13];
pub const TABLE_LEAF: u8 = 13;
const TABLE_INTERIOR: u8 = 5;
/// On page 1 the b-tree page of the schema comes after the database's header.
pub const SCHEMA_AT: usize = 100;
/// In the database's header.
const RESERVED_AT: usize = 20;
const LARGEST_ROOT_AT: usize = 52;
/// A schema of more pages than this is not looked through.
const SCHEMA_PAGES_MAX: usize = 10_000;

/// Pages of a database that say nothing of its lineage, whatever they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inconclusive {
    pages: u32,
    schema: HashSet<Pgno>,
    /// With `auto_vacuum`: page 2, and every so-many'th after it, is a map of pointers.
    map_every: Option<u32>,
}

impl Inconclusive {
    /// Of the database whose pages `read` gives. Nothing is believed that is outside of a page.
    pub fn find<E>(pages: u32, mut read: impl FnMut(Pgno) -> Result<Vec<u8>, E>) -> Result<Inconclusive, E> {
        let first = read(Pgno::FIRST)?;
        let usable = first.len().saturating_sub(usize::from(first[RESERVED_AT]));
        let is_mapped = first[LARGEST_ROOT_AT..LARGEST_ROOT_AT + 4] != [0; 4];
        let map_every = is_mapped.then(|| u32::try_from(usable / 5 + 1).unwrap_or(u32::MAX));
        let mut inconclusive = Inconclusive { pages, schema: HashSet::new(), map_every };
        let mut open = inconclusive.below(&first, SCHEMA_AT, usable);
        while let Some(pgno) = open.pop() {
            if inconclusive.schema.len() < SCHEMA_PAGES_MAX && inconclusive.schema.insert(pgno) {
                let page = read(pgno)?;
                open.extend(inconclusive.below(&page, 0, usable));
            }
        }
        Ok(inconclusive)
    }

    /// Pages that a page of the schema points to: its children, or where the overflow of its rows
    /// begins and goes on.
    fn below(&self, page: &[u8], node: usize, usable: usize) -> Vec<Pgno> {
        let number = |at: usize| page.get(at..at + 4).map(|raw| u32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]]));
        let mut found = Vec::new();
        match page[node] {
            TABLE_INTERIOR => {
                let count = usize::from(u16::from_be_bytes([page[node + 3], page[node + 4]]));
                let offsets = page[node + 12..].chunks_exact(2).take(count);
                found.extend(offsets.filter_map(|pair| number(usize::from(u16::from_be_bytes([pair[0], pair[1]])))));
                found.extend(number(node + 8));
            }
            TABLE_LEAF => found.extend(row_offsets(page, node).filter_map(|at| number(overflow_at(page, at, usable)?))),
            // A page of an overflow begins with the number of the next.
            _ => found.extend(number(0)),
        }
        found.into_iter().filter(|number| *number <= self.pages).filter_map(Pgno::new).collect()
    }

    /// Whether the page, in this place, says something of the database that it belongs to.
    pub fn is_evidence(&self, pgno: Pgno, page: &[u8]) -> bool {
        let is_map = self.map_every.is_some_and(|every| pgno.get() >= 2 && (pgno.get() - 2).is_multiple_of(every));
        if pgno == Pgno::FIRST || is_map || self.schema.contains(&pgno) {
            return false;
        }
        match page[0] {
            TABLE_INTERIOR => false,
            flags if BTREE_FLAGS.contains(&flags) => page[3..5] != [0, 0],
            _ => page.iter().any(|byte| *byte != 0) && !self.is_trunk(page),
        }
    }

    /// Whether it looks like a trunk page of the freelist: the next one, a number of pages, and
    /// these.
    fn is_trunk(&self, page: &[u8]) -> bool {
        let mut numbers = page.chunks_exact(4).map(|raw| u32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]]));
        let (Some(next), Some(count)) = (numbers.next(), numbers.next()) else { return false };
        let most = page.len() / 4 - 2;
        next <= self.pages.max(1)
            && usize::try_from(count).is_ok_and(|count| count <= most)
            && numbers.take(count as usize).all(|leaf| leaf >= 2 && leaf <= self.pages)
    }
}

/// Where in the page the number of the first overflow page of the row at `at` is, if the row has
/// one.
fn overflow_at(page: &[u8], at: usize, usable: usize) -> Option<usize> {
    let (payload, rest) = varint(&page[at..])?;
    let (_row_id, rest) = varint(rest)?;
    let (payload, whole_max) = (usize::try_from(payload).ok()?, usable.checked_sub(35)?);
    if payload <= whole_max {
        return None;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let local = least + (payload - least) % (usable - 4);
    let local = if local > whole_max { least } else { local };
    (page.len() - rest.len()).checked_add(local)
}

/// Whether page 1 says that there is no table.
pub fn is_blank(page: &[u8]) -> bool {
    page[SCHEMA_AT] == TABLE_LEAF && page[SCHEMA_AT + 3..SCHEMA_AT + 5] == [0, 0]
}

/// Whether both schemas are on page 1, and have no name in common.
pub fn has_foreign_schema(live: &[u8], other: &[u8]) -> bool {
    if live[SCHEMA_AT] != TABLE_LEAF || other[SCHEMA_AT] != TABLE_LEAF {
        return false;
    }
    let [live, other]: [Vec<&[u8]>; 2] =
        [live, other].map(|page| row_offsets(page, SCHEMA_AT).filter_map(|at| schema_name(&page[at..])).collect());
    !live.is_empty() && !other.is_empty() && !live.iter().any(|name| other.contains(name))
}

/// The second column of a row of `sqlite_schema`: the name.
fn schema_name(row: &[u8]) -> Option<&[u8]> {
    let text_len = |serial: u64| serial.checked_sub(13).map(|odd| usize::try_from(odd / 2).unwrap_or(usize::MAX));
    let (_payload, row) = varint(row)?;
    let (_row_id, record) = varint(row)?;
    let (header_len, rest) = varint(record)?;
    let (kind, rest) = varint(rest)?;
    let (name, _) = varint(rest)?;
    let start = usize::try_from(header_len).ok()?.checked_add(text_len(kind)?)?;
    record.get(start..start.checked_add(text_len(name)?)?)
}

/// Whether at least half of the rows of the other table leaf stand unchanged in the same place of
/// the live one.
pub fn keeps_rows(live: &[u8], other: &[u8]) -> bool {
    if live[0] != TABLE_LEAF || other[0] != TABLE_LEAF {
        return false;
    }
    let standing: Vec<usize> = row_offsets(live, 0).collect();
    let (mut rows, mut kept) = (0, 0);
    for at in row_offsets(other, 0) {
        rows += 1;
        let row = row_at(other, at);
        let is_kept = !row.is_empty() && standing.contains(&at) && live.get(at..at + row.len()) == Some(row);
        kept += u32::from(is_kept);
    }
    rows > 0 && kept * 2 >= rows
}

/// Where the rows of the table leaf are that begins at `node` of this page; nothing is believed
/// that is outside of the page.
pub fn row_offsets(page: &[u8], node: usize) -> impl Iterator<Item = usize> {
    let count = usize::from(u16::from_be_bytes([page[node + 3], page[node + 4]]));
    let offsets = page[node + 8..].chunks_exact(2).take(count);
    offsets.map(|pair| usize::from(u16::from_be_bytes([pair[0], pair[1]]))).filter(|at| *at < page.len())
}

/// The row at that offset: length and row id, each a varint, and the payload as far as it is in
/// the page.
fn row_at(page: &[u8], at: usize) -> &[u8] {
    let Some((payload, rest)) = varint(&page[at..]) else { return &[] };
    let Some((_row_id, rest)) = varint(rest) else { return &[] };
    let payload = usize::try_from(payload).unwrap_or(usize::MAX);
    &page[at..(page.len() - rest.len()).saturating_add(payload).min(page.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every page of a database after these statements.
    fn pages(sql: &str) -> Vec<Vec<u8>> {
        let db = rusqlite::Connection::open_in_memory().expect("open");
        db.execute_batch(&format!("PRAGMA page_size=1024; {sql}")).expect("write");
        let mut statement = db.prepare("SELECT data FROM sqlite_dbpage ORDER BY pgno").expect("prepare");
        statement.query_map([], |row| row.get(0)).expect("query").map(|page| page.expect("a page")).collect()
    }

    /// The pages that say something.
    fn evidence(sql: &str) -> Vec<u32> {
        let pages = pages(sql);
        let read = |pgno: Pgno| Ok::<_, ()>(pages[pgno.index()].clone());
        let inconclusive = Inconclusive::find(pages.len() as u32, read).expect("found");
        let numbered = (1..).zip(&pages);
        numbered.filter(|(n, page)| inconclusive.is_evidence(Pgno::new(*n).expect("n"), page)).map(|(n, _)| n).collect()
    }

    #[test]
    fn what_every_database_may_have_says_nothing() {
        let rows = "INSERT INTO t VALUES ('alpha'), ('beta')";
        assert_eq!(evidence("CREATE TABLE t(x)"), [0; 0]);
        assert_eq!(evidence(&format!("CREATE TABLE t(x); {rows}")), [2]);
        assert_eq!(evidence("PRAGMA auto_vacuum=FULL; CREATE TABLE t(x)"), [0; 0], "page 2 is a map of pointers");
        assert_eq!(evidence(&format!("PRAGMA auto_vacuum=FULL; CREATE TABLE t(x); {rows}")), [3]);
        let freed = "CREATE TABLE t(x); CREATE TABLE u(y); INSERT INTO u VALUES (zeroblob(9000)); DROP TABLE u";
        assert_eq!(evidence(freed), [0; 0], "the freelist");
        let columns = (0..60).map(|n| format!("column_of_a_table_{n} TEXT NOT NULL DEFAULT 'x'")).collect::<Vec<_>>();
        let wide = (0..30).map(|n| format!("CREATE TABLE t{n}({});", columns.join(","))).collect::<String>();
        assert!(pages(&wide).len() > 90, "the schema is a tree, and each row of it overflows");
        assert_eq!(evidence(&wide), [0; 0], "a schema");
        assert_eq!(evidence(&format!("{wide} INSERT INTO t3(column_of_a_table_1) VALUES ('own')")).len(), 1);
    }

    #[test]
    fn no_damage_leads_out_of_a_page() {
        let whole =
            pages("CREATE TABLE t(x); CREATE TABLE u(y); INSERT INTO t VALUES (randomblob(3000)); DROP TABLE u");
        for at in 0..1024 {
            for byte in [0, 0xff] {
                let mut pages = whole.clone();
                pages.iter_mut().for_each(|page| page[at] = byte);
                let read = |pgno: Pgno| Ok::<_, ()>(pages[pgno.index()].clone());
                let inconclusive = Inconclusive::find(pages.len() as u32, read).expect("found");
                for (number, page) in (1..).zip(&pages) {
                    inconclusive.is_evidence(Pgno::new(number).expect("not zero"), page);
                }
            }
        }
    }

    #[test]
    fn a_table_that_was_written_to_is_kin_and_another_one_is_not() {
        let dir = tempfile::tempdir().expect("tempdir");
        let leaf = |name: &str, sql: &str| {
            let app = rusqlite::Connection::open(dir.path().join(name)).expect("open");
            app.execute_batch("PRAGMA page_size=1024; CREATE TABLE t(id INTEGER PRIMARY KEY, x)").expect("create");
            app.execute_batch(sql).expect("write");
            app.query_row("SELECT data FROM sqlite_dbpage WHERE pgno = 2", [], |row| row.get::<_, Vec<u8>>(0))
                .expect("page 2")
        };
        let other = leaf("a", "INSERT INTO t(x) VALUES ('alpha'), ('beta'), ('gamma')");
        let grown = leaf("b", "INSERT INTO t(x) VALUES ('alpha'), ('beta'), ('gamma'), ('delta')");
        let stranger = leaf("c", "INSERT INTO t(x) VALUES ('alphA'), ('betA'), ('gammA'), ('delta')");
        assert!(keeps_rows(&grown, &other) && !keeps_rows(&stranger, &other));
        for at in 0..other.len() {
            let mut damaged = other.clone();
            damaged[at] = 0xff;
            let _ = keeps_rows(&grown, &damaged) && keeps_rows(&damaged, &grown);
        }
    }

    #[test]
    fn a_schema_is_strange_without_a_name_in_common() {
        let dir = tempfile::tempdir().expect("tempdir");
        let first = |name: &str, sql: &str| {
            let app = rusqlite::Connection::open(dir.path().join(name)).expect("open");
            app.execute_batch(sql).expect("write");
            app.query_row("SELECT data FROM sqlite_dbpage WHERE pgno = 1", [], |row| row.get::<_, Vec<u8>>(0))
                .expect("page 1")
        };
        let ours = first("a", "CREATE TABLE users(id INTEGER PRIMARY KEY, name); CREATE INDEX by_name ON users(name)");
        let later = first("b", "CREATE TABLE tags(x); CREATE TABLE users(id INTEGER PRIMARY KEY, name, mail)");
        let strange = first("c", "CREATE TABLE accounts(users); CREATE TABLE user(id)");
        let blank = first("d", "CREATE TABLE x(y); DROP TABLE x");
        let verdicts = [(&later, &ours), (&strange, &ours), (&blank, &ours), (&ours, &blank)]
            .map(|(live, other)| has_foreign_schema(live, other));
        assert_eq!(verdicts, [false, true, false, false]);
        for at in SCHEMA_AT..ours.len() {
            let mut damaged = ours.clone();
            damaged[at] = 0xff;
            let _ = has_foreign_schema(&damaged, &ours) || has_foreign_schema(&ours, &damaged);
        }
    }
}
