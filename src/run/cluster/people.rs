//! What people order through the control socket: this node, or another one, is to be the primary.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use crate::claim::RoleReport;
use crate::control::Roles;
use crate::primary::Primary;

pub struct People {
    pub name: String,
    pub is_candidate: bool,
    pub reports: mpsc::UnboundedSender<RoleReport>,
    pub primary: watch::Receiver<Primary>,
}

impl People {
    /// The driver has ended, if it is not heard.
    fn order(&self, order: RoleReport) -> Result<(), String> {
        self.reports.send(order).map_err(|_| "this process is about to end".into())
    }

    async fn wait(&self, limit: Duration, is_it: impl FnMut(&Primary) -> bool) -> Option<Primary> {
        let mut primary = self.primary.clone();
        let found = tokio::time::timeout(limit, primary.wait_for(is_it)).await.ok()?.ok()?;
        Some(found.clone())
    }
}

#[async_trait]
impl Roles for People {
    async fn promote(&self, limit: Duration) -> Result<String, String> {
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
}
