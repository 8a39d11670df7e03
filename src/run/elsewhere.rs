//! Whether the application uses another database than those that are replicated: a wrong `path` is
//! otherwise not seen where a file lies at it, such as one that was restored.
//!
//! It is looked for a few times only, because an application that is idle must cost nothing; and it
//! is said only if none of ours is open, because some databases are left out on purpose.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinSet;

use super::Job;
use crate::fsx::without_suffix;
use crate::replicate::blocking;
use crate::supervise::files_of_descendants;

/// Since the start of the application, and between two looks after that.
const LOOKS: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(120), Duration::from_secs(900)];

/// Looks until this is dropped.
pub(super) struct Elsewhere {
    _looking: JoinSet<()>,
}

impl Elsewhere {
    pub fn watch(job: &Job) -> Elsewhere {
        let databases: Vec<PathBuf> = job.options.databases.iter().map(|database| database.path.clone()).collect();
        let directories = job.options.directories.iter().map(|directory| directory.model.path.clone()).collect();
        let mut looking = JoinSet::new();
        looking.spawn(look(databases, directories));
        Elsewhere { _looking: looking }
    }
}

async fn look(databases: Vec<PathBuf>, directories: Vec<PathBuf>) {
    for pause in LOOKS {
        tokio::time::sleep(pause).await;
        let (databases, directories) = (databases.clone(), directories.clone());
        let other = blocking(move || {
            // What a process has open is told with its real path.
            let real =
                |paths: Vec<PathBuf>| paths.iter().filter_map(|path| path.canonicalize().ok()).collect::<Vec<_>>();
            let databases = real(databases).into_iter().collect();
            other_database(&files_of_descendants(), &databases, &real(directories))
        });
        if let Some(other) = other.await {
            tracing::warn!(
                "the application has {} open, which is not replicated, and none of the databases that are: if that is its \
                 database, correct `path`",
                other.display()
            );
            return;
        }
    }
}

/// A database in WAL mode that is open and not ours, while none of ours is.
fn other_database(open: &HashSet<PathBuf>, databases: &HashSet<PathBuf>, directories: &[PathBuf]) -> Option<PathBuf> {
    let is_ours =
        |path: &Path| databases.contains(path) || directories.iter().any(|directory| path.starts_with(directory));
    if open.iter().any(|path| is_ours(path)) {
        return None;
    }
    // The same one each time.
    open.iter().filter_map(|path| without_suffix(path, "-wal")).filter(|path| open.contains(path)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> HashSet<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn another_database_is_seen_only_while_none_of_ours_is_open() {
        let ours = paths(&["/data/app.db"]);
        let told = |open: &[&str]| other_database(&paths(open), &ours, &["/tenants".into()]);
        let other = ["/app/other.db", "/app/other.db-wal", "/app/log"];
        assert_eq!(told(&other), Some("/app/other.db".into()));
        assert_eq!(told(&[&other[..], &["/data/app.db"]].concat()), None);
        assert_eq!(told(&[&other[..], &["/tenants/1.db"]].concat()), None);
        assert_eq!(told(&["/app/other.db", "/app/write-ahead-wal"]), None, "not in WAL mode, or no database");
        assert_eq!(told(&[]), None);
    }
}
