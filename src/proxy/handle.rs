//! The proxy as those see it who start it, tell it what changes, and end it.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ack::{Acks, Uploads};
use super::core::App;
use super::front::Front;
use super::listener::serve;
use super::position::{ClientPosition, Positioned};
use super::probe::probe;
use super::settings::Settings;
use crate::clock::Clock;
use crate::primary::Primary;
use crate::status::ProxyCounts;

/// Its connections are closed when this is dropped.
pub struct Proxy {
    front: Arc<Front>,
    serving: JoinSet<()>,
    _beside: JoinSet<()>,
    closing: CancellationToken,
}

/// Tells a proxy what has changed.
pub struct Teller {
    front: Arc<Front>,
}

impl Teller {
    /// Whether the application is there.
    pub fn app(&self, app: App) {
        self.front.learn(|standing| standing.app = app);
    }

    /// Where the primary is.
    pub fn primary(&self, primary: Primary) {
        self.front.learn(|standing| standing.primary = primary);
    }

    /// What the databases show, where they are copies.
    pub fn shown(&self, position: ClientPosition) {
        self.front.learn(|standing| standing.shown = position);
    }
}

impl Proxy {
    /// `listener`: when the address can be had.
    pub fn start(
        listener: impl Future<Output = TcpListener> + Send + 'static,
        settings: Settings,
        replication: impl Uploads + Positioned + Clone,
        clock: Clock,
    ) -> Proxy {
        let (acks, uploading) = Acks::new(replication.clone(), settings.ack_timeout, clock);
        let front = Arc::new(Front::new(settings, acks, Box::new(replication), clock));
        let closing = CancellationToken::new();
        let (mut serving, mut beside) = (JoinSet::new(), JoinSet::new());
        let (of_task, until) = (front.clone(), closing.clone());
        serving.spawn(async move {
            if let Some(listener) = until.run_until_cancelled(listener).await {
                serve(listener, of_task, until).await;
            }
        });
        beside.spawn(probe(front.clone()));
        beside.spawn(uploading);
        Proxy { front, serving, _beside: beside, closing }
    }

    /// What became of requests so far.
    pub fn counts(&self) -> ProxyCounts {
        self.front.counts.clone()
    }

    /// Changes when another node says that there is something to see.
    pub fn woken(&self) -> watch::Receiver<()> {
        self.front.woken.subscribe()
    }

    /// For those who know more.
    pub fn teller(&self) -> Teller {
        Teller { front: self.front.clone() }
    }

    /// The application gets no more requests; waits until it has answered those that it has.
    pub async fn drain(&self) {
        self.teller().app(App::Leaving);
        self.front.flights.landed().await;
    }

    /// Writes are held from now on, until it is told where the primary is; waits until the
    /// application has answered those that it has.
    pub async fn hold_writes(&self) {
        self.teller().primary(Primary::Unknown);
        self.front.writes.landed().await;
    }

    /// No connection is accepted any more, and those that there are end with their request. Waits
    /// until the application has answered what has come.
    pub async fn stop_accepting(&self) {
        self.closing.cancel();
        self.front.arriving.landed().await;
        self.front.flights.landed().await;
    }

    /// Answers what is held, and waits for the end of what is under way.
    pub async fn close(mut self, within: Duration) {
        self.teller().app(App::Gone);
        self.closing.cancel();
        let finished = async { while self.serving.join_next().await.is_some() {} };
        if tokio::time::timeout(within, finished).await.is_err() {
            tracing::warn!("connections of clients were closed before their responses were sent to the end");
        }
        self.front.tunnels.close().await;
    }
}
