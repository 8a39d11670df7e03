//! What happens to nodes and to the bucket, and how a history ends.

use std::time::Duration;

use super::node::At;
use super::oracle;
use super::world::{GIVEN_UP_MS, LATE_MS, MINUTE_MS, World};
use crate::claim::core::Access;
use crate::claim::roles::core::{Event, Stop};

const TURNS: u64 = 24;
const NODES_MAX: usize = 4;

impl World {
    pub fn run(&mut self) -> Result<(), String> {
        for _ in 0..2 + self.dice.roll(2) {
            self.add_node()?;
            let pause = self.dice.roll(20_000);
            self.go_on_for(pause)?;
        }
        for _ in 0..TURNS {
            self.happen()?;
            let pause = 1 << self.dice.roll(18);
            self.go_on_for(pause)?;
        }
        self.end_in_peace()
    }

    fn happen(&mut self) -> Result<(), String> {
        let at = self.dice.roll(self.nodes.len() as u64) as At;
        match self.dice.roll(22) {
            0 if self.nodes.len() < NODES_MAX => self.add_node()?,
            1..4 => self.kill(at),
            4 | 5 => self.end(at)?,
            6 | 7 => self.start_again(at)?,
            8..10 => self.pause(at),
            10 | 11 => self.partition(at, true),
            12 => (0..self.nodes.len()).for_each(|at| {
                self.partition(at, false);
                self.block_uploads(at, false);
            }),
            13 => self.set_weather(20, 500),
            14 => self.set_weather(60, 2000),
            15 => self.set_weather(0, 50),
            16 => self.nodes[at].clock.wall_ms += self.dice.roll(7_200_000) as i64 - 3_600_000,
            17 | 18 => self.order(at, Event::Promote)?,
            19 => {
                let to = self.dice.roll(self.nodes.len() as u64 + 1) as At;
                let to = self.nodes.get(to).map(|node| node.instance.clone());
                self.order(at, Event::HandOver(to))?;
            }
            20 => {
                let denied = [None, Some(Access::Read), Some(Access::Create)][self.dice.roll(3) as usize];
                self.permit(at, denied);
            }
            21 => self.block_uploads(at, true),
            _ => {}
        }
        Ok(())
    }

    fn block_uploads(&mut self, at: At, cannot_upload: bool) {
        let node = &mut self.nodes[at];
        if node.cannot_upload != cannot_upload {
            node.cannot_upload = cannot_upload;
            node.impaired_ms = node.impaired_ms.max(self.now_ms);
            self.say(|| format!("{at}: cannot upload: {cannot_upload}"));
        }
    }

    fn order(&mut self, at: At, event: Event) -> Result<(), String> {
        match self.nodes[at].process.is_some() && self.nodes[at].paused_until <= self.now_ms {
            true => self.tell(at, event),
            false => Ok(()),
        }
    }

    fn start_again(&mut self, at: At) -> Result<(), String> {
        let node = &mut self.nodes[at];
        if node.process.is_some() || node.is_wanted {
            return Ok(());
        }
        node.is_wanted = true;
        self.start(at)
    }

    pub fn kill(&mut self, at: At) {
        if self.nodes[at].process.is_some() {
            self.say(|| format!("{at}: killed"));
            self.nodes[at].impaired_ms = self.nodes[at].impaired_ms.max(self.now_ms);
            if self.dice.roll(4) == 0 {
                self.nodes[at].is_wanted = false;
            }
            self.has_ended(at);
            self.streams_end(at);
        }
    }

    fn end(&mut self, at: At) -> Result<(), String> {
        let node = &mut self.nodes[at];
        if !std::mem::take(&mut node.is_wanted) || node.process.is_none() {
            return Ok(());
        }
        self.say(|| format!("{at}: is told to end"));
        self.nodes[at].is_wanted = self.dice.roll(2) == 0;
        let deadline = self.now(at).instant + Duration::from_secs(10);
        self.tell(at, Event::Stop(Stop { deadline, failed: false }))
    }

    fn pause(&mut self, at: At) {
        let (pause_ms, app_goes_on) = (self.dice.roll(90_000), self.dice.roll(2) == 0);
        self.say(|| format!("{at}: is paused for {pause_ms} ms, its application: {}", !app_goes_on));
        let until = self.now_ms + pause_ms;
        let node = &mut self.nodes[at];
        node.paused_until = node.paused_until.max(until);
        node.app_goes_on = app_goes_on;
        node.stopped_ms = node.paused_until;
        node.impaired_ms = node.impaired_ms.max(node.paused_until + GIVEN_UP_MS);
    }

    fn partition(&mut self, at: At, is_partitioned: bool) {
        let node = &mut self.nodes[at];
        if node.is_partitioned != is_partitioned {
            node.is_partitioned = is_partitioned;
            node.impaired_ms = node.impaired_ms.max(self.now_ms + LATE_MS);
            self.streams_end(at);
            self.say(|| format!("{at}: {} the bucket", if is_partitioned { "cannot reach" } else { "reaches" }));
        }
    }

    fn permit(&mut self, at: At, denied: Option<Access>) {
        let node = &mut self.nodes[at];
        if node.denied != denied {
            node.denied = denied;
            node.impaired_ms = node.impaired_ms.max(self.now_ms + LATE_MS);
            self.say(|| format!("{at}: is denied {denied:?}"));
        }
    }

    fn set_weather(&mut self, faults: u64, latency_ms: u64) {
        if self.faults > 0 || faults > 0 {
            self.bad_ms = if faults > 0 { u64::MAX } else { self.now_ms + LATE_MS };
        }
        (self.faults, self.latency_ms) = (faults, latency_ms);
        self.say(|| format!("{faults} of 100 requests fail, {latency_ms} ms"));
    }

    fn end_in_peace(&mut self) -> Result<(), String> {
        self.say(|| "peace".into());
        self.set_weather(0, 50);
        self.commit_every_ms = 20_000;
        for at in 0..self.nodes.len() {
            self.partition(at, false);
            self.permit(at, None);
            self.block_uploads(at, false);
            self.nodes[at].paused_until = self.now_ms;
            self.nodes[at].restarts = 0;
            self.start_again(at)?;
            self.nodes[at].is_wanted = true;
        }
        self.go_on_for(4 * MINUTE_MS)?;
        let writes = self.nodes.iter().any(|node| node.process.as_ref().is_some_and(|process| process.writes));
        if !self.is_automatic && !writes {
            // As a person would do it.
            self.order(0, Event::Promote)?;
        }
        self.go_on_for(4 * MINUTE_MS)?;
        let before = self.claims_made;
        self.go_on_for(3 * MINUTE_MS)?;
        oracle::at_rest(self, before)
    }
}
