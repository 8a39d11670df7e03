//! A node of a cluster: its databases are live copies until it becomes the primary, and again
//! afterwards; its application goes on meanwhile.
//!
//! ```text
//!   mod.rs     the start: which node is this
//!   reliable.rs may this store be used
//!   node.rs    carries out what the roles (`claim/roles/`) order, for all databases
//!   copies.rs  the live copies of all databases, while this node follows
//!   notes.rs   a live copy becomes a database of its own, and the other way round
//!   locks.rs   keeps the application from writing
//!   shown.rs   what each database shows
//!   says.rs    where the node tells others of itself
//!   talk.rs    the other nodes: what is pushed from one to the other
//!   people.rs  promote and demote, as people order it
//!   hook.rs    a command of the user at each change of the role
//!   life.rs    migration and application, whatever the role
//! ```
//!
//! The application is never asked who it is: as long as its node is no primary, the write lock of
//! every database is held, so that it gets SQLITE_BUSY when it writes. At every change of the role
//! the lock is handed on, from the replication's side to the follower's and back, without a moment
//! in which an application could write what no other node would get.

mod copies;
mod hook;
mod life;
mod locks;
mod node;
mod notes;
mod people;
mod reliable;
mod says;
mod shown;
mod talk;

use futures_util::future::OptionFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::exit::{CONFIG, Failure};
use super::litefs::LitefsFace;
use super::monitor::Monitor;
use super::permission::{Permission, permit_by};
use super::proxying::Proxying;
use super::term::{as_seen, over};
use super::turn::hostname;
use super::{Budget, Job, register, split_command};
use crate::claim::{Identity, Node as NodeName, RoleConfig, RoleDriver};
use crate::clock::MACHINE;
use crate::config::{Cluster, Database, Failover};
use crate::control::Socket;
use crate::fleet::{FleetEvents, FleetHandle};
use crate::http::Phase;
use crate::primary::Primary;
use crate::remote::ReadPolicy;
use crate::replicate::{Limits, SealPermit};
use crate::status::Positions;
use crate::supervise::{Reaper, Signals};

use super::register::Registry;
use super::term::Over;
use hook::Hook;
use node::Node;
use people::People;
use says::Says;
use shown::Shown;
use talk::Talk;

/// Whether the application may run, and write.
#[derive(Clone, Debug, Default)]
pub enum Standing {
    /// The databases are not here yet.
    #[default]
    NotReady,
    /// It may read.
    Follower,
    /// It may write.
    Primary,
    /// It could not be kept from writing, or the node cannot go on: it has to end.
    Ends(String),
}

impl Standing {
    /// Whether the application may write, if it may run.
    fn role(&self) -> Option<bool> {
        match self {
            Standing::NotReady | Standing::Ends(_) => None,
            Standing::Follower => Some(false),
            Standing::Primary => Some(true),
        }
    }
}

/// What the whole process has, whichever role it plays.
pub struct Process<'a> {
    pub job: &'a Job,
    pub fleet: &'a FleetHandle,
    pub monitor: &'a Monitor,
    pub proxying: &'a Proxying,
    pub budget: &'a Budget,
    pub reaper: &'a Reaper,
}

/// Until a signal, or the end of the application.
pub async fn start(
    job: &Job,
    cluster: &Cluster,
    socket: Option<Socket>,
    budget: &Budget,
    signals: &mut Signals,
    reaper: &Reaper,
) -> Result<Over, Failure> {
    let (fleet, heard) = FleetHandle::new(Limits::default());
    // Whoever asks is answered before the storage is.
    let (told, primary) = watch::channel(Primary::Unknown);
    let paths = job.options.databases.iter().map(|database| database.path.clone());
    let (positions, shown) = watch::channel(Positions::unknown(paths));
    let monitor = Monitor::start(job, &fleet, primary.clone());
    let proxying = Proxying::start(job, &fleet, monitor.phase().subscribe(), primary, Some(shown));
    monitor.proxied(proxying.counts());
    let process = Process { job, fleet: &fleet, monitor: &monitor, proxying: &proxying, budget, reaper };
    let done = run(process, cluster, socket, (heard, told, positions), signals).await;
    proxying.close().await;
    done
}

async fn run(
    process: Process<'_>,
    cluster: &Cluster,
    socket: Option<Socket>,
    (heard, told, positions): (FleetEvents, watch::Sender<Primary>, watch::Sender<Positions>),
    signals: &mut Signals,
) -> Result<Over, Failure> {
    let Process { job, fleet, monitor, proxying, .. } = process;
    let first = check(job)?;
    let on_role_change = cluster.on_role_change.as_deref().map(|line| split_command(line, "cluster.on-role-change"));
    let on_role_change = on_role_change.transpose().map_err(|error| Failure::new(CONFIG, error))?;
    monitor.phase().send_replace(Phase::Waiting);
    let (lines, reliability) = reliable::connect(job).await?;
    let (order, orders) = mpsc::unbounded_channel();
    let (report, reports) = mpsc::unbounded_channel();
    let remote = lines[0].remote.clone().with_policy(ReadPolicy::impatient());
    let address = remote.address().to_owned();
    let (name, config) = (name(cluster, job), config(cluster, first));
    say_who(&name, &config, &address);
    let talk = Talk::new(cluster, &name, &config, &lines);
    let early = order.clone();
    let driver = RoleDriver::new(remote, name.clone(), config, order, reports);
    let leader = driver.leader();
    let _talking = talk.start(cluster, leader.clone(), &report);
    let (permission, permitted) = watch::channel(Permission::No);
    let (sender, permit) = watch::channel(SealPermit::No);
    let mut permissions = JoinSet::new();
    permissions.spawn(permit_by(permitted, driver.valid_until(), sender));
    let primary: watch::Receiver<Primary> = driver.primary();
    let (writes, may_write) = watch::channel(false);
    let current = watch::Sender::default();
    let known = (told.subscribe(), positions.subscribe(), current.subscribe());
    permissions.spawn(tell_primary(primary.clone(), may_write, told));
    let (driver, is_over) = reliable::begin(driver, reliability, early);
    let registry = std::sync::Arc::new(Registry::new(job, fleet, Some(permit.clone())));
    let node = (name.name.clone(), cluster.candidate);
    let people = std::sync::Arc::new(People::new(node.clone(), report.clone(), (primary.clone(), leader), &talk));
    let (standing, stands) = watch::channel(Standing::NotReady);
    let (litefs, stands) = LitefsFace::start(job, node, known, people.clone(), stands, Standing::role);
    let _serving = register::serve(socket, &registry, Some(people));
    let says = Says { standing, writes, shown: Shown::new(positions), current };
    let (stop, stopped) = mpsc::unbounded_channel();
    let node = Node::new(&process, (&lines, &talk), (orders, report), (permission, permit), says);
    let hook = on_role_change.as_ref().map(|line| Hook::new(line, &process, &name.name, primary.clone()));
    let telling = hook.map(|hook| hook.run(stands.clone()));
    let life =
        life::Life { process: &process, name: &name.name, is_candidate: cluster.candidate, proxying, stands, primary };
    let (_, node_end, lived) = tokio::join!(OptionFuture::from(telling), node.run(heard, stopped, driver), async {
        let lived = life.run(signals).await;
        // The node is told to end by the end of this.
        let _ = stop.send(life::stop_of(&lived, process.budget));
        is_over.cancel();
        lived
    });
    litefs.close().await;
    let ends = node_end.map_err(|outcome| super::term::never(&outcome, &address))?;
    let asked_at = lived.as_ref().ok().and_then(|lived| lived.asked_at);
    over(lived, as_seen(ends, true), asked_at)
}

fn say_who(name: &NodeName, config: &RoleConfig, address: &str) {
    tracing::info!(
        "node {} of a cluster, instance {}{}: its claims lie in {address}",
        name.name,
        config.me.instance,
        if config.is_candidate { "" } else { ", no candidate" }
    );
}

/// Where the primary is, for everybody but the roles: a node that drains is none any more, whatever
/// it has claimed.
async fn tell_primary(
    mut claimed: watch::Receiver<Primary>,
    mut may_write: watch::Receiver<bool>,
    told: watch::Sender<Primary>,
) {
    loop {
        let primary = match (&*claimed.borrow_and_update(), *may_write.borrow_and_update()) {
            (Primary::Here, false) => Primary::Unknown,
            (primary, _) => primary.clone(),
        };
        told.send_if_modified(|told| {
            *told != primary && {
                *told = primary;
                true
            }
        });
        tokio::select! {
            changed = claimed.changed() => if changed.is_err() { return },
            changed = may_write.changed() => if changed.is_err() { return },
        }
    }
}

/// What a cluster cannot have yet.
fn check(job: &Job) -> Result<&Database, Failure> {
    let refuse = |why: &str| Failure::told(CONFIG, format!("cluster: {why}"));
    if job.options.handover.is_some() {
        return Err(refuse("it takes the place of `handover`: remove that"));
    }
    if !job.options.directories.is_empty() {
        return Err(refuse("entries of dbs with `dir` are not supported yet: name each database by its `path`"));
    }
    if job.once.is_some() {
        return Err(refuse("-once makes a copy and ends, and is no node of a cluster"));
    }
    job.options.databases.first().ok_or_else(|| refuse("there must be a database with a `path` under dbs"))
}

fn name(cluster: &Cluster, job: &Job) -> NodeName {
    let hostname = hostname();
    let name = cluster.node.clone().unwrap_or_else(|| hostname.clone());
    let of_proxy = || job.options.proxy.as_ref().and_then(|proxy| proxy.advertise.clone());
    let (url, cluster_url) = match cluster.listen {
        Some(_) => (of_proxy(), cluster.advertise.clone()),
        None => (cluster.advertise.clone().or_else(of_proxy), None),
    };
    NodeName { name, hostname, url, cluster_url }
}

/// A restarted process of the same node on the same volume is the same instance.
fn config(cluster: &Cluster, first: &Database) -> RoleConfig {
    let node = cluster.node.clone().unwrap_or_default();
    let instance = format!("{node}@{}:{}", hostname(), first.meta_path.display());
    RoleConfig {
        me: Identity { instance, process: format!("{:016x}", MACHINE.random_u64()) },
        ttl: cluster.ttl,
        is_candidate: cluster.candidate,
        is_automatic: cluster.failover == Failover::Auto,
    }
}
