//! Signals that end a stage of the start, before there is an application that they belong to.

use anyhow::anyhow;
use tokio_util::sync::CancellationToken;

use super::exit::Failure;
use crate::supervise::{Signal, Signals};

/// Runs the work unless a signal comes: then it is cancelled and waited for, and the exit code is
/// 128 + signal.
pub async fn unless_signalled<T, F>(
    signals: &mut Signals,
    work: impl FnOnce(CancellationToken) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = T>,
{
    let cancel = CancellationToken::new();
    let work = work(cancel.clone());
    tokio::pin!(work);
    tokio::select! {
        biased;
        signal = cancelling(signals) => {
            cancel.cancel();
            work.await;
            Err(ended_by(signal, "before it was done"))
        }
        done = &mut work => Ok(done),
    }
}

/// Waits for a signal that ends a stage without an application.
pub async fn cancelling(signals: &mut Signals) -> Signal {
    loop {
        let signal = signals.recv().await;
        if is_cancel(signal) {
            return signal;
        }
    }
}

/// A signal that came between two stages.
pub fn pending_cancel(signals: &mut Signals) -> Option<Signal> {
    std::iter::from_fn(|| signals.try_recv()).find(|signal| is_cancel(*signal))
}

pub fn is_cancel(signal: Signal) -> bool {
    signal.cancels_start() && Signals::heeds(signal)
}

pub fn ended_by(signal: Signal, when: &str) -> Failure {
    Failure::new(signal.exit_code(), anyhow!("ended by {signal} {when}"))
}
