//! What to say, and when to try again, while the bucket does not take uploads. Pure: `now` is an
//! argument.
//!
//! The first failure is said at once, then once a minute with the age of the oldest commit that is
//! not safe, and the end of the outage is said too. Retries never stop while the application runs:
//! every few seconds where the store does not answer, so that catching up begins soon after it is
//! back; less often where it refuses, which time alone does not cure.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Backoff, Dice};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const PAUSE_CAP: Duration = Duration::from_secs(4);
const PAUSE_CAP_REFUSED: Duration = Duration::from_secs(30);
const SAY_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Outage {
    since: Option<Instant>,
    last_said: Option<Instant>,
    backoff: Backoff,
    refused: Backoff,
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
        let [backoff, refused] = [PAUSE_CAP, PAUSE_CAP_REFUSED].map(|cap| Backoff::new(FIRST_PAUSE, cap));
        Outage { since: None, last_said: None, backoff, refused }
    }

    /// `may_pass`: time alone may cure it.
    pub fn failed(&mut self, now: Instant, may_pass: bool, dice: &mut Dice) -> Failure {
        let since = *self.since.get_or_insert(now);
        let pause = if may_pass { &mut self.backoff } else { &mut self.refused }.next_pause(dice);
        // Rather a little early than at the failure after this one.
        let due = self.last_said.is_none_or(|said| (now + pause).saturating_duration_since(said) > SAY_EVERY);
        if due {
            self.last_said = Some(now);
        }
        Failure { say: due.then(|| now.saturating_duration_since(since)), pause }
    }

    /// When it began, if there is one.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// An operation succeeded; `Some` is the length of the outage that this ends.
    pub fn ended(&mut self, now: Instant) -> Option<Duration> {
        self.last_said = None;
        self.backoff.reset();
        self.refused.reset();
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
        let mut said = Vec::new();
        for second in 0..=200 {
            said.extend(outage.failed(at(second), true, &mut dice).say.map(|lasted| lasted.as_secs()));
        }
        assert_eq!((said[0], said.len()), (0, 4), "{said:?}");
        assert!(said.windows(2).all(|pair| (55..=60).contains(&(pair[1] - pair[0]))), "{said:?}");
        assert_eq!(outage.ended(at(201)), Some(Duration::from_secs(201)));
        assert_eq!(outage.ended(at(202)), None);
        assert_eq!(outage.failed(at(203), true, &mut dice).say, Some(Duration::ZERO), "a new outage is said at once");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_probed_every_few_seconds_and_a_refusal_less_often() {
        for (may_pass, cap) in [(true, PAUSE_CAP), (false, PAUSE_CAP_REFUSED)] {
            let (mut outage, mut dice) = (Outage::new(), Dice::from_env());
            let now = Instant::now();
            let pauses: Vec<Duration> = (0..20).map(|_| outage.failed(now, may_pass, &mut dice).pause).collect();
            assert!(pauses[0] <= FIRST_PAUSE);
            assert!(pauses[19] >= cap / 2 && pauses[19] <= cap);
        }
    }
}
