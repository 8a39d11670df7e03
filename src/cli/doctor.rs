//! `millstream doctor`: what is wrong here, and what to do about it.
//!
//! ```text
//!   doctor.rs    which things are looked at, in which order
//!   machine.rs   the configuration, and what can be seen of this machine and its environment
//!   backup.rs    what is in the replica
//!   show.rs      as text and as JSON; the exit code
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::args::Doctor as Command;
use super::source::{Source, picked};
use super::{Environment, install, logger, replica_at, variable};
use crate::clock::MACHINE;
use crate::config::{Database, LogFormat, LogLevel, Logging, Options, Replica, Target};
use crate::doctor::{
    Blame, Check, PART_SIZE, Tried, application, credentials, judge_clock, judge_rights, judge_volume, try_directory,
    try_out,
};
use crate::remote::Remote;
use crate::replicate::blocking;
use crate::run::exit::CONFIG;
use crate::run::{self, Failure, unless_signalled};

mod backup;
mod machine;
mod show;

use show::Section;

/// For what only asks the kernel and the file system.
const PATIENCE: Duration = Duration::from_secs(30);

/// What there is to look at.
struct Subjects {
    /// `None`: only a place in a bucket was named.
    options: Option<Options>,
    /// The databases that are meant.
    databases: Vec<Database>,
    /// The replica of a URL.
    replica: Option<Replica>,
}

pub async fn doctor(command: Command) -> Result<u8, Failure> {
    let (mut signals, _reaper) = install()?;
    // What is a finding need not be a log line, too.
    logger::start(&Logging { level: LogLevel::Error, format: LogFormat::default() });
    let mut report = show::Report::new(command.json);
    let (section, subjects) = configuration(&command)?;
    report.add(section)?;
    let Some(subjects) = subjects else { return report.end() };
    let look = async |cancel: CancellationToken| look_at_all(&command, &subjects, &mut report, &cancel).await;
    unless_signalled(&mut signals, look).await??;
    report.end()
}

/// The configuration, judged; without subjects there is nothing else to look at.
fn configuration(command: &Command) -> Result<(Section, Option<Subjects>), Failure> {
    if let Some(Source::Url(url)) = command.look.operand() {
        let subjects = |replica| Subjects { options: None, databases: Vec::new(), replica: Some(replica) };
        return Ok(match replica_at(&url) {
            Ok(replica) => {
                (Section::new("command line", vec![Check::ok("URL", replica.url.clone())]), Some(subjects(replica)))
            }
            Err(failure) => (Section::new("command line", vec![machine::refused("URL", &failure)]), None),
        });
    }
    let environment = Environment::of_process()?;
    let named = match command.look.operand() {
        Some(Source::Database(path)) => {
            let sources = command.sources(&variable, environment.cwd.clone());
            Some(sources.absolute(&path).map_err(|error| Failure::new(CONFIG, error))?)
        }
        _ => None,
    };
    let loaded = match environment.load(|env, cwd| command.sources(env, cwd)) {
        Ok(loaded) => loaded,
        Err(failure) => {
            return Ok((Section::new("configuration", vec![machine::refused("configuration", &failure)]), None));
        }
    };
    let section = Section::new(&loaded.origin, machine::judge(&loaded));
    let options = loaded.options;
    let mut databases = options.with_those_in_directories();
    if let Some(path) = &named {
        databases.retain(|database| database.path == *path);
        if databases.is_empty() {
            let check = Check::problem(
                "database",
                Blame::Configuration,
                format!("no database is configured with the path {}", path.display()),
                "look at `millstream databases` for those that are",
            );
            return Ok((section.with(check), None));
        }
    }
    Ok((section, Some(Subjects { options: Some(options), databases, replica: None })))
}

async fn look_at_all(
    command: &Command,
    subjects: &Subjects,
    report: &mut show::Report,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    for database in &subjects.databases {
        report.add(local(database, subjects).await)?;
        let replicas = match picked(database, command.look.replica()) {
            Ok(replicas) => replicas,
            Err(failure) => {
                report.add(Section::new(&database.path.display(), vec![machine::refused("replica", &failure)]))?;
                continue;
            }
        };
        for replica in replicas {
            if cancel.is_cancelled() {
                return Ok(());
            }
            let is_new = report.is_new_place(place(&replica.target));
            report.add(bucket(command, subjects, Some(database), replica, is_new, cancel).await)?;
        }
    }
    if let Some(replica) = &subjects.replica {
        report.add(bucket(command, subjects, None, replica, true, cancel).await)?;
    }
    Ok(())
}

/// What the rights depend on: the bucket and the keys, not the path.
fn place(target: &Target) -> Target {
    match target {
        Target::File { path } => Target::File { path: path.parent().unwrap_or(path).to_owned() },
        Target::S3(settings) => {
            Target::S3(Arc::new(crate::store::s3::Settings { prefix: String::new(), ..(**settings).clone() }))
        }
    }
}

/// The database's file, its disk, and the programs that use it.
async fn local(database: &Database, subjects: &Subjects) -> Section {
    let (path, meta) = (database.path.clone(), database.meta_path.clone());
    let is_restored =
        subjects.options.as_ref().is_none_or(|options| !options.exec.is_empty()) || database.restore_if_db_not_exists;
    let look = blocking(move || {
        let found = application::look(&path, MACHINE);
        let size = application::size(&path);
        let mut checks = application::judge(&found, is_restored);
        let dir = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
        // A link leads to the disk that counts.
        let (beside, notes) = (dir(&std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone())), dir(&meta));
        checks.extend(judge_volume(&try_directory(&beside, MACHINE), size));
        if notes != beside && notes != dir(&path) {
            checks.extend(judge_volume(&try_directory(&notes, MACHINE), size));
        }
        checks
    });
    let checks = tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| {
        let found = format!("the file system has not answered within {PATIENCE:?}");
        vec![Check::problem("disk", Blame::Local, found, "look at the mount: a server in the network may be away")]
    });
    Section::new(&database.path.display(), checks)
}

/// One replica: the keys, the rights, the clock, the backup.
async fn bucket(
    command: &Command,
    subjects: &Subjects,
    database: Option<&Database>,
    replica: &Replica,
    is_new: bool,
    cancel: &CancellationToken,
) -> Section {
    let title = match database.filter(|database| database.replicas.are_several()) {
        Some(_) => format!("{} (replica {})", replica.url, replica.name),
        None => replica.url.clone(),
    };
    let mut checks = Vec::new();
    if let Target::S3(settings) = &replica.target {
        checks.push(credentials(&machine::signs(settings.credentials.as_ref())));
    }
    let mut small = replica.clone();
    if let Target::S3(settings) = &mut small.target {
        Arc::make_mut(settings).part_size = PART_SIZE;
    }
    let remote = match run::connect(&small, &subjects.databases).await {
        Ok(remote) => remote,
        Err(failure) => {
            checks.push(machine::refused("connect", &failure));
            return Section::new(&title, checks);
        }
    };
    let deletes = subjects.options.as_ref().is_none_or(|options| options.lifecycle.retention_enabled);
    let is_reachable = match is_new {
        true => rights(&remote, &replica.target, deletes, &mut checks, cancel).await,
        false => {
            checks.push(Check::ok("rights", "they were tried above, at another path of the same place"));
            true
        }
    };
    let requires = subjects.options.as_ref().is_some_and(|options| options.require_backup);
    let order =
        backup::Order { deep: command.deep, database: database.map(|database| database.path.as_path()), requires };
    let keeps = deletes.then_some(replica.snapshot.retention).filter(|_| database.is_some());
    checks.push(backup::check(&remote, &order, keeps, is_reachable, cancel).await);
    Section::new(&title, checks)
}

/// Tries the rights; whether the store could be listed.
async fn rights(
    remote: &Remote,
    target: &Target,
    deletes: bool,
    checks: &mut Vec<Check>,
    cancel: &CancellationToken,
) -> bool {
    if let Target::File { path } = target
        && !path.is_dir()
    {
        let dir = path.clone();
        let volume = blocking(move || try_directory(&dir, MACHINE)).await;
        checks.extend(judge_volume(&volume, 0));
        checks.push(Check::not_checked("rights", "the directory is not there yet: the first upload makes it"));
        return true;
    }
    let tried: Tried = try_out(remote.store().as_ref(), remote.clock(), cancel).await;
    if let Target::File { path } = target {
        remove_if_empty(path.join("probes")).await;
    }
    checks.extend(judge_rights(&tried, deletes));
    let ahead_ms = remote.store().traffic().and_then(|traffic| traffic.clock_ahead_ms());
    // Without a `Date`: by the time of an object that was new.
    checks.push(judge_clock(ahead_ms.or(tried.ahead_ms)));
    matches!(tried.list, crate::doctor::Step::Done(()))
}

/// What was made for the probes; one that holds something stays.
async fn remove_if_empty(dir: PathBuf) {
    blocking(move || drop(std::fs::remove_dir(dir))).await;
}
