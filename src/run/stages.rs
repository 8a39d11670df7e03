//! The stages of `run` and `replicate`. Each ends by what it waits for, or by a signal.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::anyhow;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cause::{Cause, cause};
use super::exit::{self, CANNOT_WRITE, Course, Failure};
use super::untouched::Untouched;
use super::{Budget, Job};
use crate::clock::MACHINE;
use crate::config::OnReplicationEnd;
use crate::fleet::{DatabaseView, FleetEvents, FleetHandle};
use crate::http::Phase;
use crate::replicate::{DatabaseId, Ended, Event, Ready};
use crate::status::{Refusals, Status};
use crate::supervise::{self, CommandLine, Reaper, Scope, Signal, Signals, SpawnOptions, StopPolicy, supervise};

/// The remaining processes of the application's group get at least this long to end by themselves.
const GROUP_GRACE_MIN: Duration = Duration::from_millis(500);
const GROUP_GRACE_MAX: Duration = Duration::from_secs(5);

/// Migration and application have ended.
pub struct Lived {
    pub course: Course,
    /// For the last line: which command ended how.
    pub what: String,
    pub asked_at: Option<Instant>,
}

/// Runs the work unless a signal comes: then it is cancelled and waited for, and the exit code is
/// 128 + signal.
pub async fn unless_signalled<T, F>(
    signals: &mut Signals,
    work: impl FnOnce(CancellationToken) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = T>,
{
    let cancel = CancellationToken::new();
    let work = work(cancel.clone());
    tokio::pin!(work);
    tokio::select! {
        biased;
        signal = cancelling(signals) => {
            cancel.cancel();
            work.await;
            Err(ended_by(signal, "before it was done"))
        }
        done = &mut work => Ok(done),
    }
}

impl Lived {
    /// A replication has reported before the start that the application must not run.
    fn not_started(what: &str) -> Lived {
        Lived { course: Course { code: 0, failed: false, ran: false }, what: what.into(), asked_at: None }
    }

    /// By a signal between two stages.
    fn told_to_end(signal: Signal, before: &str) -> Lived {
        let course = Course { code: signal.exit_code(), failed: false, ran: false };
        let what = format!("ended by {signal} before {before} was started");
        Lived { course, what, asked_at: Some(MACHINE.instant()) }
    }
}

/// Waits until each of these databases lets the application start; `Some` when one of them forbids
/// it. With `goes_on` one that fails is not waited for, as long as there are others.
pub async fn wait_until_ready(
    ids: &BTreeSet<DatabaseId>,
    heard: &mut FleetEvents,
    signals: &mut Signals,
    goes_on: bool,
) -> Result<Option<Lived>, Failure> {
    let (mut waited_for, mut ready) = (ids.clone(), 0);
    while !waited_for.is_empty() {
        let (id, event) = tokio::select! {
            biased;
            signal = cancelling(signals) => return Err(ended_by(signal, "before the replication was ready")),
            event = heard.next() => event,
        };
        match event {
            Event::Ready(how) => {
                tracing::debug!("{}", describe(how));
                ready += usize::from(waited_for.remove(&id));
            }
            // It has been logged where it happened, and the others live.
            Event::Failed { .. } if goes_on && (ready > 0 || waited_for.len() > 1) => {
                waited_for.remove(&id);
            }
            // The replication has logged it.
            Event::Failed { why } if ids.contains(&id) => {
                tracing::debug!("{why}");
                return Err(Failure::new(
                    CANNOT_WRITE,
                    anyhow!("the application is not started: see the error before this"),
                ));
            }
            Event::Fenced => return Ok(Some(Lived::not_started("nothing was started"))),
            // It was registered through the control socket meanwhile: the application does not wait
            // for it.
            Event::Failed { .. } => {}
            // Logged only when an application may run.
            Event::Exclusive { .. } => {}
        }
    }
    Ok(None)
}

/// Runs the migration and the application, or waits for a signal where there is none.
pub async fn live(
    job: &Job,
    fleet: &FleetHandle,
    signals: &mut Signals,
    reaper: &Reaper,
    heard: &mut FleetEvents,
    budget: &Budget,
    phase: &watch::Sender<Phase>,
) -> Result<Lived, Failure> {
    let strip_env = &job.options.strip_env;
    let on_end = job.options.monitoring.on_replication_end;
    if let Some(migrate) = &job.migrate {
        if is_forbidden(heard, on_end) {
            return Ok(Lived::not_started("the migration was not started"));
        }
        let policy = StopPolicy { hup_stops: true, ..StopPolicy::new(budget.child) };
        let limit = job.migrate_timeout;
        let migration =
            Command { line: migrate, what: "the migration", policy, limit, may_be_refused: false, on_end, strip_env };
        phase.send_replace(Phase::Migrating);
        let lived = command(migration, signals, reaper, heard, budget).await?;
        let course = Course { ran: false, ..lived.course };
        if course.code != 0 {
            return Ok(Lived { course, ..lived });
        }
        if lived.asked_at.is_some() {
            let what = "the migration was told to stop and the application was not started".into();
            let course = Course { code: Signal::TERM.exit_code(), ..course };
            return Ok(Lived { what, course, ..lived });
        }
    }
    match &job.app {
        Some(_) if is_forbidden(heard, on_end) => Ok(Lived::not_started("the application was not started")),
        Some(app) => {
            // As with a direct exec, the signal goes to the application itself, which informs its
            // own workers.
            let policy = StopPolicy {
                scope: Scope::Command,
                stop_signal: job.stop_signal,
                rewrites: job.rewrites.clone(),
                ..StopPolicy::new(budget.child)
            };
            let (what, may_be_refused) = ("the application", true);
            let app = Command { line: app, what, policy, limit: None, may_be_refused, on_end, strip_env };
            let before = Untouched::look(job).await;
            phase.send_replace(Phase::Running);
            let lived = command(app, signals, reaper, heard, budget).await?;
            if lived.course.code != 0 && lived.asked_at.is_none() && before.is_so_still(job).await {
                tracing::warn!(
                    "{} soon after its start, and wrote to no database: if it says \"database is locked\", it uses PRAGMA \
                     locking_mode=EXCLUSIVE, and cannot be replicated before that is removed",
                    lived.what
                );
            }
            Ok(lived)
        }
        None => {
            phase.send_replace(Phase::Running);
            Ok(until_signalled(fleet, signals, heard, on_end).await)
        }
    }
}

/// Whether a replication has reported between two stages that nothing may be committed here any
/// more.
fn is_forbidden(heard: &mut FleetEvents, on_end: OnReplicationEnd) -> bool {
    let mut events = std::iter::from_fn(|| heard.try_next());
    events.any(|(_, event)| match event {
        Event::Fenced => true,
        Event::Failed { .. } => on_end == OnReplicationEnd::Stop,
        Event::Ready(_) | Event::Exclusive { .. } => false,
    })
}

/// One command to run.
struct Command<'a> {
    line: &'a CommandLine,
    /// For log lines.
    what: &'static str,
    policy: StopPolicy,
    /// The longest it may take.
    limit: Option<Duration>,
    /// It is stopped if it holds the database with an exclusive lock.
    may_be_refused: bool,
    on_end: OnReplicationEnd,
    /// Environment variables that are hidden from it.
    strip_env: &'a [String],
}

/// Runs one command until it and all of its processes have ended.
async fn command(
    Command { line, what, policy, limit, may_be_refused, on_end, strip_env }: Command<'_>,
    signals: &mut Signals,
    reaper: &Reaper,
    heard: &mut FleetEvents,
    budget: &Budget,
) -> Result<Lived, Failure> {
    if let Some(signal) = pending_cancel(signals) {
        return Ok(Lived::told_to_end(signal, what));
    }
    let options = SpawnOptions { strip_env: strip_env.iter().map(Into::into).collect(), ..SpawnOptions::default() };
    let spawned = reaper.spawn(line, &options).await;
    let mut child = spawned.map_err(|error| Failure::new(error.exit_code(), anyhow!("start {what}: {error}")))?;
    tracing::info!(pid = child.pid(), "started {what}: {}", child.program());
    let stop = CancellationToken::new();
    let mut stopped = None;
    let ended = {
        let running = supervise(&mut child, signals, policy, &stop);
        tokio::pin!(running);
        let overdue = tokio::time::sleep(limit.unwrap_or(Duration::MAX));
        tokio::pin!(overdue);
        loop {
            tokio::select! {
                ended = &mut running => break ended,
                () = &mut overdue, if limit.is_some() && !stop.is_cancelled() => {
                    tracing::error!("{what} takes longer than {:?}; stopping it", limit.unwrap_or_default());
                    stop.cancel();
                }
                (_, event) = heard.next() => if let Some(cause) = cause(&event, what, may_be_refused, on_end) {
                    stopped = stopped.filter(|earlier| *earlier == Cause::Exclusive).or(Some(cause));
                    stop.cancel();
                },
            }
        }
    };
    let left = match ended.stop_requested_at {
        Some(at) => (at + budget.child).saturating_duration_since(MACHINE.instant()),
        None => GROUP_GRACE_MAX,
    };
    let group = child.end_group(left.clamp(GROUP_GRACE_MIN, GROUP_GRACE_MAX)).await;
    if group.asked > 0 {
        tracing::warn!("{what} left {} processes behind; they were ended before the final sync", group.asked);
    }
    let because = match stopped {
        Some(Cause::Exclusive) => ", because it uses PRAGMA locking_mode=EXCLUSIVE",
        Some(Cause::ReplicationEnded) => ", because a database is not replicated any more",
        Some(Cause::Fenced) | None => "",
    };
    let killed = if ended.killed { " because it did not stop in time (see grace)" } else { "" };
    Ok(Lived {
        course: match stopped {
            Some(Cause::Exclusive) => Course { code: CANNOT_WRITE, failed: true, ran: true },
            // The reason of the stop counts, not the exit code that follows it.
            Some(Cause::ReplicationEnded) => Course { code: ended.exit.code(), failed: false, ran: true },
            Some(Cause::Fenced) | None => Course { code: ended.exit.code(), failed: !ended.as_asked, ran: true },
        },
        what: format!("{what} {}{killed}{because}", ended.exit),
        asked_at: ended.stop_requested_at,
    })
}

/// Without an application: waits for a signal, or until no database can be replicated any more.
async fn until_signalled(
    fleet: &FleetHandle,
    signals: &mut Signals,
    heard: &mut FleetEvents,
    on_end: OnReplicationEnd,
) -> Lived {
    let course = Course { code: 0, failed: false, ran: true };
    let lived = |what: String, asked_at| Lived { course, what, asked_at };
    loop {
        if fleet.has_failed().await {
            return lived("no database is replicated any more".into(), None);
        }
        tokio::select! {
            signal = cancelling(signals) => return lived(format!("told to end by {signal}"), Some(MACHINE.instant())),
            (_, event) = heard.next() => match event {
                Event::Ready(_) => {}
                // The other program is not our child, so we do not stop it.
                Event::Exclusive { why } => tracing::error!("{why}"),
                Event::Failed { .. } if on_end == OnReplicationEnd::Stop => {
                    return lived("a database is not replicated any more (on-replication-end: stop)".into(), None);
                }
                Event::Failed { .. } => {
                    if !fleet.has_failed().await {
                        tracing::warn!("the replication of the other databases continues");
                    }
                }
                Event::Fenced => return lived("fenced".into(), None),
            },
        }
    }
}

/// Uploads the remaining commits. A signal meanwhile starts the grace time; it never skips the
/// sync.
pub async fn final_sync(
    fleet: &FleetHandle,
    signals: &mut Signals,
    budget: &Budget,
    mut asked_at: Option<Instant>,
) -> Vec<Ended> {
    let deadline = budget.sync_deadline(asked_at, MACHINE.instant());
    let statuses: Vec<Status> = fleet.databases().await.unwrap_or_default().iter().map(DatabaseView::status).collect();
    if let Some(age) = statuses.iter().filter_map(|status| status.unshipped_for(MACHINE.instant())).max() {
        tracing::info!("final sync: the oldest commit to ship is {age:.1?} old");
    }
    for Refusals { objects, since } in statuses.iter().filter_map(|status| status.refusals) {
        tracing::warn!("{objects} expired objects could not be deleted for {:.0?}", MACHINE.instant() - since);
    }
    fleet.finish_by(deadline).await;
    let ends = join_all(fleet.ends().await);
    tokio::pin!(ends);
    loop {
        tokio::select! {
            ended = &mut ends => return ended,
            signal = signals.recv() => {
                if is_cancel(signal) && asked_at.is_none() {
                    tracing::info!("{signal}: the final sync has {:.1?} left", budget.whole);
                    asked_at = Some(MACHINE.instant());
                    fleet.finish_by(budget.sync_deadline(asked_at, MACHINE.instant()).min(deadline)).await;
                }
            }
        }
    }
}

/// `-once`: every replication ends by itself.
pub async fn ship_once(fleet: &FleetHandle, signals: &mut Signals, budget: &Budget) -> u8 {
    let ends = join_all(fleet.ends().await);
    tokio::pin!(ends);
    let ended = loop {
        tokio::select! {
            ended = &mut ends => break ended,
            _ = cancelling(signals) => {
                fleet.finish_by(budget.sync_deadline(Some(MACHINE.instant()), MACHINE.instant())).await;
            }
        }
    };
    match exit::problem(&ended) {
        Some(problem) => tracing::error!("{problem}"),
        None => tracing::info!("{}", exit::confirmation(&ended)),
    }
    let missing = ended.iter().any(|end| matches!(end, Ended::NeverAppeared { .. }));
    match exit::code(Course { code: 0, failed: false, ran: false }, &ended) {
        0 if missing => CANNOT_WRITE,
        code => code,
    }
}

/// Waits for a signal that ends a stage without an application.
async fn cancelling(signals: &mut Signals) -> Signal {
    loop {
        let signal = signals.recv().await;
        if is_cancel(signal) {
            return signal;
        }
    }
}

/// A signal that came between two stages.
fn pending_cancel(signals: &mut Signals) -> Option<Signal> {
    std::iter::from_fn(|| signals.try_recv()).find(|signal| is_cancel(*signal))
}

fn is_cancel(signal: Signal) -> bool {
    signal.cancels_start() && Signals::heeds(signal)
}

fn ended_by(signal: supervise::Signal, when: &str) -> Failure {
    Failure::new(signal.exit_code(), anyhow!("ended by {signal} {when}"))
}

fn describe(ready: Ready) -> &'static str {
    match ready {
        Ready::Armed => "armed: no commit can be missed from here on",
        Ready::NoDatabaseYet => "there is no database yet",
        Ready::AfterApplication => "the application opens the database first: in its last life it kept it to itself",
        Ready::Standby => "standing by: another process replicates this database",
    }
}
