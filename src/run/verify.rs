//! Proves the replicas in the background, one at a time, while their databases are replicated.
//!
//! Each database is proved once in its interval, for the first time after a random part of it, and
//! only if something was uploaded since the last proof: an idle database costs no request. Reads
//! are limited to a rate. A failed proof is logged as an error and kept in the status; it does not
//! stop the replication. The live database is not compared, because the read transaction for that
//! would keep the WAL from being reset.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::prepare::Line;
use crate::clock::MACHINE;
use crate::config::{Options, Replica, Verify};
use crate::http::ProvedReplica;
use crate::ltx::Txid;
use crate::remote::Remote;
use crate::restore::RestoreError;
use crate::status::{Proof, ProofWriter, Proofs, Status};
use crate::verify::{Deep, Order, Verified, verify};

/// Files to read at a time. The proof has no deadline.
const PARALLELISM: usize = 2;

/// One database whose replica is to be proved.
pub struct ProofRound {
    path: PathBuf,
    /// Name of the replica, if the database has several.
    name: Option<String>,
    is_mirror: bool,
    remote: Remote,
    settings: Verify,
    window: Option<Duration>,
    status: watch::Receiver<Status>,
    writer: ProofWriter,
    proofs: watch::Receiver<Proofs>,
}

impl ProofRound {
    /// One for each replica whose configuration asks for it. `statuses` are those of the replicas,
    /// in their order.
    pub fn of_line(
        line: &Line<'_>,
        options: &Options,
        statuses: impl Iterator<Item = watch::Receiver<Status>>,
    ) -> Vec<ProofRound> {
        let first = (&line.database.replicas.first, &line.remote);
        let every = std::iter::once(first).chain(line.mirrors()).zip(statuses);
        let several = line.database.replicas.are_several();
        let round = |(at, ((replica, remote), status)): (usize, ((&Replica, &Remote), watch::Receiver<Status>))| {
            let settings = replica.verify.clone()?;
            let (writer, proofs) = ProofWriter::new();
            let window = options.lifecycle.retention_enabled.then_some(replica.snapshot.retention);
            let remote = remote.clone().throttled(settings.rate);
            let (path, name) = (line.database.path.clone(), several.then(|| replica.name.clone()));
            Some(ProofRound { path, name, is_mirror: at > 0, remote, settings, window, status, writer, proofs })
        };
        every.enumerate().filter_map(round).collect()
    }

    /// Channel with the newest result, for metrics and health.
    pub fn proved(&self) -> ProvedReplica {
        ProvedReplica { path: self.path.clone(), name: self.name.clone(), proofs: self.proofs.clone() }
    }

    fn order(&self) -> Order {
        let dir = || self.settings.dir.clone().unwrap_or_else(std::env::temp_dir);
        let deep = self.settings.deep.then(|| Deep { dir: dir(), live: None, patience: Duration::ZERO });
        Order { deep, window: self.window, parallelism: PARALLELISM }
    }

    /// One proof.
    async fn prove(&self) {
        let confirmed = self.status.borrow().confirmed;
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
        if let Some(name) = self.name.as_ref().filter(|_| self.is_mirror) {
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
/// cancelled and its temporary database removed.
pub async fn beside<T>(proofs: Vec<ProofRound>, work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = rounds(proofs) => match never {},
    }
}

/// Delay of the first proof: a random part of the interval, so that many machines do not read at
/// the same time.
fn first_turn(interval: Duration, random: u64) -> Duration {
    interval.mul_f64(random as f64 / u64::MAX as f64)
}

/// One proof after the other. Never returns.
async fn rounds(proofs: Vec<ProofRound>) -> Infallible {
    let now = MACHINE.instant();
    let first = |round: &ProofRound| now + first_turn(round.settings.interval, MACHINE.random_u64());
    let mut due: Vec<Instant> = proofs.iter().map(first).collect();
    while let Some((at, moment)) = due.iter().copied().enumerate().min_by_key(|(_, moment)| *moment) {
        tokio::time::sleep_until(moment).await;
        proofs[at].prove().await;
        due[at] = MACHINE.instant() + proofs[at].settings.interval;
    }
    std::future::pending().await
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
