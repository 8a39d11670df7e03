//! `restore -dir` and `restore -all`: many databases side by side, under one limit.
//!
//! A directory is restored database by database: each has its own result, and the exit code is that
//! of the worst. With `-all` they belong together: every one of them is complete and durable beside
//! its place before the first gets its name, and when one fails none does.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::flags::{plan, request, start_logging};
use super::target;
use crate::cli::args::Restore;
use crate::cli::destination::Destination;
use crate::cli::source::{Source, below, picked};
use crate::cli::{Environment, replica_at, variable};
use crate::config::{Database, Directory, Loaded, Places, Replica};
use crate::replicate::blocking;
use crate::restore::{self as restoring, FileOwner, Reached, RestoreError, Restored};
use crate::run::exit::{BACKUP, CONFIG, Failure, UNAVAILABLE};
use crate::run::{
    Recovery, Waiting, announce_progress, backups, backups_of, prepare_newest, replicas_below, restore_failure,
    store_failure, unless_signalled,
};
use crate::state::Lock;
use crate::store::s3::Clients;
use crate::supervise::Signals;
use outcome::{Outcome, conclude};

mod outcome;

/// One of them.
struct One {
    replicas: Vec<Replica>,
    recovery: Recovery,
}

/// What there is to restore.
struct Wanted {
    ones: Vec<One>,
    places: Vec<Database>,
    /// What cannot even be tried.
    failed: Vec<(PathBuf, Failure)>,
}

pub(super) async fn restore(command: &Restore, signals: &mut Signals) -> Result<u8, Failure> {
    let (loaded, url) = sources(command)?;
    let find =
        async |cancel: CancellationToken| cancel.run_until_cancelled(wanted(command, loaded.as_ref(), url)).await;
    let Some(wanted) = unless_signalled(signals, find).await? else { return Ok(0) };
    let wanted = wanted?;
    let nothing = wanted.ones.is_empty() && wanted.failed.is_empty();
    if nothing && command.if_replica_exists {
        tracing::info!("no matching backups found");
        return Ok(0);
    }
    if nothing {
        return Err(Failure::new(BACKUP, anyhow!("there is no backup of any database")));
    }
    let work = async |cancel: CancellationToken| match command.dry_run {
        true => plan_all(command, wanted, &cancel).await,
        false => restore_all(command, wanted, &cancel).await,
    };
    let outcomes = unless_signalled(signals, work).await?;
    conclude(command, &outcomes)
}

fn sources(command: &Restore) -> Result<(Option<Loaded>, Option<Replica>), Failure> {
    if let (false, Source::Url(url)) = (command.look.names_nothing(), command.source()) {
        start_logging(command, None);
        return Ok((None, Some(replica_at(&url)?)));
    }
    let loaded = Environment::of_process()?.load(|env, cwd| command.sources(env, cwd))?;
    start_logging(command, Some(&loaded.options));
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    loaded.require_databases().map_err(|error| Failure::new(CONFIG, error))?;
    Ok((Some(loaded), None))
}

async fn wanted(command: &Restore, loaded: Option<&Loaded>, url: Option<Replica>) -> Result<Wanted, Failure> {
    match (loaded, url, &command.dir) {
        (_, Some(root), Some(dir)) => below_url(command, &root, dir).await,
        (Some(loaded), _, Some(dir)) => {
            let directories = configured(command, loaded, dir)?;
            of_directories(command, &directories, Vec::new()).await
        }
        (Some(loaded), ..) => {
            let directories: Vec<&Directory> = loaded.options.directories.iter().collect();
            of_directories(command, &directories, loaded.options.with_those_in_directories()).await
        }
        (None, ..) => Err(Failure::new(CONFIG, anyhow!("no database is configured"))),
    }
}

/// The entries for this directory.
fn configured<'a>(command: &Restore, loaded: &'a Loaded, dir: &Path) -> Result<Vec<&'a Directory>, Failure> {
    let configuration = |error: anyhow::Error| Failure::new(CONFIG, error);
    let environment = Environment::of_process()?;
    let dir = command.sources(&variable, environment.cwd).absolute(dir).map_err(configuration)?;
    let all = &loaded.options.directories;
    let found: Vec<&Directory> = all.iter().filter(|directory| directory.root() == dir).collect();
    if found.is_empty() {
        let known: Vec<String> = all.iter().map(|directory| directory.root().display().to_string()).collect();
        let known = if known.is_empty() { "there is none".into() } else { format!("there is {}", known.join(", ")) };
        let shown = dir.display();
        return Err(configuration(anyhow!("{}: no entry has `dir: {shown}`; {known}", loaded.origin)));
    }
    Ok(found)
}

async fn below_url(command: &Restore, root: &Replica, dir: &Path) -> Result<Wanted, Failure> {
    let found = replicas_below(root, &mut Clients::default()).await.map_err(|error| store_failure(&error))?;
    let environment = Environment::of_process()?;
    let dir = environment.cwd.join(dir);
    let (mut ones, mut failed) = (Vec::new(), Vec::new());
    for relative in found {
        let path = dir.join(&relative);
        match below(root, &relative) {
            Ok(replica) => {
                let meta_path = target::meta_path(&Destination::Database(path.clone()), None);
                let recovery =
                    Recovery { request: request(command, &path)?, meta_path, require_backup: true, noted: None };
                ones.push(One { replicas: vec![replica], recovery });
            }
            Err(why) => failed.push((path, Failure::told(CONFIG, why))),
        }
    }
    Ok(Wanted { ones, places: Vec::new(), failed })
}

/// Those that have a backup, and these.
async fn of_directories(
    command: &Restore,
    directories: &[&Directory],
    mut databases: Vec<Database>,
) -> Result<Wanted, Failure> {
    let (mut places, mut failed) = (Places::of(&databases), Vec::new());
    for directory in directories {
        for relative in backups_of(directory).await? {
            let path = directory.root().join(&relative);
            if places.knows(&path) {
                continue;
            }
            let claimed = directory.database(&relative).and_then(|database| {
                places.claim(&database)?;
                Ok(database)
            });
            match claimed {
                Ok(database) => databases.push(database),
                Err(why) => failed.push((path, Failure::told(CONFIG, why))),
            }
        }
    }
    let mut ones = Vec::new();
    for database in &databases {
        match picked(database, command.look.replica()) {
            Ok(replicas) => ones.push(One {
                replicas: replicas.into_iter().cloned().collect(),
                recovery: recovery(command, database)?,
            }),
            Err(failure) => failed.push((database.path.clone(), failure)),
        }
    }
    Ok(Wanted { ones, places: databases, failed })
}

fn recovery(command: &Restore, database: &Database) -> Result<Recovery, Failure> {
    let mut request = request(command, &database.path)?;
    request.owner = database.file_owner.map(|(uid, gid)| FileOwner { uid, gid });
    request.mode = database.file_mode;
    Ok(Recovery { request, meta_path: Some(database.meta_path.clone()), require_backup: true, noted: None })
}

/// One that is complete and waits for its name, locked; or what became of it before that.
type Prepared = (PathBuf, Result<(Recovery, Vec<Lock>, Waiting), Outcome>);

async fn restore_all(command: &Restore, wanted: Wanted, cancel: &CancellationToken) -> Vec<(PathBuf, Outcome)> {
    let Wanted { ones, places, failed } = wanted;
    let side_by_side = command.parallelism.min(ones.len()).max(1);
    let reads = (command.parallelism / side_by_side).max(1);
    let failed = failed.into_iter().map(|(path, failure)| (path, Outcome::Failed(failure)));
    let places = &places;
    let prepared = stream::iter(ones).map(|mut one| {
        one.recovery.request.parallelism = reads;
        prepare(command, one, places, cancel)
    });
    let mut prepared = prepared.buffer_unordered(side_by_side);
    let mut outcomes: Vec<(PathBuf, Outcome)> = failed.collect();
    if !command.all {
        while let Some(one) = prepared.next().await {
            outcomes.push(put_in_place(one).await);
        }
        return outcomes;
    }
    let mut complete = Vec::new();
    while let Some((path, done)) = prepared.next().await {
        match done {
            Ok(waiting) => complete.push((path, waiting)),
            Err(outcome) => outcomes.push((path, outcome)),
        }
    }
    let mut obstacle = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
    for (path, waiting) in complete {
        if obstacle || cancel.is_cancelled() {
            let why = "it could be restored, and was not put in place, because another one could not";
            outcomes.push((path, Outcome::Failed(Failure::told(UNAVAILABLE, why))));
            continue;
        }
        let (path, outcome) = put_in_place((path, Ok(waiting))).await;
        obstacle = matches!(outcome, Outcome::Failed(_));
        outcomes.push((path, outcome));
    }
    outcomes
}

async fn prepare(command: &Restore, one: One, places: &[Database], cancel: &CancellationToken) -> Prepared {
    let path = one.recovery.request.output.clone();
    let done = try_prepare(command, one, places, cancel).await;
    (path, done)
}

async fn try_prepare(
    command: &Restore,
    One { replicas, recovery }: One,
    places: &[Database],
    cancel: &CancellationToken,
) -> Result<(Recovery, Vec<Lock>, Waiting), Outcome> {
    let destination = Destination::Database(recovery.request.output.clone());
    let (force, skip) = (command.force, command.if_db_not_exists);
    let (owner, meta_path) = (recovery.request.owner, recovery.meta_path.clone());
    let looked = blocking(move || {
        target::check_kind(&destination)?;
        if target::refuse_existing(&destination, force, skip)?.is_some() {
            return Ok(None);
        }
        target::lock(&destination, owner, meta_path).map(Some)
    });
    let locks = match looked.await {
        Ok(Some(locks)) => locks,
        Ok(None) => return Err(Outcome::Skipped("it exists already")),
        Err(failure) => return Err(Outcome::Failed(failure)),
    };
    let backups = backups(replicas.iter(), places).await;
    let path = recovery.request.output.clone();
    let show = async |progress: &_| announce_progress(progress, Some(&path)).await;
    match prepare_newest(&backups, &recovery, cancel, show).await {
        Ok(waiting) => Ok((recovery, locks, waiting)),
        Err(RestoreError::NoBackup { .. }) if command.if_replica_exists => Err(Outcome::Skipped("it has no backup")),
        Err(error) => Err(Outcome::Failed(restore_failure(error))),
    }
}

async fn put_in_place((path, prepared): Prepared) -> (PathBuf, Outcome) {
    let outcome = match prepared {
        Ok((recovery, _locks, waiting)) => match waiting.put_in_place(&recovery).await {
            Ok((name, restored)) => Outcome::Restored(name, Box::new(restored)),
            Err(error) => Outcome::Failed(restore_failure(error)),
        },
        Err(outcome) => outcome,
    };
    (path, outcome)
}

/// `-dry-run`: what each of them would become.
async fn plan_all(command: &Restore, wanted: Wanted, cancel: &CancellationToken) -> Vec<(PathBuf, Outcome)> {
    let Wanted { ones, places, failed } = wanted;
    let mut outcomes: Vec<(PathBuf, Outcome)> =
        failed.into_iter().map(|(path, failure)| (path, Outcome::Failed(failure))).collect();
    for One { replicas, recovery } in ones {
        let backups = backups(replicas.iter(), &places).await;
        let request = recovery.request;
        let outcome = match plan(&backups, request.target, cancel).await {
            Ok((name, found)) => Outcome::Restored(name, Box::new(planned(&found))),
            Err(RestoreError::NoBackup { .. }) if command.if_replica_exists => Outcome::Skipped("it has no backup"),
            Err(error) => Outcome::Failed(restore_failure(error)),
        };
        outcomes.push((request.output, outcome));
    }
    outcomes
}

fn planned(found: &restoring::Found) -> Restored {
    match found {
        restoring::Found::Ltx(checked) => Restored {
            reached: Reached::Ltx { txid: checked.plan.txid(), header: checked.newest },
            database_bytes: checked.newest.page_size.database_len(checked.newest.commit),
            files: checked.plan.files.len(),
            bytes: checked.plan.bytes(),
            orphaned: Vec::new(),
        },
        restoring::Found::Old(plan) => Restored {
            reached: Reached::Old { generation: plan.generation, place: plan.place(), time_ms: plan.time_ms() },
            database_bytes: 0,
            files: plan.objects().count(),
            bytes: plan.bytes(),
            orphaned: Vec::new(),
        },
    }
}
