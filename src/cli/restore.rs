//! `restore`: a database by hand. Where to is in `target.rs`, what it says in `show.rs`, several at
//! once in `several.rs`, how to undo it in `undo.rs`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::args::Restore;
use super::destination::{Destination, Staging};
use super::source::{Source, picked};
use super::{Environment, install, progress, replica_at, variable};
use crate::clock::MACHINE;
use crate::config::{Database, Options, Replica};
use crate::replicate::blocking;
use crate::restore::{Backup, FileOwner, Found, RestoreError, Target};
use crate::run::exit::{CONFIG, Failure, USAGE};
use crate::run::{Recovery, backups, mark, restore_failure, restore_newest, unless_signalled};
use flags::plan;
pub(super) use flags::{request, start_logging};
pub(super) use show::{check_name, print_json};
use show::{show_old_plan, show_plan, show_result};

mod flags;
mod several;
mod show;
mod target;
mod undo;

/// The order, from command line and configuration.
struct Order {
    /// Replicas to restore from: all of the database, unless -replica names one.
    replicas: Vec<Replica>,
    /// Every database of the configuration.
    all: Vec<Database>,
    /// As the user wrote it, for output.
    source: String,
    destination: Destination,
    /// Directory of the note for the replication: only for a database of the configuration, or one
    /// that has notes.
    meta_path: Option<PathBuf>,
    owner: Option<FileOwner>,
    mode: Option<u32>,
}

pub async fn restore(command: Restore) -> Result<u8, Failure> {
    let (mut signals, _reaper) = install()?;
    if command.all || command.dir.is_some() {
        return several::restore(&command, &mut signals).await;
    }
    if command.follow {
        return super::follow::restore_and_follow(&command, &mut signals).await;
    }
    let order = order(&command)?;
    let mut recovery = recovery(&command, &order)?;
    // Checked first, so that a wrong target costs no request.
    let destination = order.destination.clone();
    blocking(move || target::check_kind(&destination)).await?;
    if let Some(name) = &command.mark {
        recovery.request.target =
            unless_signalled(&mut signals, async |cancel| order.marked(name, &cancel).await).await??;
    }
    if command.dry_run {
        let target = recovery.request.target;
        let plan = async |cancel| plan(&order.backups().await, target, &cancel).await;
        return match unless_signalled(&mut signals, plan).await? {
            Ok((name, Found::Ltx(checked_plan))) => show_plan(&command, &order, &name, &checked_plan),
            Ok((name, Found::Old(plan))) => show_old_plan(&command, &order, &name, &plan),
            Err(error) => without_backup(&command, error),
        };
    }
    let (destination, force, skip) = (order.destination.clone(), command.force, command.if_db_not_exists);
    if let Some(code) = blocking(move || target::refuse_existing(&destination, force, skip)).await? {
        return Ok(code);
    }
    let (destination, owner, meta_path) = (order.destination.clone(), order.owner, order.meta_path.clone());
    let _locks = blocking(move || target::lock(&destination, owner, meta_path)).await?;
    let backups = order.backups().await;
    undo::mark_before(&command, &order, &backups, &mut signals).await?;
    let began = MACHINE.instant();
    let staging = order.destination.staging().map_err(|error| restore_failure(error.into()))?.map(Arc::new);
    let mode = order.mode.unwrap_or(0o600);
    let recovery = match &staging {
        Some(staging) => staged(recovery, staging),
        None => recovery,
    };
    let work = async |cancel| {
        let show = async |done: &_| progress::show(done, command.output_flags.json).await;
        let (from, restored) = restore_newest(&backups, &recovery, &cancel, show).await?;
        if let Some(staging) = staging {
            deliver(&order.destination, staging, mode, &cancel).await?;
        }
        Ok((from, restored))
    };
    match unless_signalled(&mut signals, work).await? {
        Ok((from, restored)) => {
            show_result(&command, &order, &from, &restored, MACHINE.instant() - began);
            Ok(0)
        }
        Err(error) => without_backup(&command, error),
    }
}

impl Order {
    async fn backups(&self) -> Vec<Backup> {
        backups(self.replicas.iter(), &self.all).await
    }

    /// The state that a mark names.
    async fn marked(&self, name: &str, cancel: &CancellationToken) -> Result<Target, Failure> {
        let backups = self.backups().await;
        let remotes = backups.iter().filter_map(|backup| backup.remote.as_ref().ok());
        match cancel.run_until_cancelled(mark::find(remotes, name)).await {
            Some(found) => found.map(|mark| Target::Txid(mark.txid)),
            None => Err(restore_failure(RestoreError::Cancelled)),
        }
    }

    /// The replica in the output: Litestream's word for its kind, or its name if there are several.
    fn shown<'a>(&'a self, name: &'a str) -> &'a str {
        match self.replicas.as_slice() {
            [replica] => replica.kind(),
            _ => name,
        }
    }
}

/// The restore that comes before what was asked for.
fn staged(recovery: Recovery, staging: &Staging) -> Recovery {
    let mut request = recovery.request;
    request.output = staging.database();
    request.mode = None;
    request.owner = None;
    Recovery { request, meta_path: None, ..recovery }
}

async fn deliver(
    destination: &Destination,
    staging: Arc<Staging>,
    mode: u32,
    cancel: &CancellationToken,
) -> Result<(), RestoreError> {
    let (destination, held) = (destination.clone(), staging.clone());
    let deliver = tokio::task::spawn_blocking(move || destination.deliver(&held, mode));
    // A pipe that is not read must not delay a signal; the thread ends with the process.
    match cancel.run_until_cancelled(deliver).await {
        Some(done) => done.map_err(|_| RestoreError::Cancelled)?.map_err(RestoreError::Io),
        None => {
            staging.remove();
            Err(RestoreError::Cancelled)
        }
    }
}

fn order(command: &Restore) -> Result<Order, Failure> {
    let environment = Environment::of_process()?;
    match command.source() {
        Source::Url(url) => {
            start_logging(command, None);
            let replica = replica_at(&url)?;
            let output = command.output.clone().context("-o is required with a URL");
            let destination = output.and_then(|path| Ok(Destination::parse(&path)?));
            let destination = destination.map_err(|error| Failure::new(USAGE, error))?;
            let (source, meta_path) = (replica.url.clone(), target::meta_path(&destination, None));
            Ok(Order {
                replicas: vec![replica],
                all: Vec::new(),
                source,
                destination,
                meta_path,
                owner: None,
                mode: None,
            })
        }
        Source::Database(path) => {
            let sources = command.sources(&variable, environment.cwd.clone());
            let path = sources.absolute(&path).map_err(|error| Failure::new(CONFIG, error))?;
            let loaded = environment.load(|env, cwd| command.sources(env, cwd))?;
            start_logging(command, Some(&loaded.options));
            loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            let database = loaded.database(&path).map_err(|error| Failure::new(CONFIG, error))?;
            of_database(command, &database, &loaded.options)
        }
    }
}

fn of_database(command: &Restore, database: &Database, options: &Options) -> Result<Order, Failure> {
    let destination = match &command.output {
        Some(path) => Destination::parse(path).map_err(|error| Failure::new(USAGE, error))?,
        None => Destination::Database(database.path.clone()),
    };
    let meta_path = target::meta_path(&destination, Some(options));
    Ok(Order {
        replicas: picked(database, command.look.replica())?.into_iter().cloned().collect(),
        all: options.databases.clone(),
        source: database.path.display().to_string(),
        destination,
        meta_path,
        owner: database.file_owner.map(|(uid, gid)| FileOwner { uid, gid }),
        mode: database.file_mode,
    })
}

fn recovery(command: &Restore, order: &Order) -> Result<Recovery, Failure> {
    let mut request = request(command, order.destination.path())?;
    request.owner = order.owner;
    request.mode = order.mode;
    Ok(Recovery { request, meta_path: order.meta_path.clone(), require_backup: true, noted: None })
}

fn without_backup(command: &Restore, error: RestoreError) -> Result<u8, Failure> {
    match error {
        // This error means that every replica is empty.
        RestoreError::NoBackup { address } if command.if_replica_exists => {
            tracing::info!("no matching backups found in {address}");
            Ok(0)
        }
        error => Err(restore_failure(error)),
    }
}
