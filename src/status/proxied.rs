//! What becomes of the requests to the proxy: counted by it, shown on the pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyOutcome {
    /// By the application of this node.
    Passed,
    /// By the proxy of the primary.
    Forwarded,
    /// Not, because no application was there for as long as it may be held.
    TooLate,
    /// The same, because the databases did not show what the client had written.
    Behind,
    /// Not, because as many as may be were held already.
    Full,
    /// Not, because this program ends.
    Ending,
    /// The application or the primary did not answer.
    Failed,
    /// By the application, and the bucket did not confirm in time what it had committed.
    NotUploaded,
}

impl ProxyOutcome {
    pub const ALL: [ProxyOutcome; 8] = [
        ProxyOutcome::Passed,
        ProxyOutcome::Forwarded,
        ProxyOutcome::TooLate,
        ProxyOutcome::Behind,
        ProxyOutcome::Full,
        ProxyOutcome::Ending,
        ProxyOutcome::Failed,
        ProxyOutcome::NotUploaded,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            ProxyOutcome::Passed => "passed",
            ProxyOutcome::Forwarded => "forwarded",
            ProxyOutcome::TooLate => "too_late",
            ProxyOutcome::Behind => "behind",
            ProxyOutcome::Full => "full",
            ProxyOutcome::Ending => "ending",
            ProxyOutcome::Failed => "failed",
            ProxyOutcome::NotUploaded => "not_uploaded",
        }
    }
}

/// Counts.
#[derive(Clone, Debug, Default)]
pub struct ProxyCounts(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    outcomes: [AtomicU64; ProxyOutcome::ALL.len()],
    held: Waits,
    uploads: Waits,
}

/// What waits, and what has waited.
#[derive(Debug, Default)]
struct Waits {
    begun: AtomicU64,
    ended: AtomicU64,
    micros: AtomicU64,
}

/// One that waits, until this is dropped.
#[derive(Debug)]
pub struct Waiter {
    counters: Arc<Counters>,
    waits: fn(&Counters) -> &Waits,
    since: Instant,
    clock: Clock,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proxied {
    pub outcomes: [u64; ProxyOutcome::ALL.len()],
    /// Those that were held until an application was there.
    pub held: Waited,
    /// Responses that were held until the bucket had what was committed.
    pub uploads: Waited,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    pub now: u64,
    /// Those that do not wait any more, and how long they did together.
    pub ended: u64,
    pub took: Duration,
}

impl ProxyCounts {
    pub fn count(&self, outcome: ProxyOutcome) {
        self.0.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    /// A request is held.
    pub fn hold(&self, clock: Clock) -> Waiter {
        self.wait(|counters| &counters.held, clock)
    }

    /// A response waits for an upload.
    pub fn wait_for_upload(&self, clock: Clock) -> Waiter {
        self.wait(|counters| &counters.uploads, clock)
    }

    fn wait(&self, waits: fn(&Counters) -> &Waits, clock: Clock) -> Waiter {
        waits(&self.0).begun.fetch_add(1, Relaxed);
        Waiter { counters: self.0.clone(), waits, since: clock.instant(), clock }
    }

    pub fn now(&self) -> Proxied {
        Proxied {
            outcomes: ProxyOutcome::ALL.map(|outcome| self.0.outcomes[outcome as usize].load(Relaxed)),
            held: self.0.held.now(),
            uploads: self.0.uploads.now(),
        }
    }
}

impl Waits {
    fn now(&self) -> Waited {
        // In this order more may have ended than had begun, and not the other way round.
        let begun = self.begun.load(Relaxed);
        let ended = self.ended.load(Relaxed);
        let took = Duration::from_micros(self.micros.load(Relaxed));
        Waited { now: begun.saturating_sub(ended), ended, took }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let waits = (self.waits)(&self.counters);
        let took = self.clock.instant().saturating_duration_since(self.since);
        waits.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        waits.ended.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MACHINE;

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_counted_until_it_does_not() {
        let counts = ProxyCounts::default();
        let (held, other) = (counts.hold(MACHINE), counts.hold(MACHINE));
        tokio::time::advance(Duration::from_millis(1500)).await;
        drop(held);
        let upload = counts.wait_for_upload(MACHINE);
        counts.count(ProxyOutcome::NotUploaded);
        let now = counts.now();
        let took = Duration::from_millis(1500);
        assert_eq!(now.held, Waited { now: 1, ended: 1, took });
        assert_eq!(now.uploads, Waited { now: 1, ended: 0, took: Duration::ZERO });
        assert_eq!(now.outcomes.iter().sum::<u64>(), 1);
        drop((other, upload));
        assert_eq!((counts.now().held.now, counts.now().uploads.ended), (0, 1));
    }
}
