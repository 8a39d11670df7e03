//! When what the copy shows was the newest state for the last time, by the listings.

use tokio::time::Instant;

use super::Core;
use crate::clock::Now;

#[derive(Clone, Debug, Default)]
pub struct Current {
    at: Option<Instant>,
    /// The listing that is under way, or was the last.
    asked_at: Option<Instant>,
    /// The same of the one whose files are being installed.
    after_install: Option<Instant>,
    /// It goes on from a state that is known; else the copy may go back.
    goes_on: bool,
}

impl Current {
    /// For a listing: it shows at least what there is now.
    pub fn asks(&mut self, now: Now) {
        self.asked_at = Some(now.instant);
    }

    /// It shows nothing else.
    pub fn is_at_end(&mut self) {
        self.at = self.asked_at;
    }

    /// Files of it are installed; `is_all`: there are no others.
    pub fn installs(&mut self, is_all: bool, goes_on: bool) {
        self.goes_on = goes_on;
        self.after_install = self.asked_at.filter(|_| is_all);
    }

    /// Whether it is everything that the listing has shown.
    pub fn installed(&mut self) -> bool {
        let all = self.after_install.take();
        self.at = all.or(self.at.filter(|_| self.goes_on));
        all.is_some()
    }
}

impl Core {
    /// The request to catch up since which everything is installed.
    pub fn caught_up(&self) -> u64 {
        self.caught_up
    }

    /// What a primary pushes between two listings does not count: a push can be lost unseen.
    pub fn current_at(&self) -> Option<Instant> {
        self.position().and(self.current.at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::MACHINE;

    #[tokio::test(start_paused = true)]
    async fn only_what_is_installed_counts() {
        let start = MACHINE.now();
        let at = |seconds| Now { instant: start.instant + Duration::from_secs(seconds), ..start };
        let mut current = Current::default();
        current.asks(at(1));
        current.installs(true, true);
        assert_eq!(current.at, None, "it is under way");
        current.installed();
        assert_eq!(current.at, Some(at(1).instant));
        current.asks(at(2));
        current.installs(false, true);
        current.installed();
        assert_eq!(current.at, Some(at(1).instant), "there is more");
        current.asks(at(3));
        current.is_at_end();
        assert_eq!(current.at, Some(at(3).instant));
        current.installs(false, false);
        current.installed();
        assert_eq!(current.at, None, "it has gone back");
    }
}
