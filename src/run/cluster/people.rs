//! What people order and ask through the control socket: this node, or another one, is to be the
//! primary; who is there.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use super::talk::Talk;
use crate::claim::{Leader, RoleReport};
use crate::control::Roles;
use crate::members::Members;
use crate::nodes::{ask_members, ask_to_hand_over};
use crate::primary::Primary;

pub struct People {
    name: String,
    is_candidate: bool,
    reports: mpsc::UnboundedSender<RoleReport>,
    primary: watch::Receiver<Primary>,
    leader: watch::Receiver<Leader>,
    talk: Talk,
}

impl People {
    pub fn new(
        (name, is_candidate): (String, bool),
        reports: mpsc::UnboundedSender<RoleReport>,
        (primary, leader): (watch::Receiver<Primary>, watch::Receiver<Leader>),
        talk: &Talk,
    ) -> People {
        People { name, is_candidate, reports, primary, leader, talk: talk.clone() }
    }

    /// The driver has ended, if it is not heard.
    fn order(&self, order: RoleReport) -> Result<(), String> {
        self.reports.send(order).map_err(|_| "this process is about to end".into())
    }

    async fn wait(&self, limit: Duration, is_it: impl FnMut(&Primary) -> bool) -> Option<Primary> {
        let mut primary = self.primary.clone();
        let found = tokio::time::timeout(limit, primary.wait_for(is_it)).await.ok()?.ok()?;
        Some(found.clone())
    }

    async fn promote_this(&self, limit: Duration) -> Result<String, String> {
        if !self.is_candidate {
            return Err(format!("node {} is no candidate (`candidate: false`)", self.name));
        }
        if *self.primary.borrow() == Primary::Here {
            return Ok(self.name.clone());
        }
        self.order(RoleReport::Promote)?;
        match self.wait(limit, |primary| *primary == Primary::Here).await {
            Some(_) => Ok(self.name.clone()),
            None => Err(format!(
                "node {} is not the primary within {limit:?}; it goes on trying: its log says what it waits for",
                self.name
            )),
        }
    }

    async fn promote_other(&self, node: &str, limit: Duration) -> Result<String, String> {
        let leader = self.leader.borrow().clone();
        match &leader {
            Leader::At { name, .. } if name == node => return Ok(name.clone()),
            Leader::At { url: Some(url), .. } => ask_to_hand_over(&self.talk.ask(url), node).await?,
            Leader::At { name, url: None, .. } => {
                return Err(format!(
                    "the primary, node {name}, takes no orders of other nodes: it has no `cluster.listen`; ask node {node} itself"
                ));
            }
            Leader::Here(_) => self.order(RoleReport::HandOver(Some(self.talk.candidate(node)?)))?,
            Leader::Unknown => return Err("there is no primary now, or it is not known: try again".into()),
        }
        let is_it = |primary: &Primary| matches!(primary, Primary::At(peer) if peer.name == node);
        match self.wait(limit, is_it).await {
            Some(_) => Ok(node.to_owned()),
            None => Err(format!(
                "the primary was told to hand over to node {node}, which is not the primary within {limit:?}; its log says what \
                 it waits for"
            )),
        }
    }
}

#[async_trait]
impl Roles for People {
    async fn promote(&self, node: Option<String>, limit: Duration) -> Result<(String, bool), String> {
        match node.filter(|node| *node != self.name) {
            None => self.promote_this(limit).await.map(|name| (name, true)),
            Some(node) => self.promote_other(&node, limit).await.map(|name| (name, false)),
        }
    }

    async fn demote(&self, limit: Duration) -> Result<Option<String>, String> {
        if *self.primary.borrow() != Primary::Here {
            return Err(format!("node {} is not the primary", self.name));
        }
        self.order(RoleReport::HandOver(None))?;
        match self.wait(limit, |primary| matches!(primary, Primary::At(_))).await {
            Some(Primary::At(peer)) => Ok(Some(peer.name)),
            _ if *self.primary.borrow() == Primary::Here => Err(format!("node {} is the primary still", self.name)),
            _ => Ok(None),
        }
    }

    async fn nodes(&self) -> Members {
        let leader = self.leader.borrow().clone();
        match &leader {
            Leader::At { url: Some(url), name, .. } => match ask_members(&self.talk.ask(url)).await {
                Ok(members) => members,
                Err(why) => self.talk.own_members(Some(name), &format!("the primary cannot be asked: {why}")),
            },
            Leader::At { url: None, name, .. } => {
                self.talk.own_members(Some(name), "the primary has no `cluster.listen`, so it cannot be asked")
            }
            Leader::Here(_) => self.talk.members(),
            Leader::Unknown => self.talk.own_members(None, "there is no primary now, or it is not known yet"),
        }
    }
}
