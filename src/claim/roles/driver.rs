//! Waits for events and carries out what the core asks of the bucket. What concerns databases and
//! the application is handed on as orders, and reported back.
//!
//! Every request has a time-out: what takes longer may have been carried out, which the core finds
//! out by a look.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::core::{Config, Core, Effect, Event, Observed, Outcome, Reach, Stop, Trouble, View};
use super::say::say;
use crate::claim::driver::Node;
use crate::claim::look::{Known, look, read_beat};
use crate::claim::requests::{REQUEST_TIME, create, in_time, trouble, untold, write};
use crate::claim::seen::{Seen, Why};
use crate::claim::wire::{Beat, Claim};
use crate::primary::{Peer, Primary};
use crate::remote::{Epoch, Remote};

/// What is to be done with the databases and the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleOrder {
    /// Keep live copies of the databases; no application can write. It may come again.
    Follow,
    /// Install what a new listing shows; always answered by [`RoleReport::CaughtUp`].
    CatchUp,
    /// Bring every database to the newest state, and create its next TXID; again and again until it
    /// is done, or [`RoleOrder::Drain`] comes. No request is sent after the time that
    /// [`RoleDriver::valid_until`] shows.
    Seal,
    /// The application may write.
    Open,
    /// Before this time by the boot clock no application may write here any more.
    Close(Duration),
    /// No application may write from now on; upload what was committed.
    Drain,
}

/// What became of it, and what else happened.
#[derive(Clone, Debug)]
pub enum RoleReport {
    CaughtUp(Reach),
    Sealed,
    Drained,
    /// Another writer has created the next TXID.
    Fenced,
    /// A person wants this node to be the primary.
    Promote,
    /// A person wants another node to be it: this instance, or any.
    HandOver(Option<String>),
    /// The process is to end.
    Stop(Stop),
    /// Something has happened to the primary, perhaps.
    Woke,
}

/// An answer of the bucket.
enum Arrived {
    Looked(Result<(Seen, Known), Trouble>),
    Other(Event),
}

pub struct RoleDriver {
    remote: Remote,
    node: Node,
    config: Config,
    core: Core,
    known: Known,
    work: JoinSet<Arrived>,
    orders: mpsc::UnboundedSender<RoleOrder>,
    reports: mpsc::UnboundedReceiver<RoleReport>,
    valid_until: watch::Sender<Option<Duration>>,
    primary: watch::Sender<Primary>,
    leader: watch::Sender<Leader>,
}

/// Whose claim counts, for the other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Leader {
    #[default]
    Unknown,
    /// This node's.
    Here(Epoch),
    /// That of the node of this name, which others reach at this URL, if it has one.
    At { epoch: Epoch, name: String, url: Option<String> },
}

impl RoleDriver {
    pub fn new(
        remote: Remote,
        node: Node,
        config: Config,
        orders: mpsc::UnboundedSender<RoleOrder>,
        reports: mpsc::UnboundedReceiver<RoleReport>,
    ) -> RoleDriver {
        RoleDriver {
            core: Core::new(config.clone(), remote.clock().random_u64()),
            remote,
            node,
            config,
            known: Known::default(),
            work: JoinSet::new(),
            orders,
            reports,
            valid_until: watch::Sender::default(),
            primary: watch::Sender::default(),
            leader: watch::Sender::default(),
        }
    }

    /// Until when the claim counts, by the boot clock: no other node can have gone on before that.
    pub fn valid_until(&self) -> watch::Receiver<Option<Duration>> {
        self.valid_until.subscribe()
    }

    /// Where the primary is.
    pub fn primary(&self) -> watch::Receiver<Primary> {
        self.primary.subscribe()
    }

    /// The same with its claim.
    pub fn leader(&self) -> watch::Receiver<Leader> {
        self.leader.subscribe()
    }

    /// Until it is told to end.
    pub async fn run(mut self) -> Outcome {
        let mut event = Event::Timer;
        loop {
            let effects = self.core.on_event(event, self.remote.clock().now());
            self.valid_until.send_replace(self.core.valid_until());
            for effect in effects {
                self.carry_out(effect);
            }
            let leader = leader_of(self.core.view());
            self.leader.send_if_modified(|before| std::mem::replace(before, leader.clone()) != leader);
            let primary = primary_of(self.core.view());
            self.primary.send_if_modified(|before| std::mem::replace(before, primary.clone()) != primary);
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
            // Before everything else: it may be high time that the application does not write.
            () = tokio::time::sleep_until(wake_at.unwrap_or_else(|| clock.instant())), if wake_at.is_some() => Event::Timer,
            Some(arrived) = self.work.join_next() => match arrived {
                Ok(Arrived::Looked(Ok((seen, known)))) => {
                    self.known = known;
                    Event::Looked(Ok(seen))
                }
                Ok(Arrived::Looked(Err(trouble))) => Event::Looked(Err(trouble)),
                Ok(Arrived::Other(event)) => event,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            report = self.reports.recv() => match report? {
                RoleReport::CaughtUp(reach) => Event::CaughtUp(reach),
                RoleReport::Sealed => Event::Sealed,
                RoleReport::Drained => Event::Drained,
                RoleReport::Fenced => Event::Fenced,
                RoleReport::Promote => Event::Promote,
                RoleReport::HandOver(to) => Event::HandOver(to),
                RoleReport::Stop(stop) => Event::Stop(stop),
                RoleReport::Woke => Event::Woke,
            },
        })
    }

    fn carry_out(&mut self, effect: Effect) {
        let (remote, limit) = (self.remote.clone(), REQUEST_TIME.min(self.config.ttl / 4));
        let order = match effect {
            Effect::Follow => RoleOrder::Follow,
            Effect::CatchUp => RoleOrder::CatchUp,
            Effect::Seal => RoleOrder::Seal,
            Effect::Open => RoleOrder::Open,
            Effect::Close(by) => RoleOrder::Close(by),
            Effect::Drain => RoleOrder::Drain,
            Effect::Say(notice) => return say(&notice, remote.address()),
            Effect::Look => {
                let (instance, known) = (self.config.me.instance.clone(), self.known.clone());
                self.work.spawn(async move {
                    Arrived::Looked(
                        in_time(limit, async { look(&remote, &instance, known).await.map_err(untold) }).await,
                    )
                });
                return;
            }
            Effect::Observe(epoch) => {
                return self.request(async move { Event::Observed(in_time(limit, observe(&remote, epoch)).await) });
            }
            Effect::Claim { epoch, parent, why } => {
                let claim = self.claim(parent, why);
                return self
                    .request(async move { Event::Claimed(in_time(limit, create(&remote, epoch, claim)).await) });
            }
            Effect::Renew { epoch, beat } => {
                return self.request(async move { Event::Renewed(in_time(limit, renew(&remote, epoch, beat)).await) });
            }
            Effect::Remove(epochs) => {
                return self.request(async move {
                    let removed = in_time(limit, async { remote.remove_claims(&epochs).await.map_err(trouble) }).await;
                    if let Err(trouble) = removed {
                        // The next holder does it.
                        tracing::debug!("cannot remove old claims: {}", trouble.why());
                    }
                    Event::Removed
                });
            }
        };
        // If orders are not taken any more, the program ends.
        let _ = self.orders.send(order);
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

fn primary_of(view: View) -> Primary {
    match view {
        View::Unknown => Primary::Unknown,
        View::Primary(_) => Primary::Here,
        View::Follower(_, claim) => Primary::At(Peer { name: claim.node.clone(), url: claim.url.clone() }),
    }
}

fn leader_of(view: View) -> Leader {
    match view {
        View::Unknown => Leader::Unknown,
        View::Primary(epoch) => Leader::Here(epoch),
        View::Follower(epoch, claim) => Leader::At { epoch, name: claim.node.clone(), url: claim.cluster_url.clone() },
    }
}

async fn renew(remote: &Remote, epoch: Epoch, beat: Beat) -> Result<bool, Trouble> {
    write(remote, epoch, beat).await?;
    has_later(remote, epoch).await
}

async fn observe(remote: &Remote, epoch: Epoch) -> Result<Observed, Trouble> {
    let beat = read_beat(remote, epoch).await.map_err(untold)?.map(|(_, beat)| beat);
    Ok(Observed { beat, has_later: has_later(remote, epoch).await? })
}

async fn has_later(remote: &Remote, epoch: Epoch) -> Result<bool, Trouble> {
    match epoch.next() {
        Some(next) => remote.has_claim(next).await.map_err(trouble),
        None => Ok(false),
    }
}
