//! Several replicas of one database: all of them are asked at the same time, and the newest state
//! is taken (`choice.rs`).
//!
//! A mirror that goes on further than the first replica is believed only if both show the same
//! history (`same_history.rs`): one that was configured by mistake may be the replica of another
//! database.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::checked_plan::Found;
use super::choice::{Answer, Choice, State, choose};
use super::planned::plan;
use super::same_history::{SameHistory, same_history};
use super::{RestoreError, Target};
use crate::ltx::Txid;
use crate::remote::Remote;
use crate::store::StoreError;

/// How long a restore that can begin waits for a mirror, which may hold a newer state.
const MIRROR_PATIENCE: Duration = Duration::from_secs(10);

/// A replica that a database may be restored from.
pub struct Backup {
    /// Unique among the replicas of the database.
    pub name: String,
    /// Its store, or why that could not be opened.
    pub remote: Result<Remote, StoreError>,
}

impl Backup {
    /// As it is shown.
    fn address(&self) -> String {
        match &self.remote {
            Ok(remote) => remote.address().to_owned(),
            Err(_) => self.name.clone(),
        }
    }
}

/// A replica by name, which answered.
pub type Named<'a> = (&'a str, &'a Remote);

/// The replica to restore from, and those that have the very same state, in the order in which they
/// are to be tried. One alone is not asked: its restore says what there is to say.
pub async fn newest<'a>(
    backups: &'a [Backup],
    target: Target,
    cancel: &CancellationToken,
) -> Result<(Named<'a>, Vec<Named<'a>>), RestoreError> {
    if let [Backup { name, remote }] = backups {
        let remote = remote.as_ref().map_err(|error| RestoreError::CannotTell(error.clone()))?;
        return Ok(((name, remote), Vec::new()));
    }
    let asked = ask_all(backups, target, cancel).await;
    let (mut answers, mut errors): (Vec<Answer>, Vec<Option<RestoreError>>) = asked.into_iter().unzip();
    if cancel.is_cancelled() {
        return Err(RestoreError::Cancelled);
    }
    let exact = matches!(target, Target::Txid(_));
    let chosen = loop {
        match choose(&answers, exact) {
            Choice::From(chosen) => {
                let doubts = doubts(backups, &answers, &chosen).await;
                if doubts.is_empty() {
                    break chosen;
                }
                for (at, doubt) in doubts {
                    (answers[at], errors[at]) = settle(backups, &answers, (at, chosen[0]), doubt)?;
                }
            }
            Choice::Nothing => return Err(no_backup(backups)),
            Choice::Refused { because, others } => {
                let error = errors[because].take().unwrap_or_else(|| no_backup(backups));
                let name = backups[because].name.clone();
                return Err(of_replica(name, error, advice(backups, &answers, &others)));
            }
        }
    };
    say_what_is_left_out(backups, &answers, &errors);
    tell_choice(backups, &answers, chosen[0]);
    let named = |at: usize| Some((backups[at].name.as_str(), backups[at].remote.as_ref().ok()?));
    let mut named = chosen.into_iter().filter_map(named);
    let best = named.next().ok_or_else(|| no_backup(backups))?;
    Ok((best, named.collect()))
}

/// With the name of the replica that it is about, and what can be done.
pub fn of_replica(name: String, error: RestoreError, advice: Option<String>) -> RestoreError {
    match error {
        RestoreError::Cancelled => error,
        error => RestoreError::OfReplica { name, error: Box::new(error), advice: advice.unwrap_or_default() },
    }
}

type Asked = (Answer, Option<RestoreError>);

/// All at the same time. When the first one has a state to restore, a mirror that does not answer
/// holds it up for a moment only; otherwise all that can be found out counts.
async fn ask_all(backups: &[Backup], target: Target, cancel: &CancellationToken) -> Vec<Asked> {
    let (told, heard) = watch::channel(false);
    let asked = backups.iter().enumerate().map(|(at, backup)| {
        let (told, heard) = (&told, heard.clone());
        async move {
            if at == 0 {
                let asked = ask(backup, target, cancel).await;
                told.send_replace(matches!(asked.0, Answer::State(_)));
                return asked;
            }
            tokio::select! {
                biased;
                asked = ask(backup, target, cancel) => asked,
                () = too_late(heard) => {
                    let detail = format!("no answer within {MIRROR_PATIENCE:?}");
                    (Answer::Silent, Some(RestoreError::CannotTell(StoreError::Transient { detail })))
                }
            }
        }
    });
    join_all(asked).await
}

/// Done when the first replica has had a state to restore for so long.
async fn too_late(mut heard: watch::Receiver<bool>) {
    match heard.wait_for(|has_state| *has_state).await {
        Ok(_) => {}
        Err(_) => std::future::pending().await,
    }
    tokio::time::sleep(MIRROR_PATIENCE).await;
}

async fn ask(backup: &Backup, target: Target, cancel: &CancellationToken) -> Asked {
    let remote = match &backup.remote {
        Ok(remote) => remote,
        Err(error) => {
            return (Answer::Silent, Some(RestoreError::CannotTell(error.clone())));
        }
    };
    match plan(remote, target, cancel).await {
        Ok(Found::Ltx(checked)) => {
            let time_ms = checked.newest.timestamp_ms;
            (Answer::State(State::Ltx { txid: checked.plan.txid(), time_ms }), None)
        }
        Ok(Found::Old(plan)) => (Answer::State(State::Old { time_ms: plan.time_ms() }), None),
        Err(error) => (answer_of(&error, remote).await, Some(error)),
    }
}

async fn answer_of(error: &RestoreError, remote: &Remote) -> Answer {
    match error {
        RestoreError::NoBackup { .. } => Answer::Empty,
        RestoreError::CannotTell(_) | RestoreError::Cancelled => Answer::Silent,
        RestoreError::TooEarly { .. } | RestoreError::NotReached { .. } | RestoreError::NoTxids { .. } => {
            Answer::Without
        }
        RestoreError::TwoHistories { newest, other, .. } => Answer::Damaged { newest: Some(*newest.max(other)) },
        // It answered a moment ago.
        _ => match remote.listing().await {
            Ok(listing) => Answer::Damaged { newest: listing.newest_txid() },
            Err(_) => Answer::Silent,
        },
    }
}

/// Why a mirror is not simply taken for the history of the first replica.
enum Doubt {
    Differs(Txid),
    NotComparable,
    Silent(StoreError),
}

/// Compares those of the chosen that are mirrors with the first replica, if it has a history.
async fn doubts(backups: &[Backup], answers: &[Answer], chosen: &[usize]) -> Vec<(usize, Doubt)> {
    let has_history = |answer: &Answer| match answer {
        Answer::State(State::Ltx { .. }) | Answer::Damaged { .. } | Answer::Without => true,
        Answer::State(State::Old { .. }) | Answer::Empty | Answer::Silent => false,
    };
    let is_ltx = |at: &usize| matches!(answers[*at], Answer::State(State::Ltx { .. }));
    let mut doubts = Vec::new();
    let Ok(first) = &backups[0].remote else { return doubts };
    if !has_history(&answers[0]) {
        return doubts;
    }
    for at in chosen.iter().copied().filter(|at| *at > 0).filter(is_ltx) {
        let Ok(mirror) = &backups[at].remote else { continue };
        doubts.extend(match same_history(first, mirror).await {
            Ok(SameHistory::Yes) => None,
            Ok(SameHistory::No(txid)) => Some((at, Doubt::Differs(txid))),
            Ok(SameHistory::Unknown) => Some((at, Doubt::NotComparable)),
            Err(error) => Some((at, Doubt::Silent(error))),
        });
    }
    doubts
}

/// What a mirror's answer is worth then. `best` is where the newest state is.
fn settle(
    backups: &[Backup],
    answers: &[Answer],
    (at, best): (usize, usize),
    doubt: Doubt,
) -> Result<Asked, RestoreError> {
    let (mirror, first) = (&backups[at], &backups[0]);
    match doubt {
        Doubt::Differs(txid) => {
            let (mirror, first) = (&mirror.name, &first.name);
            tracing::warn!(
                "TXID {txid} is another one in the replica {mirror} than in {first}, which owns the history: {mirror} is not used"
            );
            Ok((Answer::Empty, None))
        }
        Doubt::Silent(error) => Ok((Answer::Silent, Some(RestoreError::CannotTell(error)))),
        // The first has as much.
        Doubt::NotComparable if best == 0 => Ok((Answer::Empty, None)),
        Doubt::NotComparable => {
            let error = RestoreError::NotComparable { address: mirror.address(), first: first.address() };
            let usable = answers.iter().enumerate().filter(|(_, answer)| matches!(answer, Answer::State(_)));
            let usable: Vec<usize> = usable.map(|(at, _)| at).collect();
            Err(of_replica(mirror.name.clone(), error, advice(backups, answers, &usable)))
        }
    }
}

fn no_backup(backups: &[Backup]) -> RestoreError {
    RestoreError::NoBackup { address: backups.iter().map(Backup::address).collect::<Vec<_>>().join(" and ") }
}

/// What a person can do who knows that it is not the newest state that is needed.
fn advice(backups: &[Backup], answers: &[Answer], others: &[usize]) -> Option<String> {
    let named = |at: &usize| match &answers[*at] {
        Answer::State(State::Ltx { txid, .. }) => format!("{} (up to TXID {txid})", backups[*at].name),
        _ => backups[*at].name.clone(),
    };
    let others: Vec<String> = others.iter().map(named).collect();
    let first = others.first()?;
    Some(match others.len() {
        1 => format!("; `millstream restore -replica NAME` restores from one that can be used: {first}"),
        _ => format!(
            "; `millstream restore -replica NAME` restores from one of those that can be used: {}",
            others.join(", ")
        ),
    })
}

fn say_what_is_left_out(backups: &[Backup], answers: &[Answer], errors: &[Option<RestoreError>]) {
    for ((backup, answer), error) in backups.iter().zip(answers).zip(errors) {
        match (answer, error) {
            (Answer::Silent, Some(error)) => tracing::warn!(
                "the replica {} does not answer, and may hold a newer state: restoring without it ({error})",
                backup.name
            ),
            (Answer::Damaged { .. }, Some(error)) => {
                tracing::warn!("the replica {} cannot be restored from: {error}", backup.name);
            }
            _ => {}
        }
    }
}

fn tell_choice(backups: &[Backup], answers: &[Answer], chosen: usize) {
    let name = &backups[chosen].name;
    match &answers[chosen] {
        Answer::State(State::Ltx { txid, .. }) => {
            tracing::info!("restoring from the replica {name}, up to TXID {txid}")
        }
        _ => tracing::info!("restoring from the replica {name}"),
    }
}
