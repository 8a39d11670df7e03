//! Gathers the facts for each request from the fleet, the proofs and the files.

use std::collections::BTreeMap;
use std::mem::take;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::facts::{DatabaseFacts, Facts, Phase, ProofFacts, ReplicaFacts, State};
use super::page::{Recorded, Recorder};
use super::process;
use super::server::Source;
use crate::clock::Clock;
use crate::fleet::{self, DatabaseView, FleetHandle, ReplicaView};
use crate::fsx;
use crate::ltx::Txid;
use crate::primary::Primary;
use crate::replicate::{Ready, blocking};
use crate::status::{Proofs, ProxyCounts, Restores};
use crate::store::{Operated, Requested, Traffic};

/// A replica that is proved in the background.
#[derive(Clone)]
pub struct ProvedReplica {
    pub path: PathBuf,
    /// `None`: the database has no other.
    pub name: Option<String>,
    pub proofs: watch::Receiver<Proofs>,
}

/// The sources of the facts.
pub struct Gather {
    pub fleet: FleetHandle,
    pub phase: watch::Receiver<Phase>,
    pub primary: watch::Receiver<Primary>,
    pub proved: watch::Receiver<Vec<ProvedReplica>>,
    /// Of the proxy, if there is one.
    pub proxied: watch::Receiver<Option<ProxyCounts>>,
    pub max_lag: Option<Duration>,
    pub clock: Clock,
    pub started_at_ms: i64,
    /// The configuration file, if there is one.
    pub config: Option<PathBuf>,
    pub restores: Restores,
    /// What is kept for the status page, where there is one.
    pub recorder: Option<Recorder>,
}

impl Source for Gather {
    async fn facts(&self, with_files: bool) -> Facts {
        let phase = *self.phase.borrow();
        // If the fleet is gone, the program is ending and there are no databases.
        let views = self.fleet.databases().await.unwrap_or_default();
        let now = self.clock.instant();
        let proved = self.proved.borrow().clone();
        let mut by_path: BTreeMap<&Path, Vec<&ProvedReplica>> = BTreeMap::new();
        proved.iter().for_each(|proved| by_path.entry(&proved.path).or_default().push(proved));
        let of = |view: &DatabaseView| by_path.get(view.path.as_path()).map_or(&[][..], Vec::as_slice);
        let mut databases: Vec<DatabaseFacts> = views.iter().map(|view| database(view, of(view), now)).collect();
        for (database, view) in databases.iter_mut().zip(&views) {
            database.state = in_phase(take(&mut database.state), phase);
            database.restored = self.restores.of(&view.path);
        }
        let (operations, requests) = traffic(&views);
        let now_ms = self.clock.unix_ms();
        let up_ms = now_ms.saturating_sub(self.started_at_ms);
        let up = Duration::from_millis(u64::try_from(up_ms).unwrap_or(0));
        let mut facts = Facts { phase, max_lag: self.max_lag, operations, requests, up, now_ms, ..Facts::default() };
        facts.primary = self.primary.borrow().clone();
        facts.proxied = self.proxied.borrow().as_ref().map(ProxyCounts::now);
        facts.config = self.config.as_ref().map(|path| path.display().to_string());
        if with_files {
            let started_at_ms = self.started_at_ms;
            (databases, facts.process) = blocking(move || {
                databases.iter_mut().for_each(measure);
                (databases, process::look(started_at_ms))
            })
            .await;
        }
        Facts { databases, ..facts }
    }

    async fn details(&self, databases: Vec<DatabaseFacts>, opened: bool) -> Vec<(DatabaseFacts, Recorded)> {
        let ids: Vec<u64> = databases.iter().map(|database| database.id).collect();
        let recorded = match &self.recorder {
            Some(recorder) => recorder.recorded(ids, opened).await,
            None => Vec::new(),
        };
        let measured = blocking(move || {
            let mut databases = databases;
            databases.iter_mut().for_each(measure);
            databases
        });
        let recorded = recorded.into_iter().chain(std::iter::repeat_with(Recorded::default));
        measured.await.into_iter().zip(recorded).collect()
    }
}

/// A replication that is ended because another process has the claim goes on when that one ends.
fn in_phase(state: State, phase: Phase) -> State {
    match (state, phase) {
        (State::Stopped, Phase::Waiting | Phase::StandingBy) => State::Standby,
        (state, _) => state,
    }
}

/// `proved` are the replicas of this database that are proved.
fn database(view: &DatabaseView, proved: &[&ProvedReplica], now: Instant) -> DatabaseFacts {
    let mut facts = DatabaseFacts {
        id: view.id.0,
        path: view.path.display().to_string(),
        optional: view.optional,
        state: state(view),
        replicas: view.replicas.iter().map(|of| replica(of, proved, now)).collect(),
        ..DatabaseFacts::default()
    };
    if let Some(first) = view.replicas.first() {
        let counts = &first.counts;
        facts.spilled_bytes = counts.spilled_bytes.load(Relaxed);
        facts.disk_full = counts.disk_full.load(Relaxed) != 0;
        facts.wal_bytes = counts.wal_bytes.load(Relaxed);
        (facts.syncs, facts.checkpoints) = (counts.syncs.get(), counts.checkpoints.get());
        facts.level_0 = counts.level_0_found();
    }
    facts
}

fn state(view: &DatabaseView) -> State {
    // The event of the start says nothing about what happened since.
    let has_begun = view.status().captured.is_some();
    match &view.state {
        fleet::State::Starting => State::Starting,
        fleet::State::Ready(Ready::Armed) => State::Replicating,
        fleet::State::Ready(_) if has_begun => State::Replicating,
        fleet::State::Ready(Ready::NoDatabaseYet | Ready::AfterApplication) => State::Waiting,
        fleet::State::Ready(Ready::Standby) => State::Standby,
        fleet::State::Exclusive { why } => State::Exclusive(why.clone()),
        fleet::State::Fenced => State::Fenced,
        fleet::State::Halted { why } => State::Halted(why.clone()),
        fleet::State::Stopped => State::Stopped,
    }
}

fn replica(view: &ReplicaView, proved: &[&ProvedReplica], now: Instant) -> ReplicaFacts {
    let ReplicaView { name, address, status, counts, .. } = view;
    let proof = proved.iter().find(|proved| proved.name.as_ref().is_none_or(|of| of == name)).map(|proved| {
        let Proofs { proven, failed } = proved.proofs.borrow().clone();
        ProofFacts { txid: proven.map(|proof| proof.txid.get()), at_ms: proven.map(|proof| proof.at_ms), failed }
    });
    ReplicaFacts {
        name: name.clone(),
        address: address.clone(),
        captured: status.captured.map(Txid::get),
        uploaded: status.confirmed.map(Txid::get),
        uploaded_at_ms: status.confirmed_at_ms,
        unshipped_for: status.unshipped_for(now),
        outage_for: status.outage_since.map(|since| now.saturating_duration_since(since)),
        refused_objects: status.refusals.map_or(0, |refusals| refusals.objects),
        compactions: counts.compactions.get(),
        snapshots: counts.snapshots.get(),
        unproved: counts.unproved.load(Relaxed),
        proof,
    }
}

/// Operations by kind of store, and requests by store; a shared store counts once.
fn traffic(views: &[DatabaseView]) -> (Vec<Operated>, Vec<Requested>) {
    let every = views.iter().flat_map(|view| &view.replicas).filter_map(|replica| replica.traffic.clone());
    let mut each: Vec<Arc<Traffic>> = every.collect();
    each.sort_by_key(Arc::as_ptr);
    each.dedup_by(|a, b| Arc::ptr_eq(a, b));
    let mut sums: Vec<Operated> = Vec::new();
    for operated in each.iter().flat_map(|traffic| traffic.operated()) {
        match sums.iter_mut().find(|sum| (sum.kind, sum.operation) == (operated.kind, operated.operation)) {
            Some(sum) => sum.add(&operated),
            None => sums.push(operated),
        }
    }
    sums.sort_by_key(|sum| (sum.kind, sum.operation));
    // Several clients may use the same bucket, with other keys or another endpoint.
    let mut asked: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
    for Requested { store, request, count } in each.iter().flat_map(|traffic| traffic.requests()) {
        *asked.entry((store, request)).or_default() += count;
    }
    let requests = asked.into_iter().map(|((store, request), count)| Requested { store, request, count });
    (sums, requests.collect())
}

/// Reads the metadata of the files and opens none: closing one would drop SQLite's locks.
fn measure(database: &mut DatabaseFacts) {
    let size = |path: &Path| fsx::metadata_if_exists(path).ok().flatten().map(|metadata| metadata.len());
    let path = PathBuf::from(&database.path);
    database.size = size(&path);
    database.wal_size = database.size.map(|_| size(&fsx::with_suffix(&path, "-wal")).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicate::DatabaseId;
    use crate::status::{Counts, Status};
    use crate::store::Operation;

    fn view(state: fleet::State, captured: bool, traffic: &Arc<Traffic>) -> DatabaseView {
        let status = Status { captured: captured.then_some(Txid::FIRST), ..Status::default() };
        DatabaseView {
            id: DatabaseId(0),
            path: "/data/app.db".into(),
            meta_path: "/data/.app.db-millstream".into(),
            optional: false,
            state,
            replicas: vec![ReplicaView {
                name: "s3".into(),
                address: "s3://b/p".into(),
                store: fleet::StoreKey::named("s3://b"),
                status,
                counts: Arc::new(Counts::default()),
                traffic: Some(traffic.clone()),
            }],
        }
    }

    #[test]
    fn what_came_after_the_event_counts() {
        let traffic = Arc::new(Traffic::new("s3", "s3://b"));
        let of = |ready, captured| state(&view(fleet::State::Ready(ready), captured, &traffic));
        assert_eq!(of(Ready::NoDatabaseYet, false), State::Waiting);
        assert_eq!(of(Ready::NoDatabaseYet, true), State::Replicating, "it has appeared");
        assert_eq!(of(Ready::Standby, false), State::Standby);
        assert_eq!(of(Ready::Standby, true), State::Replicating, "it has taken over");
        assert_eq!(state(&view(fleet::State::Fenced, true, &traffic)), State::Fenced);
    }

    #[test]
    fn who_stands_by_was_not_stopped_by_a_command() {
        for phase in [Phase::Waiting, Phase::StandingBy] {
            assert_eq!(in_phase(State::Stopped, phase), State::Standby);
            assert_eq!(in_phase(State::Fenced, phase), State::Fenced);
        }
        assert_eq!(in_phase(State::Stopped, Phase::Running), State::Stopped);
    }

    #[test]
    fn a_shared_store_is_counted_once() {
        let [shared, other] = ["s3://b", "s3://b"].map(|store| Arc::new(Traffic::new("s3", store)));
        [&shared, &other, &other].into_iter().for_each(|traffic| traffic.requested("PutObject"));
        shared.did(Operation::Put, Duration::ZERO, &Ok(()));
        other.did(Operation::Put, Duration::ZERO, &Ok(()));
        let views = [&shared, &shared, &other].map(|traffic| view(fleet::State::Starting, false, traffic));
        let (operated, requests) = super::traffic(&views);
        assert_eq!((operated.len(), operated[0].count), (1, 2));
        assert_eq!((requests.len(), requests[0].count), (1, 3));
    }
}
