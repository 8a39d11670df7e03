//! Databases of the directories in the configuration, at the start: what lies there, and what
//! should lie there because there is a backup of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;

use super::connect::{open, store_failure};
use super::exit::{CANNOT_WRITE, CONFIG, Failure};
use super::{Job, Restoring};
use crate::config::{Directory, Places, Replica};
use crate::figures;
use crate::replicate::blocking;
use crate::store::StoreError;
use crate::store::s3::Clients;

/// Takes the databases that lie in the directories into the job's list. What cannot be replicated
/// is told.
pub async fn take_in(job: &mut Job) -> Vec<(PathBuf, Failure)> {
    if job.options.directories.is_empty() {
        return Vec::new();
    }
    let options = job.options.clone();
    let found = blocking(move || options.in_directories(&mut Places::of(&options.databases))).await;
    let mut failed = Vec::new();
    for found in found {
        match found.database {
            Ok(database) => Arc::make_mut(&mut job.options).databases.push(database),
            Err(why) => failed.push((found.path.clone(), at(&found.path, &why))),
        }
    }
    failed
}

fn at(path: &Path, why: &str) -> Failure {
    Failure::told(CANNOT_WRITE, format!("{}: {why}", path.display()))
}

/// Takes the databases into the list of which there is a backup below a replica of their directory,
/// and that are missing on the disk. Where it cannot be found out which there are, the directory is
/// told.
pub async fn take_in_missing(job: &mut Job, failed_before: &[(PathBuf, Failure)]) -> Vec<(PathBuf, Failure)> {
    let (mut places, mut failed, mut missing) = (Places::of(&job.options.databases), Vec::new(), Vec::new());
    let is_restored =
        |directory: &&Directory| job.restoring == Restoring::All || directory.model.restore_if_db_not_exists;
    for directory in job.options.directories.iter().filter(is_restored) {
        let backups = match backups_of(directory).await {
            Ok(backups) => backups,
            Err(failure) => {
                failed.push((directory.root().to_owned(), failure));
                continue;
            }
        };
        let mut count = 0;
        for relative in backups {
            let path = directory.root().join(&relative);
            if places.knows(&path) || failed_before.iter().any(|(failed, _)| *failed == path) {
                continue;
            }
            let claimed = directory.database(&relative).and_then(|database| {
                places.claim(&database)?;
                Ok(database)
            });
            match claimed {
                Ok(database) => missing.push(database),
                Err(why) => failed.push((path.clone(), at(&path, &why))),
            }
            count += 1;
        }
        if count > 0 {
            tracing::info!(
                "{}: restoring {}, because a backup is there and the file is not",
                directory.root().display(),
                figures::count(count, "database")
            );
        }
    }
    Arc::make_mut(&mut job.options).databases.extend(missing);
    failed
}

/// The databases of a directory that have a backup in one of its replicas, relative to it. All of
/// the replicas are asked. The first one has to answer; of the others it is said when one does not.
pub async fn backups_of(directory: &Directory) -> Result<BTreeSet<PathBuf>, Failure> {
    let (mut found, mut clients) = (BTreeSet::new(), Clients::default());
    for (at, replica) in directory.replicas().iter().enumerate() {
        match replicas_below(replica, &mut clients).await {
            Ok(below) => found.extend(below.into_iter().filter(|path| directory.selection.covers(path))),
            Err(error) if at > 0 && error.is_transient() => tracing::warn!(
                "{}: the replica {} does not answer, and may hold databases that no other has: {error}",
                directory.root().display(),
                replica.name
            ),
            Err(error) => {
                let Failure { code, error } = store_failure(&error);
                let shown = directory.root().display();
                return Err(Failure {
                    code,
                    error: anyhow!("{shown}: cannot tell which databases have a backup: {error}"),
                });
            }
        }
    }
    Ok(found)
}

/// The paths below a replica at which replicas lie, and never the place itself.
pub async fn replicas_below(replica: &Replica, clients: &mut Clients) -> Result<BTreeSet<PathBuf>, StoreError> {
    let remote = open(replica, clients).await?;
    let mut found = remote.replicas_below().await?;
    if found.remove("") {
        tracing::warn!(
            "{} is itself the replica of a database: it belongs to none in the directory; `millstream restore -o PATH {}` \
             restores it",
            remote.address(),
            replica.url
        );
    }
    Ok(found.into_iter().map(PathBuf::from).collect())
}

/// As Litestream: a directory without databases is a mistake, unless some may come.
pub fn refuse_empty(job: &Job) -> Result<(), Failure> {
    for directory in &job.options.directories {
        let (root, pattern) = (directory.root(), directory.selection.pattern.as_str());
        if directory.watch || job.options.databases.iter().any(|database| directory.at(&database.path).is_some()) {
            continue;
        }
        let error = anyhow!(
            "no SQLite database is in {} with a name like {pattern:?}, and nothing would notice one that comes: write \
             `watch: true` below this entry, or correct `dir` and `pattern`",
            root.display()
        );
        return Err(Failure::new(CONFIG, error));
    }
    Ok(())
}

/// Whether databases may come later.
pub fn may_come(job: &Job) -> bool {
    job.options.directories.iter().any(|directory| directory.watch)
}
