//! Memory that is kept for later after databases were closed, and that the system may have back:
//! that of SQLite, and what the C library has of ours. Where a thousand databases were closed, it
//! is most of the process. (musl gives free pages back by itself.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Databases often come to rest together: once for all of them.
const TOGETHER: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default)]
pub(super) struct SpareMemory {
    is_asked: Arc<AtomicBool>,
}

impl SpareMemory {
    /// Something came to rest: soon, what it had is given back.
    pub fn give_back(&self) {
        if self.is_asked.swap(true, Ordering::Relaxed) {
            return;
        }
        let is_asked = self.is_asked.clone();
        tokio::spawn(async move {
            tokio::time::sleep(TOGETHER).await;
            is_asked.store(false, Ordering::Relaxed);
            super::on_thread::blocking(|| {
                crate::sqlite::trim_heap();
                trim();
            })
            .await;
        });
    }
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it may be called at any time, by any thread; it takes the locks of the allocator.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}
