//! The state of the databases as plain data, at the moment of the request.

use std::path::PathBuf;
use std::sync::Arc;

use super::StoreKey;
use crate::replicate::{DatabaseId, Event, Ready};
use crate::status::{Counts, Status};
use crate::store::Traffic;

/// One database.
#[derive(Clone, Debug)]
pub struct DatabaseView {
    pub id: DatabaseId,
    pub path: PathBuf,
    /// Where our notes and spilled files are.
    pub meta_path: PathBuf,
    /// It may be missing to the end.
    pub optional: bool,
    pub state: State,
    /// The first one, which fences, and then the mirrors in the order of the configuration.
    pub replicas: Vec<ReplicaView>,
}

impl DatabaseView {
    /// How far the first replica is.
    pub fn status(&self) -> Status {
        self.replicas.first().map(|replica| replica.status).unwrap_or_default()
    }
}

/// One replica of a database.
#[derive(Clone, Debug)]
pub struct ReplicaView {
    pub name: String,
    /// For logs and errors, without secrets.
    pub address: String,
    pub store: StoreKey,
    pub status: Status,
    /// What was done for it since the start.
    pub counts: Arc<Counts>,
    /// Requests to its store, for all replicas there.
    pub traffic: Option<Arc<Traffic>>,
}

/// The state of a replication, by its newest event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The database is being opened: there was no event yet.
    Starting,
    Ready(Ready),
    /// The application holds the database with an exclusive lock.
    Exclusive {
        why: String,
    },
    /// Another writer owns the history.
    Fenced,
    /// It has ended by itself; the application may run on.
    Halted {
        why: String,
    },
    /// It has ended because it was told to, or because its work is done.
    Stopped,
}

impl State {
    /// `has_ended` is whether the replication has come to its end, `as_told` whether that was asked
    /// for.
    pub(super) fn of(newest: Option<&Event>, has_ended: bool, as_told: bool) -> State {
        match newest {
            _ if has_ended && as_told => State::Stopped,
            Some(Event::Fenced) => State::Fenced,
            Some(Event::Failed { why }) => State::Halted { why: why.clone() },
            _ if has_ended => State::Stopped,
            Some(Event::Exclusive { why }) => State::Exclusive { why: why.clone() },
            Some(Event::Ready(how)) => State::Ready(*how),
            Some(Event::Sealed) => State::Ready(Ready::Armed),
            None => State::Starting,
        }
    }

    /// Whether a replication runs that may go on.
    pub fn is_running(&self) -> bool {
        match self {
            State::Starting | State::Ready(_) | State::Exclusive { .. } => true,
            State::Fenced | State::Halted { .. } | State::Stopped => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_the_newest_event_until_it_was_told_to_end() {
        let failed = Event::Failed { why: "gone".into() };
        let halted = State::Halted { why: "gone".into() };
        let ready = Event::Ready(Ready::Armed);
        for (newest, has_ended, as_told, state) in [
            (None, false, false, State::Starting),
            (None, true, false, State::Stopped),
            (Some(&ready), false, false, State::Ready(Ready::Armed)),
            (Some(&ready), false, true, State::Ready(Ready::Armed)),
            (Some(&ready), true, true, State::Stopped),
            (Some(&failed), false, false, halted.clone()),
            (Some(&failed), true, false, halted),
            (Some(&failed), true, true, State::Stopped),
            (Some(&Event::Fenced), true, false, State::Fenced),
        ] {
            assert_eq!(State::of(newest, has_ended, as_told), state, "{newest:?} {has_ended} {as_told}");
        }
    }
}
