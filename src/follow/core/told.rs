//! How often people are told where the copy is.

use std::time::Duration;

use tokio::time::Instant;

use super::Core;
use super::event::{Effect, Notice, Position};
use crate::clock::Now;
use crate::ltx::Txid;

const PROGRESS_EVERY: Duration = Duration::from_secs(60);

/// What was told already, or is to be told later.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub follows: bool,
    pub is_locked: bool,
    pub gap: Option<Txid>,
    pub cannot_replace: bool,
    pub progress_at: Option<Instant>,
    pub installs: u64,
    pub pages: u64,
}

impl Core {
    /// Says where the copy is, the first time and then now and again.
    pub(super) fn follows(&mut self, position: Position, now: Now, effects: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.said.follows, true) {
            effects.push(Effect::Say(Notice::Follows(position)));
            (self.said.installs, self.said.pages) = (0, 0);
        } else if self.said.installs > 0 && self.said.progress_at.is_none_or(|at| at <= now.instant) {
            let (installs, pages) = (self.said.installs, self.said.pages);
            effects.push(Effect::Say(Notice::Progress { position, installs, pages }));
            (self.said.installs, self.said.pages) = (0, 0);
            self.said.progress_at = Some(now.instant + PROGRESS_EVERY);
        }
    }
}
