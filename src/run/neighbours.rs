//! How the processes that claim tell each other that there is something to see.

use tokio::sync::{mpsc, watch};

use crate::claim::Report;

pub struct Neighbours {
    /// The URLs of those that are to be told, each time they are.
    pub to_wake: watch::Receiver<Vec<String>>,
    /// Where it is reported that this process was told.
    reports: mpsc::UnboundedSender<Report>,
}

impl Neighbours {
    pub fn new(to_wake: watch::Receiver<Vec<String>>, reports: mpsc::UnboundedSender<Report>) -> Neighbours {
        Neighbours { to_wake, reports }
    }

    pub fn have_told(&self) {
        // The driver has ended, if it is not heard.
        let _ = self.reports.send(Report::Woke);
    }
}
