//! The objects of claims: `claims/<epoch>.json`, created once, and `claims/<epoch>.beat`, which its
//! holder writes again and again. What is in them is not known here (`claim/wire.rs`).
//!
//! Nothing is asked twice here: who decides on claims counts time, and asks again by itself.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::names::{self, ClaimFile};
use super::{Epoch, Remote};
use crate::store::{Body, Key, Put, Range, Result, StoreError};

/// No claim is as long; of an object that is, no more is read.
const LEN_MAX: u64 = 64 << 10;

/// A claim that a listing shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListedClaim {
    /// When the store says that the claim was made, Unix milliseconds.
    pub modified_ms: i64,
    /// The holder has written a beat.
    pub has_beat: bool,
}

impl Remote {
    /// All claims, by one LIST. A beat without its claim is none.
    pub async fn claims(&self) -> Result<BTreeMap<Epoch, ListedClaim>> {
        let listed = self.store.list(names::CLAIMS).await?;
        let mut claims: BTreeMap<Epoch, ListedClaim> = BTreeMap::new();
        let files = listed.iter().filter_map(|entry| Some((names::parse_claim(&entry.name)?, entry.modified_ms)));
        let (made, beats): (Vec<_>, Vec<_>) = files.partition(|((_, file), _)| *file == ClaimFile::Claim);
        for ((epoch, _), modified_ms) in made {
            claims.insert(epoch, ListedClaim { modified_ms, has_beat: false });
        }
        for ((epoch, _), _) in beats {
            claims.entry(epoch).and_modify(|claim| claim.has_beat = true);
        }
        Ok(claims)
    }

    /// Whether there is a claim of this number: a HEAD, which costs a tenth of a LIST.
    pub async fn has_claim(&self, epoch: Epoch) -> Result<bool> {
        match self.store.head(&names::claim(epoch)).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates a claim, never replacing one: [`StoreError::AlreadyExists`] says that the number is
    /// taken.
    pub async fn create_claim(&self, epoch: Epoch, bytes: Vec<u8>) -> Result<()> {
        self.store.put(&names::claim(epoch), Put::create(bytes)).await
    }

    /// Only the holder of the claim may write its beat.
    pub async fn write_beat(&self, epoch: Epoch, bytes: Vec<u8>) -> Result<()> {
        let put = Put { body: Body::Bytes(bytes.into()), create: false, modified_ms: None, metadata: Vec::new() };
        self.store.put(&names::beat(epoch), put).await
    }

    pub async fn read_claim(&self, epoch: Epoch) -> Result<Bytes> {
        self.read_whole(&names::claim(epoch)).await
    }

    pub async fn read_beat(&self, epoch: Epoch) -> Result<Bytes> {
        self.read_whole(&names::beat(epoch)).await
    }

    /// Removes claims with their beats. The beat goes first: one without its claim would be
    /// forgotten here.
    pub async fn remove_claims(&self, epochs: &[Epoch]) -> Result<()> {
        for name in [names::beat, names::claim] {
            let keys: Vec<Key> = epochs.iter().map(|epoch| name(*epoch)).collect();
            self.store.delete(&keys).await?;
        }
        Ok(())
    }

    async fn read_whole(&self, name: &Key) -> Result<Bytes> {
        let mut chunks = self.store.get(name, Range { start: 0, len: LEN_MAX }).await?;
        let mut whole = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            whole.extend_from_slice(&chunk?);
            if whole.len() as u64 > LEN_MAX {
                break;
            }
        }
        Ok(whole.freeze())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::remote::Layout;
    use crate::store::memory::{MemoryStore, Op};

    fn epoch(number: u64) -> Epoch {
        Epoch::new(number).expect("not zero")
    }

    #[tokio::test]
    async fn a_claim_is_created_once_and_its_beat_replaced() {
        let store = MemoryStore::new();
        let remote = Remote::new(Arc::new(store.clone()), Layout::S3);
        assert!(!remote.has_claim(epoch(1)).await.expect("head"));
        remote.create_claim(epoch(1), b"one".to_vec()).await.expect("create");
        let taken = remote.create_claim(epoch(1), b"two".to_vec()).await;
        assert!(matches!(taken, Err(StoreError::AlreadyExists { .. })));
        assert!(remote.has_claim(epoch(1)).await.expect("head"));
        assert_eq!(&remote.read_claim(epoch(1)).await.expect("read")[..], b"one");
        for beat in [&b"a"[..], b"bb"] {
            remote.write_beat(epoch(1), beat.to_vec()).await.expect("put");
            assert_eq!(&remote.read_beat(epoch(1)).await.expect("read")[..], beat);
        }
        assert_eq!(store.names(), ["claims/0000000000000001.beat", "claims/0000000000000001.json"]);
    }

    #[tokio::test]
    async fn a_listing_knows_claims_and_nothing_else_beside_them() {
        let store = MemoryStore::new();
        let remote = Remote::new(Arc::new(store.clone()), Layout::S3);
        for name in ["claims/x.json", "claims/0000000000000009.beat", "claims/000000000000000A.json", "0000/x.ltx"] {
            store.insert(name, "x", 1);
        }
        for number in [2, 3] {
            remote.create_claim(epoch(number), vec![0]).await.expect("create");
        }
        remote.write_beat(epoch(3), vec![0]).await.expect("put");
        let claims = remote.claims().await.expect("list");
        let seen: Vec<(u64, bool)> = claims.iter().map(|(epoch, claim)| (epoch.get(), claim.has_beat)).collect();
        assert_eq!(seen, [(2, false), (3, true)]);
        assert_eq!(store.calls(Op::List), 1);
        remote.remove_claims(&[epoch(2), epoch(3)]).await.expect("delete");
        assert!(remote.claims().await.expect("list").is_empty());
    }
}
