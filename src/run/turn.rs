//! Whose turn it is to write: the claims of this process (`claim/`), as the stages see them.
//!
//! Without `handover` it is our turn from the start to the end, and no request is made.
//!
//! ```text
//!   next ─▶ Serve       the databases are brought to the newest state ─▶ sealed ─▶ may_start
//!        ─▶ ServeAlone  the bucket is away: what is here is served, and nothing uploaded
//!        ─▶ FinishUp    what an earlier process left is uploaded, nothing is started
//!                       called_off ─▶ the application stops, the last sync ─▶ drained ─▶ next
//!   leave: the claim is released
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::exit::{CONFIG, Failure};
use super::neighbours::Neighbours;
use super::permission::{Permission, permit_by};
use super::told::cancelling;
use super::whereabouts::tell_primary;
use super::{Job, connect};
use crate::claim::{Config, Driver, Identity, Node, Order, Outcome, Report, Stop};
use crate::clock::MACHINE;
use crate::config::{Database, Handover};
use crate::http::Phase;
use crate::primary::Primary;
use crate::remote::ReadPolicy;
use crate::replicate::{DatabaseId, Event, Ready, SealPermit, blocking};
use crate::sqlite::{Presence, look_at_file};
use crate::supervise::{Signal, Signals};

/// Three beats come in this time, if `handover.wait` is not short.
const TTL_MAX: Duration = Duration::from_secs(15);

/// What is to be done until the turn is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignment {
    Serve,
    /// Without a claim, because the bucket is away.
    ServeAlone,
    /// An earlier process of this instance was killed while it held the claim, and others wait.
    FinishUp,
}

/// What ends the wait for a turn.
#[derive(Clone, Debug)]
pub enum Called {
    To(Assignment),
    /// By a signal, to end.
    Away(Signal),
    /// The claims ended by themselves.
    Never(Outcome),
}

pub struct Turn {
    claims: Option<Claims>,
    /// The turn lasts.
    is_here: watch::Sender<bool>,
    primary: watch::Receiver<Primary>,
    neighbours: Option<Neighbours>,
}

struct Claims {
    orders: mpsc::UnboundedReceiver<Order>,
    reports: mpsc::UnboundedSender<Report>,
    stands_by: watch::Receiver<bool>,
    permission: watch::Sender<Permission>,
    permit: watch::Receiver<SealPermit>,
    driver: JoinHandle<Outcome>,
    /// How the driver has ended.
    outcome: Option<Outcome>,
    /// That of the replica beside which the claims lie.
    address: String,
    _permissions: JoinSet<()>,
    /// Databases whose history is not sealed yet.
    unsealed: BTreeSet<DatabaseId>,
    /// Their replications have begun.
    has_begun: bool,
    /// They are to be sealed, and that they are was not reported yet.
    is_sealing: bool,
    may_start: bool,
    is_called_off: bool,
}

impl Turn {
    /// `first` is the first database of the configuration: beside its first replica the claims lie.
    pub async fn begin(job: &Job, first: Option<&Database>) -> Result<Turn, Failure> {
        let Some(handover) = &job.options.handover else { return Ok(Turn::always()) };
        if job.once.is_some() {
            tracing::info!("handover: not with -once, which waits for no other process");
            return Ok(Turn::always());
        }
        let Some(first) = first else {
            let why = "handover: there must be a database with a `path` under dbs, beside whose replica the claims lie";
            return Err(Failure::told(CONFIG, why));
        };
        let remote = connect::connect(&first.replicas.first, &job.options.databases).await?;
        let remote = remote.with_policy(ReadPolicy::impatient());
        let address = remote.address().to_owned();
        let (order, orders) = mpsc::unbounded_channel();
        let (reports, reported) = mpsc::unbounded_channel();
        let hostname = hostname();
        let url = job.options.proxy.as_ref().and_then(|proxy| proxy.advertise.clone());
        let node = Node { name: hostname.clone(), hostname: hostname.clone(), url, cluster_url: None };
        let config = config(handover, &hostname, first, all_are_here(job).await);
        let driver = Driver::new(remote, node, config, order, reported);
        let (permission, permitted) = watch::channel(Permission::No);
        let (sender, permit) = watch::channel(SealPermit::No);
        let mut permissions = JoinSet::new();
        permissions.spawn(permit_by(permitted, driver.seal_until(), sender));
        let stands_by = driver.stands_by();
        let (is_here, here) = watch::channel(false);
        let (told, primary) = watch::channel(Primary::Unknown);
        let neighbours = Some(Neighbours::new(driver.wakes(), reports.clone()));
        permissions.spawn(tell_primary(here, driver.stands_by(), driver.newest(), told));
        Ok(Turn {
            is_here,
            primary,
            neighbours,
            claims: Some(Claims {
                orders,
                reports,
                stands_by,
                permission,
                permit,
                driver: tokio::spawn(driver.run()),
                outcome: None,
                address,
                _permissions: permissions,
                unsealed: BTreeSet::new(),
                has_begun: false,
                is_sealing: false,
                may_start: false,
                is_called_off: false,
            }),
        })
    }

    /// From the start to the end.
    fn always() -> Turn {
        let (is_here, primary) = (watch::Sender::new(true), watch::channel(Primary::Here).1);
        Turn { claims: None, is_here, primary, neighbours: None }
    }

    /// Where the primary is: here, as long as the turn lasts; then where the newest claim is from.
    pub fn primary(&self) -> watch::Receiver<Primary> {
        self.primary.clone()
    }

    /// Once.
    pub fn neighbours(&mut self) -> Option<Neighbours> {
        self.neighbours.take()
    }

    pub fn is_claimed(&self) -> bool {
        self.claims.is_some()
    }

    /// Where the claims lie.
    pub fn address(&self) -> &str {
        self.claims.as_ref().map_or("", |claims| &claims.address)
    }

    /// For the replications.
    pub fn permit(&self) -> Option<watch::Receiver<SealPermit>> {
        self.claims.as_ref().map(|claims| claims.permit.clone())
    }

    /// Waits for a turn.
    pub async fn next(&mut self, signals: &mut Signals, phase: &watch::Sender<Phase>) -> Called {
        let Some(claims) = &mut self.claims else { return Called::To(Assignment::Serve) };
        (claims.has_begun, claims.is_sealing, claims.may_start) = (false, false, false);
        claims.permission.send_replace(Permission::No);
        let assignment = loop {
            let stands_by = *claims.stands_by.borrow_and_update();
            phase.send_replace(if stands_by { Phase::StandingBy } else { Phase::Waiting });
            tokio::select! {
                biased;
                signal = cancelling(signals) => return Called::Away(signal),
                order = claims.orders.recv() => {
                    if let Some(order) = order {
                        claims.take(order);
                    }
                    match order {
                        Some(Order::Seal) => break Assignment::Serve,
                        Some(Order::Alone) => break Assignment::ServeAlone,
                        Some(Order::Drain) => break Assignment::FinishUp,
                        Some(Order::Open | Order::Retreat) => {}
                        None => return Called::Never(claims.outcome().await),
                    }
                }
                Ok(()) = claims.stands_by.changed() => {}
            }
        };
        claims.is_called_off = assignment == Assignment::FinishUp;
        self.is_here.send_replace(!claims.is_called_off);
        phase.send_replace(Phase::Restoring);
        Called::To(assignment)
    }

    /// The replications of these databases begin.
    pub fn begins_with(&mut self, ids: &BTreeSet<DatabaseId>) {
        if let Some(claims) = &mut self.claims {
            claims.unsealed.clone_from(ids);
            claims.has_begun = true;
            claims.tell_if_sealed();
        }
    }

    /// What a replication tells.
    pub fn heard(&mut self, id: DatabaseId, event: &Event) {
        let Some(claims) = &mut self.claims else { return };
        let is_over = match event {
            // Where there is no database, there is nothing that others could continue.
            Event::Ready(Ready::NoDatabaseYet | Ready::AfterApplication) => true,
            Event::Ready(Ready::Armed | Ready::Standby) | Event::Exclusive { .. } | Event::Fenced => false,
            Event::Sealed | Event::Failed { .. } => true,
        };
        if is_over && claims.unsealed.remove(&id) {
            claims.tell_if_sealed();
        }
    }

    /// Whether migration and application may be started.
    pub fn may_start(&self) -> bool {
        self.claims.as_ref().is_none_or(|claims| claims.may_start)
    }

    /// The next order is taken in. Never returns without claims.
    pub async fn order(&mut self) {
        let Some(claims) = &mut self.claims else { return std::future::pending().await };
        match claims.orders.recv().await {
            Some(order) => claims.take(order),
            None => claims.is_called_off = true,
        }
        self.is_here.send_if_modified(|is_here| claims.is_called_off && std::mem::take(is_here));
    }

    /// Whether the turn is over: the application has to stop.
    pub fn is_called_off(&self) -> bool {
        self.claims.as_ref().is_some_and(|claims| claims.is_called_off)
    }

    pub async fn called_off(&mut self) {
        while !self.is_called_off() {
            self.order().await;
        }
    }

    /// Cancels the work when the turn is over, and waits for it.
    pub async fn unless_called_off<T>(&mut self, work: impl Future<Output = T>, cancel: &CancellationToken) -> T {
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = self.called_off() => cancel.cancel(),
        }
        work.await
    }

    /// Another writer was met while the application ran.
    pub fn is_fenced(&mut self) {
        self.report(Report::Fenced);
    }

    /// The application has stopped, and what can be uploaded is.
    pub fn is_drained(&mut self) {
        self.report(Report::Drained);
    }

    /// Releases the claim. `failed`: this process was not told to end.
    pub async fn leave(mut self, failed: bool, deadline: Instant) {
        self.report(Report::Stop(Stop { deadline, failed }));
        let Some(mut claims) = self.claims else { return };
        while let Some(order) = claims.orders.recv().await {
            if matches!(order, Order::Drain | Order::Retreat) {
                // The driver has ended, if it is not heard.
                let _ = claims.reports.send(Report::Drained);
            }
        }
        match claims.outcome().await {
            Outcome::Released => tracing::debug!("the claim is released"),
            Outcome::Nothing | Outcome::Foreign | Outcome::Denied(..) => {}
            Outcome::Unreleased => tracing::warn!(
                "the claim could not be released in time: another instance waits for `handover.wait` before it goes on"
            ),
        }
    }

    fn report(&mut self, report: Report) {
        if let Some(claims) = &self.claims {
            // The driver has ended, if it is not heard.
            let _ = claims.reports.send(report);
        }
    }
}

impl Claims {
    fn take(&mut self, order: Order) {
        match order {
            Order::Seal => {
                self.permission.send_replace(Permission::WhileSafe);
                self.is_sealing = true;
                self.tell_if_sealed();
            }
            Order::Open => {
                self.permission.send_replace(Permission::Free);
                self.may_start = true;
            }
            Order::Alone => {
                self.permission.send_replace(Permission::No);
                self.may_start = true;
            }
            Order::Drain => {
                self.permission.send_replace(Permission::Free);
                self.is_called_off = true;
            }
            Order::Retreat => {
                self.permission.send_replace(Permission::No);
                self.is_called_off = true;
            }
        }
    }

    fn tell_if_sealed(&mut self) {
        if self.has_begun && self.is_sealing && self.unsealed.is_empty() {
            self.is_sealing = false;
            let _ = self.reports.send(Report::Sealed);
        }
    }

    async fn outcome(&mut self) -> Outcome {
        if let Some(outcome) = &self.outcome {
            return outcome.clone();
        }
        match (&mut self.driver).await {
            Ok(outcome) => self.outcome.insert(outcome).clone(),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Whether every database lies here: then the application need not wait for a bucket that is away.
async fn all_are_here(job: &Job) -> bool {
    let paths: Vec<_> = job.options.databases.iter().map(|database| database.path.clone()).collect();
    blocking(move || paths.iter().all(|path| matches!(look_at_file(path), Ok(Presence::Database(_))))).await
}

/// The host's name is that of the container, or of the pod: it is the same after a restart, and
/// another one in the container that follows. Two processes on one host are told apart by where
/// they keep their notes; two that share those as well cannot replicate at the same time
/// (`state::Lock`).
fn config(handover: &Handover, hostname: &str, first: &Database, may_be_alone: bool) -> Config {
    let default = || format!("{hostname}:{}", first.meta_path.display());
    let instance = handover.instance.clone().unwrap_or_else(default);
    let me = Identity { instance, process: format!("{:016x}", MACHINE.random_u64()) };
    Config { me, wait: handover.wait, look: handover.look, ttl: ttl(handover.wait), may_be_alone }
}

/// For so long a claim that was seen to be the newest permits to seal. Others must not have gone on
/// by then, and they wait for `wait`.
fn ttl(wait: Duration) -> Duration {
    TTL_MAX.min(wait / 2)
}

pub fn hostname() -> String {
    let named =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let name = named.map(|name| name.trim().to_owned()).unwrap_or_default();
    if name.is_empty() { "unnamed".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_permission_lasts_until_others_have_lost_their_patience() {
        for wait in [1, 2_000, 6_000, 30_000, 600_000].map(Duration::from_millis) {
            assert!(ttl(wait) * 2 <= wait && ttl(wait) <= TTL_MAX, "{wait:?}");
        }
        assert_eq!(ttl(Handover::default().wait), TTL_MAX);
    }
}
