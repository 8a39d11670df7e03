//! When what the copy shows was the newest state for the last time, by the listings.

use tokio::time::Instant;

use super::Core;
use crate::clock::Now;

#[derive(Clone, Debug, Default)]
pub struct Current {
    at: Option<Instant>,
    /// The same, when the install that is under way has succeeded.
    after_install: Option<Instant>,
}

impl Current {
    /// A listing shows nothing else.
    pub fn is_at_end(&mut self, now: Now) {
        self.at = Some(now.instant);
    }

    /// Files of a listing are installed; `is_all`: there are no others.
    pub fn installs(&mut self, is_all: bool, now: Now) {
        self.after_install = is_all.then_some(now.instant);
    }

    pub fn installed(&mut self) {
        self.at = self.after_install.take().or(self.at);
    }
}

impl Core {
    /// The request to catch up since which everything is installed.
    pub fn caught_up(&self) -> u64 {
        self.caught_up
    }

    pub fn current_at(&self) -> Option<Instant> {
        self.current.at
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
        current.installs(true, at(1));
        assert_eq!(current.at, None, "it is under way");
        current.installed();
        assert_eq!(current.at, Some(at(1).instant));
        current.installs(false, at(2));
        current.installed();
        assert_eq!(current.at, Some(at(1).instant), "there is more");
        current.is_at_end(at(3));
        assert_eq!(current.at, Some(at(3).instant));
    }
}
