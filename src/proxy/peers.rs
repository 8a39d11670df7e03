//! The connections to the proxies of other nodes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::endpoint::Endpoint;
use super::pool::Pool;
use crate::clock::Clock;
use crate::primary::Peer;

/// Nodes that were primary lately.
const KEPT: usize = 8;

pub struct Peers {
    connect_timeout: Duration,
    clock: Clock,
    pools: Mutex<BTreeMap<String, Pool>>,
}

impl Peers {
    pub fn new(connect_timeout: Duration, clock: Clock) -> Peers {
        Peers { connect_timeout, clock, pools: Mutex::default() }
    }

    /// The connections to this one.
    pub fn of(&self, peer: &Peer) -> Result<Pool, String> {
        let url = peer.url.as_deref().unwrap_or_default();
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(url) {
            return Ok(pool.clone());
        }
        let pool = Pool::new(Endpoint::parse(url)?, self.connect_timeout, self.clock);
        if pools.len() >= KEPT {
            // Their connections close when they are not used.
            pools.clear();
        }
        pools.insert(url.to_owned(), pool.clone());
        Ok(pool)
    }
}
