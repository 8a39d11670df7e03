//! Databases that are registered through the control socket, while the others are replicated.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::connect::{backups_beside, settings, store_key, tell_policy};
use super::{Job, preflight};
use crate::clock::MACHINE;
use crate::config::{Added, Database, Options, Sources};
use crate::control::{Control, Refused, Registrar, Serving, Socket};
use crate::fleet::{DatabaseView, FleetError, FleetHandle, Registration};
use crate::remote::Remote;
use crate::replicate::DatabaseId;
use crate::store::s3::Clients;

/// Serves the control socket, if there is one.
pub fn serve(socket: Option<Socket>, job: &Job, fleet: &FleetHandle) -> Option<Serving> {
    let registry = |_: &Socket| Registry {
        options: job.options.clone(),
        env: job.env,
        cwd: job.cwd.clone(),
        fleet: fleet.clone(),
        clients: Mutex::default(),
    };
    let registry = socket.as_ref().map(registry)?;
    Some(socket?.serve(Control::new(fleet.clone(), Arc::new(registry), MACHINE)))
}

/// The settings that a new database takes from the configuration.
struct Registry {
    options: Options,
    env: fn(&str) -> Option<String>,
    cwd: PathBuf,
    fleet: FleetHandle,
    /// Held while a database is registered, so that no two of them get the same replica.
    clients: Mutex<Clients>,
}

#[async_trait]
impl Registrar for Registry {
    fn database(&self, name: &str) -> Result<PathBuf, String> {
        self.sources().absolute(Path::new(name)).map_err(|error| error.to_string())
    }

    async fn register(&self, path: PathBuf, replica_url: &str) -> Result<DatabaseId, Refused> {
        let mut clients = self.clients.lock().await;
        let failed = |error: FleetError| Refused::Failed(error.to_string());
        let views = self.fleet.databases().await.map_err(failed)?;
        let mut all = self.present(&views);
        let Added { database, warnings } =
            self.options.added(path, replica_url, &all, &self.sources()).map_err(Refused::Invalid)?;
        let checked = preflight::check_all(std::slice::from_ref(&database)).await;
        checked.map_err(|failure| Refused::Invalid(failure.sentence()))?;
        all.push(database.clone());
        let remote = open(&database, &all, &mut clients).await?;
        let store = store_key(&database.replicas.first.target);
        let is_taken = |view: &&DatabaseView| {
            view.replicas.iter().any(|replica| replica.store == store && replica.address == remote.address())
        };
        if let Some(view) = views.iter().find(is_taken) {
            let (address, holder) = (remote.address(), view.path.display());
            return Err(Refused::Invalid(format!("{address} is the replica of {holder}; give each database its own")));
        }
        warnings.iter().for_each(|warning| tracing::warn!(db = %database.path.display(), "{warning}"));
        tell_policy(&database);
        let registration = Registration {
            settings: settings(&database, &self.options, self.fleet.paths()),
            name: database.replicas.first.name.clone(),
            remote,
            store,
            mirrors: Vec::new(),
        };
        self.fleet.add(registration).await.map_err(failed)
    }
}

impl Registry {
    fn sources(&self) -> Sources<'_> {
        Sources::new(&self.env, self.cwd.clone())
    }

    /// Those of the configuration that are replicated now.
    fn present(&self, views: &[DatabaseView]) -> Vec<Database> {
        let is_present = |database: &&Database| views.iter().any(|view| view.path == database.path);
        self.options.databases.iter().filter(is_present).cloned().collect()
    }
}

async fn open(database: &Database, all: &[Database], clients: &mut Clients) -> Result<Remote, Refused> {
    let mut opened = backups_beside(database.replicas.iter(), all, clients).await;
    match opened.pop().map(|backup| backup.remote) {
        Some(Ok(remote)) => Ok(remote),
        Some(Err(error)) => Err(Refused::Failed(error.to_string())),
        None => Err(Refused::Failed("it has no replica".into())),
    }
}
