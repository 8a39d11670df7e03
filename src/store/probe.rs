//! Finds out whether a store does what fencing stands on: create-if-absent never
//! replaces.
//!
//! Some servers answer 200 to `If-None-Match: *` and overwrite. No documentation tells reliably
//! which, so we ask.

use super::{Key, Listed, Put, Result, Store, StoreError};
use crate::clock::MACHINE;

const DIRECTORY: &str = "probes/";

/// What a probe found.
#[derive(Debug)]
pub struct Probed {
    /// `false`: a second create was accepted, so two writers could overwrite each other.
    pub honours_create: bool,
    /// The store's time, Unix milliseconds, where a listing showed the probe.
    pub now_ms: Option<i64>,
    /// What is beside it.
    pub beside: Vec<Listed>,
}

/// The key of a probe, if that is what the name is.
pub fn named(name: &str) -> Option<Key> {
    let number = name.strip_prefix(DIRECTORY)?;
    let is_ours = number.len() == 16 && number.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_ours.then(|| Key::new(name)).flatten()
}

/// What is where probes are put.
pub async fn list(store: &dyn Store) -> Result<Vec<Listed>> {
    store.list(DIRECTORY).await
}

/// Creates the same small object twice, and looks around.
pub async fn probe(store: &dyn Store) -> Result<Probed> {
    let name = format!("{DIRECTORY}{:016x}", MACHINE.random_u64());
    let key = Key::new(&name).expect("hexadecimal digits are a valid name");
    let verdict = create_twice(store, &key).await;
    let mut beside = match verdict {
        // A failure is not reported: it only helps to tidy up.
        Ok(_) => list(store).await.unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    // Best effort: what is forgotten here is a few bytes beside the backup, until a later start
    // finds it.
    let _ = store.delete(&[key]).await;
    let ours = beside.iter().position(|listed| listed.name == name).map(|at| beside.swap_remove(at));
    Ok(Probed { honours_create: verdict?, now_ms: ours.map(|listed| listed.modified_ms), beside })
}

async fn create_twice(store: &dyn Store, key: &Key) -> Result<bool> {
    match store.put(key, Put::create("millstream probe 1")).await {
        Ok(()) => match store.put(key, Put::create("millstream probe 2")).await {
            Ok(()) => Ok(false),
            Err(StoreError::AlreadyExists { .. }) => Ok(true),
            Err(error) => Err(error),
        },
        // The name is fresh, so it was stored in between: ourselves, through a proxy that
        // repeats requests.
        Err(StoreError::AlreadyExists { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// So many create the same object at the same time.
const RIVALS: usize = 8;

/// Whether exactly one of several creates of the same object succeeds that are made at the same
/// time. Some stores do it right one after the other, and not at once.
pub async fn race(store: &dyn Store) -> Result<bool> {
    let name = format!("{DIRECTORY}{:016x}", MACHINE.random_u64());
    let key = Key::new(&name).expect("hexadecimal digits are a valid name");
    let create = |rival: usize| store.put(&key, Put::create(format!("millstream probe {rival}")));
    let done = futures_util::future::join_all((0..RIVALS).map(create)).await;
    let _ = store.delete(std::slice::from_ref(&key)).await;
    let mut won = 0;
    for result in done {
        match result {
            Ok(()) => won += 1,
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(won <= 1)
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Fault, MemoryStore, Op};
    use super::*;

    async fn honours_create(store: &MemoryStore) -> Result<bool> {
        Ok(probe(store).await?.honours_create)
    }

    #[tokio::test]
    async fn tells_servers_apart_and_cleans_up() {
        let store = MemoryStore::new();
        assert!(honours_create(&store).await.expect("probe"));
        store.inject(Op::Put, Fault::IgnoreCreate, 2);
        assert!(!honours_create(&store).await.expect("probe"));
        assert_eq!(store.names(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn the_stores_time_and_what_lies_beside_are_seen() {
        let store = MemoryStore::new();
        store.insert("probes/0123456789abcdef", "left", 7);
        let probed = probe(&store).await.expect("probe");
        assert!(probed.now_ms.is_some_and(|now| now > 7));
        assert_eq!(probed.beside.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["probes/0123456789abcdef"]);
        assert_eq!(
            named("probes/0123456789abcdef").map(|key| key.to_string()).as_deref(),
            Some(&*probed.beside[0].name)
        );
        for other in ["probes/", "probes/1", "probes/0123456789ABCDEF", "probes/0123456789abcdef/x", "0123456789abcdef"]
        {
            assert_eq!(named(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn of_several_at_once_one_wins() {
        let store = MemoryStore::new();
        assert!(race(&store).await.expect("probe"));
        store.inject(Op::Put, Fault::IgnoreCreate, 2);
        assert!(!race(&store).await.expect("probe"));
        store.inject(Op::Put, Fault::Fail(|detail| StoreError::Transient { detail }), 1);
        assert!(race(&store).await.is_err());
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
