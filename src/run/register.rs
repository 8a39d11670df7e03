//! Databases that are registered while the others are replicated: from outside, through the control
//! socket, and as they appear in a directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard, watch};

use super::connect::{backups_beside, store_key, tell_policy};
use super::prepare::Line;
use super::verify::{ProofRound, Proving};
use super::{Job, preflight};
use crate::clock::MACHINE;
use crate::config::{Added, Database, Directory, Options, Places, RegistrationsFile, Sources, redact_url};
use crate::control::{Control, Refused, Registrar, Roles, Serving, Socket};
use crate::directory::Held;
use crate::fleet::{DatabaseView, FleetError, FleetHandle};
use crate::replicate::{DatabaseId, SealPermit};
use crate::store::s3::Clients;

/// Serves the control socket, if there is one.
pub fn serve(socket: Option<Socket>, registry: &Arc<Registry>, roles: Option<Arc<dyn Roles>>) -> Option<Serving> {
    let control = Control::new(registry.fleet.clone(), registry.clone(), MACHINE).with_roles(roles);
    Some(socket?.serve(control))
}

/// What a new database takes from the configuration, and must not collide with.
pub struct Registry {
    pub options: Arc<Options>,
    env: fn(&str) -> Option<String>,
    cwd: PathBuf,
    seal: Option<watch::Receiver<SealPermit>>,
    pub fleet: FleetHandle,
    /// What is proved in the background.
    pub proving: Proving,
    /// One is registered after the other, so that no two of them get the same replica.
    shared: Mutex<Shared>,
}

pub struct Shared {
    clients: Clients,
    places: Places,
    pub held: Held,
}

impl Registry {
    /// With the databases of the job, which are registered already.
    pub fn new(job: &Job, fleet: &FleetHandle, seal: Option<watch::Receiver<SealPermit>>) -> Registry {
        let databases = &job.options.databases;
        let mut held = Held::default();
        databases.iter().for_each(|database| held.hold(database.path.clone()));
        let shared = Shared { clients: Clients::default(), places: Places::of(databases), held };
        Registry {
            options: job.options.clone(),
            env: job.env,
            cwd: job.cwd.clone(),
            seal,
            fleet: fleet.clone(),
            proving: Proving::default(),
            shared: Mutex::new(shared),
        }
    }

    /// While this is kept nothing is registered.
    pub async fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().await
    }

    /// A database that was found in a directory, at this path relative to it.
    pub async fn take_up(&self, directory: &Directory, relative: &Path) -> Result<DatabaseId, Refused> {
        let mut shared = self.shared.lock().await;
        let database = directory.database(relative).map_err(Refused::Invalid)?;
        check(&database).await?;
        self.register_at(database, &mut shared).await
    }

    /// The database at this path is replicated no more.
    pub async fn forget(&self, path: &Path) {
        let mut shared = self.shared.lock().await;
        shared.places.release(path);
        shared.held.let_go(path);
        self.proving.end(path);
    }

    async fn register_at(&self, database: Database, shared: &mut Shared) -> Result<DatabaseId, Refused> {
        self.claim(&database, shared).await?;
        let path = database.path.clone();
        let registered = self.open_and_add(&database, shared).await;
        match registered {
            Ok(_) => shared.held.hold(path),
            // What has the path already keeps what it has.
            Err(_) if matches!(self.fleet.find(path.clone()).await, Ok(Some(_))) => {}
            Err(_) => shared.places.release(&path),
        }
        registered
    }

    /// Takes the places of the database. Who holds one, and was unregistered since, has to let go.
    async fn claim(&self, database: &Database, shared: &mut Shared) -> Result<(), Refused> {
        while let Some((holder, why)) = shared.places.obstacle(database) {
            let is_there = self.fleet.find(holder.clone()).await.map_err(failed)?.is_some();
            if is_there && holder == database.path {
                return Err(failed(FleetError::Known(holder)));
            }
            if is_there {
                return Err(Refused::Invalid(why));
            }
            shared.places.release(&holder);
        }
        shared.places.claim(database).map_err(Refused::Invalid)
    }

    async fn open_and_add(&self, database: &Database, shared: &mut Shared) -> Result<DatabaseId, Refused> {
        let Shared { clients, places, .. } = shared;
        let backups = backups_beside(database.replicas.iter(), places, clients).await;
        let line = Line::of(database, backups).map_err(|failure| Refused::Failed(failure.sentence()))?;
        tell_policy(database);
        let registration = line.registration(&self.options, None, self.seal.clone(), &self.fleet);
        let id = self.fleet.add(registration).await.map_err(failed)?;
        self.proving.add(ProofRound::of_line(&line, &self.options));
        Ok(id)
    }

    fn registrations(&self) -> Option<&RegistrationsFile> {
        self.options.socket.as_ref()?.registrations.as_ref()
    }

    async fn note(
        &self,
        change: impl FnOnce(&RegistrationsFile) -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let Some(file) = self.registrations().cloned() else { return Ok(()) };
        // One after the other: each reads what the one before has written.
        let _shared = self.shared.lock().await;
        tokio::task::spawn_blocking(move || change(&file)).await.map_err(|error| error.to_string())?
    }

    fn sources(&self) -> Sources<'_> {
        Sources::new(&self.env, self.cwd.clone())
    }

    /// Those of the configuration that are replicated now.
    fn present(&self, views: &[DatabaseView]) -> Vec<Database> {
        let paths: std::collections::HashSet<&Path> = views.iter().map(|view| view.path.as_path()).collect();
        self.options.databases.iter().filter(|database| paths.contains(database.path.as_path())).cloned().collect()
    }
}

#[async_trait]
impl Registrar for Registry {
    fn database(&self, name: &str) -> Result<PathBuf, String> {
        self.sources().absolute(Path::new(name)).map_err(|error| error.to_string())
    }

    async fn register(&self, path: PathBuf, replica_url: &str) -> Result<DatabaseId, Refused> {
        if let Some(file) = self.registrations() {
            (redact_url(replica_url) == replica_url)
                .then_some(())
                .ok_or_else(|| Refused::Invalid(file.holds_no_keys()))?;
        }
        let mut shared = self.shared.lock().await;
        let views = self.fleet.databases().await.map_err(failed)?;
        let all = self.present(&views);
        let Added { database, warnings } =
            self.options.added(path, replica_url, &all, &self.sources()).map_err(Refused::Invalid)?;
        // It must not be opened by name: that would drop the locks of the connection to it.
        if let Some(other) = shared.held.other_name(&database.path) {
            let (path, other) = (database.path.display(), other.display());
            return Err(Refused::Invalid(format!("{path} is the same file as {other}, which is replicated already")));
        }
        check(&database).await?;
        let replica = &database.replicas.first;
        let (store, url) = (store_key(&replica.target), &replica.url);
        let remote = super::connect::open(replica, &mut shared.clients).await;
        let remote = remote.map_err(|error| Refused::Failed(error.to_string()))?;
        let is_taken = |view: &&DatabaseView| {
            view.replicas.iter().any(|replica| replica.store == store && replica.address == remote.address())
        };
        if let Some(view) = views.iter().find(is_taken) {
            let (address, holder) = (remote.address(), view.path.display());
            return Err(Refused::Invalid(format!("{address} is the replica of {holder}; give each database its own")));
        }
        tracing::debug!("registering {} with {url}", database.path.display());
        warnings.iter().for_each(|warning| tracing::warn!(db = %database.path.display(), "{warning}"));
        self.register_at(database, &mut shared).await
    }

    async fn note_registered(&self, path: PathBuf, replica_url: String) -> Result<(), String> {
        self.note(move |file| file.add(&path, &replica_url)).await
    }

    async fn note_unregistered(&self, path: PathBuf) -> Result<(), String> {
        self.note(move |file| file.remove(&path)).await
    }
}

async fn check(database: &Database) -> Result<(), Refused> {
    match preflight::check_each(std::slice::from_ref(database), false).await.pop() {
        Some((_, failure)) => Err(Refused::Invalid(failure.sentence())),
        None => Ok(()),
    }
}

fn failed(error: FleetError) -> Refused {
    Refused::Failed(error.to_string())
}
