//! Finds out when the application accepts connections, so that what is held goes on at once, and
//! not every request has to try.

use std::sync::Arc;
use std::time::Duration;

use super::core::App;
use super::front::Front;

/// While it starts. A connection on this machine costs microseconds.
const FIRST: Duration = Duration::from_millis(5);
const LAST: Duration = Duration::from_millis(250);

/// Never returns.
pub async fn probe(front: Arc<Front>) {
    let mut known = front.watch();
    loop {
        // The sender lives as long as this task.
        let _ = known.wait_for(|standing| standing.app == App::Starting).await;
        let mut pause = FIRST;
        while known.borrow_and_update().app == App::Starting {
            match front.local.probe().await {
                Ok(()) => front.learn(|standing| {
                    if standing.app == App::Starting {
                        standing.app = App::Accepting;
                    }
                }),
                Err(error) => {
                    tracing::trace!("the application does not accept connections yet: {error}");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(LAST),
                        _ = known.changed() => {}
                    }
                }
            }
        }
    }
}
