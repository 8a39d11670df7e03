//! What each route does with the fleet, in Litestream's words.
//!
//! Litestream has local LTX files, and we do not: commits stay in the WAL, and get a TXID when they
//! are captured. So `txid` is the newest that is captured, `replicated_txid` the newest that the
//! first replica has, and a sync without `wait` returns when the commits are captured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::watch;
use tokio::time::Instant;

use super::wire::{
    Changed, Checkpointed, DatabaseRequest, Databases, Diagnostics, Info, Position, RegisterRequest, Registered,
    RoleChanged, RoleRequest, Snapshot, SyncRequest, Synced, Unregistered,
};
use super::words::{diagnostic, is_safe, newest, number, over, rfc3339, shown, summary};
use super::{Refused, Registrar, Roles};
use crate::clock::Clock;
use crate::fleet::{DatabaseView, FleetError, FleetHandle, State};
use crate::members::Members;
use crate::replicate::{DatabaseId, Event};
use crate::status::Status;

/// Litestream's default for what may take time.
const TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a database that was registered may take to show that it can be replicated.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// Why a request is refused or failed.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub error: String,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Refusal {
        Refusal { status, error: error.into() }
    }

    fn failed(error: impl std::fmt::Display) -> Refusal {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    fn invalid(error: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, error)
    }
}

impl From<FleetError> for Refusal {
    fn from(error: FleetError) -> Refusal {
        match error {
            FleetError::Stopped(path) => {
                Refusal::new(StatusCode::CONFLICT, format!("database not open: {}", path.display()))
            }
            FleetError::Unknown => Refusal::new(StatusCode::NOT_FOUND, "database not found"),
            FleetError::Known(_) | FleetError::Running(_) | FleetError::LeftOut(_) | FleetError::Ending => {
                Refusal::new(StatusCode::CONFLICT, error.to_string())
            }
            FleetError::Gone => Refusal::failed(error),
        }
    }
}

type Answer<T> = Result<T, Refusal>;

/// What the routes work with.
pub struct Control {
    fleet: FleetHandle,
    registrar: Arc<dyn Registrar>,
    roles: Option<Arc<dyn Roles>>,
    clock: Clock,
    began: Instant,
    began_ms: i64,
}

impl Control {
    /// For a process that has begun now.
    pub fn new(fleet: FleetHandle, registrar: Arc<dyn Registrar>, clock: Clock) -> Control {
        Control { fleet, registrar, roles: None, clock, began: clock.instant(), began_ms: clock.unix_ms() }
    }

    /// The process is a node of a cluster.
    pub fn with_roles(self, roles: Option<Arc<dyn Roles>>) -> Control {
        Control { roles, ..self }
    }

    fn roles(&self) -> Answer<&Arc<dyn Roles>> {
        let none = "this process is no node of a cluster: there is no `cluster` in its configuration";
        self.roles.as_ref().ok_or_else(|| Refusal::new(StatusCode::CONFLICT, none))
    }

    pub async fn promote(&self, asked: RoleRequest) -> Answer<RoleChanged> {
        let limit = self.left(asked.timeout);
        let promoted = self.roles()?.promote(asked.node, limit).await;
        let (name, is_this) = promoted.map_err(|why| Refusal::new(StatusCode::CONFLICT, why))?;
        let role = if is_this { "primary" } else { "follower" };
        Ok(RoleChanged { role: role.into(), primary: Some(name) })
    }

    pub async fn demote(&self, asked: RoleRequest) -> Answer<RoleChanged> {
        let demoted = self.roles()?.demote(self.left(asked.timeout)).await;
        let primary = demoted.map_err(|why| Refusal::new(StatusCode::CONFLICT, why))?;
        Ok(RoleChanged { role: "follower".into(), primary })
    }

    pub async fn nodes(&self) -> Answer<Members> {
        Ok(self.roles()?.nodes().await)
    }

    pub async fn info(&self) -> Answer<Info> {
        let uptime = self.clock.instant().saturating_duration_since(self.began);
        Ok(Info {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_seconds: i64::try_from(uptime.as_secs()).unwrap_or(i64::MAX),
            started_at: rfc3339(self.began_ms),
            database_count: self.fleet.databases().await?.len(),
            program: Some(env!("CARGO_PKG_NAME").into()),
        })
    }

    pub async fn list(&self) -> Answer<Databases> {
        let now = self.clock.instant();
        let databases = self.fleet.databases().await?;
        Ok(Databases { databases: databases.iter().map(|view| summary(view, now)).collect() })
    }

    pub async fn txid(&self, path: &str) -> Answer<Position> {
        let path = self.path(path)?;
        let view = self.fleet.find(path).await?;
        let view = view.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "database not found"))?;
        Ok(Position { txid: number(newest(&view.status())) })
    }

    pub async fn sync_status(&self, path: Option<&str>) -> Answer<Diagnostics> {
        let views = match path {
            None => self.fleet.databases().await?,
            Some(path) => {
                let view = self.fleet.find(self.path(path)?).await?;
                vec![view.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "database not found"))?]
            }
        };
        let now = self.clock.instant();
        Ok(Diagnostics { databases: views.iter().map(|view| diagnostic(view, now)).collect() })
    }

    /// With `wait` the first replica has everything that was committed before the request.
    pub async fn sync(&self, asked: SyncRequest) -> Answer<Synced> {
        let path = self.path(&asked.path)?;
        let view =
            self.fleet.find(path.clone()).await?.ok_or_else(|| {
                Refusal::new(StatusCode::NOT_FOUND, format!("database not found: {}", path.display()))
            })?;
        refuse_if_over(&view)?;
        let before = newest(&view.status());
        let mut status = first(self.fleet.watch_replicas(view.id).await?)?;
        let syncing = self.fleet.sync(view.id, self.by(asked.timeout)).await?;
        let captured = async {
            // The sender of the status is dropped only when the replication ends, and then the sync
            // fails too.
            if status.wait_for(|status| status.captured > before).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            done = syncing => done.map(drop).map_err(|error| Refusal::failed(format!("sync database: {error}")))?,
            () = captured, if !asked.wait => {}
        }
        let after = self.fleet.find(path.clone()).await?.map_or_else(|| view.status(), |view| view.status());
        let txid = newest(&after);
        let status = match asked.wait {
            _ if txid <= before => "no_change",
            true => "synced",
            false => "synced_local",
        };
        let (txid, replicated_txid) = (number(txid), number(after.confirmed));
        Ok(Synced { status: status.into(), path: shown(&path), txid, replicated_txid })
    }

    pub async fn start(&self, asked: DatabaseRequest) -> Answer<Changed> {
        let (path, view) = self.present(&asked.path).await?;
        let by = self.by(asked.timeout);
        let status = match &view.state {
            State::Starting | State::Ready(_) | State::Exclusive { .. } => "already_running",
            State::Fenced => return Err(Refusal::failed(over(&view).unwrap_or_default())),
            State::Halted { .. } | State::Stopped => {
                self.end_what_halted(&view, by).await?;
                self.fleet.start(view.id).await?;
                self.first_word(view.id, by).await?;
                "started"
            }
        };
        Ok(Changed { status: status.into(), txid: self.txid_of(&path, &view).await?, path: shown(&path) })
    }

    /// A replication that has ended by itself keeps that status until it is told to end.
    async fn end_what_halted(&self, view: &DatabaseView, by: Instant) -> Answer<()> {
        match self.fleet.stop(view.id, self.clock.instant()).await {
            Ok(ending) => tokio::time::timeout_at(by, ending).await.map(drop).map_err(|_| late("it has not ended")),
            Err(FleetError::Stopped(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn stop(&self, asked: DatabaseRequest) -> Answer<Changed> {
        let (path, view) = self.present(&asked.path).await?;
        // While the application may run, the write lock is kept: it keeps commits off a branch that
        // no restore will use.
        if let State::Fenced = view.state {
            return Err(Refusal::failed(over(&view).unwrap_or_default()));
        }
        let status = match self.fleet.stop(view.id, self.by(asked.timeout)).await {
            Ok(ending) => {
                let ended = ending.await;
                // A replication that had ended before has been reported already.
                if view.state.is_running() {
                    is_safe(ended).map_err(Refusal::failed)?
                }
                "stopped"
            }
            Err(FleetError::Stopped(_)) => "already_stopped",
            Err(error) => return Err(error.into()),
        };
        Ok(Changed { status: status.into(), txid: self.txid_of(&path, &view).await?, path: shown(&path) })
    }

    pub async fn register(&self, asked: RegisterRequest) -> Answer<Registered> {
        let path = self.path(&asked.path)?;
        if asked.replica_url.is_empty() {
            return Err(Refusal::invalid("replica_url required"));
        }
        let answer = |status: &str| Ok(Registered { status: status.into(), path: shown(&path) });
        if self.fleet.find(path.clone()).await?.is_some() {
            return answer("already_registered");
        }
        let id = self.registrar.register(path.clone(), &asked.replica_url).await.map_err(|refused| match refused {
            Refused::Invalid(why) => Refusal::invalid(why),
            Refused::Failed(why) => Refusal::failed(format!("failed to register database: {why}")),
        })?;
        match self.first_word(id, self.clock.instant() + FIRST_WORD).await {
            // The stop goes on by itself and logs its result.
            Ok(()) | Err(Word::Late) => {
                self.registrar.note_registered(path.clone(), asked.replica_url).await.map_err(|why| {
                    Refusal::failed(format!(
                        "it is registered until this process ends, and will not be after that: {why}"
                    ))
                })?;
                answer("registered")
            }
            Err(Word::Failed(why)) => {
                // The failure is the answer; we do not wait for the end of the stop.
                let _ = self.fleet.remove(id, self.clock.instant()).await;
                Err(Refusal::failed(format!("failed to register database: {why}")))
            }
        }
    }

    pub async fn unregister(&self, asked: DatabaseRequest) -> Answer<Unregistered> {
        let path = self.path(&asked.path)?;
        let answer = |status: &str, txid| Unregistered { status: status.into(), path: shown(&path), txid };
        let noted = async |status: &str, txid| match self.registrar.note_unregistered(path.clone()).await {
            Ok(()) => Ok(answer(status, txid)),
            Err(why) => {
                let error = format!("it is unregistered until this process ends, and will be registered again: {why}");
                Err(Refusal::failed(error))
            }
        };
        let Some(view) = self.fleet.find(path.clone()).await? else { return noted("already_unregistered", 0).await };
        if let State::Fenced = view.state {
            return Err(Refusal::failed(over(&view).unwrap_or_default()));
        }
        let status = first(self.fleet.watch_replicas(view.id).await?)?;
        let ended = self.fleet.remove(view.id, self.by(asked.timeout)).await?.await;
        if view.state.is_running() {
            is_safe(ended).map_err(|why| Refusal::failed(format!("failed to unregister database: {why}")))?;
        }
        let txid = number(newest(&status.borrow()));
        noted("unregistered", txid).await
    }

    pub async fn snapshot(&self, asked: DatabaseRequest) -> Answer<Snapshot> {
        let (path, view) = self.present(&asked.path).await?;
        refuse_if_over(&view)?;
        let snapshot = self.fleet.snapshot(view.id).await?;
        let made = tokio::time::timeout_at(self.by(asked.timeout), snapshot).await;
        let txid = made.map_err(|_| late("the snapshot is not complete; it is still being made"))?;
        Ok(Snapshot { path: shown(&path), txid: number(Some(txid.map_err(Refusal::failed)?)) })
    }

    pub async fn checkpoint(&self, asked: DatabaseRequest) -> Answer<Checkpointed> {
        let (path, view) = self.present(&asked.path).await?;
        refuse_if_over(&view)?;
        let done = self.fleet.checkpoint(view.id, self.by(asked.timeout)).await?.await;
        let txid = done.map_err(|error| Refusal::failed(format!("checkpoint: {error}")))?;
        Ok(Checkpointed { path: shown(&path), txid: number(txid) })
    }

    fn path(&self, name: &str) -> Answer<PathBuf> {
        if name.is_empty() {
            return Err(Refusal::invalid("path required"));
        }
        self.registrar.database(name).map_err(|why| Refusal::invalid(format!("invalid path: {why}")))
    }

    /// A database that must be registered. The HTTP status is that of Litestream.
    async fn present(&self, name: &str) -> Answer<(PathBuf, DatabaseView)> {
        let path = self.path(name)?;
        match self.fleet.find(path.clone()).await? {
            Some(view) => Ok((path, view)),
            None => Err(Refusal::failed(format!("database not found: {}", path.display()))),
        }
    }

    async fn txid_of(&self, path: &Path, before: &DatabaseView) -> Answer<u64> {
        let view = self.fleet.find(path.to_owned()).await?;
        let (now, before) = (view.map(|view| view.status()).unwrap_or_default(), before.status());
        Ok(number(newest(&now).max(newest(&before))))
    }

    fn left(&self, timeout: i64) -> Duration {
        self.by(timeout).saturating_duration_since(self.clock.instant())
    }

    fn by(&self, timeout: i64) -> Instant {
        let timeout = u64::try_from(timeout).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
        self.clock.instant() + timeout.unwrap_or(TIMEOUT).min(TIMEOUT_MAX)
    }

    /// Waits until a replication that was started is ready.
    async fn first_word(&self, id: DatabaseId, by: Instant) -> Result<(), Word> {
        let gone = |error: FleetError| Word::Failed(error.to_string());
        let mut events = self.fleet.watch_events(id).await.map_err(gone)?;
        let word = tokio::time::timeout_at(by, events.wait_for(Option::is_some)).await;
        let word = word.map_err(|_| Word::Late)?.map_err(|_| gone(FleetError::Unknown))?.clone();
        match word {
            Some(Event::Failed { why } | Event::Exclusive { why }) => Err(Word::Failed(why)),
            Some(Event::Fenced) => Err(Word::Failed("another writer owns the history in its replica".into())),
            Some(Event::Ready(_) | Event::Sealed) | None => Ok(()),
        }
    }
}

/// Why the first event of a replication is not that it is ready.
enum Word {
    Late,
    Failed(String),
}

impl From<Word> for Refusal {
    fn from(word: Word) -> Refusal {
        match word {
            Word::Late => late("it is not ready yet; it is still being started"),
            Word::Failed(why) => Refusal::failed(why),
        }
    }
}

fn late(what: &str) -> Refusal {
    Refusal::failed(format!("the time has passed: {what}"))
}

/// The answer for a database that is not replicated, and why.
fn refuse_if_over(view: &DatabaseView) -> Answer<()> {
    match over(view) {
        Some(why) => Err(Refusal::new(StatusCode::CONFLICT, why)),
        None => Ok(()),
    }
}

fn first(statuses: Vec<watch::Receiver<Status>>) -> Answer<watch::Receiver<Status>> {
    statuses.into_iter().next().ok_or_else(|| Refusal::failed("the database has no replica"))
}
