//! What to say, and when to try again, while the bucket does not take uploads. Pure: `now` is an argument.
//!
//! The first failure is said at once, then once a minute with the age of the oldest commit that is not safe, and the end of the
//! outage is said too. Retries never stop while the application runs.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Backoff, Dice};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const PAUSE_CAP: Duration = Duration::from_secs(30);
const SAY_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Outage {
    since: Option<Instant>,
    last_said: Option<Instant>,
    backoff: Backoff,
}

/// What a failure calls for.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Say it now, with how long the outage lasts already.
    pub say: Option<Duration>,
    pub pause: Duration,
}

impl Outage {
    pub fn new() -> Outage {
        Outage { since: None, last_said: None, backoff: Backoff::new(FIRST_PAUSE, PAUSE_CAP) }
    }

    pub fn failed(&mut self, now: Instant, dice: &mut Dice) -> Failure {
        let since = *self.since.get_or_insert(now);
        let due = self.last_said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_EVERY);
        if due {
            self.last_said = Some(now);
        }
        Failure { say: due.then(|| now.saturating_duration_since(since)), pause: self.backoff.next_pause(dice) }
    }

    /// An operation succeeded; `Some` is the length of the outage that this ends.
    pub fn ended(&mut self, now: Instant) -> Option<Duration> {
        self.last_said = None;
        self.backoff.reset();
        self.since.take().map(|since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_at_once_then_every_minute_and_at_the_end() {
        let mut dice = Dice::from_env();
        let mut outage = Outage::new();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let said: Vec<u64> = (0..=200).filter(|&s| outage.failed(at(s), &mut dice).say.is_some()).collect();
        assert_eq!(said, [0, 60, 120, 180]);
        assert_eq!(outage.ended(at(201)), Some(Duration::from_secs(201)));
        assert_eq!(outage.ended(at(202)), None);
        assert_eq!(outage.failed(at(203), &mut dice).say, Some(Duration::ZERO), "a new outage is said at once");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_their_cap() {
        let mut dice = Dice::from_env();
        let mut outage = Outage::new();
        let now = Instant::now();
        let pauses: Vec<Duration> = (0..20).map(|_| outage.failed(now, &mut dice).pause).collect();
        assert!(pauses[0] <= FIRST_PAUSE);
        assert!(pauses[19] >= PAUSE_CAP / 2 && pauses[19] <= PAUSE_CAP);
    }
}
