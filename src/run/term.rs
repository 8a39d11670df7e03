//! One turn after the other, from the start of the replications to their end. Without claims there
//! is one.
//!
//! ```text
//!   replications ready ─▶ sealed ─▶ migrate ─▶ application ─▶ called off ─▶ last sync ─▶ standing by
//!        ▲     │ others have gone on meanwhile                                               │ it is our turn again
//!        └─────┴─────────────── the newest state once more ◀─────────────────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::before_migration::{self, Marking};
use super::exit::{self, CONFIG, Course, DENIED, FENCED, Failure};
use super::last_sync::{Afterwards, final_sync};
use super::left_out::LeftOut;
use super::monitor::Monitor;
use super::prepare::{Line, make_ready};
use super::proxying::Proxying;
use super::ready::{Verdict, wait_until_ready};
use super::register::Registry;
use super::stages::{self, Interrupts, Lived};
use super::told::unless_signalled;
use super::turn::{Assignment, Called, Turn};
use super::verify::{self, ProofRound};
use super::watch_directories::Watching;
use super::{Budget, Job, directories};
use crate::claim::{Access, Outcome};
use crate::clock::MACHINE;
use crate::fleet::{FleetEvents, FleetHandle};
use crate::http::Phase;
use crate::replicate::{DatabaseId, Ended};
use crate::supervise::{self, Reaper, Signals};

/// So often a database is brought to the newest state, and another writer goes on with it
/// meanwhile.
const ATTEMPTS: u32 = 6;
/// From this time on it is set apart, and restored.
const APART_FROM: u32 = 2;
/// For what is in no history to be kept.
const KEEP_TIME: Duration = Duration::from_secs(5);

/// How it ended.
pub struct Over {
    pub code: u8,
    /// The end was not asked for.
    pub failed: bool,
    pub asked_at: Option<Instant>,
}

pub struct Terms<'a> {
    pub job: &'a Job,
    pub fleet: &'a FleetHandle,
    pub lines: &'a [Line<'a>],
    pub ids: BTreeMap<PathBuf, DatabaseId>,
    pub markings: Vec<Marking>,
    pub registry: Arc<Registry>,
    pub monitor: &'a Monitor,
    pub budget: &'a Budget,
    pub reaper: &'a Reaper,
    pub proxying: &'a Proxying,
    pub left_out: LeftOut,
}

impl Terms<'_> {
    /// The replications run.
    pub async fn run(
        mut self,
        mut assignment: Assignment,
        turn: &mut Turn,
        heard: &mut FleetEvents,
        signals: &mut Signals,
    ) -> Result<Over, Failure> {
        loop {
            let watching = Watching::start(&self.registry, &self.present().await, &self.left_out.failed);
            let lived = self.serve(assignment, turn, heard, signals).await?;
            let is_our_end = !turn.is_called_off();
            match is_our_end {
                true => self.monitor.stopping(),
                false => drop(self.monitor.phase().send_replace(Phase::Draining)),
            }
            watching.finish().await;
            // Who stands by afterwards is in no hurry.
            let is_told = |lived: &&Lived| lived.is_told || !turn.is_claimed();
            let asked_at = lived.as_ref().ok().filter(is_told).and_then(|lived| lived.asked_at);
            let afterwards = if turn.is_claimed() { Afterwards::Rest } else { Afterwards::End };
            let (ended, asked_at) = final_sync(self.fleet, signals, self.budget, asked_at, afterwards).await;
            let is_fenced = ended.contains(&Ended::Fenced);
            let stands_by = turn.is_claimed() && asked_at.is_none() && (turn.is_called_off() || is_fenced);
            let lived = match lived {
                Ok(lived) if stands_by => lived,
                lived => return over(lived, as_seen(ended, turn.is_claimed()), asked_at),
            };
            if is_fenced {
                turn.is_fenced();
                turn.called_off().await;
            }
            turn.is_drained();
            let ended = as_seen(ended, turn.is_claimed());
            tell(&lived, &ended);
            assignment = match turn.next(signals, self.monitor.phase()).await {
                Called::To(assignment) => assignment,
                Called::Away(signal) => {
                    let own = if lived.course.ran { lived.course.code } else { signal.exit_code() };
                    let what = format!("{}; ended by {signal} while it stood by", lived.what);
                    let course = Course { code: own, failed: false, ran: false };
                    return over(Ok(Lived { course, what, ..lived }), ended, Some(MACHINE.instant()));
                }
                Called::Never(outcome) => return Err(never(&outcome, turn.address())),
            };
            self.begin_again(assignment, &BTreeSet::new(), turn, signals).await?;
        }
    }

    /// From the start of the replications to the end of the application. What fails before that is
    /// the outer error: then nothing has been committed.
    async fn serve(
        &mut self,
        assignment: Assignment,
        turn: &mut Turn,
        heard: &mut FleetEvents,
        signals: &mut Signals,
    ) -> Result<Result<Lived, Failure>, Failure> {
        if assignment == Assignment::FinishUp {
            return Ok(Ok(Lived::not_started("nothing was started, because another instance takes over")));
        }
        let ids: BTreeSet<DatabaseId> = self.ids.values().copied().collect();
        let mut attempts: BTreeMap<DatabaseId, u32> = BTreeMap::new();
        loop {
            self.monitor.phase().send_replace(Phase::Arming);
            turn.begins_with(&ids);
            let overtaken = match wait_until_ready(&ids, heard, turn, signals, self.left_out.goes_on).await? {
                Verdict::Start => return Ok(self.live(turn, heard, signals).await),
                Verdict::Forbidden(lived) => return Ok(Ok(lived)),
                Verdict::CalledOff => return Ok(Ok(Lived::not_started("nothing was started"))),
                Verdict::Overtaken(id) => id,
            };
            let count = attempts.entry(overtaken).or_default();
            *count += 1;
            if *count >= ATTEMPTS || assignment == Assignment::ServeAlone {
                let why = "another writer goes on with the history again and again; nothing was started: end it, and start again";
                return Err(Failure::told(FENCED, why));
            }
            let is_apart = |(path, id): (&PathBuf, &DatabaseId)| {
                (attempts.get(id).is_some_and(|count| *count >= APART_FROM)).then(|| path.clone())
            };
            let apart = self.ids.iter().filter_map(is_apart).collect();
            self.rest().await;
            while heard.try_next().is_some() {}
            self.begin_again(assignment, &apart, turn, signals).await?;
            if turn.is_called_off() {
                return Ok(Ok(Lived::not_started("nothing was started")));
            }
        }
    }

    async fn live(&self, turn: &mut Turn, heard: &mut FleetEvents, signals: &mut Signals) -> Result<Lived, Failure> {
        before_migration::mark_all(&self.markings, self.fleet, signals).await?;
        let rounds = self.lines.iter().flat_map(|line| ProofRound::of_line(line, &self.job.options));
        self.registry.proving.add(rounds.collect());
        let (job, phase) = (self.job, self.monitor.phase());
        let on_end = job.options.monitoring.on_replication_end;
        let mut by = Interrupts { signals, heard, turn, proxying: self.proxying, on_end };
        let living = stages::live(job, self.fleet, &mut by, self.reaper, self.budget, phase);
        verify::beside(&self.registry.proving, self.fleet, |proved| self.monitor.proving(proved), living).await
    }

    /// Ends all replications, for now.
    async fn rest(&self) {
        self.fleet.rest_by(MACHINE.instant() + KEEP_TIME).await;
        futures_util::future::join_all(self.fleet.ends().await).await;
    }

    /// Brings the databases to the newest state, unless nothing is to be started, and starts the
    /// replications.
    async fn begin_again(
        &mut self,
        assignment: Assignment,
        apart: &BTreeSet<PathBuf>,
        turn: &mut Turn,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        if assignment != Assignment::FinishUp {
            let (governor, goes_on) = (self.fleet.governor(), self.left_out.goes_on);
            let work = async |cancel: CancellationToken| {
                let work = make_ready(self.job, self.lines, governor, goes_on, apart, cancel.clone());
                turn.unless_called_off(work, &cancel).await
            };
            let failed = unless_signalled(signals, work).await?;
            let left = self.lines.len() - failed.len();
            self.left_out.take(failed, left, directories::may_come(self.job))?;
        }
        self.fleet.start_all().await.map_err(|error| Failure::new(CONFIG, error))
    }

    /// The databases that are registered now.
    async fn present(&self) -> BTreeMap<PathBuf, DatabaseId> {
        let views = self.fleet.databases().await.unwrap_or_default();
        views.into_iter().filter(|view| !view.replicas.is_empty()).map(|view| (view.path, view.id)).collect()
    }
}

/// A writer that has a claim is no foreign one: what it did not let us upload is not in the
/// replica, and that is all.
pub fn as_seen(ended: Vec<Ended>, is_claimed: bool) -> Vec<Ended> {
    let why = "another instance had taken over; they are kept aside (see above)";
    let seen = |ended| match ended {
        Ended::Fenced if is_claimed => Ended::Unsynced { why: why.into() },
        ended => ended,
    };
    ended.into_iter().map(seen).collect()
}

/// The last line, and the exit code. Only now, because the commits of a migration that failed are
/// replicated too.
pub fn over(lived: Result<Lived, Failure>, ends: Vec<Ended>, asked_at: Option<Instant>) -> Result<Over, Failure> {
    match lived {
        Ok(lived) => Ok(Over { code: conclude(&lived, &ends), failed: lived.course.failed, asked_at }),
        Err(failure) => {
            if let Some(problem) = exit::problem(&ends) {
                tracing::error!("{problem}");
            }
            Err(failure)
        }
    }
}

/// Logs the last line, and returns the exit code.
fn conclude(lived: &Lived, ends: &[Ended]) -> u8 {
    let code = if supervise::defect::happened() { exit::INTERNAL } else { exit::code(lived.course, ends) };
    match exit::problem(ends) {
        None => tracing::info!("{}; {}; exit code {code}", lived.what, exit::confirmation(ends)),
        Some(problem) => tracing::error!("{}; {problem}; exit code {code}", lived.what),
    }
    code
}

fn tell(lived: &Lived, ends: &[Ended]) {
    let next = "this process stays, and stands by until the others have ended, or it is told to end";
    match exit::problem(ends) {
        None => tracing::info!("{}; {}; {next}", lived.what, exit::confirmation(ends)),
        Some(problem) => tracing::error!("{}; {problem}; {next}", lived.what),
    }
}

/// It cannot be waited for a turn any more.
pub fn never(outcome: &Outcome, address: &str) -> Failure {
    let why = match outcome {
        Outcome::Denied(access, why) => return denied(*access, why, address),
        Outcome::Foreign => {
            "another writer, which makes no claims, owns the history (an older version, Litestream, `handover: off`?)"
        }
        Outcome::Released | Outcome::Nothing | Outcome::Unreleased => "the claims have ended",
    };
    Failure::told(FENCED, why)
}

fn denied(access: Access, why: &str, address: &str) -> Failure {
    let (what, needs) = match access {
        Access::Read => ("list and read", "s3:ListBucket and s3:GetObject"),
        Access::Create => ("create", "s3:PutObject"),
    };
    let text = format!(
        "the storage does not permit to {what} the claims beside {address}, by which an application is handed over: {why}; give \
         these keys the permission for claims/* there ({needs}), or set `handover: off`"
    );
    Failure::told(DENIED, text)
}
