//! How far a restore is, for whoever shows it. The engine counts; it never prints.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Shared counters; read them whenever it suits.
#[derive(Debug, Default)]
pub struct Progress {
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    pages_done: AtomicU64,
    pages_total: AtomicU64,
}

/// The counters at one moment. Totals are zero until the plan is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Bytes of LTX files read and decoded.
    pub bytes_done: u64,
    pub bytes_total: u64,
    /// Pages of the database written.
    pub pages_done: u64,
    pub pages_total: u64,
}

impl Progress {
    pub fn now(&self) -> Done {
        Done {
            bytes_done: self.bytes_done.load(Relaxed),
            bytes_total: self.bytes_total.load(Relaxed),
            pages_done: self.pages_done.load(Relaxed),
            pages_total: self.pages_total.load(Relaxed),
        }
    }

    /// A plan is about to be carried out, perhaps not the first one.
    pub(super) fn begin(&self, bytes_total: u64, pages_total: u64) {
        self.bytes_done.store(0, Relaxed);
        self.pages_done.store(0, Relaxed);
        self.bytes_total.store(bytes_total, Relaxed);
        self.pages_total.store(pages_total, Relaxed);
    }

    pub(super) fn add(&self, bytes: u64, pages: u64) {
        self.bytes_done.fetch_add(bytes, Relaxed);
        self.pages_done.fetch_add(pages, Relaxed);
    }
}
