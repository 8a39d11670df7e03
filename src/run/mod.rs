//! The composition root: the order of the start, one event loop, the order of the stop.
//!
//! ```text
//!   connect ─▶ restore if missing, or behind ─▶ replication ready ─▶ migrate ─▶ application
//!           ─▶ its process group gone ─▶ final sync ─▶ exit code
//! ```
//!
//! A stage that fails ends the program with its own exit code, and the application does not start.
//! A signal in any stage before the application is up ends that stage within a moment. From then on
//! signals belong to the application; after it has ended, whatever its status, the final sync runs
//! inside the part of the grace time that is reserved for it.
//!
//! ```text
//!   mod.rs      the stages in order
//!   preflight.rs  is each path one of a database that we may write to?
//!   prepare.rs  every database ready to be replicated, several at a time
//!   directories.rs  the databases of directories, on the disk and in their replicas
//!   left_out.rs  pure: what becomes of the others when one cannot be made ready
//!   connect.rs  typed options → stores and settings of the rooms below
//!   register.rs  databases that are registered later: through the control socket, or found
//!   watch_directories.rs  beside it all: databases that come and go
//!   restore_missing.rs   restore one database: the lock, the log lines, the note for replication
//!   forward.rs  bring a database forward that is an earlier state of the history
//!   mark.rs     name a state of a replica · before_migration.rs  by itself before a migration
//!   cluster/    a node of a cluster: follower and primary
//!   turn.rs     whose turn it is: the claims, where the application is handed over
//!   permission.rs  may objects be created yet? · whereabouts.rs  where the primary is, by the claims
//!   term.rs     one turn after the other
//!   ready.rs    wait for the databases · last_sync.rs: after the application has ended
//!   apart.rs    a database with commits that are in no history
//!   told.rs     signals that end a stage of the start
//!   stages.rs   run a command to its end
//!   cause.rs    which events of a replication end a command
//!   untouched.rs  did the application write to its databases? elsewhere.rs: does it use others?
//!   verify.rs   in the background: prove the replicas
//!   monitor.rs  in the background: metrics and health, the heartbeat, the service manager
//!   litefs.rs   for a node: LiteFS's files and API
//!   proxying.rs  the proxy in front of the application: told the phases, drained before a stop
//!   exit.rs     pure: the exit code
//! ```

mod elsewhere;
pub mod exit;

mod apart;
mod before_migration;
mod cause;
mod cluster;
mod commands;
mod connect;
mod directories;
mod forward;
mod last_sync;
mod left_out;
mod listening;
mod litefs;
pub mod mark;
mod monitor;
mod neighbours;
mod permission;
mod preflight;
mod prepare;
mod proxying;
mod ready;
mod register;
mod restore_missing;
mod stages;
mod term;
mod told;
mod turn;
mod untouched;
mod verify;
mod watch_directories;
mod whereabouts;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::MACHINE;
use crate::config::{Options, Shutdown, default_meta_path};
use crate::control::Socket;
use crate::fleet::{FleetEvents, FleetHandle};
use crate::http::Phase;
use crate::replicate::{DatabaseId, FILES_EACH, Limits, OnceWork};
use crate::status::Restores;
use crate::supervise::{self, Reaper, SYNC_RESERVE, SYNC_SHARE, Signal, Signals, split};

use before_migration::Marking;
pub use commands::{Commands, split_command};
pub use connect::{backups, connect, store_failure};
pub use directories::{backups_of, replicas_below};
pub use exit::Failure;
use exit::{CANNOT_WRITE, CONFIG};
use last_sync::ship_once;
use left_out::LeftOut;
use monitor::Monitor;
use prepare::Line;
use proxying::Proxying;
use register::Registry;
pub use restore_missing::{Recovery, Waiting, announce_progress, prepare_newest, restore_failure, restore_newest};
use term::{Over, Terms};
pub use told::{cancelling, unless_signalled};
use turn::{Assignment, Called, Turn};

/// Which databases are restored when they are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restoring {
    All,
    /// Those whose configuration says so (`restore-if-db-not-exists`).
    AsConfigured,
}

/// What to do, start to end.
pub struct Job {
    pub options: Arc<Options>,
    /// What was restored before it is replicated.
    pub restores: Restores,
    /// The configuration file, if there is one.
    pub config: Option<PathBuf>,
    /// Without an application replication goes on until a signal.
    pub commands: Commands,
    pub restoring: Restoring,
    /// A migration that takes longer is stopped.
    pub migrate_timeout: Option<Duration>,
    /// What the application gets instead of TERM and INT.
    pub stop_signal: Option<Signal>,
    /// What it gets instead of other signals; `None` drops one.
    pub rewrites: Vec<(Signal, Option<Signal>)>,
    /// Replicate what is there, do these, and end.
    pub once: Option<OnceWork>,
    /// For the replicas of databases that are registered later, and for their paths.
    pub env: fn(&str) -> Option<String>,
    pub cwd: PathBuf,
}

/// The grace time in two parts: one for the application to stop, one for the final sync.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// The grace time, less a margin: the platform sends SIGKILL at its end, and we must be done
    /// before.
    whole: Duration,
    child: Duration,
    /// The time that the final sync gets in any case.
    least: Duration,
    /// Time for the final sync if no signal asked for the stop.
    unhurried: Duration,
}

/// What a process without databases has open.
const DESCRIPTORS: u64 = 40;

/// The part of the grace time in which nothing is done any more, and the longest such time.
const MARGIN_SHARE: f64 = 0.05;
const MARGIN_MAX: Duration = Duration::from_secs(1);
/// For the claim to be released, after everything else.
const RELEASE_TIME: Duration = Duration::from_secs(5);

impl Budget {
    fn of(shutdown: &Shutdown) -> Budget {
        let grace = shutdown.grace;
        let margin = grace.mul_f64(MARGIN_SHARE).min(MARGIN_MAX);
        let whole = grace - margin;
        let (child, sync) = split(whole, SYNC_RESERVE, SYNC_SHARE);
        Budget { whole, child, least: margin / 2, unhurried: shutdown.sync_timeout.max(sync) }
    }

    /// The deadline of the final sync. `asked_at` is when a signal asked for the stop, if one did.
    fn sync_deadline(&self, asked_at: Option<Instant>, now: Instant) -> Instant {
        match asked_at {
            // If the application took longer than its part, that time is not added at the end.
            Some(at) => (at + self.whole).max(now + self.least),
            None => now + self.unhurried,
        }
    }
}

/// Runs the job and returns the exit code. Every failure has been logged when it returns.
pub async fn run(job: Job, mut signals: Signals, reaper: Reaper) -> u8 {
    match perform(job, &mut signals, &reaper).await {
        Ok(code) => code,
        Err(failure) => {
            tracing::error!("{}", failure.sentence());
            failure.code
        }
    }
}

async fn perform(mut job: Job, signals: &mut Signals, reaper: &Reaper) -> Result<u8, Failure> {
    let budget = Budget::of(&job.options.shutdown);
    let first = job.options.databases.first().cloned();
    let left_out = look_around(&mut job).await?;
    let socket = listen(&job).await?;
    if let Some(cluster) = job.options.cluster.clone() {
        return cluster::start(&job, &cluster, socket, &budget, signals, reaper).await.map(|over| over.code);
    }
    let mut turn = Turn::begin(&job, first.as_ref()).await?;
    let done = in_turn(job, left_out, socket, &mut turn, &budget, signals, reaper).await;
    let now = MACHINE.instant();
    let (failed, asked_at) = match &done {
        Ok(over) => (over.failed, over.asked_at),
        // Else a signal has ended a stage.
        Err(failure) => (failure.code < exit::SIGNALLED, None),
    };
    turn.leave(failed, budget.sync_deadline(asked_at, now).min(now + RELEASE_TIME)).await;
    done.map(|over| over.code)
}

async fn in_turn(
    job: Job,
    left_out: LeftOut,
    socket: Option<Socket>,
    turn: &mut Turn,
    budget: &Budget,
    signals: &mut Signals,
    reaper: &Reaper,
) -> Result<Over, Failure> {
    let (fleet, heard) = FleetHandle::new(Limits::default());
    let monitor = Monitor::start(&job, &fleet, turn.primary());
    let mut proxying = Proxying::start(&job, &fleet, monitor.phase().subscribe(), turn.primary(), None);
    monitor.proxied(proxying.counts());
    proxying.know(turn.neighbours());
    let around = Around { fleet, monitor, proxying, budget, reaper };
    let done = around.begin(job, left_out, socket, turn, heard, signals).await;
    around.proxying.close().await;
    done
}

/// What is there from the start to the end.
struct Around<'a> {
    fleet: FleetHandle,
    monitor: Monitor,
    proxying: Proxying,
    budget: &'a Budget,
    reaper: &'a Reaper,
}

impl Around<'_> {
    async fn begin(
        &self,
        mut job: Job,
        mut left_out: LeftOut,
        mut socket: Option<Socket>,
        turn: &mut Turn,
        mut heard: FleetEvents,
        signals: &mut Signals,
    ) -> Result<Over, Failure> {
        let Around { fleet, monitor, proxying, budget, reaper } = self;
        // While it waits for its turn, it answers already. In directories there may be more
        // databases.
        let is_complete = turn.is_claimed() && job.options.directories.is_empty();
        let registry = is_complete.then(|| Arc::new(Registry::new(&job, fleet, turn.permit())));
        let _serving = registry.as_ref().and_then(|registry| register::serve(socket.take(), registry, None));
        let assignment = match turn.next(signals, monitor.phase()).await {
            Called::To(assignment) => assignment,
            Called::Away(signal) => return Err(told::ended_by(signal, "before it was its turn")),
            Called::Never(outcome) => return Err(term::never(&outcome, turn.address())),
        };
        if assignment != Assignment::FinishUp {
            take_in_missing(&mut job, &mut left_out, signals).await?;
        }
        say_too_few_open_files(&job);
        let (all, governor, goes_on, now) = (&job, fleet.governor(), left_out.goes_on, (&mut *turn, assignment));
        let prepare = move |cancel| prepare::prepare(all, governor, goes_on, now, cancel);
        let (lines, failed) = unless_signalled(signals, prepare).await?;
        left_out.take(failed, lines.len(), directories::may_come(&job))?;
        let ids = register_all(&lines, &job, fleet, turn, &left_out).await?;
        let marking = |line: &Line<'_>| Marking::of(&job, *ids.get(&line.database.path)?, line);
        let markings: Vec<Marking> = lines.iter().filter_map(marking).collect();
        monitor.phase().send_replace(Phase::Arming);
        if job.once.is_some() {
            let code = ship_once(fleet, signals, budget).await;
            return Ok(Over { code, failed: false, asked_at: None });
        }
        let registry = registry.unwrap_or_else(|| Arc::new(Registry::new(&job, fleet, turn.permit())));
        // Until this is dropped.
        let _serving = register::serve(socket, &registry, None);
        let (job, lines) = (&job, &lines[..]);
        let terms = Terms { job, fleet, lines, ids, markings, registry, monitor, budget, reaper, proxying, left_out };
        // It may have been called off meanwhile.
        let assignment = if turn.is_called_off() { Assignment::FinishUp } else { assignment };
        terms.run(assignment, turn, &mut heard, signals).await
    }
}

/// Which databases there are, and whether each can be replicated at all.
async fn look_around(job: &mut Job) -> Result<LeftOut, Failure> {
    let mut left_out = LeftOut::of(job);
    let mut failed = directories::take_in(job).await;
    failed.extend(preflight::check_each(&job.options.databases, job.options.cluster.is_some()).await);
    leave_out(job, &mut left_out, failed)?;
    Ok(left_out)
}

/// Those of directories that are to be restored.
async fn take_in_missing(job: &mut Job, left_out: &mut LeftOut, signals: &mut Signals) -> Result<(), Failure> {
    if job.options.directories.is_empty() {
        return Ok(());
    }
    let look = async |cancel: CancellationToken| {
        cancel.run_until_cancelled(directories::take_in_missing(job, &left_out.failed)).await.unwrap_or_default()
    };
    let failed = unless_signalled(signals, look).await?;
    leave_out(job, left_out, failed)?;
    directories::refuse_empty(job)
}

/// The limit was raised as far as it may be.
fn say_too_few_open_files(job: &Job) {
    let needed = DESCRIPTORS + FILES_EACH * job.options.databases.len() as u64;
    if let Some(limit) = supervise::open_files_too_low_for(needed) {
        tracing::warn!(
            "{} databases need about {needed} open files, and this process may have {limit}: raise its limit to {needed} or more \
             (ulimit -n, LimitNOFILE= of systemd, --ulimit nofile= of Docker); until then some of them wait until others are at rest",
            job.options.databases.len()
        );
    }
}

/// Takes those that failed out of the list, or ends.
fn leave_out(job: &mut Job, left_out: &mut LeftOut, failed: Vec<(PathBuf, Failure)>) -> Result<(), Failure> {
    let paths: BTreeSet<PathBuf> = failed.iter().map(|(path, _)| path.clone()).collect();
    Arc::make_mut(&mut job.options).databases.retain(|database| !paths.contains(&database.path));
    left_out.take(failed, job.options.databases.len(), directories::may_come(job))
}

/// Registers the databases that are replicated from the start.
async fn register_all(
    lines: &[Line<'_>],
    job: &Job,
    fleet: &FleetHandle,
    turn: &Turn,
    left_out: &LeftOut,
) -> Result<BTreeMap<PathBuf, DatabaseId>, Failure> {
    let mut ids = BTreeMap::new();
    let cannot = |error| Failure::new(CONFIG, error);
    for line in lines {
        connect::tell_policy(line.database);
        let id = fleet.add(line.registration(&job.options, job.once, turn.permit(), fleet)).await.map_err(cannot)?;
        ids.insert(line.database.path.clone(), id);
    }
    for (path, failure) in &left_out.failed {
        fleet.leave_out(path.clone(), default_meta_path(path), failure.sentence()).await;
    }
    Ok(ids)
}

/// Makes the control socket, before anything else is begun that would have to be undone.
async fn listen(job: &Job) -> Result<Option<Socket>, Failure> {
    match &job.options.socket {
        Some(socket) if job.once.is_none() => {
            let made = Socket::bind(&socket.path, socket.mode).await;
            made.map(Some).map_err(|error| Failure::told(CANNOT_WRITE, error))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn everything_ends_before_the_grace_time_does() {
        let asked_at = Instant::now();
        for grace in [0, 100, 1_000, 3_000, 10_000, 30_000, 600_000].map(Duration::from_millis) {
            let shutdown = Shutdown { grace, ..Shutdown::default() };
            let budget = Budget::of(&shutdown);
            assert!(budget.child <= budget.whole.mul_f64(0.7));
            // Whenever the application and its processes are gone, also when the kernel took its
            // time.
            for share in [0.0, 0.5, 0.7, 0.9, 0.97] {
                let deadline = budget.sync_deadline(Some(asked_at), asked_at + grace.mul_f64(share));
                assert!(deadline >= asked_at + grace.mul_f64(share), "{grace:?}");
                let left = (asked_at + grace).saturating_duration_since(deadline);
                assert!(grace.is_zero() || !left.is_zero(), "nothing is left of {grace:?}");
            }
        }
        let ten = Budget::of(&Shutdown::default());
        let left = asked_at + Duration::from_secs(10) - ten.sync_deadline(Some(asked_at), asked_at);
        assert!(left >= Duration::from_millis(400), "Docker's ten seconds: {left:?}");
        assert_eq!(ten.sync_deadline(None, asked_at), asked_at + Duration::from_secs(30), "nobody is in a hurry");
    }
}
