//! The reports to others: HTTP listener, heartbeat, service manager. They run beside the stages and
//! can neither delay nor end them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Job;
use super::listening::listen_patiently;
use crate::clock::MACHINE;
use crate::config::{Addr, Monitoring};
use crate::fleet::FleetHandle;
use crate::http::{Gather, Heartbeat, Phase, ProvedReplica, Recorder, Source, beat, in_a_line, serve};
use crate::primary::Primary;
use crate::status::ProxyCounts;
use crate::supervise::notify::{News, Notify, NotifyEnvironment};

/// Pause before the address is tried again: the process that we replace may still have it.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);
/// How often the status line of the service manager is updated.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// The extra start time that is requested repeatedly while databases are restored.
const START_TIME: Duration = Duration::from_secs(60);

/// The tasks end when this is dropped.
pub struct Monitor {
    phase: watch::Sender<Phase>,
    proved: watch::Sender<Vec<ProvedReplica>>,
    proxied: watch::Sender<Option<ProxyCounts>>,
    /// Its task ends when this is dropped.
    _tasks: JoinSet<Infallible>,
    notify: Option<Arc<Notify>>,
}

impl Monitor {
    /// With `-once` there is nothing to report meanwhile.
    pub fn start(job: &Job, fleet: &FleetHandle, primary: watch::Receiver<Primary>) -> Monitor {
        let (monitoring, is_for_once) = (&job.options.monitoring, job.once.is_some());
        let (phase, proved, proxied) = (watch::Sender::default(), watch::Sender::default(), watch::Sender::default());
        let mut tasks = JoinSet::new();
        let told = monitoring.clone();
        let Monitoring { addr, heartbeat, .. } = if is_for_once { Monitoring::default() } else { told };
        // Only the status page shows what is recorded.
        let recorder = addr.is_some().then(|| {
            let (recorder, recording) = Recorder::new(fleet.clone(), MACHINE);
            tasks.spawn(recording);
            recorder
        });
        let source = Arc::new(Gather {
            fleet: fleet.clone(),
            phase: phase.subscribe(),
            primary,
            proved: proved.subscribe(),
            proxied: proxied.subscribe(),
            max_lag: monitoring.max_lag,
            clock: MACHINE,
            started_at_ms: MACHINE.unix_ms(),
            config: job.config.clone(),
            restores: job.restores.clone(),
            recorder,
        });
        if let Some(addr) = addr {
            tasks.spawn(listener(addr, source.clone()));
        }
        if let Some(configured) = heartbeat {
            let limit = monitoring.max_lag.map_or(configured.interval, |max_lag| max_lag.min(configured.interval));
            let heartbeat = Heartbeat { url: configured.url, interval: configured.interval, limit };
            let source = source.clone();
            tasks.spawn(async move { beat(&heartbeat, &*source, MACHINE).await });
        }
        let notify = notify_of_environment().filter(|_| !is_for_once).map(Arc::new);
        if let Some(notify) = notify.clone() {
            tasks.spawn(tell(notify, source, phase.subscribe()));
        }
        Monitor { phase, proved, proxied, _tasks: tasks, notify }
    }

    /// How far the program is.
    pub fn phase(&self) -> &watch::Sender<Phase> {
        &self.phase
    }

    /// These replicas are proved from now on.
    pub fn proving(&self, replicas: Vec<ProvedReplica>) {
        self.proved.send_replace(replicas);
    }

    /// The proxy counts there, if there is one.
    pub fn proxied(&self, counts: Option<ProxyCounts>) {
        self.proxied.send_replace(counts);
    }

    /// The stop has begun. The service manager is told here, because its task may not run again.
    pub fn stopping(&self) {
        self.phase.send_replace(Phase::Stopping);
        if let Some(notify) = &self.notify {
            notify.tell(&News::Stopping);
        }
    }
}

async fn listener(addr: Addr, source: Arc<Gather>) -> Infallible {
    let pause = LISTEN_AGAIN;
    let (listener, bound) = listen_patiently(&addr, pause, |shown, error| {
        tracing::error!(
            "cannot listen at {shown} for the status page, metrics and health: {error}; trying again every {pause:?}"
        );
    })
    .await;
    let reach = if addr.host.is_none() { ", which is every interface of this machine" } else { "" };
    tracing::info!("the status page, metrics and health are served at http://{bound}{reach}");
    serve(listener, source).await
}

fn notify_of_environment() -> Option<Notify> {
    let [socket, usec, pid] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"].map(std::env::var_os);
    let text = |value: &Option<std::ffi::OsString>| value.as_ref().and_then(|value| value.to_str().map(str::to_owned));
    let (usec, pid) = (text(&usec), text(&pid));
    Notify::of(NotifyEnvironment {
        socket: socket.as_deref(),
        watchdog_usec: usec.as_deref(),
        watchdog_pid: pid.as_deref(),
    })
}

/// Tells the service manager what has changed, and that this process is alive: each time the fleet
/// has answered.
async fn tell(notify: Arc<Notify>, source: Arc<Gather>, mut phase: watch::Receiver<Phase>) -> Infallible {
    let pause = notify.watchdog().map_or(STATUS_EVERY, |watchdog| (watchdog / 2).min(STATUS_EVERY));
    let (mut is_ready, mut told) = (false, String::new());
    loop {
        let facts = source.facts(false).await;
        let line = in_a_line(&facts);
        if line != told {
            notify.tell(&News::Status(&line));
            told = line;
        }
        match facts.phase {
            Phase::Running if !std::mem::replace(&mut is_ready, true) => notify.tell(&News::Ready),
            Phase::Waiting | Phase::StandingBy | Phase::Restoring | Phase::Arming | Phase::Migrating if !is_ready => {
                notify.tell(&News::StillStarting(START_TIME))
            }
            _ => {}
        }
        if notify.watchdog().is_some() {
            notify.tell(&News::Watchdog);
        }
        tokio::select! {
            // The sender lives as long as this task.
            _ = phase.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
