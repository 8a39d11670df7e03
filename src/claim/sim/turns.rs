//! What happens to containers and to the bucket, and how a history ends.

use std::time::Duration;

use super::container::At;
use super::oracle;
use super::world::{GIVEN_UP_MS, LATE_MS, MINUTE_MS, World};
use crate::claim::core::{Access, Event, Stop};

const TURNS: u64 = 24;
const CONTAINERS_MAX: usize = 5;

impl World {
    pub fn run(&mut self) -> Result<(), String> {
        self.deploy(false)?;
        for _ in 0..TURNS {
            self.happen()?;
            let pause = 1 << self.dice.roll(17);
            self.go_on_for(pause)?;
        }
        self.end_in_peace()
    }

    fn happen(&mut self) -> Result<(), String> {
        let at = self.dice.roll(self.containers.len() as u64) as At;
        match self.dice.roll(20) {
            0..3 => self.deploy_another()?,
            3 | 4 => self.kill(at),
            5 | 6 => self.end(at)?,
            7 => self.start_again(at)?,
            8 | 9 => {
                let pause = self.dice.roll(90_000);
                self.pause(at, pause);
            }
            10 => self.partition(at, true),
            11 => (0..self.containers.len()).for_each(|at| self.partition(at, false)),
            12 => self.set_weather(20, 500),
            13 => self.set_weather(60, 2000),
            14 => self.set_weather(0, 50),
            15 => self.containers[at].clock.wall_ms += self.dice.roll(7_200_000) as i64 - 3_600_000,
            16 if self.dice.roll(3) == 0 => {
                self.say(|| format!("{at}: its machine is gone"));
                self.kill(at);
                (self.containers[at].is_lost, self.containers[at].is_wanted) = (true, false);
            }
            18 => self.deny(at),
            17 => self.containers[at].is_broken = false,
            _ => {}
        }
        Ok(())
    }

    /// As a deploy tool does it: one more, and sometimes the others are told to end.
    fn deploy_another(&mut self) -> Result<(), String> {
        if self.containers.len() < CONTAINERS_MAX {
            let is_broken = self.dice.roll(4) == 0;
            self.deploy(is_broken)?;
            if self.dice.roll(3) == 0 {
                let pause = self.dice.roll(20_000);
                self.go_on_for(pause)?;
                for at in 0..self.containers.len() - 1 {
                    self.end(at)?;
                }
            }
        }
        Ok(())
    }

    fn start_again(&mut self, at: At) -> Result<(), String> {
        let container = &mut self.containers[at];
        if container.process.is_some() || container.is_lost || container.is_wanted {
            return Ok(());
        }
        container.is_wanted = true;
        self.start(at)
    }

    pub fn kill(&mut self, at: At) {
        if self.containers[at].process.take().is_some() {
            self.say(|| format!("{at}: killed"));
            self.containers[at].impaired_ms = self.now_ms;
            self.has_ended(at);
        }
    }

    fn end(&mut self, at: At) -> Result<(), String> {
        let container = &mut self.containers[at];
        if !std::mem::take(&mut container.is_wanted) || container.process.is_none() {
            return Ok(());
        }
        self.say(|| format!("{at}: is told to end"));
        let deadline = self.now(at).instant + Duration::from_secs(10);
        self.tell(at, Event::Stop(Stop { deadline, failed: false }))
    }

    pub fn pause(&mut self, at: At, pause_ms: u64) {
        self.say(|| format!("{at}: is paused for {pause_ms} ms"));
        let until = self.now_ms + pause_ms;
        let container = &mut self.containers[at];
        container.paused_until = container.paused_until.max(until);
        container.impaired_ms = container.impaired_ms.max(until + GIVEN_UP_MS);
    }

    fn partition(&mut self, at: At, is_partitioned: bool) {
        let container = &mut self.containers[at];
        if container.is_partitioned != is_partitioned {
            container.is_partitioned = is_partitioned;
            container.impaired_ms = container.impaired_ms.max(self.now_ms + LATE_MS);
            self.say(|| format!("{at}: {} the bucket", if is_partitioned { "cannot reach" } else { "reaches" }));
        }
    }

    /// Its keys may not read claims, or not create any, from now on; or they may again.
    fn deny(&mut self, at: At) {
        let denied = [None, Some(Access::Read), Some(Access::Create)][self.dice.roll(3) as usize];
        self.permit(at, denied);
    }

    fn permit(&mut self, at: At, denied: Option<Access>) {
        let container = &mut self.containers[at];
        if container.denied != denied {
            container.denied = denied;
            container.impaired_ms = container.impaired_ms.max(self.now_ms + LATE_MS);
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
        self.set_weather(0, 50);
        self.commit_every_ms = 20_000;
        for at in 0..self.containers.len() {
            self.partition(at, false);
            self.permit(at, None);
            self.containers[at].paused_until = self.now_ms;
        }
        if !self.containers.iter().any(|container| container.is_wanted && !container.is_broken) {
            self.deploy(false)?;
        }
        self.rest(&[8 * MINUTE_MS, 60 * MINUTE_MS])
    }

    /// Until nothing changes any more, at the latest after the last of these times.
    pub fn rest(&mut self, times_ms: &[u64]) -> Result<(), String> {
        self.say(|| "peace".into());
        let mut is_at_rest = Ok(());
        for time_ms in times_ms {
            self.go_on_for(time_ms - 4 * MINUTE_MS)?;
            let before = self.claims_made;
            self.go_on_for(4 * MINUTE_MS)?;
            is_at_rest = oracle::at_rest(self, before);
            if is_at_rest.is_ok() {
                break;
            }
        }
        is_at_rest
    }
}
