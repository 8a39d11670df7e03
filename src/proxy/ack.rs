//! Responses that wait until the bucket has what was committed before them.
//!
//! All that wait share one upload: while one is under way, those that come wait for the next one,
//! which begins when it is over. So a busy application has one upload at a time, however many
//! requests there are.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::fleet::{FleetHandle, State};

/// Why it is not known to be in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotUploaded {
    Late(Duration),
    Failed(String),
}

/// Can bring everything that is committed now into the bucket.
pub trait Uploads: Send + 'static {
    fn upload(&self, by: Instant) -> BoxFuture<'static, Result<(), String>>;
}

impl Uploads for FleetHandle {
    fn upload(&self, by: Instant) -> BoxFuture<'static, Result<(), String>> {
        let fleet = self.clone();
        async move { upload_all(&fleet, by).await }.boxed()
    }
}

async fn upload_all(fleet: &FleetHandle, by: Instant) -> Result<(), String> {
    let views = fleet.databases().await.map_err(|error| error.to_string())?;
    let mut syncing = Vec::new();
    // Those without a replica were left out at the start, as the configuration has it.
    for view in views.into_iter().filter(|view| !view.replicas.is_empty()) {
        if matches!(view.state, State::Fenced | State::Halted { .. } | State::Stopped) {
            return Err(format!("{} is not replicated any more", view.path.display()));
        }
        syncing.push(fleet.sync(view.id, by).await.map_err(|error| error.to_string())?);
    }
    let done = join_all(syncing).await;
    done.into_iter().try_for_each(|done| done.map(drop)).map_err(|error| error.to_string())
}

type Ask = oneshot::Sender<Result<(), String>>;

/// Where the next upload is asked for.
pub struct Acks {
    asks: mpsc::UnboundedSender<Ask>,
    within: Duration,
}

impl Acks {
    /// The second part is the task that uploads, until the first is gone.
    pub fn new(uploads: impl Uploads, within: Duration, clock: Clock) -> (Acks, impl Future<Output = ()> + Send) {
        let (asks, asked) = mpsc::unbounded_channel();
        (Acks { asks, within }, share(uploads, asked, within, clock))
    }

    /// Waits until the bucket has everything that is committed now.
    pub async fn uploaded(&self) -> Result<(), NotUploaded> {
        let (ask, answer) = oneshot::channel();
        let ended = || NotUploaded::Failed("the program ends".into());
        self.asks.send(ask).map_err(|_| ended())?;
        match tokio::time::timeout(self.within, answer).await {
            Ok(answer) => answer.map_err(|_| ended())?.map_err(NotUploaded::Failed),
            Err(_) => Err(NotUploaded::Late(self.within)),
        }
    }
}

async fn share(uploads: impl Uploads, mut asked: mpsc::UnboundedReceiver<Ask>, within: Duration, clock: Clock) {
    let mut waiting = Vec::new();
    while asked.recv_many(&mut waiting, usize::MAX).await > 0 {
        // Who has gone away meanwhile needs none.
        waiting.retain(|ask| !ask.is_closed());
        if waiting.is_empty() {
            continue;
        }
        let done = uploads.upload(clock.instant() + within).await;
        for ask in waiting.drain(..) {
            let _ = ask.send(done.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::clock::MACHINE;

    const WITHIN: Duration = Duration::from_secs(30);

    /// An upload takes until the test permits its end.
    struct Slow {
        begun: Arc<AtomicUsize>,
        permits: Arc<Semaphore>,
    }

    impl Uploads for Slow {
        fn upload(&self, _: Instant) -> BoxFuture<'static, Result<(), String>> {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let permits = self.permits.clone();
            async move {
                permits.acquire().await.expect("never closed").forget();
                if number == 3 { Err("refused".into()) } else { Ok(()) }
            }
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_upload_serves_all_that_came_before_it_began() {
        let (begun, permits) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let slow = Slow { begun: begun.clone(), permits: permits.clone() };
        let (acks, task) = Acks::new(slow, WITHIN, MACHINE);
        tokio::spawn(task);
        let acks = Arc::new(acks);
        let ask = || {
            let acks = acks.clone();
            tokio::spawn(async move { acks.uploaded().await })
        };
        let settle = || tokio::time::sleep(Duration::from_millis(1));
        let first = ask();
        settle().await;
        let rest: Vec<_> = (0..10).map(|_| ask()).collect();
        settle().await;
        assert_eq!(begun.load(Ordering::SeqCst), 1, "one at a time");
        permits.add_permits(1);
        assert_eq!(first.await.expect("no panic"), Ok(()));
        settle().await;
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        assert!(rest.iter().all(|ask| !ask.is_finished()), "the first one began before they came");
        permits.add_permits(1);
        for ask in rest {
            assert_eq!(ask.await.expect("no panic"), Ok(()));
        }
        assert_eq!(begun.load(Ordering::SeqCst), 2, "they share one");
        permits.add_permits(1);
        assert_eq!(ask().await.expect("no panic"), Err(NotUploaded::Failed("refused".into())));
        assert_eq!(ask().await.expect("no panic"), Err(NotUploaded::Late(WITHIN)), "this one hangs");
    }
}
