//! What all databases of a process may do and hold at the same time, so that a thousand that wake
//! up together do not need a thousand times what one needs.
//!
//! | what | limit | when it is reached |
//! |---|---|---|
//! | restores and openings of databases | of the process | the next waits, in the order of asking |
//! | looks; uploads; merges | of each store: a hanging one holds up no other | the next waits, in the order of asking |
//! | bytes in memory | of the process | no wait: what does not fit goes to a local file first |
//!
//! A value that is handed down; there is no other state, and no task that goes on: idle databases
//! cost nothing here.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::spare_memory::SpareMemory;

/// Memory is counted in pieces of this size.
const PIECE_BYTES: u64 = 1024;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub starts: usize,
    pub looks: usize,
    pub uploads: usize,
    pub merges: usize,
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { starts: 8, looks: 32, uploads: 16, merges: 2, memory_bytes: 64 << 20 }
    }
}

#[derive(Clone, Debug)]
pub struct Governor {
    limits: Limits,
    starts: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    merges: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    spare: SpareMemory,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl Governor {
    pub fn new(limits: Limits) -> Governor {
        Governor {
            limits,
            starts: Arc::new(Semaphore::new(limits.starts)),
            looks: Arc::new(Semaphore::new(limits.looks)),
            uploads: Arc::new(Semaphore::new(limits.uploads)),
            merges: Arc::new(Semaphore::new(limits.merges)),
            memory: Arc::new(Semaphore::new(pieces(limits.memory_bytes) as usize)),
            spare: SpareMemory::default(),
        }
    }

    /// For the databases of another store.
    pub fn for_store(&self) -> Governor {
        let Governor { looks, uploads, merges, .. } = Governor::new(self.limits);
        Governor { looks, uploads, merges, ..self.clone() }
    }

    /// Waits for the turn to restore or open a database.
    pub async fn start(&self) -> Turn {
        turn(&self.starts).await
    }

    /// Waits for the turn to ask what is in a replica: each answer has a connection and buffers.
    pub async fn look(&self) -> Turn {
        turn(&self.looks).await
    }

    /// Waits for the turn to upload a batch.
    pub async fn upload(&self) -> Turn {
        turn(&self.uploads).await
    }

    /// Waits for the turn to merge files.
    pub async fn merge(&self) -> Turn {
        turn(&self.merges).await
    }

    /// Memory for so many bytes, if there is any now.
    pub fn memory(&self, bytes: u64) -> Option<Memory> {
        let permit = self.memory.clone().try_acquire_many_owned(pieces(bytes)).ok()?;
        Some(Memory(permit))
    }

    /// A database was closed, or its replica needs nothing for a while: what that had in memory is
    /// free.
    pub fn came_to_rest(&self) {
        self.spare.give_back();
    }

    /// Whether there is room for what is only good to have.
    pub fn has_room(&self) -> bool {
        self.memory.available_permits() as u64 * 2 > u64::from(pieces(self.limits.memory_bytes))
    }

    #[cfg(test)]
    pub fn memory_in_use(&self) -> u64 {
        (u64::from(pieces(self.limits.memory_bytes)) - self.memory.available_permits() as u64) * PIECE_BYTES
    }
}

fn pieces(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX).max(1)
}

async fn turn(of: &Arc<Semaphore>) -> Turn {
    match of.clone().acquire_owned().await {
        Ok(permit) => Turn(permit),
        // It is never closed.
        Err(_) => std::future::pending().await,
    }
}

/// Memory that was asked for.
#[derive(Debug)]
pub struct Memory(OwnedSemaphorePermit);

impl Memory {
    /// Keeps as much as these bytes need until the last copy of them is gone.
    pub fn hold(mut self, bytes: Vec<u8>) -> Bytes {
        let surplus = self.0.num_permits().saturating_sub(pieces(bytes.len() as u64) as usize);
        drop(self.0.split(surplus));
        Bytes::from_owner(Held { bytes, _memory: self })
    }
}

struct Held {
    bytes: Vec<u8>,
    _memory: Memory,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn small() -> Governor {
        Governor::new(Limits { starts: 2, looks: 2, uploads: 2, merges: 1, memory_bytes: 10 * PIECE_BYTES })
    }

    #[test]
    fn memory_is_free_again_when_the_last_copy_is_gone() {
        let governor = small();
        let memory = governor.memory(8 * PIECE_BYTES).expect("there is room");
        assert!(governor.memory(3 * PIECE_BYTES).is_none() && !governor.has_room());
        let bytes = memory.hold(vec![7; 1500]);
        assert_eq!(governor.memory_in_use(), 2 * PIECE_BYTES, "what was estimated too high is given back");
        let copy = bytes.clone();
        drop(bytes);
        assert_eq!((copy[0], governor.memory_in_use()), (7, 2 * PIECE_BYTES));
        drop(copy);
        assert_eq!(governor.memory_in_use(), 0);
        assert!(governor.memory(11 * PIECE_BYTES).is_none(), "more than there ever is");
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_in_the_order_of_asking() {
        let governor = small();
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..1000 {
            let (governor, told) = (governor.clone(), told.clone());
            tokio::spawn(async move {
                let _turn = governor.upload().await;
                told.send(number).expect("heard");
                tokio::time::sleep(Duration::from_millis(1)).await;
            });
            tokio::task::yield_now().await;
        }
        drop(told);
        let mut order = Vec::new();
        while let Some(number) = heard.recv().await {
            order.push(number);
        }
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_holds_all_its_turns_holds_up_no_other() {
        let governor = small();
        let (hanging, other) = (governor.for_store(), governor.for_store());
        let _turns = (hanging.upload().await, hanging.upload().await, hanging.merge().await);
        let waits = tokio::time::timeout(Duration::from_secs(60), hanging.upload()).await;
        assert!(waits.is_err(), "there is no third");
        let _turns = (other.upload().await, other.merge().await);
        let _memory = hanging.memory(6 * PIECE_BYTES).expect("room");
        assert!(other.memory(6 * PIECE_BYTES).is_none(), "memory is the process's");
    }
}
