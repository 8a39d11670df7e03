//! Refuses a directory as replica that would be lost together with its database.
//!
//! A variable without a value, or a path one level too short, makes such a replica of what was
//! meant to be a bucket or another disk. The paths are compared as they are on the disk, with
//! symbolic links followed as far as they exist.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::options::Database;
use super::target::Target;

/// Returns warnings about replicas that can be used; the error is a sentence about one that cannot.
pub fn check(databases: &[Database]) -> Result<Vec<String>, String> {
    let files: Vec<Real> = databases.iter().map(|database| Real::of(&database.path)).collect();
    // There may be ten thousand: in this order, what is below a directory follows it.
    let ordered: BTreeMap<&Path, &Database> = files.iter().map(|file| file.path.as_path()).zip(databases).collect();
    let mut warnings = Vec::new();
    let mut directories: HashMap<PathBuf, &Path> = HashMap::new();
    for (database, file) in databases.iter().zip(&files) {
        for replica in database.replicas.iter() {
            let Target::File { path: dir } = &replica.target else { continue };
            let real = Real::of(dir);
            if let Some(other) = directories.get(&real.path) {
                let (dir, other) = (dir.display(), other.display());
                return Err(format!("the replicas {other} and {dir} are the same directory; give each one of its own"));
            }
            let below = ordered.range(real.path.as_path()..).next();
            if let Some((_, inside)) = below.filter(|(file, _)| file.starts_with(&real.path)) {
                let (dir, inside) = (dir.display(), inside.path.display());
                return Err(format!("the replica {dir} contains the database {inside}; {ELSEWHERE}"));
            }
            warnings.extend(check_one(database, file, dir, &real)?);
            directories.insert(real.path, dir);
        }
    }
    Ok(warnings)
}

/// A directory beside its own database.
fn check_one(database: &Database, file: &Real, dir: &Path, replica: &Real) -> Result<Option<String>, String> {
    let (shown, of) = (dir.display(), database.path.display());
    let notes = Real::of(&database.meta_path);
    if notes.path.starts_with(&replica.path) || replica.path.starts_with(&notes.path) {
        let notes = database.meta_path.display();
        return Err(format!("the replica {shown} of {of} shares a directory with `meta-path` ({notes}); {ELSEWHERE}"));
    }
    let shares_disk = replica.device.is_some() && replica.device == file.device;
    // Everything is below the root, and what is mounted below the directory of a database is
    // another disk.
    let own_dir = file.path.parent().filter(|dir| dir.parent().is_some());
    if let Some(own_dir) = own_dir.filter(|own_dir| shares_disk && replica.path.starts_with(own_dir)) {
        let own_dir = own_dir.display();
        return Err(format!("the replica {shown} is in the database's own directory {own_dir}; {ELSEWHERE}"));
    }
    Ok(shares_disk.then(|| {
        format!(
            "the replica {shown} is on the same file system as the database {of}: if that is lost, both are; \
             use S3, or a directory on another disk"
        )
    }))
}

const ELSEWHERE: &str = "what destroys the one would destroy the other: replicate to S3, or to a directory elsewhere, better on \
                         another disk";

/// A path as it is on the disk.
struct Real {
    path: PathBuf,
    /// The file system that it is on, or would be created on.
    device: Option<u64>,
}

impl Real {
    /// Of an absolute path, of which the last components need not exist.
    fn of(path: &Path) -> Real {
        for ancestor in path.ancestors() {
            let (Ok(real), Ok(missing)) = (fs::canonicalize(ancestor), path.strip_prefix(ancestor)) else { continue };
            let device = fs::metadata(&real).ok().map(|metadata| metadata.dev());
            let path = if missing.as_os_str().is_empty() { real } else { real.join(missing) };
            return Real { path, device };
        }
        Real { path: path.to_owned(), device: None }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::options::Options;
    use super::super::places::testing::{database, file};
    use super::super::sources::Sources;
    use super::*;

    /// What is said about `DATABASE REPLICA`, both below a directory in which `data/` and `backup/`
    /// exist.
    fn verdict(dir: &Path, db: &str, replica: &str) -> Result<Vec<String>, String> {
        let env = |_: &str| None;
        let mut sources = Sources::new(&env, dir.to_owned());
        sources.database = Some((db.into(), vec![format!("file://{}/{replica}", dir.display())]));
        check(&Options::load(&sources).expect("valid").options.databases)
    }

    /// Comparing each with each would take a minute.
    #[test]
    fn ten_thousand_are_looked_at_in_a_moment() {
        let dir = tempfile::tempdir().expect("tempdir");
        let at = |name: &str, number: usize| dir.path().join(format!("{name}/{number}")).display().to_string();
        let mut databases: Vec<Database> =
            (0..10_000).map(|number| database(&at("data", number), file(&at("backup", number)))).collect();
        check(&databases).expect("valid");
        databases.push(database(&at("backup/77/deep", 1), file(&at("backup", 10_000))));
        assert!(check(&databases).expect_err("inside").contains("/backup/77 contains the database"));
    }

    fn context() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("tempdir");
        for name in ["data/deep", "backup"] {
            fs::create_dir_all(dir.path().join(name)).expect("create");
        }
        symlink("data", dir.path().join("to-data")).expect("link");
        symlink("data/deep", dir.path().join("to-deep")).expect("link");
        fs::write(dir.path().join("data/app.db"), "").expect("write");
        symlink("data/app.db", dir.path().join("linked.db")).expect("link");
        dir
    }

    #[test]
    fn a_replica_that_shares_the_databases_fate_is_refused() {
        let context = context();
        for (db, replica, part) in [
            ("data/app.db", "data", "contains the database"),
            ("data/app.db", "", "contains the database"),
            ("data/app.db", "to-data", "contains the database"),
            ("data/app.db", "data/app.db", "contains the database"),
            ("data/new.db", "data/backup", "is in the database's own directory"),
            ("data/app.db", "data/deep/er/still", "is in the database's own directory"),
            ("data/app.db", "to-deep/x", "is in the database's own directory"),
            ("to-data/app.db", "data/x", "is in the database's own directory"),
            ("linked.db", "data/x", "is in the database's own directory"),
            ("app.db", "backup", "is in the database's own directory"),
            ("data/app.db", "data/.app.db-millstream/x", "`meta-path`"),
        ] {
            let problem = verdict(context.path(), db, replica).expect_err(replica);
            assert!(problem.contains(part), "{db} {replica}: {problem}");
        }
    }

    #[test]
    fn every_replica_is_looked_at() {
        let context = context();
        let dir = context.path().display();
        let verdict = |second: &str| {
            let env = |_: &str| None;
            let mut sources = Sources::new(&env, context.path().to_owned());
            let urls = vec![format!("file://{dir}/backup"), format!("file://{dir}/{second}")];
            sources.database = Some(("data/app.db".into(), urls));
            check(&Options::load(&sources).expect("valid").options.databases)
        };
        symlink("backup", context.path().join("to-backup")).expect("link");
        assert!(verdict("data").expect_err("the mirror").contains("contains the database"));
        assert!(verdict("data/deep/x").expect_err("the mirror").contains("own directory"));
        assert!(verdict("to-backup").expect_err("one directory").contains("are the same directory"));
        assert_eq!(verdict("elsewhere").expect("usable").len(), 2, "one warning for each");
    }

    #[test]
    fn a_replica_on_the_same_disk_is_said() {
        let context = context();
        for (db, replica) in [("data/app.db", "backup"), ("data/app.db", "data-backup/x"), ("data/deep/a.db", "backup")]
        {
            let warnings = verdict(context.path(), db, replica).expect("usable");
            assert!(warnings.len() == 1 && warnings[0].contains("same file system"), "{db} {replica}: {warnings:?}");
        }
        // Another file system, on every Linux.
        let warnings =
            verdict(Path::new("/"), &context.path().join("data/app.db").display().to_string(), "proc/backup");
        assert_eq!(warnings, Ok(Vec::new()));
    }

    #[test]
    fn a_database_in_the_root_does_not_own_the_whole_disk() {
        assert!(verdict(Path::new("/"), "/no-such.db", "no-such-backup").is_ok());
    }
}
