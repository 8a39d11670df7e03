//! The oracle: what a restored database must hold, from the list of commits the application was told are done.
//!
//! The rule (I1, I2): a restored database is whole, and its rows are the first rows of the acknowledged history, in order and
//! of the right life. One row more than acknowledged is allowed: a commit whose acknowledgement nobody got to write down.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

/// The commits that the current history is made of. `lives[seq - 1]` is the life of row `seq`.
pub struct Oracle {
    acks: PathBuf,
    lives: Vec<String>,
    read: usize,
}

impl Oracle {
    pub fn new(acks: impl Into<PathBuf>) -> Oracle {
        Oracle { acks: acks.into(), lives: Vec::new(), read: 0 }
    }

    /// Takes in the acknowledgements written since the last time; returns how many rows are acknowledged.
    pub fn acknowledged(&mut self) -> usize {
        let text = fs::read_to_string(&self.acks).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text[self.read..whole].lines() {
            let (life, seq) = line.split_once(' ').expect("life and seq");
            let seq: usize = seq.parse().expect("a number");
            assert!(seq <= self.lives.len() + 2, "row {seq} acknowledged after row {}", self.lives.len());
            // A commit whose acknowledgement was lost to a kill lies between; it was of the same life or the one before.
            while self.lives.len() + 1 < seq {
                self.lives.push(String::new());
            }
            self.lives.truncate(seq - 1);
            self.lives.push(life.to_owned());
        }
        self.read = whole;
        self.lives.len()
    }

    /// The application goes on from a restored database with this many rows: what came after is a dead branch.
    pub fn continue_from(&mut self, rows: usize) {
        self.acknowledged();
        self.lives.resize(rows, String::new());
    }

    /// Checks a database that nobody has open and returns how many rows it holds.
    #[track_caller]
    pub fn check(&mut self, database: &Path) -> usize {
        let acknowledged = self.acknowledged();
        let rows = rows(database);
        assert!(rows.len() <= acknowledged + 1, "{} rows, only {acknowledged} were committed", rows.len());
        for (index, (seq, life, body)) in rows.iter().enumerate() {
            assert_eq!(*seq, index as i64 + 1, "a row is missing in {}", database.display());
            let expected = self.lives.get(index).filter(|life| !life.is_empty());
            assert!(expected.is_none_or(|known| known == life), "row {seq} is of life {life}, not {expected:?}");
            assert_eq!(*body, self::body(life, *seq), "row {seq}");
        }
        rows.len()
    }

    /// As [`Oracle::check`], and nothing that was acknowledged is missing.
    #[track_caller]
    pub fn check_complete(&mut self, database: &Path) -> usize {
        let rows = self.check(database);
        assert!(rows >= self.lives.len(), "{rows} of {} acknowledged rows in {}", self.lives.len(), database.display());
        rows
    }
}

/// The body that `app.py` writes.
fn body(life: &str, seq: i64) -> String {
    format!("{life}:{seq}:{}", "x".repeat((seq * 37 % 400) as usize))
}

/// The rows of the application's table, after an integrity check. A database without the table has none.
#[track_caller]
fn rows(database: &Path) -> Vec<(i64, String, String)> {
    let db = open(database);
    assert_intact(&db, database);
    let query = "SELECT count(*) FROM sqlite_schema WHERE name = 't'";
    if db.query_row(query, [], |row| row.get::<_, i64>(0)).expect("read the schema") == 0 {
        return Vec::new();
    }
    let mut statement = db.prepare("SELECT seq, life, body FROM t ORDER BY seq").expect("prepare");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("query");
    rows.collect::<Result<_, _>>().expect("read the rows")
}

/// Opens what must be there.
#[track_caller]
pub fn open(database: &Path) -> Connection {
    assert!(database.exists(), "{} is not there", database.display());
    Connection::open(database).expect("open the database")
}

#[track_caller]
pub fn assert_intact(db: &Connection, database: &Path) {
    let report: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("integrity_check");
    assert_eq!(report, "ok", "integrity of {}", database.display());
}

/// What `sqlite_schema` says, row for row.
pub fn schema(database: &Path) -> Vec<String> {
    let db = open(database);
    let mut statement =
        db.prepare("SELECT type || ' ' || name || ' ' || ifnull(sql, '') FROM sqlite_schema").expect("prepare");
    let rows = statement.query_map([], |row| row.get(0)).expect("query");
    rows.collect::<Result<_, _>>().expect("read the schema")
}

/// Page for page the same, once the source's WAL is in its file. The lock page is compared too: it is zeros in both.
#[track_caller]
pub fn assert_same_pages(source: &Path, restored: &Path) {
    let db = open(source);
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("checkpoint");
    drop(db);
    let [mut a, mut b] = [source, restored].map(|path| fs::File::open(path).expect("open"));
    let [a_len, b_len] = [&a, &b].map(|file| file.metadata().expect("stat").len());
    assert_eq!(a_len, b_len, "length of {} and {}", source.display(), restored.display());
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut offset = 0;
    while offset < a_len {
        let count = (a_len - offset).min(1 << 20) as usize;
        std::io::Read::read_exact(&mut a, &mut left[..count]).expect("read");
        std::io::Read::read_exact(&mut b, &mut right[..count]).expect("read");
        if let Some(at) = (0..count).find(|i| left[*i] != right[*i]) {
            panic!("{} and {} differ at byte {}", source.display(), restored.display(), offset + at as u64);
        }
        offset += count as u64;
    }
}
