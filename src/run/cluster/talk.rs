//! The other nodes: the primary pushes to this one, or this one to them.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use crate::claim::{Leader, Node, RoleConfig, RoleReport};
use crate::clock::MACHINE;
use crate::config::{Addr, Cluster};
use crate::follow::{Feed, Position};
use crate::members::{Member, MemberDatabase, Members};
use crate::nodes::{Asked, HandOver, Hub, Introduction, Reader, Server};
use crate::remote::{Epoch, Pushed};
use crate::replicate::Confirmed;
use crate::run::listening::{LISTEN_AGAIN, listen_patiently};
use crate::run::prepare::Line;
use crate::run::proxying::follow;
use crate::secret::Secret;

/// So many files wait for the task of a copy, which takes them at once.
const WAITING_FILES: usize = 16;

#[derive(Clone)]
pub struct Talk {
    me: Introduction,
    /// The addresses of the replicas.
    databases: Vec<String>,
    secret: Option<Secret>,
    /// Where others can read from this node.
    hub: Option<Hub>,
    lead: watch::Sender<Option<Epoch>>,
    pushed: Vec<broadcast::Sender<Pushed>>,
    positions: watch::Sender<Vec<Option<Position>>>,
}

impl Talk {
    pub fn new(cluster: &Cluster, node: &Node, config: &RoleConfig, lines: &[Line<'_>]) -> Talk {
        let me = Introduction {
            name: node.name.clone(),
            instance: config.me.instance.clone(),
            is_candidate: config.is_candidate,
        };
        let databases: Vec<String> = lines.iter().map(|line| line.remote.address().to_owned()).collect();
        let hub = cluster.listen.as_ref().map(|_| Hub::new(me.clone(), databases.clone(), MACHINE));
        Talk {
            me,
            hub,
            secret: cluster.secret.clone(),
            lead: watch::Sender::new(None),
            pushed: databases.iter().map(|_| broadcast::Sender::new(WAITING_FILES)).collect(),
            positions: watch::Sender::new(vec![None; databases.len()]),
            databases,
        }
    }

    /// As long as this is kept.
    pub fn start(
        &self,
        cluster: &Cluster,
        leader: watch::Receiver<Leader>,
        reports: &mpsc::UnboundedSender<RoleReport>,
    ) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        if let Some((hub, addr)) = self.hub.clone().zip(cluster.listen.clone()) {
            let server = Server::new(hub.clone(), cluster.secret.clone(), Arc::new(Orders(reports.clone())));
            tasks.spawn(follow(leader.clone(), move |leader| {
                hub.leads(match leader {
                    Leader::Here(epoch) => Some(*epoch),
                    Leader::Unknown | Leader::At { .. } => None,
                });
            }));
            tasks.spawn(async move { match server.serve(listener(addr).await).await {} });
        }
        let reader = Reader {
            me: self.me.clone(),
            secret: cluster.secret.clone(),
            databases: self.databases.clone(),
            leader,
            positions: self.positions.subscribe(),
            lead: self.lead.clone(),
            pushed: self.pushed.clone(),
            clock: MACHINE,
        };
        tasks.spawn(reader.run());
        let reports = reports.clone();
        tasks.spawn(follow(self.lead.subscribe(), move |lead| {
            if lead.is_none() {
                // The stream is lost: the primary may be.
                let _ = reports.send(RoleReport::Woke);
            }
        }));
        tasks
    }

    /// What is pushed for the copy of this database.
    pub fn feed(&self, at: usize) -> Feed {
        Feed::new(self.lead.subscribe(), self.pushed[at].subscribe())
    }

    /// Is told of what the replication of this database has confirmed.
    pub fn pusher(&self, at: usize) -> Option<Arc<dyn Confirmed>> {
        self.hub.as_ref().zip(u16::try_from(at).ok()).map(|(hub, at)| hub.pusher(at))
    }

    pub fn ask(&self, url: &str) -> Asked {
        Asked { url: url.to_owned(), secret: self.secret.clone() }
    }

    /// The instance of another node that may be the primary, as this one knows it while it is it.
    pub fn candidate(&self, node: &str) -> Result<String, String> {
        let hub = self.hub.as_ref().ok_or("this node does not know the others: it has no `cluster.listen`")?;
        hub.candidate(node)
    }

    /// While this node is the primary.
    pub fn members(&self) -> Members {
        match &self.hub {
            Some(hub) => hub.members(),
            None => {
                let note = "this node has no `cluster.listen`, so who follows it is not known";
                Members { nodes: vec![self.member("primary")], note: Some(note.into()) }
            }
        }
    }

    /// What is known without the primary.
    pub fn own_members(&self, primary: Option<&String>, why: &str) -> Members {
        let other = |name: &String| Member {
            name: name.clone(),
            role: "primary".into(),
            candidate: true,
            heard_ms_ago: None,
            databases: Vec::new(),
        };
        let role = if primary.is_some() { "follower" } else { "unknown" };
        let nodes = primary.map(other).into_iter().chain([self.member(role)]).collect();
        Members { nodes, note: Some(format!("{why}; these are the nodes that this one knows of")) }
    }

    fn member(&self, role: &str) -> Member {
        let positions = self.positions.borrow();
        let database = |(replica, at): (&String, &Option<Position>)| MemberDatabase {
            replica: replica.clone(),
            txid: at.filter(|_| role != "primary").map(|at| at.txid.get()),
            behind_txids: None,
            behind_ms: None,
        };
        let databases = self.databases.iter().zip(positions.iter()).map(database).collect();
        let (name, candidate) = (self.me.name.clone(), self.me.is_candidate);
        Member { name, role: role.into(), candidate, heard_ms_ago: None, databases }
    }

    /// The copy of this database is there now.
    pub fn is_at(&self, at: usize, position: Option<Position>) {
        self.positions.send_if_modified(|positions| std::mem::replace(&mut positions[at], position) != position);
    }
}

/// What other nodes want of this one.
struct Orders(mpsc::UnboundedSender<RoleReport>);

#[async_trait]
impl HandOver for Orders {
    async fn hand_over(&self, instance: String) -> Result<(), String> {
        let order = RoleReport::HandOver(Some(instance));
        self.0.send(order).map_err(|_| "this process is about to end".into())
    }
}

async fn listener(addr: Addr) -> TcpListener {
    let pause = LISTEN_AGAIN;
    let (listener, bound) = listen_patiently(&addr, pause, |shown, error| {
        tracing::error!("cannot listen to other nodes at {shown}: {error}; trying again every {pause:?}");
    })
    .await;
    tracing::info!("other nodes are listened to at http://{bound}");
    listener
}
