//! Finds out whether a store keeps the promise that fencing stands on: create-if-absent never replaces.
//!
//! Some servers answer 200 to `If-None-Match: *` and overwrite. No documentation tells reliably which, so we ask.

use super::{Key, Put, Result, Store, StoreError};
use crate::clock;

/// Creates the same small object twice. `false`: the second one was accepted, so two writers could overwrite each other.
pub async fn honours_create(store: &dyn Store) -> Result<bool> {
    let name = format!("probes/{:016x}", clock::random_u64());
    let key = Key::new(name).expect("hexadecimal digits are a valid name");
    let first = store.put(&key, Put::create("millstream probe 1")).await;
    let verdict = match first {
        Ok(()) => match store.put(&key, Put::create("millstream probe 2")).await {
            Ok(()) => Ok(false),
            Err(StoreError::AlreadyExists { .. }) => Ok(true),
            Err(error) => Err(error),
        },
        // The name is fresh, so somebody stored it in between: ourselves, through a proxy that repeats requests.
        Err(StoreError::AlreadyExists { .. }) => Ok(true),
        Err(error) => Err(error),
    };
    // Best effort: a forgotten probe is a few bytes beside the backup, and nothing reads it.
    let _ = store.delete(&[key]).await;
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Fault, MemoryStore, Op};
    use super::*;

    #[tokio::test]
    async fn tells_servers_apart_and_cleans_up() {
        let store = MemoryStore::new();
        assert!(honours_create(&store).await.expect("probe"));
        store.inject(Op::Put, Fault::IgnoreCreate, 2);
        assert!(!honours_create(&store).await.expect("probe"));
        assert_eq!(store.names(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_failure_is_no_verdict() {
        for lost_call in [0, 1] {
            let store = MemoryStore::new();
            store.inject(Op::Put, Fault::Delay(std::time::Duration::ZERO), lost_call);
            store.inject(Op::Put, Fault::Fail(|detail| StoreError::Transient { detail }), 1);
            assert!(matches!(honours_create(&store).await, Err(StoreError::Transient { .. })));
            assert_eq!(store.names(), Vec::<String>::new());
        }
    }
}
