//! The databases that are replicated now.
//!
//! ```text
//!        add · remove · start · stop · sync · snapshot · status
//!                            │
//!              ┌─────────────▼─────────────┐
//!              │ Fleet: id → registration, │      stores.rs: one probe and one share of the
//!              │            replication    │                 governor for each store
//!              └──┬─────────┬─────────┬────┘
//!    mailboxes    ▼         ▼         ▼
//!            Replication Replication Replication ──▶ (id, event) ──▶ FleetEvents ──▶ stages.rs
//!                 └─────────┴─────────┘
//!           one inotify, one governor for all
//! ```
//!
//! Databases come and go while others are replicated. One that is stopped keeps its id and what is
//! known of it, and can be started again; one that is removed is gone for good, and may come back
//! under another id. Nothing here waits: what takes time is a future that the caller may wait for,
//! or not.

mod stores;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::db::Watches;
use crate::ltx::Txid;
use crate::remote::{ReadPolicy, Remote};
use crate::replicate::{
    DatabaseId, Ended, Event, Governor, Limits, Mirror, MirrorSettings, Replication, Resources, Settings,
    SnapshotError, SyncError,
};
use crate::status::Status;

pub use stores::StoreKey;
use stores::Stores;

/// What is known of one database: where it lies, how it is replicated, and to where.
#[derive(Clone)]
pub struct Registration {
    pub settings: Settings,
    /// The replica that fences.
    pub remote: Remote,
    /// Databases with the same key share a probe, and take turns.
    pub store: StoreKey,
    /// The other replicas.
    pub mirrors: Vec<MirrorRegistration>,
}

/// One more replica of a database, which gets what the first has.
#[derive(Clone)]
pub struct MirrorRegistration {
    pub settings: MirrorSettings,
    pub remote: Remote,
    pub store: StoreKey,
}

/// Why a fleet does not do what it was asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    #[error("{} is registered already", .0.display())]
    Known(PathBuf),
    #[error("no database is registered under this id")]
    Unknown,
    #[error("{} is being replicated: stop it first", .0.display())]
    Running(PathBuf),
    #[error("{} is not being replicated: start it first", .0.display())]
    Stopped(PathBuf),
}

struct Member {
    registration: Registration,
    /// The newest; it may have ended.
    replication: Replication,
    /// It goes when its replication has ended: until then none of its files may be opened by name.
    is_leaving: bool,
}

impl Member {
    fn path(&self) -> PathBuf {
        self.registration.settings.path.clone()
    }
}

pub struct Fleet {
    members: BTreeMap<DatabaseId, Member>,
    added: u64,
    resources: Resources,
    stores: Stores,
    paths: watch::Sender<Arc<BTreeSet<PathBuf>>>,
}

impl Fleet {
    /// Needs a runtime.
    pub fn new(limits: Limits) -> (Fleet, FleetEvents) {
        let (events, receiver) = mpsc::unbounded_channel();
        let governor = Governor::new(limits);
        let resources = Resources { events, watches: Watches::start(), governor: governor.clone() };
        let (members, paths) = (BTreeMap::new(), watch::Sender::new(Arc::default()));
        let fleet = Fleet { members, added: 0, resources, stores: Stores::new(governor), paths };
        (fleet, FleetEvents { receiver, failed: BTreeSet::new() })
    }

    pub fn governor(&self) -> &Governor {
        &self.resources.governor
    }

    /// The databases of this process, for [`Settings::all`].
    pub fn paths(&self) -> watch::Receiver<Arc<BTreeSet<PathBuf>>> {
        self.paths.subscribe()
    }

    /// Registers a database and starts to replicate it.
    pub fn add(&mut self, registration: Registration) -> Result<DatabaseId, FleetError> {
        self.forget_removed();
        let path = registration.settings.path.clone();
        if !self.paths.send_if_modified(|paths| Arc::make_mut(paths).insert(path.clone())) {
            return Err(FleetError::Known(path));
        }
        let id = DatabaseId(self.added);
        self.added += 1;
        let replication = self.begin(id, &registration);
        self.members.insert(id, Member { registration, replication, is_leaving: false });
        Ok(id)
    }

    fn begin(&mut self, id: DatabaseId, registration: &Registration) -> Replication {
        let Registration { settings, remote, store, mirrors } = registration;
        let mirrors = mirrors.iter().map(|MirrorRegistration { settings, remote, store }| {
            let (remote, governor) = self.connection(remote, store);
            Mirror { settings: settings.clone(), remote, governor }
        });
        let mirrors = mirrors.collect();
        let (remote, governor) = self.connection(remote, store);
        let resources = Resources { governor, ..self.resources.clone() };
        let settings = Settings { all: self.paths.subscribe(), ..settings.clone() };
        Replication::start(id, settings, remote, mirrors, &resources)
    }

    /// A replica as a replication uses it, and what it may do there.
    fn connection(&mut self, remote: &Remote, store: &StoreKey) -> (Remote, Governor) {
        let share = self.stores.share(store);
        share.probe(remote);
        // It retries for ever, and says so in its own way.
        (remote.clone().with_policy(ReadPolicy::impatient()), share.governor)
    }

    pub fn ids(&self) -> impl Iterator<Item = DatabaseId> {
        self.present().map(|(id, _)| id)
    }

    /// Tells all of them to end.
    pub fn finish_by(&self, deadline: Instant) {
        self.members.values().for_each(|member| member.replication.finish_by(deadline));
    }

    /// How each of them ends, in the order of their ids.
    pub fn ends(&self) -> Vec<impl Future<Output = Ended> + Send + use<>> {
        self.members.values().map(|member| member.replication.ended()).collect()
    }

    pub fn statuses(&self) -> impl Iterator<Item = (DatabaseId, Status)> {
        self.present().map(|(id, member)| (id, member.replication.status()))
    }

    /// The status of one of them, to be looked at later: that of the first replica, and those of the others.
    pub fn watch_replicas(&self, id: DatabaseId) -> Result<Vec<watch::Receiver<Status>>, FleetError> {
        let replication = &self.member(id)?.replication;
        let mirrors = replication.mirrors().iter().map(|mirror| mirror.status.clone());
        Ok(std::iter::once(replication.watch_status()).chain(mirrors).collect())
    }

    fn present(&self) -> impl Iterator<Item = (DatabaseId, &Member)> {
        self.members.iter().filter(|(_, member)| !member.is_leaving).map(|(id, member)| (*id, member))
    }

    fn member(&self, id: DatabaseId) -> Result<&Member, FleetError> {
        self.members.get(&id).filter(|member| !member.is_leaving).ok_or(FleetError::Unknown)
    }

    /// Those that were removed, and have ended.
    fn forget_removed(&mut self) {
        for (_, gone) in self.members.extract_if(.., |_, member| member.is_leaving && member.replication.has_ended()) {
            self.paths.send_if_modified(|paths| Arc::make_mut(paths).remove(&gone.path()));
        }
    }
}

/// What others ask for while it runs.
#[cfg_attr(not(test), expect(dead_code, reason = "the control socket and the directory watch will call it"))]
impl Fleet {
    /// Removes a database after a last sync. The future is how that ended; it goes on if nobody
    /// waits for it.
    pub fn remove(
        &mut self,
        id: DatabaseId,
        by: Instant,
    ) -> Result<impl Future<Output = Ended> + Send + use<>, FleetError> {
        self.member(id)?;
        let member = self.members.get_mut(&id).ok_or(FleetError::Unknown)?;
        member.is_leaving = true;
        member.replication.finish_by(by);
        Ok(member.replication.ended())
    }

    /// Stops replicating a database after a last sync; it stays registered.
    pub fn stop(&self, id: DatabaseId, by: Instant) -> Result<impl Future<Output = Ended> + Send + use<>, FleetError> {
        let replication = self.running(id)?;
        replication.finish_by(by);
        Ok(replication.ended())
    }

    /// Replicates a database again.
    pub fn start(&mut self, id: DatabaseId) -> Result<(), FleetError> {
        let member = self.member(id)?;
        if !member.replication.has_ended() {
            return Err(FleetError::Running(member.path()));
        }
        let registration = member.registration.clone();
        let replication = self.begin(id, &registration);
        if let Some(member) = self.members.get_mut(&id) {
            member.replication = replication;
        }
        Ok(())
    }

    /// Waits until everything that is committed now is in the bucket.
    pub fn sync(
        &self,
        id: DatabaseId,
        by: Instant,
    ) -> Result<impl Future<Output = Result<Option<Txid>, SyncError>> + Send + use<>, FleetError> {
        Ok(self.running(id)?.sync(by))
    }

    /// Makes a snapshot of what is in the bucket.
    pub fn snapshot(
        &self,
        id: DatabaseId,
    ) -> Result<impl Future<Output = Result<Txid, SnapshotError>> + Send + use<>, FleetError> {
        Ok(self.running(id)?.snapshot())
    }

    /// How far a database is safe; of one that is stopped, how far it was.
    pub fn status(&self, id: DatabaseId) -> Result<Status, FleetError> {
        Ok(self.member(id)?.replication.status())
    }

    /// How far the other replicas of a database are, by their names.
    pub fn mirrors(&self, id: DatabaseId) -> Result<Vec<(String, Status)>, FleetError> {
        let mirrors = self.member(id)?.replication.mirrors().iter();
        Ok(mirrors.map(|mirror| (mirror.name.clone(), *mirror.status.borrow())).collect())
    }

    fn running(&self, id: DatabaseId) -> Result<&Replication, FleetError> {
        let member = self.member(id)?;
        match member.replication.has_ended() {
            true => Err(FleetError::Stopped(member.path())),
            false => Ok(&member.replication),
        }
    }
}

/// What the databases tell.
pub struct FleetEvents {
    receiver: mpsc::UnboundedReceiver<(DatabaseId, Event)>,
    failed: BTreeSet<DatabaseId>,
}

impl FleetEvents {
    /// The next event; never, where the fleet is gone.
    pub async fn next(&mut self) -> (DatabaseId, Event) {
        match self.receiver.recv().await {
            Some(event) => self.note(event),
            None => std::future::pending().await,
        }
    }

    pub fn try_next(&mut self) -> Option<(DatabaseId, Event)> {
        self.receiver.try_recv().ok().map(|event| self.note(event))
    }

    /// Whether every database of the fleet has ended for good.
    pub fn all_failed(&self, fleet: &Fleet) -> bool {
        fleet.ids().all(|id| self.failed.contains(&id))
    }

    fn note(&mut self, event: (DatabaseId, Event)) -> (DatabaseId, Event) {
        match &event {
            (id, Event::Failed { .. }) => drop(self.failed.insert(*id)),
            (id, Event::Ready(_)) => drop(self.failed.remove(id)),
            _ => {}
        }
        event
    }
}
