//! When the next upload may begin: `sync-interval` is an average, not a distance.
//!
//! A quiet application's commit leaves at once. Uploads that were not made are saved up, for an
//! hour at most, and may be made a tenth of the interval apart: minutes of writing after a rest
//! lose little at a crash, and only a writer that never rests settles at one upload per interval.
//! So the hourly number of requests has the ceiling that Litestream's users pay for today.

use std::time::Duration;

use tokio::time::Instant;

/// How long uploads that were not made are saved up.
const SAVED_FOR: Duration = Duration::from_secs(3600);
/// What a process begins with: it does not know what an earlier one has spent.
const SAVED_AT_START: Duration = Duration::from_secs(360);
/// The shortest distance of two uploads is this part of the interval.
const SPACING: u32 = 10;

#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// The moment up to which uploads are paid for, at one per interval; at most [`SAVED_FOR`] ago.
    paid_until: Option<Instant>,
    last: Option<Instant>,
}

impl Pace {
    /// `interval` zero means no limit at all.
    pub fn new(interval: Duration) -> Pace {
        Pace { interval, paid_until: None, last: None }
    }

    /// The earliest moment at which the next upload may begin.
    pub fn next_at(&self, now: Instant) -> Instant {
        let (Some(paid_until), Some(last)) = (self.paid_until, self.last) else { return now };
        now.max(paid_until).max(last + self.interval / SPACING)
    }

    /// An upload begins.
    pub fn begin(&mut self, now: Instant) {
        let saved = if self.paid_until.is_some() { SAVED_FOR } else { SAVED_AT_START };
        let oldest = now.checked_sub(saved).unwrap_or(now);
        self.paid_until = Some(self.paid_until.unwrap_or(oldest).max(oldest) + self.interval);
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

    #[test]
    fn what_was_saved_goes_at_a_tenth_then_one_per_interval() {
        let moments = greedy(1000, 600);
        assert_eq!(moments[..3], [0, 100, 200]);
        let saved = moments.windows(2).take_while(|pair| pair[1] - pair[0] == 100).count();
        assert!((380..=420).contains(&saved), "{saved} uploads were made early");
        let settled = moments.windows(2).skip(saved + 1).map(|pair| pair[1] - pair[0]);
        assert!(settled.clone().all(|gap| gap == 1000), "{:?}", settled.collect::<Vec<_>>());
    }

    /// The number of uploads in each hour that a writer makes which always has something, after a
    /// rest of so many hours.
    #[test]
    fn the_average_is_kept_whatever_was_saved() {
        let start = Instant::now();
        for rest_hours in [0, 1, 5] {
            let mut pace = Pace::new(Duration::from_secs(1));
            pace.begin(start);
            let mut now = start + Duration::from_secs(3600 * rest_hours);
            let began = now;
            let mut uploads = 0;
            while now < began + Duration::from_secs(7200) {
                now = pace.next_at(now);
                pace.begin(now);
                uploads += 1;
            }
            let saved = if rest_hours == 0 { 360 } else { 3600 };
            assert!(uploads <= 7200 + saved + 2, "{uploads} uploads in two hours after {rest_hours} of rest");
            assert!(uploads >= 7200, "{uploads}");
        }
    }

    #[test]
    fn a_quiet_writer_is_never_kept_waiting() {
        let mut pace = Pace::new(Duration::from_secs(1));
        let mut now = Instant::now();
        for _ in 0..50 {
            assert_eq!(pace.next_at(now), now);
            pace.begin(now);
            now += Duration::from_secs(2);
        }
    }

    #[test]
    fn zero_means_back_to_back() {
        assert_eq!(greedy(0, 100), vec![0; 100]);
    }
}
