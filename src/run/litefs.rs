//! What programs look for that were written for LiteFS, beside the stages of a node: told what the
//! node knows, and handing on what is asked of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock::MACHINE;
use crate::config::{Addr, Litefs};
use crate::control::Roles;
use crate::http::listen;
use crate::litefs::{Api, Moves, Watched, keep, serve};

/// Pause before the address is tried again: the process that we replace may still have it.
const LISTEN_AGAIN: Duration = Duration::from_millis(500);

/// Nothing, where none is configured.
pub struct LitefsFace {
    files: Option<JoinHandle<()>>,
    stop: CancellationToken,
    _serving: JoinSet<Infallible>,
}

impl LitefsFace {
    pub fn start(configured: &Litefs, node: (String, bool), watched: Watched, roles: Arc<dyn Roles>) -> LitefsFace {
        let stop = CancellationToken::new();
        let files = tokio::spawn(keep(watched.clone(), MACHINE, stop.clone()));
        let api = Api::new(node, watched, Arc::new(Ordered(roles)), configured.secret.clone(), MACHINE);
        let mut serving = JoinSet::new();
        serving.spawn(answer(configured.listen.clone(), Arc::new(api)));
        LitefsFace { files: Some(files), stop, _serving: serving }
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
