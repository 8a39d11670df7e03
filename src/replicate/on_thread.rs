//! A value that is worked with on the threads for blocking work.
//!
//! SQLite and files block, so whatever touches them runs there. The value stays with its owner
//! meanwhile: if the owner's future is dropped in the middle, the thread ends its piece of work,
//! and the next piece waits for it on a thread too. The lock is never contended otherwise: a
//! database has one lane.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinError;

pub(super) struct OnThread<T>(Arc<Mutex<T>>);

impl<T: Send + 'static> OnThread<T> {
    pub fn new(value: T) -> OnThread<T> {
        OnThread(Arc::new(Mutex::new(value)))
    }

    /// Runs blocking work with the value.
    pub fn with<R: Send + 'static, W: FnOnce(&mut T) -> R + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = R> + Send + use<T, R, W> {
        let value = self.0.clone();
        let task = tokio::task::spawn_blocking(move || work(&mut lock(&value)));
        outcome(task)
    }

    /// For a glimpse or a word: no I/O may be done with it.
    pub fn here(&self) -> MutexGuard<'_, T> {
        lock(&self.0)
    }
}

/// A panic in the middle of a piece of work is a panic of the whole replication, and this is not
/// used again.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs blocking work; a panic there is a panic here.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    outcome(tokio::task::spawn_blocking(work)).await
}

/// What a task that was waited for came to.
pub fn joined<T>(joined: Result<T, JoinError>) -> impl Future<Output = T> {
    outcome(std::future::ready(joined))
}

pub async fn outcome<T>(task: impl Future<Output = Result<T, JoinError>>) -> T {
    match task.await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime is being shut down, and this future with it.
        Err(Err(_)) => std::future::pending().await,
    }
}
