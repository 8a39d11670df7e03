//! The bucket side: LTX names, levels and metadata, written once for every store.
//!
//! It must never know of databases, of SQLite or of what a restore or an upload decides. A store
//! keeps bytes by name; this room is the only one that knows which names, so `Level` and `Txid` go
//! in and objects come out.
//!
//! ```text
//!   names.rs     the one place that knows the names of objects
//!   level.rs     compaction levels
//!   listing.rs   one LIST, sorted, and only what is ours
//!   plan.rs      pure: the files of a point in history
//!   created.rs   when the content of an object came to be
//!   read.rs      reading with patience
//!   ends.rs      header and end of an object: do they fit?
//!   stream.rs    an object for code that blocks, read and verified
//!   marks.rs     names for moments of the history
//!   pushed.rs    what another node says that the bucket has
//!   pass.rs      from one store to another, verified on the way
//!   v03.rs       what Litestream 0.3 left
//!   roots.rs     pure: where replicas begin below a place
//!   leftover.rs  what killed processes leave beside it
//!   claims.rs    claims and their beats: who writes here
//!   epoch.rs     … and their numbers
//!   audit.rs     pure: what is wrong with a replica
//!   cost.rs      pure: what a replica costs a month
//! ```
//!
//! A listing is one LIST of everything. What is not an LTX object under the one name it can have is
//! ignored and said, and never fails anything: a bucket is a shared place.

mod audit;
mod claims;
mod common;
mod cost;
mod created;
mod ends;
mod epoch;
mod leftover;
mod level;
mod listing;
mod marks;
mod names;
mod pass;
pub mod plan;
mod pushed;
mod read;
mod roots;
mod stream;
mod v03;

pub use audit::{Audit, Evidence, Finding, Seen, Severity, Span, What, audit};
pub use claims::ListedClaim;
pub use common::{common_ends, is_same_commit};
pub use cost::{Line, Monthly, Rates, ceiling, month, rates};
pub use ends::Unsound;
pub use epoch::Epoch;
pub use level::Level;
pub use listing::{Listing, OtherLayout, Resembles};
pub use marks::{Created, Mark};
pub use names::{Layout, is_among_files, mark_name};
pub use pass::{pass_on, store_behind};
pub use pushed::{Position, Pushed};
pub use read::{ReadError, ReadPolicy, Reading};
pub use stream::{Cancelled, RangeReader};
pub use v03::{Generation, OldGeneration, OldObject, OldReplica, WalPlace};

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::{Clock, MACHINE};
use crate::figures;
use crate::ltx::{Header, Txid};
use crate::store::{Body, Key, Limit, Put, Store, StoreError, Throttled};

/// One LTX file in the bucket. Its TXIDs are those of its name, which is what Litestream goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LtxObject {
    pub level: Level,
    pub min_txid: Txid,
    pub max_txid: Txid,
    pub size: u64,
    /// When the store says it was written, Unix milliseconds. See [`Remote::created_ms`].
    pub modified_ms: i64,
    pub name: Key,
}

/// One replica: a store, and how names are laid out in it.
#[derive(Clone)]
pub struct Remote {
    store: Arc<dyn Store>,
    /// Where the files of Litestream 0.3 are, if that is another place.
    old: Option<Arc<dyn Store>>,
    layout: Layout,
    policy: ReadPolicy,
    /// What the names of other replicas that are below this one begin with.
    others: Arc<[String]>,
    clock: Clock,
}

impl Remote {
    pub fn new(store: Arc<dyn Store>, layout: Layout) -> Remote {
        Remote { store, old: None, layout, policy: ReadPolicy::default(), others: Arc::default(), clock: MACHINE }
    }

    /// The same, with other replicas below it, at these relative paths: what is theirs is nothing
    /// to wonder about.
    pub fn beside(self, others: impl IntoIterator<Item = String>) -> Remote {
        Remote { others: others.into_iter().map(|other| format!("{other}/")).collect(), ..self }
    }

    /// The same, with the files of Litestream 0.3 in another place: it joined S3's prefixes as
    /// paths.
    pub fn with_old_store(self, old: Arc<dyn Store>) -> Remote {
        Remote { old: Some(old), ..self }
    }

    /// The place of Litestream 0.3's files, to read them.
    pub fn old(&self) -> Remote {
        let store = self.old.as_ref().unwrap_or(&self.store).clone();
        Remote { store, old: None, ..self.clone() }
    }

    /// The same with other patience.
    pub fn with_policy(self, policy: ReadPolicy) -> Remote {
        Remote { policy, ..self }
    }

    /// The same by another clock.
    pub fn with_clock(self, clock: Clock) -> Remote {
        Remote { clock, ..self }
    }

    /// By which its retries are spread, and what is seen and written there gets its time.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The same, read no faster than this many bytes a second.
    pub fn throttled(self, bytes_per_second: u64) -> Remote {
        let limit = Limit::new(bytes_per_second);
        let slow = |store| Arc::new(Throttled::new(store, limit.clone())) as Arc<dyn Store>;
        Remote { store: slow(self.store), old: self.old.map(slow), ..self }
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// For logs and errors, without secrets.
    pub fn address(&self) -> &str {
        self.store.address()
    }

    /// Everything that is there, by one LIST.
    pub async fn listing(&self) -> Result<Listing, StoreError> {
        let prefixes = names::prefixes();
        let mut listed = self.policy.retry(self.clock, || self.store.list_own(&prefixes)).await?;
        listed.retain(|entry| !self.others.iter().any(|other| entry.name.starts_with(other)));
        Ok(Listing::parse(self.layout, listed))
    }

    /// Level 0 alone, in the layout of the store: a LIST of one directory.
    pub async fn level0_listing(&self) -> Result<Listing, StoreError> {
        let prefix = self.layout.directory(Level::L0);
        let listed = self.policy.retry(self.clock, || self.store.list(&prefix)).await?;
        Ok(Listing::parse(self.layout, listed))
    }

    /// As [`Remote::listing`], and what Litestream 0.3 left, which takes a second LIST where its
    /// files are in another place.
    pub async fn listing_with_old(&self) -> Result<Listing, StoreError> {
        let mut listing = self.listing().await?;
        if let Some(old) = &self.old {
            let listed = self.policy.retry(self.clock, || old.list("generations/")).await?;
            listing.adopt_old(Listing::parse(self.layout, listed));
        }
        Ok(listing)
    }

    /// The paths below this place at which replicas begin, by a LIST of all that is there; the
    /// empty one is this place.
    pub async fn replicas_below(&self) -> Result<BTreeSet<String>, StoreError> {
        let listed = self.policy.retry(self.clock, || self.store.list("")).await?;
        let mut found = roots::roots(listed.iter().map(|entry| entry.name.as_str()));
        if let Some(old) = &self.old {
            let listed = self.policy.retry(self.clock, || old.list("")).await?;
            found.extend(roots::roots(listed.iter().map(|entry| entry.name.as_str())));
        }
        Ok(found)
    }

    /// Says what is there and plays no part, and what of it is a history in another layout than
    /// the store's own.
    pub fn announce(&self, listing: &Listing) {
        let address = self.address();
        if let Some(foreign) = listing.foreign() {
            tracing::warn!("{address}: {foreign}");
        }
        match &listing.other_layout {
            OtherLayout::Absent => {}
            OtherLayout::Used => {
                tracing::info!("{address} holds a history in the layout of another kind of store: reading that");
            }
            OtherLayout::Aside { objects, newest } => tracing::warn!(
                "{address} holds a second history in the layout of another kind of store, up to TXID {}: not used \
                 ({} such as {})",
                newest.max_txid,
                figures::count(*objects, "object"),
                newest.name
            ),
        }
    }

    /// Creates an LTX object, never replacing one: [`StoreError::AlreadyExists`] says that the name
    /// is taken.
    pub async fn put(&self, level: Level, header: &Header, body: Body) -> Result<(), StoreError> {
        let put = Put {
            body,
            create: true,
            modified_ms: Some(header.timestamp_ms),
            metadata: vec![(created::METADATA_KEY, created::format(header.timestamp_ms))],
        };
        self.store.put(&self.layout.key(level, header.min_txid, header.max_txid), put).await
    }

    /// Creates the next level-0 object of a history. Whoever creates it owns the history from there
    /// on.
    pub async fn put_l0(&self, header: &Header, body: Body) -> Result<(), StoreError> {
        debug_assert_eq!(header.min_txid, header.max_txid, "a level-0 object holds one TXID");
        self.put(Level::L0, header, body).await
    }

    /// The level-0 object of `txid`, whether it exists or not.
    pub fn l0_key(&self, txid: Txid) -> Key {
        self.layout.key(Level::L0, txid, txid)
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("store", &self.address()).field("layout", &self.layout).finish()
    }
}
