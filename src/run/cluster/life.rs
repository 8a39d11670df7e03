//! Migration and application, whatever the role of this node.
//!
//! The application goes on when the role changes, unless there is something to run for the new
//! role: a migration comes before the application of a primary may write, so the application is
//! started anew after it.

use std::ffi::OsString;

use anyhow::anyhow;
use tokio::sync::watch;

use super::{Process, Standing};
use crate::claim::Stop;
use crate::clock::MACHINE;
use crate::http::Phase;
use crate::primary::Primary;
use crate::run::cause::Cause;
use crate::run::commands::Role;
use crate::run::exit::{Course, Failure, SIGNALLED, UNAVAILABLE};
use crate::run::proxying::Proxying;
use crate::run::stages::{Command, Lived, command, told_during_migration};
use crate::run::told::{cancelling, ended_by};
use crate::run::{Budget, Job};
use crate::supervise::{CommandLine, Signals};

pub struct Life<'a> {
    pub process: &'a Process<'a>,
    pub name: &'a str,
    pub is_candidate: bool,
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

fn begins_again(job: &Job, was: Role, is_primary: bool) -> bool {
    job.commands.begins_again(was, Role { is_primary, ..was })
}

impl Life<'_> {
    pub async fn run(mut self, signals: &mut Signals) -> Result<Lived, Failure> {
        let job = self.process.job;
        loop {
            let is_primary = self.may_start(signals).await?;
            let role = self.role(is_primary);
            let plan = job.commands.of_role(role);
            for line in plan.first {
                let lived = told_during_migration(self.migrate(line, role, signals).await?);
                if lived.course.code != 0 {
                    return Ok(lived);
                }
            }
            let is_elsewhere = plan.app.is_none() && job.commands.has_app();
            let phase = if is_elsewhere { Phase::StandingBy } else { Phase::Running };
            self.process.monitor.phase().send_replace(phase);
            let lived = match plan.app {
                Some(app) => self.application(app, role, signals).await?,
                None => self.until_told(role, signals).await?,
            };
            let begins_again = job.commands.begins_again(role, self.role(self.is_primary()));
            if lived.is_told || lived.course.failed || !begins_again {
                self.process.monitor.stopping();
                return Ok(lived);
            }
            tracing::info!("{}; the commands of the new role are next", lived.what);
        }
    }

    fn role(&self, is_primary: bool) -> Role {
        Role { is_primary, is_candidate: self.is_candidate }
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

    /// Why a command has to stop: `begins_again` says with which role something else is to run.
    async fn cause(stands: &mut watch::Receiver<Standing>, begins_again: impl Fn(bool) -> bool) -> Cause {
        loop {
            match &*stands.borrow_and_update() {
                Standing::Ends(why) => {
                    tracing::error!("stopping the application: {why}");
                    return Cause::Fenced;
                }
                standing if standing.role().is_some_and(&begins_again) => return Cause::CalledOff,
                _ => {}
            }
            if stands.changed().await.is_err() {
                return Cause::ReplicationEnded;
            }
        }
    }

    /// With another role something else may be run next; this one is run to its end.
    async fn migrate(&mut self, line: &CommandLine, role: Role, signals: &mut Signals) -> Result<Lived, Failure> {
        let Process { job, budget, monitor, reaper, .. } = self.process;
        monitor.phase().send_replace(Phase::Migrating);
        let extra_env = environment(self.name, role.is_primary, &self.primary.borrow());
        let migration = Command { extra_env, ..Command::migration(job, line, budget, self.proxying) };
        let stands = &mut self.stands;
        command(migration, signals, async || Life::cause(stands, |_| false).await, reaper, budget).await
    }

    async fn application(&mut self, line: &CommandLine, role: Role, signals: &mut Signals) -> Result<Lived, Failure> {
        let Process { job, budget, reaper, .. } = self.process;
        let extra_env = environment(self.name, role.is_primary, &self.primary.borrow());
        let app = Command { extra_env, ..Command::application(job, line, budget, self.proxying) };
        let stands = &mut self.stands;
        let stops = async || Life::cause(stands, |is_primary| begins_again(job, role, is_primary)).await;
        command(app, signals, stops, reaper, budget).await
    }

    /// Without an application.
    async fn until_told(&mut self, role: Role, signals: &mut Signals) -> Result<Lived, Failure> {
        let job = self.process.job;
        let course = Course { code: 0, failed: false, ran: true };
        tokio::select! {
            signal = cancelling(signals) => {
                let asked_at = Some(MACHINE.instant());
                self.proxying.settle(self.process.budget.child).await;
                Ok(Lived { course, what: format!("told to end by {signal}"), asked_at, is_told: true })
            }
            _ = Life::cause(&mut self.stands, |is_primary| begins_again(job, role, is_primary)) => {
                let what = "the role has changed".into();
                Ok(Lived { course, what, asked_at: None, is_told: false })
            }
        }
    }
}
