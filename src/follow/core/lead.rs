//! What the primary pushes.
//!
//! It is installed if it begins exactly at the state that the copy is: the TXID and its moment, so
//! neither over a gap nor onto another history. What it pushes was confirmed in the bucket, and
//! while it pushes, the replica is listed only now and again, or when something is known to be
//! there that was not pushed. What an earlier primary says does not count.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::event::{Effect, Position};
use super::{Core, Known, Proof};
use crate::clock::Now;
use crate::ltx::Txid;
use crate::remote::{Epoch, Pushed};

/// So often the replica is listed while a primary pushes.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(30);
/// What waits for its install takes no more than this; then the bucket has it.
const QUEUE_BYTES: usize = 8 << 20;
const QUEUE_FILES: usize = 256;

#[derive(Clone, Debug, Default)]
pub(super) struct Lead {
    /// The claim of the primary that pushes.
    epoch: Option<Epoch>,
    queue: VecDeque<Pushed>,
    bytes: usize,
    /// The newest TXID that it has told of.
    told: Option<Txid>,
}

impl Lead {
    pub fn take_in(&mut self, pushed: Pushed) {
        if self.epoch != Some(pushed.epoch) {
            return;
        }
        self.told = self.told.max(Some(pushed.position.txid));
        if pushed.bytes.is_some() {
            self.bytes += pushed.size();
            self.queue.push_back(pushed);
        }
        if self.bytes > QUEUE_BYTES || self.queue.len() > QUEUE_FILES {
            (self.queue, self.bytes) = (VecDeque::new(), 0);
        }
    }

    fn pop(&mut self) -> Option<Pushed> {
        let first = self.queue.pop_front()?;
        self.bytes -= first.size();
        Some(first)
    }

    /// Whether what was pushed goes on at this state.
    pub fn follows(&self, at: Position) -> bool {
        let next = self.queue.iter().find(|pushed| pushed.position.txid > at.txid);
        next.is_some_and(|pushed| pushed.onto == Some(at))
    }

    /// What goes on at this state, one after the other.
    fn next(&mut self, at: Position) -> Vec<(Position, Bytes)> {
        while self.queue.front().is_some_and(|first| first.position.txid <= at.txid) {
            self.pop();
        }
        let (mut last, mut files) = (at, Vec::new());
        while self.queue.front().is_some_and(|first| first.onto == Some(last)) {
            let Some(Pushed { position, bytes: Some(bytes), .. }) = self.pop() else { break };
            files.push((position, bytes));
            last = position;
        }
        files
    }

    /// There is more in the bucket, or soon will be visible there.
    fn is_ahead_of(&self, at: Position) -> bool {
        self.told > Some(at.txid)
    }
}

impl Core {
    pub(super) fn is_led(&mut self, epoch: Option<Epoch>, now: Now) {
        if self.lead.epoch == epoch {
            return;
        }
        self.lead = Lead { epoch, ..Lead::default() };
        if self.is_away {
            return;
        }
        // What was confirmed before it began to push is not known, nor what came after its end.
        self.list_within(if epoch.is_some() { Duration::ZERO } else { self.pace.interval() }, now);
    }

    fn list_within(&mut self, pause: Duration, now: Now) {
        let at = now.instant + pause;
        self.next_at = self.next_at.map(|next| next.min(at));
    }

    /// The next piece of work, if it is an install of what was pushed.
    pub(super) fn install_pushed(&mut self, now: Now) -> Option<Effect> {
        let Known::At(at) = self.known else { return None };
        if !self.is_locked || self.is_stopping {
            return None;
        }
        let files = self.lead.next(at);
        if !files.is_empty() {
            (self.is_busy, self.proof) = (true, Proof::Pushed);
            // It shows nothing of the listing before it.
            self.current.installs(false, true);
            return Some(Effect::InstallPushed { onto: at, files });
        }
        if self.lead.is_ahead_of(at) && !self.is_away {
            let since = self.listed_at.map_or(self.pace.interval(), |at| now.instant.saturating_duration_since(at));
            self.list_within(self.pace.interval().saturating_sub(since), now);
        }
        None
    }

    /// Nothing is new: how long until the next listing.
    pub(super) fn pause_at_end(&mut self, at: Position) -> Duration {
        let pause = self.pace.quiet();
        match self.lead.epoch {
            Some(_) if !self.lead.is_ahead_of(at) => pause.max(CHECK_EVERY),
            _ => pause,
        }
    }
}
