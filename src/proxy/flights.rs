//! How many there are of something that has to end: requests that the application is at work on,
//! connections whose first request is awaited.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts.
#[derive(Clone, Debug, Default)]
pub struct Flights(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    flying: AtomicUsize,
    /// There is none any more.
    landed: Notify,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub struct Flight(Arc<Count>);

impl Flights {
    pub fn begin(&self) -> Flight {
        self.0.flying.fetch_add(1, Ordering::SeqCst);
        Flight(self.0.clone())
    }

    /// Waits until there is none.
    pub async fn landed(&self) {
        loop {
            let mut landed = std::pin::pin!(self.0.landed.notified());
            // From here on none is missed.
            landed.as_mut().enable();
            if self.0.flying.load(Ordering::SeqCst) == 0 {
                return;
            }
            landed.await;
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.0.flying.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.landed.notify_waiters();
        }
    }
}
