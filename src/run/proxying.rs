//! The proxy in front of the application, as the stages see it: it listens from the beginning,
//! knows the phases, and the stop of the application waits until what is under way is answered.

use std::convert::Infallible;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Job;
use super::listening::{LISTEN_AGAIN, listen_patiently};
use super::neighbours::Neighbours;
use crate::clock::MACHINE;
use crate::config::Addr;
use crate::fleet::FleetHandle;
use crate::http::Phase;
use crate::primary::{Peer, Primary};
use crate::proxy::{App, Proxy, Secret, Settings, wake};
use crate::status::{Positions, ProxyCounts};
use crate::supervise::{self, Lead};

/// For the last answers, when the application has ended.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// The share of the application's part of the grace time in which requests may end before it is
/// told to stop.
const LEAD_SHARE: f64 = 0.6;

/// What the proxy hears of.
pub struct Proxying {
    proxy: Option<(Proxy, Duration)>,
    secret: Option<Secret>,
    telling: JoinSet<()>,
}

impl Proxying {
    /// Nothing, where none is configured.
    pub fn start(
        job: &Job,
        fleet: &FleetHandle,
        phase: watch::Receiver<Phase>,
        primary: watch::Receiver<Primary>,
        shown: Option<watch::Receiver<Positions>>,
    ) -> Proxying {
        let mut telling = JoinSet::new();
        let configured = job.options.proxy.clone().filter(|_| job.once.is_none());
        let proxy = configured.map(|configured| {
            let delay = configured.settings.shutdown_delay;
            let primary = match configured.primary.clone() {
                Some(url) => watch::channel(Primary::At(Peer { name: url.clone(), url: Some(url) })).1,
                None => primary,
            };
            let target = configured.settings.target.to_string();
            let settings = bounded(configured.settings, supervise::open_files().map(|(_, most)| most));
            let settings = Settings { tells_position: shown.is_some(), ..settings };
            let proxy = Proxy::start(listener(configured.listen, target), settings, fleet.clone(), MACHINE);
            let teller = proxy.teller();
            telling.spawn(follow(phase, move |phase| teller.app(app_in(*phase))));
            let teller = proxy.teller();
            telling.spawn(follow(primary, move |primary| teller.primary(primary.clone())));
            if let Some(shown) = shown {
                let teller = proxy.teller();
                telling.spawn(follow(shown, move |positions| {
                    teller.shown(positions.iter().map(|(_, txid)| txid).collect());
                }));
            }
            (proxy, delay)
        });
        let secret = job.options.proxy.as_ref().and_then(|proxy| proxy.settings.secret.clone());
        Proxying { proxy, secret, telling }
    }

    pub fn counts(&self) -> Option<ProxyCounts> {
        self.proxy.as_ref().map(|(proxy, _)| proxy.counts())
    }

    /// The proxies of those who claim tell each other that they have.
    pub fn know(&mut self, neighbours: Option<Neighbours>) {
        let (Some((proxy, _)), Some(secret), Some(neighbours)) = (&self.proxy, &self.secret, neighbours) else {
            return;
        };
        let (mut woken, mut to_wake, secret) = (proxy.woken(), neighbours.to_wake.clone(), secret.clone());
        self.telling.spawn(async move {
            while woken.changed().await.is_ok() {
                neighbours.have_told();
            }
        });
        self.telling.spawn(async move {
            let mut waking = JoinSet::new();
            while to_wake.changed().await.is_ok() {
                let urls = to_wake.borrow_and_update().clone();
                for url in urls {
                    let secret = secret.clone();
                    waking.spawn(async move {
                        if let Err(why) = wake(&url, &secret, MACHINE).await {
                            tracing::debug!("{url} could not be told to look at the claims: {why}");
                        }
                    });
                }
                while waking.try_join_next().is_some() {}
            }
        });
    }

    /// How long the application may be at work on what it has, when it is to stop.
    pub fn lead(&self, of: Duration) -> Duration {
        self.proxy.as_ref().map_or(Duration::ZERO, |_| of.mul_f64(LEAD_SHARE))
    }

    /// Ends the lead when everything that is under way is answered. From its beginning the
    /// application gets no new requests: they are held, because another one may come; if it is by
    /// a signal, none will, and no connection is accepted any more.
    pub async fn keep(&self, lead: &Lead) -> Infallible {
        lead.begun.cancelled().await;
        if let Some((proxy, delay)) = &self.proxy {
            if lead.told.is_cancelled() {
                tokio::time::sleep(*delay).await;
                proxy.stop_accepting().await;
            }
            proxy.drain().await;
        }
        lead.over.cancel();
        std::future::pending().await
    }

    /// From now on writes are held, and those that the application has are waited for.
    pub async fn hold_writes(&self, within: Duration) {
        if let Some((proxy, _)) = &self.proxy
            && tokio::time::timeout(within, proxy.hold_writes()).await.is_err()
        {
            tracing::debug!("writes are still under way after {within:?}");
        }
    }

    /// The same where the application is not ours, and runs on.
    pub async fn settle(&self, within: Duration) {
        let lead = Lead::default();
        lead.told.cancel();
        lead.begun.cancel();
        tokio::select! {
            never = self.keep(&lead) => match never {},
            () = lead.over.cancelled() => {}
            () = tokio::time::sleep(self.lead(within)) => {}
        }
    }

    /// The program ends.
    pub async fn close(self) {
        if let Some((proxy, _)) = self.proxy {
            proxy.close(CLOSE_TIME).await;
        }
    }
}

/// Tells what is known now, and whatever it changes to, until it does not change any more.
pub async fn follow<T>(mut watched: watch::Receiver<T>, tell: impl Fn(&T)) {
    loop {
        tell(&watched.borrow_and_update());
        if watched.changed().await.is_err() {
            return;
        }
    }
}

fn app_in(phase: Phase) -> App {
    match phase {
        Phase::Running => App::Starting,
        Phase::Stopping => App::Gone,
        Phase::Waiting | Phase::Restoring | Phase::Arming | Phase::Migrating | Phase::Draining | Phase::StandingBy => {
            App::Absent
        }
    }
}

/// Clients must not take the files away that replication needs: at most half of what this process
/// may have open is for connections, two for each.
fn bounded(settings: Settings, open_files: Option<u64>) -> Settings {
    let most = open_files.map_or(usize::MAX, |most| usize::try_from(most / 4).unwrap_or(usize::MAX).max(1));
    if settings.connections <= most {
        return settings;
    }
    tracing::warn!(
        "proxy.max-connections is {}, and this process may have {} files open: {most} connections at a time are accepted; raise \
         the limit (ulimit -n, LimitNOFILE= of systemd, --ulimit nofile= of Docker)",
        settings.connections,
        open_files.unwrap_or_default()
    );
    Settings { connections: most, ..settings }
}

/// The address is not shared with the process that we replace: that could as well be a stranger
/// which was configured by mistake.
async fn listener(addr: Addr, target: String) -> TcpListener {
    let pause = LISTEN_AGAIN;
    let (listener, bound) = listen_patiently(&addr, pause, |shown, error| {
        tracing::error!("the proxy cannot listen at {shown}: {error}; trying again every {pause:?}");
    })
    .await;
    tracing::info!("the proxy listens at http://{bound}, in front of the application at {target}");
    listener
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Endpoint;

    #[test]
    fn connections_leave_files_for_replication() {
        let settings = || Settings::of_target(Endpoint::parse(":80").expect("valid"));
        for (open_files, connections) in [(None, 4096), (Some(1 << 20), 4096), (Some(1024), 256), (Some(2), 1)] {
            assert_eq!(bounded(settings(), open_files).connections, connections, "{open_files:?}");
        }
    }

    #[test]
    fn an_application_is_expected_while_the_phase_says_so() {
        assert_eq!(app_in(Phase::Running), App::Starting);
        assert_eq!(app_in(Phase::Stopping), App::Gone);
        for phase in
            [Phase::Waiting, Phase::Restoring, Phase::Arming, Phase::Migrating, Phase::Draining, Phase::StandingBy]
        {
            assert_eq!(app_in(phase), App::Absent);
        }
    }
}
