//! Waits for events and carries out what the core asks of the bucket. What concerns databases and
//! the application is handed on as orders, and reported back.
//!
//! Every request has a time-out: what takes longer may have been carried out, which the core finds
//! out by a look.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::core::{Config, Core, Effect, Event, Notice, Outcome, Stop, Trouble};
use super::look::{Known, look};
use super::requests::{REQUEST_TIME, create, in_time, trouble, untold, write};
use super::say::say;
use super::seen::Why;
use super::wire::Claim;
use crate::remote::{Epoch, Remote};

/// What others are told of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub hostname: String,
    pub url: Option<String>,
    pub cluster_url: Option<String>,
}

/// What is to be done with the databases and the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Bring every database to the newest state, and create its next TXID; again and again until it
    /// is done, or [`Order::Drain`] comes. No request is sent after the time that
    /// [`Driver::seal_until`] shows.
    Seal,
    /// Start the application, unless it runs.
    Open,
    /// Start the application although there is no claim; nothing is uploaded.
    Alone,
    /// Stop the application that was started like this; nothing is uploaded.
    Retreat,
    /// Stop the application if it runs, and upload what was committed.
    Drain,
}

/// What became of it, and what else happened.
#[derive(Clone, Copy, Debug)]
pub enum Report {
    Sealed,
    Drained,
    /// Another writer has created the next TXID.
    Fenced,
    /// Another node says that there is something to see.
    Woke,
    /// The process is to end.
    Stop(Stop),
}

/// An answer of the bucket.
enum Arrived {
    Looked(Result<(super::seen::Seen, Known), Trouble>),
    Other(Event),
}

pub struct Driver {
    remote: Remote,
    node: Node,
    config: Config,
    core: Core,
    known: Known,
    work: JoinSet<Arrived>,
    orders: mpsc::UnboundedSender<Order>,
    reports: mpsc::UnboundedReceiver<Report>,
    seal_until: watch::Sender<Option<Duration>>,
    stands_by: watch::Sender<bool>,
    newest: watch::Sender<Option<Node>>,
    wakes: watch::Sender<Vec<String>>,
}

impl Driver {
    pub fn new(
        remote: Remote,
        node: Node,
        config: Config,
        orders: mpsc::UnboundedSender<Order>,
        reports: mpsc::UnboundedReceiver<Report>,
    ) -> Driver {
        let core = Core::new(config.clone(), remote.clock().random_u64());
        Driver {
            remote,
            node,
            config,
            core,
            known: Known::default(),
            work: JoinSet::new(),
            orders,
            reports,
            seal_until: watch::Sender::default(),
            stands_by: watch::Sender::default(),
            newest: watch::Sender::default(),
            wakes: watch::Sender::default(),
        }
    }

    /// Until when requests of [`Order::Seal`] may be sent, by the boot clock: others may go on
    /// after that. It moves while the bucket answers.
    pub fn seal_until(&self) -> watch::Receiver<Option<Duration>> {
        self.seal_until.subscribe()
    }

    /// Whether others came later, and this process waits for their end.
    pub fn stands_by(&self) -> watch::Receiver<bool> {
        self.stands_by.subscribe()
    }

    /// Who has made the newest claim, if it is another process.
    pub fn newest(&self) -> watch::Receiver<Option<Node>> {
        self.newest.subscribe()
    }

    /// The URLs of the nodes that are to be told to look, each time they are.
    pub fn wakes(&self) -> watch::Receiver<Vec<String>> {
        self.wakes.subscribe()
    }

    /// Until it is told to end.
    pub async fn run(mut self) -> Outcome {
        let mut event = Event::Timer;
        loop {
            let effects = self.core.on_event(event, self.remote.clock().now());
            self.seal_until.send_replace(self.core.seal_until());
            for effect in effects {
                self.carry_out(effect);
            }
            if let Some(outcome) = self.core.outcome() {
                return outcome.clone();
            }
            event = match self.next_event().await {
                Some(event) => event,
                // The program is gone.
                None => return Outcome::Unreleased,
            };
        }
    }

    async fn next_event(&mut self) -> Option<Event> {
        let (wake_at, clock) = (self.core.wake_at(), self.remote.clock());
        Some(tokio::select! {
            biased;
            Some(arrived) = self.work.join_next() => match arrived {
                Ok(Arrived::Looked(Ok((seen, known)))) => {
                    self.known = known;
                    self.tell_newest();
                    Event::Looked(Ok(seen))
                }
                Ok(Arrived::Looked(Err(trouble))) => Event::Looked(Err(trouble)),
                Ok(Arrived::Other(event)) => event,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            report = self.reports.recv() => match report? {
                Report::Sealed => Event::Sealed,
                Report::Drained => Event::Drained,
                Report::Fenced => Event::Fenced,
                Report::Woke => Event::Woke,
                Report::Stop(stop) => Event::Stop(stop),
            },
            () = tokio::time::sleep_until(wake_at.unwrap_or_else(|| clock.instant())), if wake_at.is_some() => Event::Timer,
        })
    }

    fn tell_newest(&self) {
        let newest = self.known.newest().filter(|claim| claim.process != self.config.me.process);
        let node = |claim: &Claim| Node {
            name: claim.node.clone(),
            hostname: claim.hostname.clone(),
            url: claim.url.clone(),
            cluster_url: claim.cluster_url.clone(),
        };
        let newest = newest.map(node);
        self.newest.send_if_modified(|known| {
            let is_new = *known != newest;
            known.clone_from(&newest);
            is_new
        });
    }

    fn carry_out(&mut self, effect: Effect) {
        let remote = self.remote.clone();
        match effect {
            Effect::Look => {
                let (instance, known) = (self.config.me.instance.clone(), self.known.clone());
                self.work.spawn(async move {
                    Arrived::Looked(
                        in_time(REQUEST_TIME, async { look(&remote, &instance, known).await.map_err(untold) }).await,
                    )
                });
            }
            Effect::Peek(epoch) => {
                self.request(async move {
                    Event::Peeked(in_time(REQUEST_TIME, async { remote.has_claim(epoch).await.map_err(trouble) }).await)
                });
            }
            Effect::Claim { epoch, parent, why } => {
                let claim = self.claim(parent, why);
                self.request(async move { Event::Claimed(in_time(REQUEST_TIME, create(&remote, epoch, claim)).await) });
            }
            Effect::Beat(epoch, beat) => {
                self.request(async move { Event::Beaten(in_time(REQUEST_TIME, write(&remote, epoch, beat)).await) });
            }
            Effect::Remove(epochs) => self.request(async move {
                let removed =
                    in_time(REQUEST_TIME, async { remote.remove_claims(&epochs).await.map_err(trouble) }).await;
                if let Err(trouble) = removed {
                    // The next holder does it.
                    tracing::debug!("cannot remove old claims: {}", trouble.why());
                }
                Event::Removed
            }),
            // If orders are not taken any more, the program ends.
            Effect::Seal => drop(self.orders.send(Order::Seal)),
            Effect::Open => drop(self.orders.send(Order::Open)),
            Effect::Alone => drop(self.orders.send(Order::Alone)),
            Effect::Retreat => drop(self.orders.send(Order::Retreat)),
            Effect::Drain => drop(self.orders.send(Order::Drain)),
            Effect::Wake => drop(self.wakes.send_replace(self.known.urls(&self.config.me.process))),
            Effect::Say(notice) => {
                match &notice {
                    Notice::StandsBy | Notice::SupersededBy(_) => drop(self.stands_by.send_replace(true)),
                    Notice::ComesBack(_) => drop(self.stands_by.send_replace(false)),
                    _ => {}
                }
                say(&notice, remote.address());
            }
        }
    }

    fn request(&mut self, request: impl Future<Output = Event> + Send + 'static) {
        self.work.spawn(async move { Arrived::Other(request.await) });
    }

    fn claim(&self, parent: Option<Epoch>, why: Why) -> Claim {
        Claim {
            node: self.node.name.clone(),
            instance: self.config.me.instance.clone(),
            process: self.config.me.process.clone(),
            hostname: self.node.hostname.clone(),
            url: self.node.url.clone(),
            cluster_url: self.node.cluster_url.clone(),
            ttl_ms: u64::try_from(self.config.ttl.as_millis()).unwrap_or(u64::MAX),
            parent: parent.map(|parent| parent.to_string()),
            why: why.text().into(),
        }
    }
}
