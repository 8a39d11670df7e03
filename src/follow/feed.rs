//! What a primary pushes, on its way to the core.

use tokio::sync::{broadcast, watch};

use super::core::Event;
use crate::remote::{Epoch, Pushed};

/// Of one database.
pub struct Feed {
    /// The claim of the primary that pushes now.
    lead: watch::Receiver<Option<Epoch>>,
    pushed: broadcast::Receiver<Pushed>,
}

impl Feed {
    pub fn new(mut lead: watch::Receiver<Option<Epoch>>, pushed: broadcast::Receiver<Pushed>) -> Feed {
        // It is told what there is now.
        lead.mark_changed();
        Feed { lead, pushed }
    }

    /// Never comes where there is no feed, or whoever feeds is gone.
    pub async fn next(feed: &mut Option<Feed>) -> Event {
        let Some(feed) = feed else { return std::future::pending().await };
        loop {
            tokio::select! {
                biased;
                Ok(()) = feed.lead.changed() => return Event::Lead(*feed.lead.borrow_and_update()),
                pushed = feed.pushed.recv() => match pushed {
                    Ok(pushed) => return Event::Pushed(pushed),
                    // Those that are left do not follow, which is noticed.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                },
            }
        }
    }
}
