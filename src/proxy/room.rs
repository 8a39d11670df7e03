//! How many requests are held at a time, and how much memory they take.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::settings::HoldBounds;

/// Bytes are counted by so many.
const UNIT: usize = 1 << 10;

pub struct Room {
    requests: Arc<Semaphore>,
    units: Arc<Semaphore>,
}

/// The place of one request, until this is dropped.
pub struct Place {
    _request: OwnedSemaphorePermit,
    _units: OwnedSemaphorePermit,
}

impl Room {
    pub fn new(bounds: &HoldBounds) -> Room {
        let units = (bounds.bytes / UNIT).min(Semaphore::MAX_PERMITS);
        Room { requests: Arc::new(Semaphore::new(bounds.requests)), units: Arc::new(Semaphore::new(units)) }
    }

    /// `None`: there is no room for it.
    pub fn enter(&self, bytes: usize) -> Option<Place> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        let request = self.requests.clone().try_acquire_owned().ok()?;
        let units = self.units.clone().try_acquire_many_owned(units).ok()?;
        Some(Place { _request: request, _units: units })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_full_by_number_and_by_bytes_and_empties() {
        let room = Room::new(&HoldBounds { requests: 2, bytes: 10 << 10, wait: Duration::ZERO });
        let first = room.enter(1000).expect("room");
        let second = room.enter(1000).expect("room");
        assert!(room.enter(1).is_none(), "two are held");
        drop(first);
        assert!(room.enter(10 << 10).is_none(), "too many bytes");
        assert!(room.enter(9 << 10).is_some());
        drop(second);
        assert!(room.enter(10 << 10).is_some(), "what was refused has left nothing behind");
    }
}
