//! After a halt: the application runs on and nothing of it is replicated any more. That is said
//! again and again, until the end.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Stop;
use crate::clock::Clock;
use crate::db::Watch;
use crate::status::Status;

const SAY_EVERY: Duration = Duration::from_secs(60);

/// What there is to say, and when. Pure.
#[derive(Debug)]
struct Halt {
    began: Instant,
    /// Since when something is not in the replica.
    oldest: Option<Instant>,
    last_said: Instant,
}

impl Halt {
    fn new(now: Instant, unshipped_since: Option<Instant>) -> Halt {
        Halt { began: now, oldest: unshipped_since, last_said: now }
    }

    fn changed(&mut self, now: Instant) {
        self.oldest.get_or_insert(now);
    }

    fn next_at(&self) -> Instant {
        self.last_said + SAY_EVERY
    }

    fn say(&mut self, now: Instant, why: &str) -> String {
        self.last_said = now;
        let lasts = now.saturating_duration_since(self.began).as_secs();
        let oldest = match self.oldest {
            Some(at) => {
                let age = now.saturating_duration_since(at).as_secs();
                format!("the oldest commit that is not in the replica is {age} s old")
            }
            None => "nothing seems to have been committed since".into(),
        };
        format!("replication ended {lasts} s ago and the application runs on without it; {oldest}; {why}")
    }
}

/// Says it every minute until it is time to end.
pub(super) async fn keep_saying(
    name: &str,
    why: &str,
    status: &watch::Receiver<Status>,
    mut files: Watch,
    mut stop: watch::Receiver<Stop>,
    clock: Clock,
) {
    let mut halt = Halt::new(clock.instant(), status.borrow().unshipped_since);
    while stop.borrow_and_update().is_none() {
        tokio::select! {
            () = files.changed(), if halt.oldest.is_none() => halt.changed(clock.instant()),
            () = tokio::time::sleep_until(halt.next_at()) => {
                // Also where nothing is logged: the arguments of a line that is not written are not
                // evaluated.
                let text = halt.say(clock.instant(), why);
                tracing::error!(db = %name, "{text}");
            }
            changed = stop.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MACHINE;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_every_minute_with_the_age_of_the_oldest_commit() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut halt = Halt::new(start, None);
        assert_eq!(halt.next_at(), at(60));
        assert!(halt.say(at(60), "why").contains("nothing seems to have been committed"));
        halt.changed(at(70));
        halt.changed(at(90));
        assert_eq!(halt.next_at(), at(120));
        let said = halt.say(at(121), "because");
        assert!(
            said.contains("ended 121 s ago") && said.contains("is 51 s old") && said.ends_with("because"),
            "{said}"
        );
        assert!(Halt::new(at(10), Some(at(4))).say(at(70), "").contains("is 66 s old"));
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_it_is_time_to_end() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (stop, stopped) = watch::channel(None);
        let (_board, status) = crate::status::StatusWriter::new();
        let files = crate::db::Watches::start().watch(&dir.path().join("app.db"));
        let saying = tokio::spawn(async move { keep_saying("app.db", "why", &status, files, stopped, MACHINE).await });
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert!(!saying.is_finished());
        stop.send_replace(Some(Instant::now()));
        saying.await.expect("it ends");
    }
}
