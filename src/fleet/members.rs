//! The state of a fleet: its databases and what they share. Nothing here waits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::stores::Stores;
use super::{DatabaseView, FleetError, MirrorRegistration, Registration, ReplicaView, State, StoreKey};
use crate::db::Watches;
use crate::ltx::Txid;
use crate::remote::{ReadPolicy, Remote};
use crate::replicate::{DatabaseId, Ended, Event, Governor, Mirror, Replication, Resources, SnapshotError, SyncError};
use crate::status::{Counts, Status};

/// How a replication ends. The stop goes on if this future is dropped.
pub type Ending = BoxFuture<'static, Ended>;
/// The newest TXID in the bucket, which holds everything that was committed before.
pub type Syncing = BoxFuture<'static, Result<Option<Txid>, SyncError>>;
/// The TXID that a snapshot ends with.
pub type Snapshotting = BoxFuture<'static, Result<Txid, SnapshotError>>;

struct Member {
    registration: Registration,
    /// The newest replication of the database; it may have ended.
    replication: Replication,
    /// Its newest event since it was started.
    newest: watch::Sender<Option<Event>>,
    /// It was told to end.
    is_told: bool,
    /// It is removed when its replication has ended. Until then none of its files may be opened by
    /// name.
    is_leaving: bool,
}

impl Member {
    fn path(&self) -> &Path {
        &self.registration.settings.path
    }

    fn state(&self) -> State {
        State::of(self.newest.borrow().as_ref(), self.replication.has_ended(), self.is_told)
    }

    fn end_by(&mut self, deadline: Instant) -> Ending {
        self.is_told = true;
        self.replication.finish_by(deadline);
        self.replication.ended().boxed()
    }

    fn view(&self, id: DatabaseId) -> DatabaseView {
        let Registration { settings, name, remote, store, mirrors } = &self.registration;
        let replica = |name: &str, remote: &Remote, store: &StoreKey, status, counts: &Arc<Counts>| ReplicaView {
            name: name.to_owned(),
            address: remote.address().to_owned(),
            store: store.clone(),
            status,
            counts: counts.clone(),
            traffic: remote.store().traffic().cloned(),
        };
        let first = replica(name, remote, store, self.replication.status(), self.replication.counts());
        let mirrors = mirrors.iter().zip(self.replication.mirrors()).map(|(mirror, how_far)| {
            let status = *how_far.status.borrow();
            replica(&how_far.name, &mirror.remote, &mirror.store, status, &how_far.counts)
        });
        DatabaseView {
            id,
            path: settings.path.clone(),
            meta_path: settings.meta_path.clone(),
            optional: settings.optional,
            state: self.state(),
            replicas: std::iter::once(first).chain(mirrors).collect(),
        }
    }
}

pub struct Fleet {
    members: BTreeMap<DatabaseId, Member>,
    /// They could not be made ready, and are shown with the reason.
    left_out: BTreeMap<DatabaseId, DatabaseView>,
    added: u64,
    resources: Resources,
    stores: Stores,
    paths: watch::Sender<Arc<BTreeSet<PathBuf>>>,
    is_ending: bool,
}

impl Fleet {
    /// Needs a runtime. The events of its databases go to `events`.
    pub fn new(governor: Governor, events: mpsc::UnboundedSender<(DatabaseId, Event)>) -> Fleet {
        let resources = Resources { events, watches: Watches::start(), governor: governor.clone() };
        let (members, left_out, paths) = (BTreeMap::new(), BTreeMap::new(), watch::Sender::new(Arc::default()));
        Fleet { members, left_out, added: 0, resources, stores: Stores::new(governor), paths, is_ending: false }
    }

    pub fn paths(&self) -> watch::Receiver<Arc<BTreeSet<PathBuf>>> {
        self.paths.subscribe()
    }

    /// Records the event of a replication.
    pub fn note(&mut self, id: DatabaseId, event: &Event) {
        if let Some(member) = self.members.get(&id) {
            member.newest.send_replace(Some(event.clone()));
        }
    }

    /// Registers a database and starts to replicate it.
    pub fn add(&mut self, mut registration: Registration) -> Result<DatabaseId, FleetError> {
        self.refuse_when_ending()?;
        self.forget_removed();
        let path = registration.settings.path.clone();
        if !self.paths.send_if_modified(|paths| Arc::make_mut(paths).insert(path.clone())) {
            return Err(FleetError::Known(path));
        }
        Arc::make_mut(&mut registration.settings).all = self.paths.subscribe();
        let id = DatabaseId(self.added);
        self.added += 1;
        let replication = self.begin(id, &registration);
        let newest = watch::Sender::new(None);
        self.members.insert(id, Member { registration, replication, newest, is_told: false, is_leaving: false });
        Ok(id)
    }

    /// Shows a database that is not replicated, and why.
    pub fn leave_out(&mut self, path: PathBuf, meta_path: PathBuf, why: String) {
        let id = DatabaseId(self.added);
        self.added += 1;
        let state = State::Halted { why };
        self.left_out.insert(id, DatabaseView { id, path, meta_path, optional: false, state, replicas: Vec::new() });
    }

    fn begin(&mut self, id: DatabaseId, registration: &Registration) -> Replication {
        let Registration { settings, remote, store, mirrors, .. } = registration;
        let mirrors = mirrors.iter().map(|MirrorRegistration { settings, remote, store }| {
            let (remote, governor) = self.connection(remote, store);
            Mirror { settings: settings.clone(), remote, governor }
        });
        let mirrors = mirrors.collect();
        let (remote, governor) = self.connection(remote, store);
        let resources = Resources { governor, ..self.resources.clone() };
        Replication::start(id, settings.clone(), remote, mirrors, &resources)
    }

    /// A replica with the capabilities of its store.
    fn connection(&mut self, remote: &Remote, store: &StoreKey) -> (Remote, Governor) {
        let share = self.stores.share(store);
        share.probe(remote);
        // The replication retries by itself and logs the failure.
        (remote.clone().with_policy(ReadPolicy::impatient()), share.governor)
    }

    /// Tells all of them to end; from now on none is started.
    pub fn finish_by(&mut self, deadline: Instant) {
        self.is_ending = true;
        self.rest_by(deadline);
    }

    /// Tells all of them to end; they can be started again.
    pub fn rest_by(&mut self, deadline: Instant) {
        for member in self.members.values_mut() {
            member.is_told |= !member.replication.has_ended();
            member.replication.finish_by(deadline);
        }
    }

    /// Starts all that do not run.
    pub fn start_all(&mut self) -> Result<(), FleetError> {
        let is_idle = |(_, member): &(DatabaseId, &Member)| member.replication.has_ended();
        let idle: Vec<DatabaseId> = self.present().filter(is_idle).map(|(id, _)| id).collect();
        idle.into_iter().try_for_each(|id| self.start(id))
    }

    /// How each of them ends, in the order of their ids, and then what was left out.
    pub fn ends(&self) -> Vec<Ending> {
        let members = self.members.values().map(|member| member.replication.ended().boxed());
        let never = |view: &DatabaseView| {
            let why = format!("{} was left out at the start, and is not replicated", view.path.display());
            std::future::ready(Ended::Failed { why }).boxed()
        };
        members.chain(self.left_out.values().map(never)).collect()
    }

    pub fn databases(&self) -> Vec<DatabaseView> {
        let mut views: Vec<DatabaseView> = self.present().map(|(id, member)| member.view(id)).collect();
        views.extend(self.left_out.values().cloned());
        views.sort_by_key(|view| view.id);
        views
    }

    pub fn find(&self, path: &Path) -> Option<DatabaseView> {
        let present = self.present().find(|(_, member)| member.path() == path).map(|(id, member)| member.view(id));
        present.or_else(|| self.left_out.values().find(|view| view.path == path).cloned())
    }

    /// The age of the oldest commit that no replica has, for each database with such a commit.
    pub fn lags(&self, now: Instant) -> Vec<(DatabaseId, Duration)> {
        let lag = |(id, member): (DatabaseId, &Member)| {
            let mirrors = member.replication.mirrors().iter().map(|mirror| mirror.status.borrow().unshipped_for(now));
            let each = std::iter::once(member.replication.status().unshipped_for(now)).chain(mirrors);
            // One replica that has everything is enough.
            Some((id, each.map(Option::unwrap_or_default).min().filter(|lag| !lag.is_zero())?))
        };
        self.present().filter_map(lag).collect()
    }

    /// The replica that fences, and its name, for a look at what is in it.
    pub fn first_replica(&self, id: DatabaseId) -> Result<(String, Remote), FleetError> {
        let Registration { name, remote, .. } = &self.member(id)?.registration;
        Ok((name.clone(), remote.clone()))
    }

    /// Whether there are databases, and the replication of each has ended by itself.
    pub fn has_failed(&self) -> bool {
        let halted = self.present().map(|(_, member)| matches!(member.state(), State::Halted { .. }));
        halted.reduce(|all, halted| all && halted).unwrap_or(false)
    }

    /// Watches of the status of one of them: that of the first replica, and those of the mirrors.
    pub fn watch_replicas(&self, id: DatabaseId) -> Result<Vec<watch::Receiver<Status>>, FleetError> {
        let replication = &self.member(id)?.replication;
        let mirrors = replication.mirrors().iter().map(|mirror| mirror.status.clone());
        Ok(std::iter::once(replication.watch_status()).chain(mirrors).collect())
    }

    /// The newest event of one of them since it was started.
    pub fn watch_events(&self, id: DatabaseId) -> Result<watch::Receiver<Option<Event>>, FleetError> {
        Ok(self.member(id)?.newest.subscribe())
    }

    /// Removes a database after a last sync.
    pub fn remove(&mut self, id: DatabaseId, by: Instant) -> Result<Ending, FleetError> {
        let member = self.member_mut(id)?;
        member.is_leaving = true;
        Ok(member.end_by(by))
    }

    /// Stops replicating a database after a last sync; it stays registered.
    pub fn stop(&mut self, id: DatabaseId, by: Instant) -> Result<Ending, FleetError> {
        self.running(id)?;
        Ok(self.member_mut(id)?.end_by(by))
    }

    /// Replicates a database again.
    pub fn start(&mut self, id: DatabaseId) -> Result<(), FleetError> {
        self.refuse_when_ending()?;
        let member = self.member(id)?;
        if !member.replication.has_ended() {
            return Err(FleetError::Running(member.path().to_owned()));
        }
        let registration = member.registration.clone();
        let replication = self.begin(id, &registration);
        let member = self.member_mut(id)?;
        member.newest.send_replace(None);
        (member.replication, member.is_told) = (replication, false);
        Ok(())
    }

    /// Waits until everything that is committed now is in the bucket.
    pub fn sync(&self, id: DatabaseId, by: Instant) -> Result<Syncing, FleetError> {
        Ok(self.running(id)?.sync(by).boxed())
    }

    /// The same, and waits until it is in the database file, too.
    pub fn checkpoint(&self, id: DatabaseId, by: Instant) -> Result<Syncing, FleetError> {
        Ok(self.running(id)?.checkpoint(by).boxed())
    }

    /// The TXID that holds, or will hold, everything that is committed now.
    pub fn position(&self, id: DatabaseId, by: Instant) -> Result<Syncing, FleetError> {
        Ok(self.running(id)?.position(by).boxed())
    }

    /// Makes a snapshot of what is in the bucket.
    pub fn snapshot(&self, id: DatabaseId) -> Result<Snapshotting, FleetError> {
        Ok(self.running(id)?.snapshot().boxed())
    }

    fn present(&self) -> impl Iterator<Item = (DatabaseId, &Member)> {
        self.members.iter().filter(|(_, member)| !member.is_leaving).map(|(id, member)| (*id, member))
    }

    fn member(&self, id: DatabaseId) -> Result<&Member, FleetError> {
        self.members.get(&id).filter(|member| !member.is_leaving).ok_or_else(|| self.no_member(id))
    }

    fn no_member(&self, id: DatabaseId) -> FleetError {
        self.left_out.get(&id).map_or(FleetError::Unknown, |view| FleetError::LeftOut(view.path.clone()))
    }

    fn member_mut(&mut self, id: DatabaseId) -> Result<&mut Member, FleetError> {
        let none = self.no_member(id);
        self.members.get_mut(&id).filter(|member| !member.is_leaving).ok_or(none)
    }

    fn running(&self, id: DatabaseId) -> Result<&Replication, FleetError> {
        let member = self.member(id)?;
        match member.replication.has_ended() {
            true => Err(FleetError::Stopped(member.path().to_owned())),
            false => Ok(&member.replication),
        }
    }

    fn refuse_when_ending(&self) -> Result<(), FleetError> {
        if self.is_ending { Err(FleetError::Ending) } else { Ok(()) }
    }

    /// Those that were removed, and have ended.
    fn forget_removed(&mut self) {
        for (_, gone) in self.members.extract_if(.., |_, member| member.is_leaving && member.replication.has_ended()) {
            self.paths.send_if_modified(|paths| Arc::make_mut(paths).remove(gone.path()));
        }
    }
}
