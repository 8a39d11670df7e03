//! The work before the replication begins: every database is connected to its store, restored if it
//! is missing, and brought forward if it is behind. Several databases are prepared at a time.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::apart::set_apart;
use super::connect::{backups_beside, mirror_settings, settings, store_failure, store_key};
use super::exit::{Failure, INTERNAL};
use super::forward::forward_one;
use super::restore_missing::{Recovery, restore_missing};
use super::turn::{Assignment, Turn};
use super::{Job, Restoring};
use crate::config::{Database, Options, Places, Replica};
use crate::fleet::{FleetHandle, MirrorRegistration, Registration};
use crate::remote::Remote;
use crate::replicate::{Governor, OnceWork, SealPermit, Settings};
use crate::restore::Backup;
use crate::store::StoreError;
use crate::store::s3::Clients;

/// A database of the configuration and its replicas.
pub struct Line<'a> {
    pub database: &'a Database,
    /// The first replica.
    pub remote: Remote,
    /// All of them, in the order of the configuration.
    backups: Vec<Backup>,
}

impl<'a> Line<'a> {
    /// A mirror that cannot be opened now is said, and left out.
    pub fn of(database: &'a Database, backups: Vec<Backup>) -> Result<Line<'a>, Failure> {
        let mut first = None;
        for (at, Backup { name, remote }) in backups.iter().enumerate() {
            match remote {
                Ok(remote) => first = first.or_else(|| Some(remote.clone())),
                Err(error) if at > 0 && error.is_transient() => tracing::warn!(
                    db = %database.path.display(),
                    "could not open the replica {name}: {error}; nothing is replicated to it until the next start"
                ),
                Err(error) => return Err(Line::cannot_open(database, name, error)),
            }
        }
        let missing = || Failure::told(INTERNAL, format!("{} has no replica", database.path.display()));
        Ok(Line { database, remote: first.ok_or_else(missing)?, backups })
    }

    fn cannot_open(database: &Database, name: &str, error: &StoreError) -> Failure {
        let Failure { code, error } = store_failure(error);
        match database.replicas.are_several() {
            true => {
                Failure { code, error: error.context(format!("the replica {name} of {}", database.path.display())) }
            }
            false => Failure { code, error },
        }
    }

    /// As the fleet takes it.
    pub fn registration(
        &self,
        options: &Options,
        once: Option<OnceWork>,
        seal: Option<watch::Receiver<SealPermit>>,
        fleet: &FleetHandle,
    ) -> Registration {
        let database = self.database;
        let mirror = |(replica, remote): (&Replica, &Remote)| MirrorRegistration {
            settings: mirror_settings(database, replica, options),
            remote: remote.clone(),
            store: store_key(&replica.target),
        };
        Registration {
            settings: Arc::new(Settings { once, seal, is_held: None, ..settings(database, options, fleet.paths()) }),
            name: database.replicas.first.name.clone(),
            remote: self.remote.clone(),
            store: store_key(&database.replicas.first.target),
            mirrors: self.mirrors().map(mirror).collect(),
        }
    }

    /// The mirrors that could be opened.
    pub fn mirrors(&self) -> impl Iterator<Item = (&'a Replica, &Remote)> {
        let mirrors = self.database.replicas.mirrors.iter().zip(self.backups.iter().skip(1));
        mirrors.filter_map(|(replica, backup)| Some((replica, backup.remote.as_ref().ok()?)))
    }
}

/// Connects all databases and makes them ready to be replicated, as far as the turn needs it. What
/// failed, and why, is told beside them: after the first failure the others are given up, unless
/// `goes_on`.
pub async fn prepare<'a>(
    job: &'a Job,
    governor: &Governor,
    goes_on: bool,
    (turn, assignment): (&mut Turn, Assignment),
    cancel: CancellationToken,
) -> (Vec<Line<'a>>, Vec<(PathBuf, Failure)>) {
    let connected = cancel.run_until_cancelled(connect_all(job, goes_on)).await;
    let Some((mut lines, mut failed)) = connected else { return Default::default() };
    if !failed.is_empty() && !goes_on || assignment == Assignment::FinishUp {
        return (lines, failed);
    }
    let (cancel, none) = (cancel.child_token(), BTreeSet::new());
    let work = make_ready(job, &lines, governor, goes_on, &none, cancel.clone());
    failed.extend(turn.unless_called_off(work, &cancel).await);
    if !goes_on {
        // What was given up because of the first is no reason.
        failed.truncate(1);
    }
    let paths: HashSet<&Path> = failed.iter().map(|(path, _)| path.as_path()).collect();
    lines.retain(|line| !paths.contains(line.database.path.as_path()));
    drop(paths);
    (lines, failed)
}

/// Restores what is missing, and brings forward what is behind. The databases that are `apart` go
/// out of the way first.
pub async fn make_ready(
    job: &Job,
    lines: &[Line<'_>],
    governor: &Governor,
    goes_on: bool,
    apart: &BTreeSet<PathBuf>,
    cancel: CancellationToken,
) -> Vec<(PathBuf, Failure)> {
    let noted = RefCell::new(Vec::new());
    {
        let noted = &noted;
        let work = |line| {
            move |cancel| async move {
                let Err(failure) = prepare_one(job, line, apart, cancel).await else { return Ok(()) };
                noted.borrow_mut().push((line.database.path.clone(), failure));
                if goes_on { Ok(()) } else { Err(()) }
            }
        };
        // Every failure was noted.
        let _ = side_by_side(governor, &cancel, lines.iter().map(work)).await;
    }
    noted.into_inner()
}

pub async fn connect_all(job: &Job, goes_on: bool) -> (Vec<Line<'_>>, Vec<(PathBuf, Failure)>) {
    let databases = &job.options.databases;
    let (mut lines, mut failed) = (Vec::with_capacity(databases.len()), Vec::new());
    let (places, mut clients) = (Places::of(databases), Clients::default());
    for database in databases {
        let backups = backups_beside(database.replicas.iter(), &places, &mut clients).await;
        match Line::of(database, backups) {
            Ok(line) => lines.push(line),
            Err(failure) => {
                failed.push((database.path.clone(), failure));
                if !goes_on {
                    break;
                }
            }
        }
    }
    (lines, failed)
}

pub async fn prepare_one(
    job: &Job,
    line: &Line<'_>,
    apart: &BTreeSet<PathBuf>,
    cancel: CancellationToken,
) -> Result<(), Failure> {
    let Line { database, backups, .. } = line;
    if apart.contains(&database.path) && !cancel.is_cancelled() {
        set_apart(database).await?;
        restore_missing(backups, &Recovery::of_database(database, true, &job.restores), cancel.clone()).await?;
    }
    if job.restoring == Restoring::All || database.restore_if_db_not_exists {
        let recovery = Recovery::of_database(database, job.options.require_backup, &job.restores);
        restore_missing(backups, &recovery, cancel.clone()).await?;
    }
    match starts_something(job) && !cancel.is_cancelled() {
        true => forward_one(database, backups, &job.restores, &cancel).await,
        false => Ok(()),
    }
}

/// Whether a migration or an application is started, which needs the newest state.
fn starts_something(job: &Job) -> bool {
    job.once.is_none() && (job.commands.starts_something() || job.restoring == Restoring::All)
}

/// Does all of the works, as many at a time as the governor lets. The first failure cancels the
/// others, which are waited for.
async fn side_by_side<W, F, E>(
    governor: &Governor,
    cancel: &CancellationToken,
    works: impl Iterator<Item = W>,
) -> Result<(), E>
where
    W: FnOnce(CancellationToken) -> F,
    F: Future<Output = Result<(), E>>,
{
    let cancel = cancel.child_token();
    let in_turn = |work: W| {
        let cancel = cancel.clone();
        async move {
            let _turn = governor.start().await;
            if cancel.is_cancelled() { Ok(()) } else { work(cancel).await }
        }
    };
    let mut running: FuturesUnordered<_> = works.map(in_turn).collect();
    let mut first = Ok(());
    while let Some(done) = running.next().await {
        if done.is_err() && first.is_ok() {
            first = done;
            cancel.cancel();
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::replicate::Limits;

    fn governor() -> Governor {
        Governor::new(Limits { starts: 3, ..Limits::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_at_a_time_and_all_of_them() {
        let (now, most, done) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let work = async |_| {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            tokio::time::sleep(Duration::from_millis(10)).await;
            now.set(now.get() - 1);
            done.set(done.get() + 1);
            Ok::<(), Failure>(())
        };
        let works = (0..100).map(|_| work);
        side_by_side(&governor(), &CancellationToken::new(), works).await.expect("none fails");
        assert_eq!((most.get(), done.get()), (3, 100));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_ends_the_others_and_is_what_is_told() {
        let (begun, ended) = (Cell::new(0), Cell::new(0));
        let (begun, ended) = (&begun, &ended);
        let works = (0..100_u8).map(|number| {
            move |cancel: CancellationToken| async move {
                begun.set(begun.get() + 1);
                if number == 1 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    return Err(Failure::told(76, "the backup is damaged"));
                }
                cancel.cancelled().await;
                ended.set(ended.get() + 1);
                Err(Failure::told(70, "cancelled"))
            }
        });
        let cancel = CancellationToken::new();
        let failure = side_by_side(&governor(), &cancel, works).await.expect_err("one fails");
        assert_eq!((failure.code, begun.get(), ended.get()), (76, 3, 2), "those under way were waited for");
        assert!(!cancel.is_cancelled(), "whose token it is decides for itself");
    }
}
