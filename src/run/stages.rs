//! The stages of `run` and `replicate`. Each ends by what it waits for, or by a signal.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cause::{Cause, cause};
use super::commands::Role;
use super::elsewhere::Elsewhere;
use super::exit::{CANNOT_WRITE, Course, Failure};
use super::proxying::Proxying;
use super::told::{cancelling, pending_cancel};
use super::turn::Turn;
use super::untouched::Untouched;
use super::{Budget, Job};
use crate::clock::MACHINE;
use crate::config::OnReplicationEnd;
use crate::fleet::{FleetEvents, FleetHandle};
use crate::http::Phase;
use crate::replicate::Event;
use crate::supervise::{self, CommandLine, Lead, Reaper, Scope, Signal, Signals, SpawnOptions, StopPolicy, supervise};

/// The remaining processes of the application's group get at least this long to end by themselves.
const GROUP_GRACE_MIN: Duration = Duration::from_millis(500);
const GROUP_GRACE_MAX: Duration = Duration::from_secs(5);

/// Migration and application have ended.
pub struct Lived {
    pub course: Course,
    /// For the last line: which command ended how.
    pub what: String,
    pub asked_at: Option<Instant>,
    /// By a signal.
    pub is_told: bool,
}

/// What may end a stage before it is done.
pub struct Interrupts<'a> {
    pub signals: &'a mut Signals,
    pub heard: &'a mut FleetEvents,
    pub turn: &'a mut Turn,
    pub proxying: &'a Proxying,
    pub on_end: OnReplicationEnd,
}

impl Lived {
    /// A replication has reported before the start that the application must not run.
    pub fn not_started(what: &str) -> Lived {
        Lived {
            course: Course { code: 0, failed: false, ran: false },
            what: what.into(),
            asked_at: None,
            is_told: false,
        }
    }

    /// By a signal between two stages.
    fn told_to_end(signal: Signal, before: &str) -> Lived {
        let course = Course { code: signal.exit_code(), failed: false, ran: false };
        let what = format!("ended by {signal} before {before} was started");
        Lived { course, what, asked_at: Some(MACHINE.instant()), is_told: true }
    }
}

/// Runs the migration and the application, or waits for a signal where there is none.
pub async fn live(
    job: &Job,
    fleet: &FleetHandle,
    by: &mut Interrupts<'_>,
    reaper: &Reaper,
    budget: &Budget,
    phase: &watch::Sender<Phase>,
) -> Result<Lived, Failure> {
    let on_end = by.on_end;
    let plan = job.commands.of_role(Role::ALONE);
    for line in plan.first {
        if is_forbidden(by.heard, on_end) {
            return Ok(Lived::not_started("the migration was not started"));
        }
        phase.send_replace(Phase::Migrating);
        let migration = Command::migration(job, line, budget, by.proxying);
        let lived = told_during_migration(by.run(migration, false, reaper, budget).await?);
        if lived.course.code != 0 || by.turn.is_called_off() {
            return Ok(lived);
        }
    }
    match plan.app {
        Some(_) if is_forbidden(by.heard, on_end) => Ok(Lived::not_started("the application was not started")),
        Some(app) => {
            let before = Untouched::look(job).await;
            phase.send_replace(Phase::Running);
            let app = Command::application(job, app, budget, by.proxying);
            let elsewhere = Elsewhere::watch(job);
            let lived = by.run(app, true, reaper, budget).await?;
            drop(elsewhere);
            let ended_alone = lived.course.code != 0 && lived.asked_at.is_none() && !by.turn.is_called_off();
            if ended_alone && before.is_so_still(job).await {
                suspect_exclusive(&lived.what);
            }
            Ok(lived)
        }
        None => {
            phase.send_replace(Phase::Running);
            Ok(until_signalled(fleet, by, budget).await)
        }
    }
}

/// What it means for the process that a migration has ended so. No application was started yet.
pub fn told_during_migration(lived: Lived) -> Lived {
    let course = Course { ran: false, ..lived.course };
    if course.code == 0 && lived.asked_at.is_some() {
        let what = "the migration was told to stop and the application was not started".into();
        return Lived { what, course: Course { code: Signal::TERM.exit_code(), ..course }, ..lived };
    }
    Lived { course, ..lived }
}

/// The application ended at once, without a write.
fn suspect_exclusive(what: &str) {
    tracing::warn!(
        "{what} soon after its start, and wrote to no database: if it says \"database is locked\", it uses PRAGMA \
         locking_mode=EXCLUSIVE, and cannot be replicated before that is removed"
    );
}

/// Whether a replication has reported between two stages that nothing may be committed here any
/// more.
fn is_forbidden(heard: &mut FleetEvents, on_end: OnReplicationEnd) -> bool {
    let mut events = std::iter::from_fn(|| heard.try_next());
    events.any(|(_, event)| match event {
        Event::Fenced => true,
        Event::Failed { .. } => on_end == OnReplicationEnd::Stop,
        Event::Ready(_) | Event::Sealed | Event::Exclusive { .. } => false,
    })
}

/// One command to run.
pub struct Command<'a> {
    pub line: &'a CommandLine,
    /// For log lines.
    pub what: &'static str,
    pub policy: StopPolicy,
    /// The longest it may take.
    pub limit: Option<Duration>,
    /// Environment variables that are hidden from it.
    pub strip_env: &'a [String],
    /// What it gets besides.
    pub extra_env: Vec<(OsString, OsString)>,
    /// Requests to it that are under way are waited for when it is to stop.
    pub proxying: &'a Proxying,
}

impl<'a> Command<'a> {
    pub fn migration(job: &'a Job, line: &'a CommandLine, budget: &Budget, proxying: &'a Proxying) -> Command<'a> {
        let policy = StopPolicy { hup_stops: true, ..StopPolicy::new(budget.child) };
        Command { limit: job.migrate_timeout, policy, ..Command::new("the migration", job, line, budget, proxying) }
    }

    pub fn application(job: &'a Job, line: &'a CommandLine, budget: &Budget, proxying: &'a Proxying) -> Command<'a> {
        // As with a direct exec, the signal goes to the application itself, which informs its own
        // workers.
        let policy = StopPolicy {
            scope: Scope::Command,
            lead: proxying.lead(budget.child),
            stop_signal: job.stop_signal,
            rewrites: job.rewrites.clone(),
            ..StopPolicy::new(budget.child)
        };
        Command { policy, ..Command::new("the application", job, line, budget, proxying) }
    }

    fn new(
        what: &'static str,
        job: &'a Job,
        line: &'a CommandLine,
        budget: &Budget,
        proxying: &'a Proxying,
    ) -> Command<'a> {
        let (policy, strip_env) = (StopPolicy::new(budget.child), &job.options.strip_env);
        Command { line, what, policy, limit: None, strip_env, extra_env: Vec::new(), proxying }
    }
}

/// What of the replications stops a command.
#[derive(Clone, Copy)]
struct Refusal {
    what: &'static str,
    /// It is stopped if it holds the database with an exclusive lock.
    may_be_refused: bool,
    on_end: OnReplicationEnd,
}

impl Interrupts<'_> {
    async fn run(
        &mut self,
        running: Command<'_>,
        may_be_refused: bool,
        reaper: &Reaper,
        budget: &Budget,
    ) -> Result<Lived, Failure> {
        let refusal = Refusal { what: running.what, may_be_refused, on_end: self.on_end };
        let (heard, turn) = (&mut *self.heard, &mut *self.turn);
        let stops = async || Interrupts::cause(heard, turn, refusal).await;
        command(running, self.signals, stops, reaper, budget).await
    }

    /// Why a command has to stop.
    async fn cause(heard: &mut FleetEvents, turn: &mut Turn, refusal: Refusal) -> Cause {
        let Refusal { what, may_be_refused, on_end } = refusal;
        loop {
            tokio::select! {
                (id, event) = heard.next() => {
                    turn.heard(id, &event);
                    if let Some(cause) = cause(&event, what, may_be_refused, on_end) {
                        return cause;
                    }
                }
                () = turn.called_off() => return Cause::CalledOff,
            }
        }
    }
}

/// Runs one command until it and all of its processes have ended.
pub async fn command(
    Command { line, what, policy, limit, strip_env, extra_env, proxying }: Command<'_>,
    signals: &mut Signals,
    mut stops: impl AsyncFnMut() -> Cause,
    reaper: &Reaper,
    budget: &Budget,
) -> Result<Lived, Failure> {
    if let Some(signal) = pending_cancel(signals) {
        return Ok(Lived::told_to_end(signal, what));
    }
    let strip_env = strip_env.iter().map(Into::into).collect();
    let options = SpawnOptions { strip_env, extra_env, ..SpawnOptions::default() };
    let spawned = reaper.spawn(line, &options).await;
    let mut child = spawned.map_err(|error| Failure::new(error.exit_code(), anyhow!("start {what}: {error}")))?;
    tracing::info!(pid = child.pid(), "started {what}: {}", child.program());
    let (stop, lead) = (CancellationToken::new(), Lead::default());
    let mut stopped = None;
    let ended = {
        let running = supervise(&mut child, signals, policy, &stop, &lead);
        let leading = proxying.keep(&lead);
        tokio::pin!(running, leading);
        let overdue = tokio::time::sleep(limit.unwrap_or(Duration::MAX));
        tokio::pin!(overdue);
        loop {
            tokio::select! {
                ended = &mut running => break ended,
                never = &mut leading => match never {},
                () = &mut overdue, if limit.is_some() && !stop.is_cancelled() => {
                    tracing::error!("{what} takes longer than {limit:?}; stopping it", limit = limit.unwrap_or_default());
                    stop.cancel();
                }
                cause = stops(), if stopped != Some(Cause::CalledOff) => {
                    if cause != Cause::CalledOff {
                        // What is under way cannot be made safe.
                        lead.over.cancel();
                    }
                    stopped = stopped.filter(|earlier| *earlier == Cause::Exclusive).or(Some(cause));
                    stop.cancel();
                }
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
    Ok(lived_until(&ended, stopped, what))
}

/// How a command ended, and why.
fn lived_until(ended: &supervise::Ended, stopped: Option<Cause>, what: &str) -> Lived {
    let because = match stopped {
        Some(Cause::Exclusive) => ", because it uses PRAGMA locking_mode=EXCLUSIVE",
        Some(Cause::ReplicationEnded) => ", because a database is not replicated any more",
        Some(Cause::CalledOff) => ", because another instance takes over",
        Some(Cause::Fenced) | None => "",
    };
    let killed = if ended.killed { " because it did not stop in time (see grace)" } else { "" };
    Lived {
        course: match stopped {
            Some(Cause::Exclusive) => Course { code: CANNOT_WRITE, failed: true, ran: true },
            // The reason of the stop counts, not the exit code that follows it.
            Some(Cause::ReplicationEnded | Cause::CalledOff) => {
                Course { code: ended.exit.code(), failed: false, ran: true }
            }
            Some(Cause::Fenced) | None => Course { code: ended.exit.code(), failed: !ended.as_asked, ran: true },
        },
        what: format!("{what} {}{killed}{because}", ended.exit),
        asked_at: ended.stop_requested_at,
        is_told: ended.first_signal.is_some(),
    }
}

/// Without an application: waits for a signal, or until no database can be replicated any more.
async fn until_signalled(
    fleet: &FleetHandle,
    Interrupts { signals, heard, turn, proxying, on_end }: &mut Interrupts<'_>,
    budget: &Budget,
) -> Lived {
    let course = Course { code: 0, failed: false, ran: true };
    let lived = |what: String, asked_at: Option<Instant>| Lived { course, what, asked_at, is_told: asked_at.is_some() };
    loop {
        if fleet.has_failed().await {
            return lived("no database is replicated any more".into(), None);
        }
        tokio::select! {
            signal = cancelling(signals) => {
                let told = lived(format!("told to end by {signal}"), Some(MACHINE.instant()));
                proxying.settle(budget.child).await;
                return told;
            }
            () = turn.called_off() => return lived("another instance takes over".into(), None),
            (id, event) = heard.next() => match event {
                event @ (Event::Ready(_) | Event::Sealed) => turn.heard(id, &event),
                // The other program is not our child, so we do not stop it.
                Event::Exclusive { why } => tracing::error!("{why}"),
                Event::Failed { .. } if *on_end == OnReplicationEnd::Stop => {
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
