//! How often the replica is asked whether there is something new.
//!
//! Every time costs a request, and most replicas are quiet most of the time. So after a minute or
//! so without news the pauses grow, up to five intervals, and the first news brings them back.

use std::time::Duration;

/// So many times without news come at the usual pace.
const PATIENT_FOR: u32 = 60;
const SLOWEST: u32 = 5;
/// Level 0 alone does not show everything: each so many times the whole replica is listed.
const WHOLE_EVERY: u32 = 60;

#[derive(Clone, Debug)]
pub struct Pace {
    interval: Duration,
    quiet: u32,
}

impl Pace {
    pub fn new(interval: Duration) -> Pace {
        Pace { interval, quiet: 0 }
    }

    pub fn interval(&self) -> Duration {
        self.interval
    }

    pub fn news(&mut self) {
        self.quiet = 0;
    }

    /// Nothing new: how long to wait.
    pub fn quiet(&mut self) -> Duration {
        self.quiet = self.quiet.saturating_add(1);
        let slower = 1 + self.quiet.saturating_sub(PATIENT_FOR) / 15;
        self.interval * slower.min(SLOWEST)
    }

    /// Whether it is time to look at everything.
    pub fn wants_whole(&self) -> bool {
        self.quiet % WHOLE_EVERY == WHOLE_EVERY - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_while_nothing_is_new() {
        let mut pace = Pace::new(Duration::from_secs(1));
        let pauses: Vec<u64> = (0..200).map(|_| pace.quiet().as_secs()).collect();
        assert!(pauses[..60].iter().all(|pause| *pause == 1) && pauses.is_sorted());
        assert_eq!((pauses[80], pauses[199]), (2, 5));
        pace.news();
        assert_eq!(pace.quiet(), Duration::from_secs(1));
        let whole = (0..120)
            .filter(|_| {
                pace.quiet();
                pace.wants_whole()
            })
            .count();
        assert_eq!(whole, 2);
    }
}
