//! Whether what lies in a database is one at all, after a program wrote to its file past SQLite.

use super::connection::Connection;
use super::error::SqliteError;

/// Findings to look through: some may be of a constraint, which is the application's affair.
const FINDINGS_MAX: usize = 100;
/// How SQLite begins what it has found wrong in the b-trees.
const IN_THE_TREES: &str = "*** in database";

impl Connection {
    /// What is wrong in the b-trees, as the open transaction sees them; `None` where nothing is.
    /// Reads all of the database.
    pub fn damage(&self) -> Result<Option<String>, SqliteError> {
        let look = || -> rusqlite::Result<Option<String>> {
            let mut statement = self.conn()?.prepare(&format!("PRAGMA quick_check({FINDINGS_MAX})"))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let finding: String = row.get(0)?;
                if finding.starts_with(IN_THE_TREES) {
                    return Ok(finding.lines().nth(1).map(str::to_owned).or(Some(finding)));
                }
            }
            Ok(None)
        };
        look().map_err(|error| self.error("check", &error))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_damaged_tree_is_told_and_a_broken_constraint_is_not() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let app = rusqlite::Connection::open(&path).expect("open");
        app.execute_batch(
            "CREATE TABLE t(x CHECK (x > 0)); PRAGMA ignore_check_constraints=1; INSERT INTO t VALUES (-1);
             CREATE TABLE big(x); INSERT INTO big VALUES (zeroblob(900000))",
        )
        .expect("create");
        drop(app);
        let damage = || {
            let ours = Connection::open(&path, Duration::ZERO).expect("open");
            ours.rest().expect("begin");
            ours.damage().expect("look")
        };
        assert_eq!(damage(), None);
        // The first overflow page points to nowhere.
        let file = std::fs::File::options().write(true).open(&path).expect("open");
        file.write_all_at(&[0xff; 4], 4 * 4096).expect("damage");
        let told = damage().expect("damage");
        assert!(told.contains("page"), "{told}");
    }
}
