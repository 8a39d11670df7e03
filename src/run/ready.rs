//! Waits until the databases let the application start.

use std::collections::BTreeSet;

use anyhow::anyhow;

use super::exit::{CANNOT_WRITE, Failure};
use super::stages::Lived;
use super::told::{cancelling, ended_by};
use super::turn::Turn;
use crate::fleet::FleetEvents;
use crate::replicate::{DatabaseId, Event, Ready};
use crate::supervise::Signals;

/// What the wait has come to.
pub enum Verdict {
    /// Migration and application may be started.
    Start,
    /// Nothing may be started, and the program ends.
    Forbidden(Lived),
    /// Others have gone on with the history meanwhile.
    Overtaken(DatabaseId),
    /// The turn is over.
    CalledOff,
}

/// Waits until each of these databases lets the application start, and it is our turn. With
/// `goes_on` one that fails is not waited for, as long as there are others.
pub async fn wait_until_ready(
    ids: &BTreeSet<DatabaseId>,
    heard: &mut FleetEvents,
    turn: &mut Turn,
    signals: &mut Signals,
    goes_on: bool,
) -> Result<Verdict, Failure> {
    let (mut waited_for, mut ready) = (ids.clone(), 0);
    while !waited_for.is_empty() || !turn.may_start() {
        let (id, event) = tokio::select! {
            biased;
            signal = cancelling(signals) => return Err(ended_by(signal, "before the replication was ready")),
            event = heard.next() => event,
            () = turn.order() => match turn.is_called_off() {
                true => return Ok(Verdict::CalledOff),
                false => continue,
            },
        };
        turn.heard(id, &event);
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
            Event::Fenced if turn.is_claimed() => return Ok(Verdict::Overtaken(id)),
            Event::Fenced => return Ok(Verdict::Forbidden(Lived::not_started("nothing was started"))),
            // It was registered through the control socket meanwhile: the application does not wait
            // for it.
            Event::Failed { .. } | Event::Sealed => {}
            // Logged only when an application may run.
            Event::Exclusive { .. } => {}
        }
    }
    Ok(Verdict::Start)
}

fn describe(ready: Ready) -> &'static str {
    match ready {
        Ready::Armed => "armed: no commit can be missed from here on",
        Ready::NoDatabaseYet => "there is no database yet",
        Ready::AfterApplication => "the application opens the database first: in its last life it kept it to itself",
        Ready::Standby => "standing by: another process replicates this database",
    }
}
