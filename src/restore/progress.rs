//! How far a restore is, for whoever shows it. The engine counts; it never prints.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared counters; read them whenever it suits.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    done: Done,
    /// Plans that were begun.
    attempts: u64,
}

/// The counters at one moment. Totals are zero until the plan is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Bytes of LTX files read and decoded.
    pub bytes_done: u64,
    pub bytes_total: u64,
    /// Pages of the database written.
    pub pages_done: u64,
    pub pages_total: u64,
}

/// One plan that is carried out. What is still under way of an earlier one counts no more.
#[derive(Clone, Debug)]
pub struct Attempt {
    progress: Arc<Progress>,
    number: u64,
}

impl Progress {
    pub fn now(&self) -> Done {
        self.counted().done
    }

    /// A plan is about to be carried out, perhaps not the first one.
    pub(super) fn begin(self: &Arc<Progress>, bytes_total: u64, pages_total: u64) -> Attempt {
        let mut counted = self.counted();
        counted.attempts += 1;
        counted.done = Done { bytes_total, pages_total, ..Done::default() };
        Attempt { progress: self.clone(), number: counted.attempts }
    }

    /// Numbers are whole whatever happened to whoever held them.
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    pub(super) fn add(&self, bytes: u64, pages: u64) {
        let mut counted = self.progress.counted();
        if counted.attempts == self.number {
            counted.done.bytes_done += bytes;
            counted.done.pages_done += pages;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_was_given_up_counts_no_more() {
        let progress = Arc::new(Progress::default());
        let first = progress.begin(10, 5);
        first.add(4, 2);
        let second = progress.begin(20, 6);
        first.add(4, 2);
        second.add(1, 1);
        assert_eq!(progress.now(), Done { bytes_done: 1, bytes_total: 20, pages_done: 1, pages_total: 6 });
    }
}
