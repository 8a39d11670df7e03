//! What programs look for that were written for LiteFS, beside the stages of a node: told what the
//! node knows, and handing on what is asked of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Job;
use crate::clock::MACHINE;
use crate::config::{Addr, Database, Litefs};
use crate::control::Roles;
use crate::http::listen;
use crate::litefs::{Api, Moves, Shared, Watched, keep, serve};
use crate::primary::Primary;
use crate::status::Positions;

/// Pause before the address is tried again: the process that we replace may still have it.
const LISTEN_AGAIN: Duration = Duration::from_millis(500);

/// Nothing, where none is configured.
pub struct LitefsFace {
    files: Option<JoinHandle<()>>,
    stop: CancellationToken,
    _serving: JoinSet<Infallible>,
}

/// What this node is told of itself.
type Known = (watch::Receiver<Primary>, watch::Receiver<Positions>, watch::Receiver<Option<Instant>>);

impl LitefsFace {
    pub fn start(job: &Job, node: (String, bool), known: Known, roles: Arc<dyn Roles>) -> LitefsFace {
        let (stop, mut serving) = (CancellationToken::new(), JoinSet::new());
        let files = job.options.litefs.as_ref().map(|configured| {
            let watched = watched(&job.options.databases, configured, known);
            let token = configured.secret.clone();
            let api = Api::new(node, watched.clone(), Arc::new(Ordered(roles)), token, MACHINE);
            serving.spawn(answer(configured.listen.clone(), Arc::new(api)));
            tokio::spawn(keep(watched, MACHINE, stop.clone()))
        });
        LitefsFace { files, stop, _serving: serving }
    }

    /// The program ends: no application of this node may write any more.
    pub async fn close(mut self) {
        self.stop.cancel();
        if let Some(files) = self.files.take()
            && let Err(error) = files.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

fn watched(databases: &[Database], configured: &Litefs, (primary, positions, current_at): Known) -> Watched {
    let shared = |database: &Database| Shared::new(&database.path, configured.dir.as_deref());
    Watched { databases: databases.iter().map(shared).collect(), primary, positions, current_at }
}

async fn answer(addr: Addr, api: Arc<Api>) -> Infallible {
    serve(listener(addr).await, api).await
}

async fn listener(Addr { host, port }: Addr) -> TcpListener {
    let shown = format!("{}:{port}", host.as_deref().unwrap_or(""));
    let (pause, mut has_complained) = (LISTEN_AGAIN, false);
    loop {
        match listen(host.as_deref(), port).await {
            Ok(listener) => {
                let bound = listener.local_addr().map_or(shown, |address| address.to_string());
                tracing::info!("LiteFS's API is served at http://{bound}");
                return listener;
            }
            Err(error) if std::mem::replace(&mut has_complained, true) => tracing::debug!("{shown}: {error}"),
            Err(error) => {
                tracing::error!("cannot listen at {shown} for LiteFS's API: {error}; trying again every {pause:?}");
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// As a person orders it at the control socket.
struct Ordered(Arc<dyn Roles>);

#[async_trait]
impl Moves for Ordered {
    async fn promote(&self, limit: Duration) -> Result<(), String> {
        self.0.promote(limit).await.map(drop)
    }

    async fn hand_off(&self, limit: Duration) -> Result<(), String> {
        self.0.demote(limit).await.map(drop)
    }
}
