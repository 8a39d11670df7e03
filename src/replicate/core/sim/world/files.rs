//! Another file is put in the place of a database, or copied there.

use super::super::bucket::Content;
use super::super::node::{File, Replaced};
use super::super::oracle::Violation;
use super::{Due, World};
use crate::replicate::core::opening::Event;

impl World {
    /// Another file is put in the place of the database, while nothing runs; the notes
    /// beside it stay.
    pub(super) fn replace_file(&mut self, node: usize) {
        let len = u64::try_from(self.nodes[node].disk.content.len()).expect("few");
        if len == 0 || self.bucket.newest().is_none() {
            return;
        }
        let content = match self.dice.roll(2) {
            0 => {
                self.say(|| format!("node {node} has an older copy"));
                let left = usize::try_from(1 + self.dice.roll(len)).expect("few");
                Content::new(self.nodes[node].disk.content[..left].to_vec())
            }
            _ => {
                self.say(|| format!("node {node} has another database"));
                self.strange_content(len)
            }
        };
        self.nodes[node].mirror = Default::default();
        let disk = &mut self.nodes[node].disk;
        (disk.content, disk.is_known, disk.restored_to) = (content, false, None);
    }

    /// The same while it is replicated: by its own maintenance, with the same commits, or by a
    /// stranger.
    pub(super) fn replace_running(&mut self, node: usize) {
        let this = &self.nodes[node];
        let len = u64::try_from(this.disk.content.len()).expect("few");
        let is_running = this.process.as_ref().is_some_and(|process| process.was_opened && !process.has_stopped);
        if len == 0 || !is_running || this.is_replaced() || self.bucket.newest().is_none() {
            return;
        }
        let content = match self.dice.roll(3) {
            0 => self.strange_content(len),
            _ => this.disk.content.clone(),
        };
        self.callers.forget_promises(node);
        let missing_until = self.now_ms + self.dice.roll(7000);
        let in_use_until = missing_until + self.dice.roll(3) * self.dice.roll(5000);
        let busy_until = in_use_until + self.dice.roll(2) * self.dice.roll(5000);
        self.say(|| format!("the database of node {node} is replaced"));
        self.nodes[node]
            .replace_running(content, Replaced { missing_until, in_use_until, busy_until, is_closed: false });
    }

    fn strange_content(&mut self, len: u64) -> Content {
        let first = self.commits + 1;
        self.commits += 1 + u32::try_from(self.dice.roll(2 * len)).expect("few");
        self.oracle.strange.extend(first..=self.commits);
        Content::new((first..=self.commits).collect())
    }

    /// A database is copied there, which takes a while, or never ends.
    pub(super) fn copy_begins(&mut self, node: usize) {
        if self.nodes[node].disk.file != File::Missing {
            return;
        }
        self.say(|| format!("a database is being copied to node {node}"));
        self.nodes[node].disk.file = File::Part(1);
        let more = self.dice.roll(10);
        self.later(500, Due::Copied { node, more });
    }

    pub(super) fn copied(&mut self, node: usize, more: u64) -> Result<(), Violation> {
        let File::Part(len) = self.nodes[node].disk.file else { return Ok(()) };
        match more {
            // It was broken off.
            9 => {}
            0 => {
                if let Some((_, newest)) = self.bucket.newest() {
                    self.nodes[node].disk.content = newest.content.clone();
                }
                self.nodes[node].disk.file = File::Database;
            }
            more => {
                self.nodes[node].disk.file = File::Part(len + 1);
                self.later(1000, Due::Copied { node, more: more - 1 });
            }
        }
        self.tell_opening(node, Event::Woke)
    }
}
