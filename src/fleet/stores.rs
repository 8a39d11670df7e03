//! What the databases of one store share: the governor, and the result of the probe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::remote::{Layout, Remote};
use crate::replicate::Governor;
use crate::store::{Listed, StoreError, probe};

/// Identifies a store: the bucket, without the paths in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreKey(String);

impl StoreKey {
    pub fn named(name: impl Into<String>) -> StoreKey {
        StoreKey(name.into())
    }
}

/// What a store answered to the probe.
#[derive(Clone, Copy, Debug)]
struct Answered {
    /// The clock of the store in Unix milliseconds, and our boot clock at that moment.
    at: Option<(i64, Duration)>,
}

/// One store's share.
#[derive(Clone)]
pub struct Share {
    pub governor: Governor,
    answered: Arc<OnceCell<Answered>>,
}

pub struct Stores {
    governor: Governor,
    shares: BTreeMap<StoreKey, Share>,
}

impl Stores {
    pub fn new(governor: Governor) -> Stores {
        Stores { governor, shares: BTreeMap::new() }
    }

    pub fn share(&mut self, key: &StoreKey) -> Share {
        let governor = &self.governor;
        let new = || Share { governor: governor.for_store(), answered: Arc::default() };
        self.shares.entry(key.clone()).or_insert_with(new).clone()
    }
}

impl Share {
    /// Probes once for all databases whether the store honours create-if-absent, which fencing
    /// needs, and logs if it does not. Then it removes the uploads that killed processes left of
    /// this replica. A directory needs neither.
    pub fn probe(&self, remote: &Remote) {
        if remote.layout() == Layout::S3 {
            tokio::spawn(probe_fencing(self.clone(), remote.clone()));
        }
    }
}

async fn probe_fencing(share: Share, remote: Remote) {
    let mut beside = None;
    let answered = share.answered.get_or_try_init(|| async {
        let probed = probe::probe(remote.store().as_ref()).await?;
        if !probed.honours_create {
            tracing::warn!(
                "{} ignores If-None-Match: two writers on this path could overwrite each other; make sure that only one writes there",
                remote.address()
            );
        }
        beside = Some(probed.beside);
        Ok(Answered { at: probed.now_ms.map(|now_ms| (now_ms, remote.clock().since_boot())) })
    });
    match answered.await {
        Ok(Answered { at: Some((then_ms, then)) }) => {
            let since = remote.clock().since_boot().saturating_sub(*then);
            let now_ms = then_ms.saturating_add(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
            remove_leftovers(&share, &remote, now_ms, beside.unwrap_or_default()).await;
        }
        Ok(Answered { at: None }) => {}
        // The next database of the store asks again.
        Err::<_, StoreError>(error) => {
            tracing::debug!("could not find out whether the store honours If-None-Match: {error}");
        }
    }
}

/// It takes one request if nothing is left. What is too young to be removed is checked again later.
async fn remove_leftovers(share: &Share, remote: &Remote, mut now_ms: i64, mut probes: Vec<Listed>) {
    let debug = |error: StoreError| tracing::debug!("cannot look for what killed processes left: {error}");
    loop {
        let removed = {
            let _turn = share.governor.merge().await;
            remote.remove_leftovers(now_ms, &probes).await
        };
        let wait = match removed {
            Ok(Some(wait)) => wait,
            Ok(None) => return,
            Err(error) => return debug(error),
        };
        let before = remote.clock().since_boot();
        tokio::time::sleep(wait).await;
        let slept = remote.clock().since_boot().saturating_sub(before);
        now_ms = now_ms.saturating_add(i64::try_from(slept.as_millis()).unwrap_or(i64::MAX));
        probes = match probe::list(remote.store().as_ref()).await {
            Ok(probes) => probes,
            Err(error) => return debug(error),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicate::Limits;
    use crate::store::memory::{Fault, MemoryStore, Op};

    #[tokio::test]
    async fn a_store_is_probed_once_for_all_its_databases_and_again_after_a_failure() {
        let store = MemoryStore::new();
        let remote = Remote::new(Arc::new(store.clone()), Layout::S3);
        let mut stores = Stores::new(Governor::new(Limits::default()));
        let [share, other] = ["a", "b"].map(|name| stores.share(&StoreKey::named(name)));
        store.inject(Op::Put, Fault::Fail(|detail| StoreError::Transient { detail }), 1);
        probe_fencing(share.clone(), remote.clone()).await;
        assert_eq!(store.calls(Op::Put), 1, "it failed");
        let many = (0..100).map(|_| probe_fencing(stores.share(&StoreKey::named("a")), remote.clone()));
        futures_util::future::join_all(many).await;
        assert_eq!(store.calls(Op::Put), 3, "one probe creates twice");
        probe_fencing(other, remote).await;
        assert_eq!(store.calls(Op::Put), 5, "another store is another promise");
    }
}
