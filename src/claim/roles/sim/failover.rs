//! How long it takes until another node writes, where nothing is wrong but that the primary was
//! killed.

use std::time::Duration;

use super::broken::Broken;
use super::node::At;
use super::world::{TTL_MS, World};

/// Beside its time to live.
const REPLACED_WITHIN_MS: u64 = 3_000;
const STEP_MS: u64 = 50;

impl World {
    /// The primary of a cluster that is well is killed, and its machine is lost.
    pub fn fail_over(&mut self) -> Result<Duration, String> {
        self.is_automatic = true;
        while self.nodes.len() < 3 || !self.nodes[1..].iter().any(|node| node.is_candidate) {
            self.add_node()?;
            let pause = self.dice.roll(20_000);
            self.go_on_for(pause)?;
        }
        // One that knows of no beat yet has to look at it for longer.
        let pause = 60_000 + self.dice.roll(20_000);
        self.go_on_for(pause)?;
        let primary = self.writer().ok_or("no node writes")?;
        self.nodes[primary].is_wanted = false;
        self.kill(primary);
        let killed_ms = self.now_ms;
        while self.writer().is_none() {
            self.go_on_for(STEP_MS)?;
            let took_ms = self.now_ms - killed_ms;
            if took_ms > TTL_MS + REPLACED_WITHIN_MS {
                return Err(format!("{took_ms} ms after {primary} was killed no other node writes"));
            }
        }
        Ok(Duration::from_millis(self.now_ms - killed_ms))
    }

    fn writer(&self) -> Option<At> {
        let writes = |at: &At| self.nodes[*at].process.as_ref().is_some_and(|process| process.writes);
        (0..self.nodes.len()).find(writes)
    }
}

/// `Err` is what does not hold.
pub fn simulate(seed: u64, broken: Option<Broken>) -> Result<Duration, String> {
    World::of_seed(seed, broken, false).fail_over()
}

/// What happened, and how it ended.
pub fn trace(seed: u64) -> String {
    let mut world = World::of_seed(seed, None, true);
    let end = world.fail_over();
    format!("{}\n{end:?}", world.trace.join("\n"))
}
