//! The last sync, once the application and its processes are gone.

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Budget;
use super::exit::{self, CANNOT_WRITE, Course};
use super::told::{cancelling, is_cancel};
use crate::clock::MACHINE;
use crate::figures;
use crate::fleet::{DatabaseView, FleetHandle};
use crate::replicate::Ended;
use crate::status::{Refusals, Status};
use crate::supervise::Signals;

/// What comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    End,
    /// The replications may be started again.
    Rest,
}

/// Uploads the remaining commits. A signal meanwhile starts the grace time; it never skips the
/// sync. Returns when a signal has asked for the end, too.
pub async fn final_sync(
    fleet: &FleetHandle,
    signals: &mut Signals,
    budget: &Budget,
    mut asked_at: Option<Instant>,
    afterwards: Afterwards,
) -> (Vec<Ended>, Option<Instant>) {
    let deadline = budget.sync_deadline(asked_at, MACHINE.instant());
    let statuses: Vec<Status> = fleet.databases().await.unwrap_or_default().iter().map(DatabaseView::status).collect();
    if let Some(age) = statuses.iter().filter_map(|status| status.unshipped_for(MACHINE.instant())).max() {
        tracing::info!("final sync: the oldest commit to ship is {age:.1?} old");
    }
    for Refusals { objects, since } in statuses.iter().filter_map(|status| status.refusals) {
        tracing::warn!(
            "{} could not be deleted for {:.0?}",
            figures::count(objects, "expired object"),
            MACHINE.instant() - since
        );
    }
    match afterwards {
        Afterwards::End => fleet.finish_by(deadline).await,
        Afterwards::Rest => fleet.rest_by(deadline).await,
    }
    let ends = join_all(fleet.ends().await);
    tokio::pin!(ends);
    loop {
        tokio::select! {
            ended = &mut ends => return (ended, asked_at),
            signal = signals.recv() => {
                if is_cancel(signal) && asked_at.is_none() {
                    tracing::info!("{signal}: the final sync has {:.1?} left", budget.whole);
                    asked_at = Some(MACHINE.instant());
                    fleet.rest_by(budget.sync_deadline(asked_at, MACHINE.instant()).min(deadline)).await;
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
