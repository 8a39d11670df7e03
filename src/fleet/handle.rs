//! The task that owns a fleet, and how others ask it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::members::{Ending, Fleet, Snapshotting, Syncing};
use super::{DatabaseView, FleetError, Registration};
use crate::remote::Remote;
use crate::replicate::{DatabaseId, Ended, Event, Governor, Limits};
use crate::status::Status;

/// What the task does with its fleet, and where it sends the answer.
type Command = Box<dyn FnOnce(&mut Fleet) + Send>;

/// Sends commands to the task that owns the fleet. It can be cloned; the replications end when the
/// last handle is dropped.
#[derive(Clone)]
pub struct FleetHandle {
    commands: mpsc::UnboundedSender<Command>,
    governor: Governor,
    paths: watch::Receiver<Arc<BTreeSet<PathBuf>>>,
}

impl FleetHandle {
    /// Starts the task of a fleet without databases. Needs a runtime.
    pub fn new(limits: Limits) -> (FleetHandle, FleetEvents) {
        let governor = Governor::new(limits);
        let (told, telling) = mpsc::unbounded_channel();
        let (commands, asked) = mpsc::unbounded_channel();
        let (events, receiver) = mpsc::unbounded_channel();
        let fleet = Fleet::new(governor.clone(), told);
        let paths = fleet.paths();
        tokio::spawn(serve(fleet, asked, telling, events));
        (FleetHandle { commands, governor, paths }, FleetEvents { receiver })
    }

    pub fn governor(&self) -> &Governor {
        &self.governor
    }

    /// The databases of this process, for `Settings::all`.
    pub fn paths(&self) -> watch::Receiver<Arc<BTreeSet<PathBuf>>> {
        self.paths.clone()
    }

    /// Registers a database and starts to replicate it.
    pub async fn add(&self, registration: Registration) -> Result<DatabaseId, FleetError> {
        self.ask(move |fleet| fleet.add(registration)).await?
    }

    /// Shows a database that could not be made ready: it is not replicated, and why is told to
    /// whoever asks.
    pub async fn leave_out(&self, path: PathBuf, meta_path: PathBuf, why: String) {
        // Where the task is gone, so is what it would tell.
        let _ = self.ask(move |fleet| fleet.leave_out(path, meta_path, why)).await;
    }

    /// Removes a database after a last sync.
    pub async fn remove(&self, id: DatabaseId, by: Instant) -> Result<Ending, FleetError> {
        self.ask(move |fleet| fleet.remove(id, by)).await?
    }

    /// Stops replicating a database after a last sync; it stays registered.
    pub async fn stop(&self, id: DatabaseId, by: Instant) -> Result<Ending, FleetError> {
        self.ask(move |fleet| fleet.stop(id, by)).await?
    }

    /// Replicates a database again.
    pub async fn start(&self, id: DatabaseId) -> Result<(), FleetError> {
        self.ask(move |fleet| fleet.start(id)).await?
    }

    /// Waits until everything that is committed now is in the bucket.
    pub async fn sync(&self, id: DatabaseId, by: Instant) -> Result<Syncing, FleetError> {
        self.ask(move |fleet| fleet.sync(id, by)).await?
    }

    /// The same, and waits until it is in the database file, too, and the WAL starts over.
    pub async fn checkpoint(&self, id: DatabaseId, by: Instant) -> Result<Syncing, FleetError> {
        self.ask(move |fleet| fleet.checkpoint(id, by)).await?
    }

    /// Asks for the TXID that holds, or will hold, everything that is committed now. The bucket is
    /// not waited for.
    pub async fn position(&self, id: DatabaseId, by: Instant) -> Result<Syncing, FleetError> {
        self.ask(move |fleet| fleet.position(id, by)).await?
    }

    /// Makes a snapshot of what is in the bucket.
    pub async fn snapshot(&self, id: DatabaseId) -> Result<Snapshotting, FleetError> {
        self.ask(move |fleet| fleet.snapshot(id)).await?
    }

    /// The current state of each database in the order of the ids; of a stopped one, its last
    /// state.
    pub async fn databases(&self) -> Result<Vec<DatabaseView>, FleetError> {
        self.ask(|fleet| fleet.databases()).await
    }

    /// The database at this path.
    pub async fn find(&self, path: PathBuf) -> Result<Option<DatabaseView>, FleetError> {
        self.ask(move |fleet| fleet.find(&path)).await
    }

    /// The age of the oldest commit that no replica has, for each database with such a commit.
    pub async fn lags(&self, now: Instant) -> Result<Vec<(DatabaseId, Duration)>, FleetError> {
        self.ask(move |fleet| fleet.lags(now)).await
    }

    /// The replica that fences, and its name, for a look at what is in it.
    pub async fn first_replica(&self, id: DatabaseId) -> Result<(String, Remote), FleetError> {
        self.ask(move |fleet| fleet.first_replica(id)).await?
    }

    /// Whether no database is replicated any more, although none was told to end.
    pub async fn has_failed(&self) -> bool {
        self.ask(|fleet| fleet.has_failed()).await.unwrap_or(true)
    }

    /// Watches of the status of a database's replicas: that of the first, and those of the mirrors.
    pub async fn watch_replicas(&self, id: DatabaseId) -> Result<Vec<watch::Receiver<Status>>, FleetError> {
        self.ask(move |fleet| fleet.watch_replicas(id)).await?
    }

    /// The newest event of a database since it was started.
    pub async fn watch_events(&self, id: DatabaseId) -> Result<watch::Receiver<Option<Event>>, FleetError> {
        self.ask(move |fleet| fleet.watch_events(id)).await?
    }

    /// Tells all of them to end; from now on none is started.
    pub async fn finish_by(&self, deadline: Instant) {
        // If the task has ended, the replications have ended too.
        let _ = self.ask(move |fleet| fleet.finish_by(deadline)).await;
    }

    /// Tells all of them to end; they can be started again.
    pub async fn rest_by(&self, deadline: Instant) {
        let _ = self.ask(move |fleet| fleet.rest_by(deadline)).await;
    }

    /// Starts all that do not run.
    pub async fn start_all(&self) -> Result<(), FleetError> {
        self.ask(|fleet| fleet.start_all()).await?
    }

    /// How each of them ends, in the order of their ids.
    pub async fn ends(&self) -> Vec<Ending> {
        let gone = |error: FleetError| {
            let ended = Ended::Failed { why: error.to_string() };
            vec![std::future::ready(ended).boxed()]
        };
        self.ask(|fleet| fleet.ends()).await.unwrap_or_else(gone)
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Fleet) -> T + Send + 'static,
    ) -> Result<T, FleetError> {
        let (reply, answer) = oneshot::channel();
        // The caller may have stopped waiting.
        let command: Command = Box::new(move |fleet| drop(reply.send(question(fleet))));
        self.commands.send(command).map_err(|_| FleetError::Gone)?;
        answer.await.map_err(|_| FleetError::Gone)
    }
}

/// Runs until the last handle is dropped.
async fn serve(
    mut fleet: Fleet,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut telling: mpsc::UnboundedReceiver<(DatabaseId, Event)>,
    events: mpsc::UnboundedSender<(DatabaseId, Event)>,
) {
    loop {
        tokio::select! {
            biased;
            Some((id, event)) = telling.recv() => {
                fleet.note(id, &event);
                // The receiver is dropped only while the program ends.
                let _ = events.send((id, event));
            }
            command = commands.recv() => match command {
                Some(command) => command(&mut fleet),
                None => return,
            },
        }
    }
}

/// The events of all databases.
pub struct FleetEvents {
    receiver: mpsc::UnboundedReceiver<(DatabaseId, Event)>,
}

impl FleetEvents {
    /// The next event. Never returns once the fleet is gone.
    pub async fn next(&mut self) -> (DatabaseId, Event) {
        match self.receiver.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    pub fn try_next(&mut self) -> Option<(DatabaseId, Event)> {
        self.receiver.try_recv().ok()
    }
}
