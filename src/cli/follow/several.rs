//! `follow -dir`: a copy of each of many databases, in one directory. Databases whose replica
//! appears later get theirs, too.
//!
//! Each is followed by itself: one that cannot be followed is said, and tried again with the next
//! look for new ones, while the others go on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::CancellationToken;

use super::following::{Following, code, refuse_configured};
use crate::cli::args::Follow;
use crate::cli::source::{Source, below};
use crate::cli::{Environment, logger, replica_at, variable};
use crate::config::{Database, Loaded, Replica};
use crate::figures;
use crate::restore::Request;
use crate::run::exit::{BACKUP, CONFIG, Failure, worst};
use crate::run::{backups_of, cancelling, replicas_below, store_failure};
use crate::store::s3::Clients;
use crate::supervise::Signals;

/// Databases that are new are looked for this much more rarely than new transactions.
const INTERVALS: u32 = 60;

/// Where it is said which databases there are.
enum Named {
    Below(Replica),
    Configured(Box<Loaded>),
}

/// By the path of the copy in the directory.
type Wanted = BTreeMap<PathBuf, Following>;

/// What became of each that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Followed,
    Failed(u8),
}

/// Which databases there are, and where their copies belong.
struct Places<'a> {
    command: &'a Follow,
    dir: PathBuf,
    named: Named,
}

struct Several<'a> {
    places: &'a Places<'a>,
    running: FuturesUnordered<LocalBoxFuture<'a, (PathBuf, Result<u8, Failure>)>>,
    states: BTreeMap<PathBuf, State>,
    /// Why they could not be followed for the last time.
    said: BTreeMap<PathBuf, String>,
    cancel: CancellationToken,
}

pub(super) async fn follow(command: &Follow, dir: &Path, signals: &mut Signals) -> Result<u8, Failure> {
    let places = Places { command, dir: Environment::of_process()?.cwd.join(dir), named: named(command)? };
    let cancel = CancellationToken::new();
    let several = Several {
        places: &places,
        running: FuturesUnordered::new(),
        states: BTreeMap::new(),
        said: BTreeMap::new(),
        cancel: cancel.clone(),
    };
    let following = several.run();
    tokio::pin!(following);
    tokio::select! {
        biased;
        _ = cancelling(signals) => {
            cancel.cancel();
            following.await
        }
        ended = &mut following => ended,
    }
}

fn named(command: &Follow) -> Result<Named, Failure> {
    if let (false, Source::Url(url)) = (command.look.names_nothing(), command.source()) {
        logger::start_as_told(&command.sources(&variable, PathBuf::new()));
        return Ok(Named::Below(replica_at(&url)?));
    }
    let loaded = Environment::of_process()?.load(|env, cwd| command.sources(env, cwd))?;
    logger::start(&loaded.options.logging);
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    loaded.require_databases().map_err(|error| Failure::new(CONFIG, error))?;
    Ok(Named::Configured(Box::new(loaded)))
}

impl Several<'_> {
    /// Until it is cancelled, or no database is followed any more.
    async fn run(mut self) -> Result<u8, Failure> {
        let cancel = self.cancel.clone();
        let Some(first) = cancel.run_until_cancelled(self.places.wanted()).await else { return Ok(0) };
        self.begin(first?);
        // While the store is asked for new ones, the copies go on.
        let mut look = self.places.later().boxed_local();
        while !self.running.is_empty() {
            tokio::select! {
                Some((path, ended)) = self.running.next() => self.ended(path, ended),
                found = &mut look, if !cancel.is_cancelled() => {
                    match found {
                        Ok(wanted) => self.begin(wanted),
                        Err(failure) => tracing::warn!("cannot look for new databases: {}", failure.sentence()),
                    }
                    look = self.places.later().boxed_local();
                }
            }
        }
        self.concluded()
    }

    fn begin(&mut self, wanted: Wanted) {
        let mut new = 0;
        for (path, following) in wanted {
            if self.states.get(&path) == Some(&State::Followed) {
                continue;
            }
            new += usize::from(self.states.insert(path.clone(), State::Followed).is_none());
            let (interval, force, cancel) =
                (self.places.command.interval, self.places.command.force, self.cancel.clone());
            let follow = async move {
                let ended = follow_one(&following, interval, force, cancel).await;
                (path, ended)
            };
            self.running.push(follow.boxed_local());
        }
        if new > 0 {
            tracing::info!("following {} in {}", figures::count(new, "database"), self.places.dir.display());
        }
    }

    fn ended(&mut self, path: PathBuf, ended: Result<u8, Failure>) {
        if let Err(failure) = ended {
            let why = failure.sentence();
            // It is tried again and again.
            if self.said.get(&path) != Some(&why) {
                tracing::error!(db = %path.display(), "not followed: {why}");
                self.said.insert(path.clone(), why);
            }
            self.states.insert(path, State::Failed(failure.code));
        }
    }

    fn concluded(&self) -> Result<u8, Failure> {
        let failed = self.states.values().filter_map(|state| match state {
            State::Failed(code) => Some(*code),
            State::Followed => None,
        });
        let failed: Vec<u8> = failed.collect();
        match worst(failed.iter().copied()) {
            None if self.states.is_empty() => Err(Failure::new(BACKUP, anyhow!("there is no backup of any database"))),
            None => Ok(0),
            Some(code) => {
                let all = figures::count(self.states.len(), "database");
                let why = anyhow!("{} of {all} could not be followed: see the errors above", failed.len());
                Err(Failure::new(code, why))
            }
        }
    }
}

impl Places<'_> {
    /// The same, a while later.
    async fn later(&self) -> Result<Wanted, Failure> {
        tokio::time::sleep(self.command.interval * INTERVALS).await;
        self.wanted().await
    }

    async fn wanted(&self) -> Result<Wanted, Failure> {
        match &self.named {
            Named::Below(root) => self.below(root).await,
            Named::Configured(loaded) => self.configured(loaded).await,
        }
    }

    async fn below(&self, root: &Replica) -> Result<Wanted, Failure> {
        let found = replicas_below(root, &mut Clients::default()).await.map_err(|error| store_failure(&error))?;
        let mut wanted = Wanted::new();
        for relative in found {
            let replica = match below(root, &relative) {
                Ok(replica) => replica,
                Err(why) => {
                    tracing::warn!("{} of {} is not followed: {why}", relative.display(), root.url);
                    continue;
                }
            };
            let (replicas, copy) = (vec![replica], self.dir.join(relative));
            wanted.insert(copy.clone(), Following { replicas, all: Arc::default(), copy, owner: None, mode: None });
        }
        Ok(wanted)
    }

    async fn configured(&self, loaded: &Loaded) -> Result<Wanted, Failure> {
        let mut databases: Vec<(PathBuf, Database)> = Vec::new();
        for database in &loaded.options.databases {
            let name = database.path.file_name().unwrap_or_default();
            databases.push((self.dir.join(name), database.clone()));
        }
        for directory in &loaded.options.directories {
            for relative in backups_of(directory).await? {
                let database = directory.database(&relative).map_err(|why| Failure::told(CONFIG, why))?;
                databases.push((self.dir.join(relative), database));
            }
        }
        refuse_the_same(&databases)?;
        let all: Arc<[Database]> = databases.iter().map(|(_, database)| database.clone()).collect();
        let mut wanted = Wanted::new();
        for (copy, database) in databases {
            refuse_configured(&copy, &loaded.options)?;
            let following = Following::at(&database, self.command.look.replica(), copy.clone(), all.clone())?;
            wanted.insert(copy, following);
        }
        Ok(wanted)
    }
}

async fn follow_one(
    following: &Following,
    interval: Duration,
    force: bool,
    cancel: CancellationToken,
) -> Result<u8, Failure> {
    let order = following.order(Request::new(&following.copy), interval, force)?;
    code(&following.copy, &following.run(order, cancel).await?)
}

/// Two databases cannot have one copy.
fn refuse_the_same(databases: &[(PathBuf, Database)]) -> Result<(), Failure> {
    let mut known = BTreeMap::new();
    for (copy, database) in databases {
        if let Some(other) = known.insert(copy, &database.path) {
            let why = "would have the same copy: follow them one by one, with -o PATH";
            let (one, two, copy) = (other.display(), database.path.display(), copy.display());
            return Err(Failure::new(CONFIG, anyhow!("{one} and {two} {why} ({copy})")));
        }
    }
    Ok(())
}
