//! A command of the user at each change of the role (`cluster.on-role-change`).
//!
//! One runs at a time; what changes meanwhile is told when it has ended, if it is not changed back.
//! How it ends changes nothing.

use std::time::Duration;

use tokio::sync::watch;

use super::life::environment;
use super::{Process, Standing};
use crate::primary::Primary;
use crate::supervise::{CommandLine, Reaper, Signal, SpawnOptions};

/// The longest that it may take.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Hook<'a> {
    line: &'a CommandLine,
    strip_env: &'a [String],
    reaper: &'a Reaper,
    name: &'a str,
    primary: watch::Receiver<Primary>,
}

impl<'a> Hook<'a> {
    pub fn new(
        line: &'a CommandLine,
        process: &Process<'a>,
        name: &'a str,
        primary: watch::Receiver<Primary>,
    ) -> Hook<'a> {
        Hook { line, strip_env: &process.job.options.strip_env, reaper: process.reaper, name, primary }
    }

    /// Until the node has ended.
    pub async fn run(self, mut stands: watch::Receiver<Standing>) {
        let mut told = None;
        loop {
            let role = match *stands.borrow_and_update() {
                Standing::Primary => Some(true),
                Standing::Follower => Some(false),
                Standing::NotReady | Standing::Ends(_) => told,
            };
            if let Some(is_primary) = role.filter(|_| role != told) {
                told = role;
                self.tell(is_primary).await;
            } else if stands.changed().await.is_err() {
                return;
            }
        }
    }

    async fn tell(&self, is_primary: bool) {
        let extra_env = environment(self.name, is_primary, &self.primary.borrow());
        let strip_env = self.strip_env.iter().map(Into::into).collect();
        let options = SpawnOptions { strip_env, extra_env, ..SpawnOptions::default() };
        let mut child = match self.reaper.spawn_beside(self.line, &options).await {
            Ok(child) => child,
            Err(error) => return tracing::error!("cluster.on-role-change: {error}"),
        };
        tracing::info!(pid = child.pid(), "the role has changed: started {}", child.program());
        match tokio::time::timeout(LIMIT, child.end()).await {
            Ok(exit) if exit.code() == 0 => {}
            Ok(exit) => tracing::error!("cluster.on-role-change: {} {exit}", child.program()),
            Err(_) => {
                tracing::error!("cluster.on-role-change: {} takes longer than {LIMIT:?}; killing it", child.program());
                child.signal(Signal::KILL).await;
                child.end().await;
            }
        }
    }
}
