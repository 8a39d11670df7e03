//! How many requests the application is at work on.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts.
#[derive(Clone, Debug, Default)]
pub struct Flights {
    count: Arc<watch::Sender<usize>>,
}

/// One request, until this is dropped.
#[derive(Debug)]
pub struct Flight {
    count: Arc<watch::Sender<usize>>,
}

impl Flights {
    pub fn begin(&self) -> Flight {
        self.count.send_modify(|count| *count += 1);
        Flight { count: self.count.clone() }
    }

    /// Waits until there is none.
    pub async fn landed(&self) {
        // The sender is ours.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}
