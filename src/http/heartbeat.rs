//! The heartbeat: a GET that an external monitor waits for. It is sent only while every database is
//! safe, so that its absence reports a problem.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::facts::Facts;
use super::health;
use super::server::Source;
use crate::clock::Clock;
use crate::store::s3::visit;

/// How often the condition is checked; also the pause after a heartbeat that did not arrive.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Time until the first one. It is short, because a deployment may wait for it.
const FIRST_LOOKS: Duration = Duration::from_secs(1);
const FIRST_TIME: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Heartbeat {
    /// The URL may contain a secret.
    pub url: Url,
    pub interval: Duration,
    /// No commit may be older than this.
    pub limit: Duration,
}

/// When to check, and whether to send.
#[derive(Debug)]
struct Schedule {
    began: Instant,
    interval: Duration,
    /// When the next one is due.
    due: Instant,
    was_sent: bool,
}

impl Schedule {
    fn new(interval: Duration, now: Instant) -> Schedule {
        Schedule { began: now, interval, due: now, was_sent: false }
    }

    fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// Records that one was sent, and whether it arrived.
    fn sent(&mut self, arrived: bool, now: Instant) {
        self.was_sent = true;
        self.due = now + if arrived { self.interval } else { LOOK_EVERY };
    }

    /// Not safe yet, and too soon to log that.
    fn is_new(&self, now: Instant) -> bool {
        !self.was_sent && now < self.began + FIRST_TIME
    }

    fn next_look(&self, now: Instant) -> Instant {
        let pause = if self.is_new(now) { FIRST_LOOKS } else { LOOK_EVERY };
        (now + pause).max(self.due)
    }
}

/// Sends heartbeats. Never returns.
pub async fn beat<S: Source>(heartbeat: &Heartbeat, source: &S, clock: Clock) -> Infallible {
    let Heartbeat { url, interval, limit } = heartbeat;
    let host = url.host_str().unwrap_or_default();
    let mut schedule = Schedule::new(*interval, clock.instant());
    let (mut is_held_back, mut has_failed) = (false, false);
    loop {
        if schedule.is_due(clock.instant()) {
            let facts: Facts = source.facts(false).await;
            let is_safe = health::is_safe(&facts, *limit);
            if !schedule.is_new(clock.instant()) && is_held_back == is_safe {
                is_held_back = !is_safe;
                match is_safe {
                    true => tracing::info!("every database is safe again: the heartbeat goes on"),
                    false => tracing::warn!("no heartbeat is sent: {}", health::in_a_line(&facts)),
                }
            }
            if is_safe {
                let sent = visit(url).await;
                schedule.sent(sent.is_ok(), clock.instant());
                match sent {
                    Ok(()) if std::mem::replace(&mut has_failed, false) => {
                        tracing::info!("the heartbeat to {host} arrives again");
                    }
                    Ok(()) => tracing::debug!("the heartbeat to {host} was sent"),
                    Err(error) if std::mem::replace(&mut has_failed, true) => tracing::debug!("{host}: {error}"),
                    Err(error) => {
                        tracing::warn!(
                            "the heartbeat to {host} was not sent: {error}; trying again every {LOOK_EVERY:?}"
                        );
                    }
                }
            }
        }
        tokio::time::sleep_until(schedule.next_look(clock.instant())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_sent_at_once_then_by_the_interval_and_sooner_after_a_failure() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut schedule = Schedule::new(Duration::from_secs(300), start);
        assert!(schedule.is_due(start));
        assert_eq!(schedule.next_look(at(3)), at(4), "nothing was safe yet");
        assert_eq!(schedule.next_look(at(60)), at(75), "nor soon");
        schedule.sent(true, at(5));
        assert!(!schedule.is_due(at(304)) && schedule.is_due(at(305)));
        assert_eq!(schedule.next_look(at(5)), at(305));
        schedule.sent(false, at(305));
        assert_eq!(schedule.next_look(at(305)), at(320));
        assert_eq!(schedule.next_look(at(400)), at(415), "held back");
    }
}
