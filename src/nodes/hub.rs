//! What the primary has for its followers, and what they have said: shared by all connections.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::frame::Frame;
use super::introduction::Introduction;
use super::ring::Ring;
use crate::clock::Clock;
use crate::members::{Member, MemberDatabase, Members};
use crate::remote::{Epoch, Position};
use crate::replicate::{Confirmed, Shipped};

/// Handles of one.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    me: Introduction,
    /// The addresses of their replicas.
    databases: Vec<String>,
    clock: Clock,
    /// The claim of this node, while it is the primary.
    lead: watch::Sender<Option<Epoch>>,
    ring: Mutex<Ring>,
    /// The end of the ring.
    end: watch::Sender<u64>,
    followers: Mutex<BTreeMap<String, Following>>,
}

/// What is known of one follower.
struct Following {
    introduction: Introduction,
    /// A later one takes the place of an earlier one.
    connection: u64,
    positions: BTreeMap<u16, Position>,
    heard_at: Instant,
}

impl Hub {
    /// `databases` are the addresses of their replicas.
    pub fn new(me: Introduction, databases: Vec<String>, clock: Clock) -> Hub {
        let ring = Mutex::new(Ring::new(databases.len()));
        let (lead, end, followers) = (watch::Sender::new(None), watch::Sender::new(0), Mutex::default());
        Hub { shared: Arc::new(Shared { me, databases, clock, lead, ring, end, followers }) }
    }

    /// For the replication of the database with this number.
    pub fn pusher(&self, db: u16) -> Arc<dyn Confirmed> {
        Arc::new(Pusher { hub: self.clone(), db })
    }

    /// This node is the primary by this claim, or is none.
    pub fn leads(&self, epoch: Option<Epoch>) {
        let was = self.shared.lead.send_replace(epoch);
        if was.is_some() && was != epoch {
            self.ring().clear();
            self.shared.end.send_replace(self.ring().end());
        }
    }

    pub fn lead(&self) -> watch::Receiver<Option<Epoch>> {
        self.shared.lead.subscribe()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn followers(&self) -> MutexGuard<'_, BTreeMap<String, Following>> {
        self.shared.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn databases(&self) -> &[String] {
        &self.shared.databases
    }

    pub(super) fn end(&self) -> watch::Receiver<u64> {
        self.shared.end.subscribe()
    }

    /// What a connection begins with, and where it goes on.
    pub(super) fn begin(&self) -> (Vec<Frame>, u64) {
        let ring = self.ring();
        (ring.notices(), ring.first())
    }

    pub(super) fn read(&self, cursor: &mut u64) -> Vec<Frame> {
        self.ring().read(cursor)
    }

    pub(super) fn joined(&self, introduction: Introduction, connection: u64) {
        let heard_at = self.shared.clock.instant();
        let following = Following { connection, positions: BTreeMap::new(), heard_at, introduction };
        self.followers().insert(following.introduction.name.clone(), following);
    }

    pub(super) fn reported(&self, name: &str, connection: u64, positions: Vec<(u16, Position)>) {
        let heard_at = self.shared.clock.instant();
        let mut followers = self.followers();
        if let Some(following) = followers.get_mut(name).filter(|following| following.connection == connection) {
            (following.positions, following.heard_at) = (positions.into_iter().collect(), heard_at);
        }
    }

    pub(super) fn left(&self, name: &str, connection: u64) {
        let mut followers = self.followers();
        if followers.get(name).is_some_and(|following| following.connection == connection) {
            followers.remove(name);
        }
    }

    /// The instance of a follower that may be the primary, or why not.
    pub fn candidate(&self, name: &str) -> Result<String, String> {
        let followers = self.followers();
        let Some(Following { introduction, .. }) = followers.get(name) else {
            let known: Vec<&str> = followers.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!("no node {name:?} follows the primary now; these do: {known}"));
        };
        match introduction.is_candidate {
            true => Ok(introduction.instance.clone()),
            false => Err(format!("node {name} is no candidate (`candidate: false`)")),
        }
    }

    /// As the primary knows it.
    pub fn members(&self) -> Members {
        let newest = self.ring().newest().to_vec();
        let now = self.shared.clock.instant();
        let me = &self.shared.me;
        let shown = |at: &dyn Fn(u16) -> Option<Position>| {
            let all = self.databases().iter().zip(&newest).zip(0u16..);
            all.map(|((replica, newest), db)| database(replica, at(db), *newest)).collect()
        };
        let primary = Member {
            name: me.name.clone(),
            role: "primary".into(),
            candidate: me.is_candidate,
            heard_ms_ago: None,
            databases: shown(&|db| newest[usize::from(db)]),
        };
        let followers = self.followers();
        let follower = |Following { introduction, positions, heard_at, .. }: &Following| Member {
            name: introduction.name.clone(),
            role: "follower".into(),
            candidate: introduction.is_candidate,
            heard_ms_ago: u64::try_from(now.saturating_duration_since(*heard_at).as_millis()).ok(),
            databases: shown(&|db| positions.get(&db).copied()),
        };
        Members { nodes: std::iter::once(primary).chain(followers.values().map(follower)).collect(), note: None }
    }
}

fn database(replica: &str, at: Option<Position>, newest: Option<Position>) -> MemberDatabase {
    let both = at.zip(newest);
    let behind_ms = both.map(|(at, newest)| newest.timestamp_ms.saturating_sub(at.timestamp_ms));
    MemberDatabase {
        replica: replica.to_owned(),
        txid: at.map(|at| at.txid.get()),
        behind_txids: both.map(|(at, newest)| newest.txid.get().saturating_sub(at.txid.get())),
        behind_ms: behind_ms.map(|ms| u64::try_from(ms).unwrap_or(0)),
    }
}

/// Is told by one replication.
struct Pusher {
    hub: Hub,
    db: u16,
}

impl Confirmed for Pusher {
    fn confirmed(&self, shipped: &Shipped) {
        let position = Position { txid: shipped.header.max_txid, timestamp_ms: shipped.header.timestamp_ms };
        let end = {
            let mut ring = self.hub.ring();
            ring.add(self.db, position, shipped.bytes.clone());
            ring.end()
        };
        self.hub.shared.end.send_replace(end);
    }
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pusher({})", self.db)
    }
}
