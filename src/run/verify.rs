//! Proves the replicas in the background, one at a time, while their databases are replicated.
//!
//! Each database is proved once in its interval, for the first time after a random part of it, and
//! only if something was uploaded since the last proof: an idle database costs no request. Reads
//! are limited to a rate. A failed proof is logged as an error and kept in the status; it does not
//! stop the replication. The live database is not compared, because the read transaction for that
//! would keep the WAL from being reset.
//!
//! Databases come and go meanwhile ([`Proving`]): one that is registered later is proved like the
//! others, and one that is gone is left out from its next turn on.

use std::collections::HashSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::prepare::Line;
use crate::clock::MACHINE;
use crate::config::{Options, Replica, Verify};
use crate::fleet::FleetHandle;
use crate::http::ProvedReplica;
use crate::ltx::Txid;
use crate::remote::Remote;
use crate::restore::RestoreError;
use crate::status::{Proof, ProofWriter, Proofs, Status};
use crate::verify::{Deep, Order, Verified, verify};

/// Files to read at a time. The proof has no deadline.
const PARALLELISM: usize = 2;

/// The replicas that are proved now.
#[derive(Default)]
pub struct Proving(watch::Sender<Vec<Arc<ProofRound>>>);

impl Proving {
    /// These replicas are proved from now on, instead of what their databases had before.
    pub fn add(&self, rounds: Vec<ProofRound>) {
        if rounds.is_empty() {
            return;
        }
        self.0.send_modify(|all| {
            all.retain(|old| !rounds.iter().any(|new| new.path == old.path));
            all.extend(rounds.into_iter().map(Arc::new));
        });
    }

    /// The database is gone.
    pub fn end(&self, path: &Path) {
        self.0.send_if_modified(|all| {
            let before = all.len();
            all.retain(|round| round.path != path);
            all.len() < before
        });
    }
}

/// One database whose replica is to be proved.
pub struct ProofRound {
    path: PathBuf,
    /// Which of its replicas it is.
    at: usize,
    /// Name of the replica, if the database has several.
    name: Option<String>,
    remote: Remote,
    settings: Verify,
    window: Option<Duration>,
    writer: ProofWriter,
    proofs: watch::Receiver<Proofs>,
}

impl ProofRound {
    /// One for each replica whose configuration asks for it.
    pub fn of_line(line: &Line<'_>, options: &Options) -> Vec<ProofRound> {
        let first = (&line.database.replicas.first, &line.remote);
        let every = std::iter::once(first).chain(line.mirrors());
        let several = line.database.replicas.are_several();
        let round = |(at, (replica, remote)): (usize, (&Replica, &Remote))| {
            let settings = replica.verify.clone()?;
            let (writer, proofs) = ProofWriter::new();
            let window = options.lifecycle.retention_enabled.then_some(replica.snapshot.retention);
            let remote = remote.clone().throttled(settings.rate);
            let (path, name) = (line.database.path.clone(), several.then(|| replica.name.clone()));
            Some(ProofRound { path, at, name, remote, settings, window, writer, proofs })
        };
        every.enumerate().filter_map(round).collect()
    }

    /// Channel with the newest result, for metrics and health.
    fn proved(&self) -> ProvedReplica {
        ProvedReplica { path: self.path.clone(), name: self.name.clone(), proofs: self.proofs.clone() }
    }

    fn order(&self) -> Order {
        let dir = || self.settings.dir.clone().unwrap_or_else(std::env::temp_dir);
        let deep = self.settings.deep.then(|| Deep { dir: dir(), live: None, patience: Duration::ZERO });
        Order { deep, window: self.window, parallelism: PARALLELISM }
    }

    /// One proof of what the replica has by now.
    async fn prove(&self, status: Status) {
        let confirmed = status.confirmed;
        if !self.writer.wants(confirmed) {
            return;
        }
        let began = self.remote.clock().instant();
        match verify(&self.remote, &self.order(), &CancellationToken::new()).await {
            Ok(verified) if verified.is_proven() => self.note(&verified, confirmed, began),
            Ok(verified) => self.complain(&verified),
            Err(error @ RestoreError::NoBackup { .. }) => self.fail(&error.to_string()),
            Err(error) => {
                let db = self.path.display();
                let (replica, pause) = (self.label(), self.settings.interval);
                tracing::warn!(%db, "could not verify {replica}: {error}; its state is unknown, trying again in {pause:?}");
            }
        }
    }

    fn note(&self, verified: &Verified, confirmed: Option<Txid>, began: Instant) {
        let db = self.path.display();
        for finding in &verified.audit.findings {
            tracing::info!(%db, "verify: {finding}");
        }
        let Some((txid, time_ms)) = verified.newest() else { return };
        if Some(txid) < confirmed {
            let confirmed = confirmed.unwrap_or(txid);
            return self.fail(&format!("it ends with TXID {txid}, although TXID {confirmed} was uploaded"));
        }
        let (deep, clock) = (verified.restored.is_some(), self.remote.clock());
        self.writer.proven(Proof { txid, at_ms: clock.unix_ms(), deep });
        let how = if deep { "restored, and sound" } else { "looked at, and whole" };
        tracing::info!(
            %db,
            "{} is proven up to TXID {txid} of {}: {how} ({:.1?})",
            self.label(),
            moment(time_ms),
            clock.instant() - began
        );
    }

    fn label(&self) -> String {
        self.name.as_ref().map_or_else(|| "the replica".to_owned(), |name| format!("the replica {name}"))
    }

    fn complain(&self, verified: &Verified) {
        let damage: Vec<String> = verified.audit.damage().map(ToString::to_string).collect();
        self.fail(&damage.join("; "));
    }

    /// Logs the finding with the next step, and keeps it.
    fn fail(&self, why: &str) {
        let (db, address) = (self.path.display(), self.remote.address());
        let proven = match self.proofs.borrow().proven {
            Some(proof) => format!("last proven up to TXID {} at {}", proof.txid, moment(proof.at_ms)),
            None => "not proven since the start".into(),
        };
        if let Some(name) = self.name.as_ref().filter(|_| self.at > 0) {
            tracing::error!(
                %db,
                "THE REPLICA {name} IS DAMAGED: {why} ({proven}). Replication goes on, to the other replicas too. What to do: look with \
                 `millstream verify -deep -replica {name} {db}`; then move away what {address} holds and start this program \
                 again: the replica begins with a snapshot"
            );
        } else {
            let name = self.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            tracing::error!(
                %db,
                "THE REPLICA{name} IS DAMAGED: {why} ({proven}). Replication goes on. What to do: look with `millstream verify -deep`; \
                 then stop this program, run `millstream reset {db}` and start it again: the whole database is uploaded, and \
                 restores begin with that. What {address} still holds stays there"
            );
        }
        self.writer.failed(why.to_owned());
    }
}

fn moment(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|_| unix_ms.to_string(), |time| time.to_string())
}

/// Runs the work, and proves the replicas meanwhile. When the work is done, a proof under way is
/// cancelled and its temporary database removed. `tell` hears of which replicas are proved.
pub async fn beside<T>(
    proving: &Proving,
    fleet: &FleetHandle,
    tell: impl Fn(Vec<ProvedReplica>),
    work: impl Future<Output = T>,
) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = rounds(proving, fleet, tell) => match never {},
    }
}

/// Delay of the first proof: a random part of the interval, so that many machines do not read at
/// the same time.
fn first_turn(interval: Duration, random: u64) -> Duration {
    interval.mul_f64(random as f64 / u64::MAX as f64)
}

/// Whose turn comes when.
#[derive(Default)]
struct Turns(Vec<(Instant, Arc<ProofRound>)>);

impl Turns {
    /// Those that are listed have a turn, and no others.
    fn follow(&mut self, listed: &[Arc<ProofRound>], now: Instant, mut random: impl FnMut() -> u64) {
        let own = |round: &Arc<ProofRound>| Arc::as_ptr(round).addr();
        let wanted: HashSet<usize> = listed.iter().map(own).collect();
        self.0.retain(|(_, round)| wanted.contains(&own(round)));
        let known: HashSet<usize> = self.0.iter().map(|(_, round)| own(round)).collect();
        let new = listed.iter().filter(|round| !known.contains(&own(round)));
        self.0.extend(new.map(|round| (now + first_turn(round.settings.interval, random()), round.clone())));
    }

    fn next(&mut self) -> Option<&mut (Instant, Arc<ProofRound>)> {
        self.0.iter_mut().min_by_key(|(moment, _)| *moment)
    }
}

/// One proof after the other. Never returns.
async fn rounds(proving: &Proving, fleet: &FleetHandle, tell: impl Fn(Vec<ProvedReplica>)) -> Infallible {
    let (mut listed, mut turns) = (proving.0.subscribe(), Turns::default());
    listed.mark_changed();
    loop {
        let turn = turns.next();
        let moment = turn.as_ref().map(|(moment, _)| *moment);
        tokio::select! {
            // The sender outlives this.
            _ = listed.changed() => {
                let all = listed.borrow_and_update().clone();
                tell(all.iter().map(|round| round.proved()).collect());
                turns.follow(&all, MACHINE.instant(), || MACHINE.random_u64());
                continue;
            }
            () = tokio::time::sleep_until(moment.unwrap_or_else(|| MACHINE.instant())), if moment.is_some() => {}
        }
        let Some((moment, round)) = turn else { continue };
        match fleet.find(round.path.clone()).await {
            Ok(Some(view)) => {
                if let Some(replica) = view.replicas.get(round.at) {
                    round.prove(replica.status).await;
                }
            }
            Ok(None) => proving.end(&round.path),
            // The program is ending.
            Err(_) => {}
        }
        *moment = MACHINE.instant() + round.settings.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_turns_are_spread_over_the_interval() {
        let hour = Duration::from_secs(3600);
        assert_eq!(first_turn(hour, 0), Duration::ZERO);
        assert_eq!(first_turn(hour, u64::MAX), hour);
        let half = first_turn(hour, u64::MAX / 2);
        assert!(half > hour / 3 && half < hour * 2 / 3, "{half:?}");
    }
}
