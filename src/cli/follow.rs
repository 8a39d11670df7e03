//! `follow`, and `restore -f`: a live copy of a database, until a signal.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::json;

use super::args::{Follow, Look, Restore};
use super::destination::Destination;
use super::source::{Source, picked};
use super::{Environment, install, logger, replica_at, variable};
use crate::clock::MACHINE;
use crate::config::{Database, Options, Replica, default_meta_path};
use crate::follow::{End, Follower, Order, Position, Reason, take_place};
use crate::remote::Remote;
use crate::restore::{self as restoring, FileOwner, Request, Target};
use crate::run::exit::{BACKUP, CANNOT_WRITE, CONFIG, DENIED, Failure, UNAVAILABLE, USAGE};
use crate::run::{backups, cancelling, connect, restore_failure, unless_signalled};
use crate::sqlite::{Presence, look_at_file};
use crate::supervise::Signals;
use tokio_util::sync::CancellationToken;

/// What to follow, and where.
struct Following {
    /// More than one only if none was named.
    replicas: Vec<Replica>,
    all: Vec<Database>,
    copy: PathBuf,
    owner: Option<FileOwner>,
    mode: Option<u32>,
}

pub async fn follow(command: Follow) -> Result<u8, Failure> {
    let (mut signals, _reaper) = install()?;
    let output = command.output.as_deref().unwrap_or(Path::new(""));
    let start_logging = |options: Option<&Options>| match options {
        Some(options) => logger::start(&options.logging),
        None => logger::start_as_told(&command.sources(&variable, PathBuf::new())),
    };
    let following = match command.source() {
        Source::Url(url) => {
            start_logging(None);
            Following::of_url(&url, output)?
        }
        Source::Database(path) => {
            let (database, options) = configured(&command.look, &path, start_logging)?;
            Following::of_database(&database, command.look.replica(), output, &options)?
        }
    };
    let order = following.order(Request::new(output), command.interval, command.force)?;
    let end = following.run(order, &mut signals).await?;
    code(&end)
}

/// `restore -f`: what is restored is followed. `source` is what the command line says of it.
pub async fn restore_and_follow(command: &Restore, signals: &mut Signals) -> Result<u8, Failure> {
    let output = command.output.clone();
    let start_logging = |options: Option<&Options>| super::restore::start_logging(command, options);
    let following = match command.source() {
        Source::Url(url) => {
            start_logging(None);
            Following::of_url(&url, output.as_deref().unwrap_or(Path::new("")))?
        }
        Source::Database(path) => {
            let (database, options) = configured(&command.look, &path, start_logging)?;
            let output = output.unwrap_or_else(|| database.path.clone());
            Following::of_database(&database, command.look.replica(), &output, &options)?
        }
    };
    if command.if_db_not_exists && following.is_there()? {
        tracing::info!("database already exists, skipping: {}", following.copy.display());
        return Ok(0);
    }
    let began = MACHINE.instant();
    let request = super::restore::request(command, &following.copy)?;
    let order = following.order(request, command.follow_interval, command.force)?;
    let end = following.run(order, signals).await?;
    match &end {
        End::Failed(Reason::NoBackup, why) if command.if_replica_exists => {
            tracing::info!("no matching backups found: {why}");
            return Ok(0);
        }
        End::Stopped(position) if command.output_flags.json => {
            let took = MACHINE.instant() - began;
            let summary = json!({
                "db_path": following.copy,
                "replica": following.replicas[0].kind(),
                "txid": position.map(|Position { txid, .. }| txid.to_string()).unwrap_or_default(),
                "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "integrity_check": super::restore::check_name(command.integrity_check),
            });
            super::restore::print_json(&summary)?;
        }
        _ => {}
    }
    code(&end)
}

/// The database of the configuration at this path, with all of what is configured.
fn configured(
    look: &Look,
    path: &Path,
    start_logging: impl FnOnce(Option<&Options>),
) -> Result<(Database, Options), Failure> {
    let environment = Environment::of_process()?;
    let config = |error| Failure::new(CONFIG, error);
    let path = look.sources(&variable, environment.cwd.clone()).absolute(path).map_err(config)?;
    let loaded = environment.load(|env, cwd| look.sources(env, cwd))?;
    start_logging(Some(&loaded.options));
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok((loaded.database(&path).map_err(config)?, loaded.options))
}

impl Following {
    fn of_url(url: &str, output: &Path) -> Result<Following, Failure> {
        let replicas = vec![replica_at(url)?];
        Ok(Following { replicas, all: Vec::new(), copy: file(output)?, owner: None, mode: None })
    }

    fn of_database(
        database: &Database,
        replica: Option<&str>,
        output: &Path,
        options: &Options,
    ) -> Result<Following, Failure> {
        let copy = file(output)?;
        refuse_configured(&copy, options)?;
        Ok(Following {
            replicas: picked(database, replica)?.into_iter().cloned().collect(),
            all: options.databases.clone(),
            copy,
            owner: database.file_owner.map(|(uid, gid)| FileOwner { uid, gid }),
            mode: database.file_mode,
        })
    }

    fn is_there(&self) -> Result<bool, Failure> {
        let found = look_at_file(&self.copy).map_err(|error| Failure::told(CANNOT_WRITE, error))?;
        Ok(matches!(found, Presence::Database(_)))
    }

    fn order(&self, request: Request, interval: std::time::Duration, adopts: bool) -> Result<Order, Failure> {
        let owner = self.owner.map(|owner| (owner.uid, owner.gid));
        let taken = take_place(&self.copy, owner, default_meta_path);
        let (notes, locks) = taken.map_err(|error| Failure::new(CANNOT_WRITE, error))?;
        let request = Request { owner: self.owner, mode: self.mode, ..request };
        Ok(Order {
            copy: self.copy.clone(),
            notes,
            request,
            interval,
            adopts,
            locks,
            held: None,
            told: None,
            feed: None,
        })
    }

    async fn run(&self, order: Order, signals: &mut Signals) -> Result<End, Failure> {
        let remote = match self.replicas.as_slice() {
            [replica] => connect(replica, &self.all).await?,
            _ => unless_signalled(signals, async |cancel| self.newest(&cancel).await).await??,
        };
        let cancel = CancellationToken::new();
        let follower = Follower::new(remote, order, cancel.clone()).run();
        tokio::pin!(follower);
        Ok(tokio::select! {
            biased;
            _ = cancelling(signals) => {
                cancel.cancel();
                follower.await
            }
            end = &mut follower => end,
        })
    }

    /// The replica that has the newest state now.
    async fn newest(&self, cancel: &CancellationToken) -> Result<Remote, Failure> {
        let backups = backups(self.replicas.iter(), &self.all).await;
        let ((name, remote), _) = restoring::newest(&backups, Target::Latest, cancel).await.map_err(restore_failure)?;
        tracing::info!("following the replica {name}; -replica NAME picks another one");
        Ok(remote.clone())
    }
}

/// A copy is one file.
fn file(output: &Path) -> Result<PathBuf, Failure> {
    match Destination::parse(output).map_err(|error| Failure::new(USAGE, error))? {
        Destination::Database(path) => Ok(path),
        Destination::Gzip(_) | Destination::Stdout => {
            Err(Failure::new(USAGE, anyhow!("a copy that is followed is a database file: -o PATH")))
        }
    }
}

/// What is replicated cannot be a copy of its own replica.
fn refuse_configured(copy: &Path, options: &Options) -> Result<(), Failure> {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let is_configured = options.databases.iter().any(|database| real(&database.path) == real(copy));
    match is_configured || options.find(copy).is_some() {
        false => Ok(()),
        true => {
            let why = "is a database that the configuration replicates: name another file for its copy with -o";
            Err(Failure::new(CONFIG, anyhow!("{} {why}", copy.display())))
        }
    }
}

fn code(end: &End) -> Result<u8, Failure> {
    let (reason, why) = match end {
        End::Stopped(position) => {
            let at = position.map(|Position { txid, .. }| format!(", at TXID {txid}"));
            tracing::info!("stopped following{}", at.unwrap_or_default());
            return Ok(0);
        }
        End::Failed(reason, why) => (reason, why),
    };
    let code = match reason {
        Reason::NoBackup | Reason::Backup => BACKUP,
        Reason::CannotWrite => CANNOT_WRITE,
        Reason::Unavailable => UNAVAILABLE,
        Reason::Denied => DENIED,
        Reason::Config => CONFIG,
    };
    Err(Failure::told(code, why))
}
