//! What is replicated, in Litestream's words and ours. Pure: a view in, an answer out.

use std::path::Path;

use tokio::time::Instant;

use super::wire::{Diagnostic, Replica, Summary};
use crate::fleet::{DatabaseView, ReplicaView, State};
use crate::ltx::Txid;
use crate::replicate::{Ended, Ready};
use crate::status::Status;

/// Why nothing can be asked of a database.
pub fn over(view: &DatabaseView) -> Option<String> {
    let path = view.path.display();
    match &view.state {
        State::Fenced => Some(format!("{path}: another writer owns the history in its replica")),
        State::Halted { why } => Some(format!("{path}: replication has ended: {why}")),
        State::Stopped => Some(format!("database not open: {path}")),
        State::Starting | State::Ready(_) | State::Exclusive { .. } => None,
    }
}

/// Whether a replica has every commit, or why not.
pub fn is_safe(ended: Ended) -> Result<(), String> {
    match ended {
        Ended::Synced(_) | Ended::SyncedElsewhere { .. } | Ended::NoDatabase | Ended::Standby => Ok(()),
        // There was nothing to upload.
        Ended::NeverAppeared { .. } => Ok(()),
        Ended::Unsynced { why } => Err(format!("the last commits are NOT in the replica: {why}")),
        Ended::Failed { why } => Err(why),
        Ended::Fenced => Err("another writer owns the history in its replica".into()),
    }
}

pub fn summary(view: &DatabaseView, now: Instant) -> Summary {
    // The application could start before there was a database; now there is one.
    let has_appeared = newest(&view.status()).is_some();
    let (status, detail) = match &view.state {
        State::Ready(Ready::Armed) => ("replicating", None),
        State::Ready(Ready::NoDatabaseYet | Ready::AfterApplication) if has_appeared => ("replicating", None),
        State::Ready(Ready::NoDatabaseYet) => ("open", Some("there is no database yet".to_owned())),
        State::Ready(Ready::AfterApplication) => ("open", Some("the application opens the database first".to_owned())),
        State::Ready(Ready::Standby) => ("open", Some("another process replicates this database".to_owned())),
        State::Starting => ("open", None),
        State::Exclusive { why } => ("open", Some(why.clone())),
        State::Stopped => ("stopped", None),
        State::Fenced => ("fenced", Some("another writer owns the history in the replica".to_owned())),
        State::Halted { why } => ("failed", Some(why.clone())),
    };
    let replica = |view: &ReplicaView| Replica {
        name: view.name.clone(),
        address: view.address.clone(),
        txid: number(newest(&view.status)),
        replicated_txid: number(view.status.confirmed),
        last_sync_at: view.status.confirmed_at_ms.map(rfc3339),
        lag_seconds: view.status.unshipped_for(now).map(|lag| lag.as_secs_f64()),
    };
    Summary {
        path: shown(&view.path),
        status: status.into(),
        last_sync_at: view.status().confirmed_at_ms.map(rfc3339),
        detail,
        replicas: view.replicas.iter().map(replica).collect(),
    }
}

pub fn diagnostic(view: &DatabaseView, now: Instant) -> Diagnostic {
    let status = view.status();
    Diagnostic {
        path: shown(&view.path),
        meta_path: shown(&view.meta_path),
        active: status.unshipped_since.is_some(),
        elapsed_seconds: status.unshipped_for(now).map(|lag| lag.as_secs_f64()),
        txid: number(newest(&status)),
        error: over(view).filter(|_| view.state != State::Stopped),
    }
}

pub fn newest(status: &Status) -> Option<Txid> {
    status.captured.max(status.confirmed)
}

pub fn number(txid: Option<Txid>) -> u64 {
    txid.map_or(0, Txid::get)
}

/// JSON needs UTF-8. A path that is not UTF-8 can come from the configuration only.
pub fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub fn rfc3339(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|_| unix_ms.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::StoreKey;
    use crate::replicate::DatabaseId;

    fn view(state: State) -> DatabaseView {
        let now = Instant::now();
        let status = Status {
            captured: Txid::new(9),
            confirmed: Txid::new(7),
            confirmed_at_ms: Some(1_700_000_000_000),
            unshipped_since: Some(now),
            ..Status::default()
        };
        let replica = |name: &str, status| ReplicaView {
            name: name.into(),
            address: format!("file:///{name}"),
            store: StoreKey::named("files"),
            status,
            counts: Default::default(),
            traffic: None,
        };
        DatabaseView {
            id: DatabaseId(1),
            path: "/data/app.db".into(),
            meta_path: "/data/.app.db-millstream".into(),
            optional: false,
            state,
            replicas: vec![replica("near", status), replica("far", Status::default())],
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_is_listed_as_litestream_lists_it_with_more() {
        let view = view(State::Ready(Ready::Armed));
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let listed = serde_json::to_value(summary(&view, Instant::now())).expect("JSON");
        let wanted = serde_json::json!({
            "path": "/data/app.db",
            "status": "replicating",
            "last_sync_at": "2023-11-14T22:13:20Z",
            "replicas": [
                {
                    "name": "near", "address": "file:///near", "txid": 9, "replicated_txid": 7,
                    "last_sync_at": "2023-11-14T22:13:20Z", "lag_seconds": 2.5,
                },
                { "name": "far", "address": "file:///far", "txid": 0, "replicated_txid": 0 },
            ],
        });
        assert_eq!(listed, wanted);
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        let now = Instant::now();
        for (state, status, detail) in [
            (State::Starting, "open", None),
            (State::Ready(Ready::NoDatabaseYet), "replicating", None),
            (State::Stopped, "stopped", None),
            (State::Halted { why: "the disk is full".into() }, "failed", Some("the disk is full")),
            (State::Fenced, "fenced", Some("another writer owns the history in the replica")),
        ] {
            let view = view(state.clone());
            let listed = summary(&view, now);
            assert_eq!((listed.status.as_str(), listed.detail.as_deref()), (status, detail));
            assert_eq!(over(&view).is_some(), !state.is_running(), "{state:?}");
        }
        // Before it has appeared.
        let mut view = view(State::Ready(Ready::NoDatabaseYet));
        view.replicas.iter_mut().for_each(|replica| replica.status = Status::default());
        assert_eq!(summary(&view, now).detail.as_deref(), Some("there is no database yet"));
    }
}
