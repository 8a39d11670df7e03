//! When the next upload may begin. Pure: `now` is an argument.
//!
//! A quiet application's commit leaves at once. Under sustained writes uploads settle at one per `sync-interval`, which is what
//! Litestream's users pay for today. In between lies a small allowance: up to [`BURST`] uploads that were not made earlier may
//! be made early, a tenth of the interval apart.

use std::time::Duration;

use tokio::time::Instant;

/// Uploads that a quiet time saves up.
const BURST: u32 = 10;

#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// The allowance is full when this moment has come; each upload moves it on by one interval.
    full_at: Option<Instant>,
    last: Option<Instant>,
}

impl Pace {
    /// `interval` zero means no limit at all.
    pub fn new(interval: Duration) -> Pace {
        Pace { interval, full_at: None, last: None }
    }

    /// The earliest moment at which the next upload may begin.
    pub fn next_at(&self, now: Instant) -> Instant {
        let (Some(full_at), Some(last)) = (self.full_at, self.last) else { return now };
        let allowance = self.interval * (BURST - 1);
        let by_rate = full_at.checked_sub(allowance).unwrap_or(now);
        let by_spacing = last + self.interval / BURST;
        now.max(by_rate).max(by_spacing)
    }

    /// An upload begins.
    pub fn begin(&mut self, now: Instant) {
        self.full_at = Some(self.full_at.unwrap_or(now).max(now) + self.interval);
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments (ms after the start) at which a writer that always has something uploads.
    fn greedy(interval_ms: u64, uploads: usize) -> Vec<u64> {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(interval_ms));
        let mut now = start;
        (0..uploads)
            .map(|_| {
                now = pace.next_at(now);
                pace.begin(now);
                u64::try_from((now - start).as_millis()).expect("small")
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_one_per_interval() {
        let moments = greedy(1000, 30);
        assert_eq!(moments[0], 0);
        assert_eq!(moments[1], 100);
        assert!(moments[9] < 1000, "the burst is spent within an interval: {moments:?}");
        let settled: Vec<u64> = moments.windows(2).skip(12).map(|pair| pair[1] - pair[0]).collect();
        assert!(settled.iter().all(|&gap| gap == 1000), "{moments:?}");
        assert!(moments[29] >= 20_000, "on average not more than one per second: {moments:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_writer_is_never_kept_waiting() {
        let mut pace = Pace::new(Duration::from_secs(1));
        let mut now = Instant::now();
        for _ in 0..50 {
            assert_eq!(pace.next_at(now), now);
            pace.begin(now);
            now += Duration::from_secs(2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn zero_means_back_to_back() {
        assert_eq!(greedy(0, 100), vec![0; 100]);
    }
}
