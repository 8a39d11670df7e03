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
use super::listening::{LISTEN_AGAIN, listen_patiently};
use crate::clock::MACHINE;
use crate::config::{Addr, Database, Litefs};
use crate::control::Roles;
use crate::litefs::{Api, Moves, Shared, Watched, keep, serve};
use crate::primary::Primary;
use crate::status::Positions;

/// For so long the application is not started because the files do not say yet what it may do.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// Nothing, where none is configured.
pub struct LitefsFace {
    files: Option<JoinHandle<()>>,
    stop: CancellationToken,
    _serving: JoinSet<Infallible>,
    _passing: JoinSet<()>,
}

/// What this node is told of itself.
type Known = (watch::Receiver<Primary>, watch::Receiver<Positions>, watch::Receiver<Option<Instant>>);

impl LitefsFace {
    /// What the application is started by is passed on when the files say the same; `role`: whether
    /// it may write, if it may run.
    pub fn start<T: Clone + Send + Sync + 'static>(
        job: &Job,
        node: (String, bool),
        known: Known,
        roles: Arc<dyn Roles>,
        mut stands: watch::Receiver<T>,
        role: fn(&T) -> Option<bool>,
    ) -> (LitefsFace, watch::Receiver<T>) {
        let (stop, mut serving, mut passing) = (CancellationToken::new(), JoinSet::new(), JoinSet::new());
        let files = job.options.litefs.as_ref().map(|configured| {
            let watched = watched(&job.options.databases, configured, known);
            if let Some(addr) = configured.listen.clone() {
                let token = configured.secret.clone();
                let api = Api::new(node, watched.clone(), Arc::new(Ordered(roles)), token, MACHINE);
                serving.spawn(answer(addr, Arc::new(api)));
            }
            let (settled, says) = watch::channel(None);
            let (passed, to_application) = watch::channel(stands.borrow().clone());
            passing.spawn(pass_on(std::mem::replace(&mut stands, to_application), role, says, passed));
            tokio::spawn(keep(watched, MACHINE, settled, stop.clone()))
        });
        (LitefsFace { files, stop, _serving: serving, _passing: passing }, stands)
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

async fn pass_on<T: Clone>(
    mut stands: watch::Receiver<T>,
    role: fn(&T) -> Option<bool>,
    mut says: watch::Receiver<Option<bool>>,
    passed: watch::Sender<T>,
) {
    loop {
        let now = stands.borrow_and_update().clone();
        if let Some(role) = role(&now) {
            let agrees = tokio::time::timeout(SETTLE_TIME, says.wait_for(|says| *says == Some(role)));
            tokio::select! {
                biased;
                changed = stands.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                _ = agrees => {}
            }
        }
        passed.send_replace(now);
        if stands.changed().await.is_err() {
            return;
        }
    }
}

async fn answer(addr: Addr, api: Arc<Api>) -> Infallible {
    serve(listener(addr).await, api).await
}

async fn listener(addr: Addr) -> TcpListener {
    let pause = LISTEN_AGAIN;
    let (listener, bound) = listen_patiently(&addr, pause, |shown, error| {
        tracing::error!("cannot listen at {shown} for LiteFS's API: {error}; trying again every {pause:?}");
    })
    .await;
    tracing::info!("LiteFS's API is served at http://{bound}");
    listener
}

/// As a person orders it at the control socket.
struct Ordered(Arc<dyn Roles>);

#[async_trait]
impl Moves for Ordered {
    async fn promote(&self, limit: Duration) -> Result<(), String> {
        self.0.promote(None, limit).await.map(drop)
    }

    async fn hand_off(&self, limit: Duration) -> Result<(), String> {
        self.0.demote(limit).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told is a word here.
    fn role(word: &&'static str) -> Option<bool> {
        match *word {
            "primary" => Some(true),
            "follower" => Some(false),
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_application_is_started_when_the_files_say_what_it_may_do() {
        let (stands, told) = watch::channel("not ready");
        let (settled, says) = watch::channel(None);
        let (passed, mut heard) = watch::channel("not ready");
        let mut passing = JoinSet::new();
        passing.spawn(pass_on(told, role, says, passed));
        heard.changed().await.expect("alive");
        stands.send_replace("follower");
        let mut waited = tokio::time::timeout(SETTLE_TIME / 2, heard.changed()).await;
        assert!(waited.is_err() && *heard.borrow() == "not ready");
        settled.send_replace(Some(false));
        heard.changed().await.expect("alive");
        assert_eq!(*heard.borrow(), "follower");
        stands.send_replace("primary");
        waited = tokio::time::timeout(SETTLE_TIME / 2, heard.changed()).await;
        assert!(waited.is_err());
        stands.send_replace("ends");
        heard.changed().await.expect("alive");
        assert_eq!(*heard.borrow(), "ends", "that waits for nothing");
        stands.send_replace("primary");
        heard.changed().await.expect("alive");
        assert_eq!(*heard.borrow(), "primary", "files that cannot be written keep no application away");
        drop(stands);
        assert!(heard.changed().await.is_err(), "who waits learns of the end");
    }
}
