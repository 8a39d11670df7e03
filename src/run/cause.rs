//! Which events of a replication stop the command that runs. Pure, apart from logging them.

use crate::config::OnReplicationEnd;
use crate::replicate::Event;

/// Why a command is stopped before it has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Fenced,
    /// The command holds the database with an exclusive lock.
    Exclusive,
    ReplicationEnded,
    /// Another instance takes over.
    CalledOff,
}

/// Whether `what` must stop because of this event. If so, the reason is logged.
pub fn cause(event: &Event, what: &str, may_be_refused: bool, on_end: OnReplicationEnd) -> Option<Cause> {
    match event {
        Event::Fenced => {
            tracing::error!("stopping {what}: its commits would be lost");
            Some(Cause::Fenced)
        }
        // A migration releases the database when it ends.
        Event::Exclusive { why } if may_be_refused => {
            tracing::error!("stopping {what}: {why}");
            Some(Cause::Exclusive)
        }
        Event::Failed { .. } if on_end == OnReplicationEnd::Stop => {
            tracing::error!("stopping {what}: a database is not replicated any more (on-replication-end: stop)");
            Some(Cause::ReplicationEnded)
        }
        Event::Ready(_) | Event::Sealed | Event::Failed { .. } | Event::Exclusive { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_stops_only_who_is_told_so_and_a_fence_everybody() {
        let of = |event: &Event, may_be_refused, on_end| cause(event, "the application", may_be_refused, on_end);
        let failed = Event::Failed { why: "x".into() };
        let exclusive = Event::Exclusive { why: "x".into() };
        for on_end in [OnReplicationEnd::Continue, OnReplicationEnd::Stop] {
            assert_eq!(of(&Event::Fenced, true, on_end), Some(Cause::Fenced));
            assert_eq!(of(&exclusive, true, on_end), Some(Cause::Exclusive));
            assert_eq!(of(&exclusive, false, on_end), None, "a migration");
        }
        assert_eq!(of(&failed, true, OnReplicationEnd::Continue), None);
        assert_eq!(of(&failed, true, OnReplicationEnd::Stop), Some(Cause::ReplicationEnded));
    }
}
