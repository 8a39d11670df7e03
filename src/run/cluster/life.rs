//! Migration and application, whatever the role of this node.
//!
//! The application goes on when the role changes, unless there is a migration: that runs before the
//! application of a primary may write, so the application is started anew after it.

use std::ffi::OsString;

use anyhow::anyhow;
use tokio::sync::watch;

use super::{Process, Standing};
use crate::claim::Stop;
use crate::clock::MACHINE;
use crate::http::Phase;
use crate::primary::Primary;
use crate::run::Budget;
use crate::run::cause::Cause;
use crate::run::exit::{Course, Failure, SIGNALLED, UNAVAILABLE};
use crate::run::proxying::Proxying;
use crate::run::stages::{Command, Lived, command, told_during_migration};
use crate::run::told::{cancelling, ended_by};
use crate::supervise::{CommandLine, Scope, Signals, StopPolicy};

pub struct Life<'a> {
    pub process: &'a Process<'a>,
    pub name: &'a str,
    pub proxying: &'a Proxying,
    pub stands: watch::Receiver<Standing>,
    pub primary: watch::Receiver<Primary>,
}

/// When the node is to have ended.
pub fn stop_of(lived: &Result<Lived, Failure>, budget: &Budget) -> Stop {
    let asked_at = lived.as_ref().ok().and_then(|lived| lived.asked_at);
    let failed = match lived {
        Ok(lived) => lived.course.failed,
        Err(failure) => failure.code < SIGNALLED,
    };
    Stop { deadline: budget.sync_deadline(asked_at, MACHINE.instant()), failed }
}

/// What a command gets to know of the roles.
pub fn environment(name: &str, is_primary: bool, primary: &Primary) -> Vec<(OsString, OsString)> {
    let role = if is_primary { "primary" } else { "follower" };
    let primary = match primary {
        Primary::Here => name.to_owned(),
        Primary::At(peer) => peer.url.clone().unwrap_or_else(|| peer.name.clone()),
        Primary::Unknown if is_primary => name.to_owned(),
        Primary::Unknown => String::new(),
    };
    [("MILLSTREAM_ROLE", role.to_owned()), ("MILLSTREAM_PRIMARY", primary)]
        .map(|(name, value)| (name.into(), value.into()))
        .into()
}

impl Life<'_> {
    pub async fn run(mut self, signals: &mut Signals) -> Result<Lived, Failure> {
        let job = self.process.job;
        loop {
            let is_primary = self.may_start(signals).await?;
            if let Some(migrate) = job.migrate.as_ref().filter(|_| is_primary) {
                let lived = told_during_migration(self.migrate(migrate, signals).await?);
                if lived.course.code != 0 {
                    return Ok(lived);
                }
            }
            self.process.monitor.phase().send_replace(Phase::Running);
            let lived = match &job.app {
                Some(app) => self.application(app, is_primary, signals).await?,
                None => self.until_told(is_primary, signals).await?,
            };
            let has_to_migrate = !is_primary && job.migrate.is_some() && self.is_primary();
            if lived.is_told || lived.course.failed || !has_to_migrate {
                self.process.monitor.stopping();
                return Ok(lived);
            }
            tracing::info!("{}; the migration comes first, now that this node is the primary", lived.what);
        }
    }

    fn is_primary(&self) -> bool {
        matches!(*self.stands.borrow(), Standing::Primary)
    }

    /// Waits until the databases are here; whether this node is the primary.
    async fn may_start(&mut self, signals: &mut Signals) -> Result<bool, Failure> {
        loop {
            match &*self.stands.borrow_and_update() {
                Standing::NotReady => {}
                Standing::Follower => return Ok(false),
                Standing::Primary => return Ok(true),
                Standing::Ends(why) => return Err(Failure::new(UNAVAILABLE, anyhow!("{why}"))),
            }
            tokio::select! {
                biased;
                signal = cancelling(signals) => return Err(ended_by(signal, "before the databases were here")),
                changed = self.stands.changed() => if changed.is_err() {
                    return Err(Failure::new(UNAVAILABLE, anyhow!("the node has ended")));
                },
            }
        }
    }

    /// Why a command has to stop.
    async fn cause(stands: &mut watch::Receiver<Standing>, migrates: bool, was_primary: bool) -> Cause {
        loop {
            match &*stands.borrow_and_update() {
                Standing::Ends(why) => {
                    tracing::error!("stopping the application: {why}");
                    return Cause::Fenced;
                }
                Standing::Primary if migrates && !was_primary => return Cause::CalledOff,
                _ => {}
            }
            if stands.changed().await.is_err() {
                return Cause::ReplicationEnded;
            }
        }
    }

    async fn migrate(&mut self, line: &CommandLine, signals: &mut Signals) -> Result<Lived, Failure> {
        let Process { job, budget, monitor, reaper, .. } = self.process;
        monitor.phase().send_replace(Phase::Migrating);
        let policy = StopPolicy { hup_stops: true, ..StopPolicy::new(budget.child) };
        let migration = Command {
            line,
            what: "the migration",
            policy,
            limit: job.migrate_timeout,
            strip_env: &job.options.strip_env,
            extra_env: environment(self.name, true, &self.primary.borrow()),
            proxying: self.proxying,
        };
        let stands = &mut self.stands;
        command(migration, signals, async || Life::cause(stands, false, true).await, reaper, budget).await
    }

    async fn application(
        &mut self,
        line: &CommandLine,
        is_primary: bool,
        signals: &mut Signals,
    ) -> Result<Lived, Failure> {
        let Process { job, budget, reaper, .. } = self.process;
        let policy = StopPolicy {
            scope: Scope::Command,
            lead: self.proxying.lead(budget.child),
            stop_signal: job.stop_signal,
            rewrites: job.rewrites.clone(),
            ..StopPolicy::new(budget.child)
        };
        let app = Command {
            line,
            what: "the application",
            policy,
            limit: None,
            strip_env: &job.options.strip_env,
            extra_env: environment(self.name, is_primary, &self.primary.borrow()),
            proxying: self.proxying,
        };
        let (stands, migrates) = (&mut self.stands, job.migrate.is_some());
        command(app, signals, async || Life::cause(stands, migrates, is_primary).await, reaper, budget).await
    }

    /// Without an application.
    async fn until_told(&mut self, is_primary: bool, signals: &mut Signals) -> Result<Lived, Failure> {
        let migrates = self.process.job.migrate.is_some();
        let course = Course { code: 0, failed: false, ran: true };
        tokio::select! {
            signal = cancelling(signals) => {
                let asked_at = Some(MACHINE.instant());
                self.proxying.settle(self.process.budget.child).await;
                Ok(Lived { course, what: format!("told to end by {signal}"), asked_at, is_told: true })
            }
            _ = Life::cause(&mut self.stands, migrates, is_primary) => {
                let what = "the role has changed".into();
                Ok(Lived { course, what, asked_at: None, is_told: false })
            }
        }
    }
}
