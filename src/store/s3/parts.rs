//! A body in parts of equal size, the last one excepted.

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::super::{Body, BodyError, Result, StoreError};
use super::settings::Settings;

/// S3's limits.
pub(super) const PARTS_MAX: u64 = 10_000;
const PART_BYTES_MAX: u64 = 5 << 30;
const MIB: u64 = 1 << 20;

/// How a body is cut, and how much of it may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartPlan {
    pub(super) part_bytes: u64,
    pub(super) in_flight: usize,
}

impl PartPlan {
    /// For a body of `len` bytes at most. Pure.
    fn of(len: u64, part_size: u64, concurrency: usize) -> PartPlan {
        let enough = len.div_ceil(PARTS_MAX).next_multiple_of(MIB).min(PART_BYTES_MAX);
        let part_bytes = part_size.max(enough);
        let budget = part_size.saturating_mul(concurrency as u64);
        let in_flight = usize::try_from(budget / part_bytes).unwrap_or(concurrency).clamp(1, concurrency.max(1));
        PartPlan { part_bytes, in_flight }
    }
}

/// A body in parts of equal size, the last one excepted.
pub(super) struct Parts {
    source: Source,
    pub(super) plan: PartPlan,
    part_size: usize,
    /// What has come in for the next part.
    gathered: BytesMut,
    what: String,
}

enum Source {
    Bytes(Bytes),
    Stream {
        chunks: mpsc::Receiver<std::result::Result<Bytes, BodyError>>,
        /// What did not fit into the last part.
        rest: Bytes,
    },
    Ended,
}

impl Parts {
    pub(super) fn of(body: Body, settings: &Settings, what: String) -> Parts {
        let (source, len) = match body {
            Body::Bytes(bytes) => {
                let len = bytes.len() as u64;
                (Source::Bytes(bytes), len)
            }
            Body::Stream { chunks, expected_len } => (Source::Stream { chunks, rest: Bytes::new() }, expected_len),
        };
        let plan = PartPlan::of(len, settings.part_size, settings.concurrency);
        let part_size = usize::try_from(plan.part_bytes).unwrap_or(usize::MAX);
        Parts { source, plan, part_size, gathered: BytesMut::new(), what }
    }

    /// Whether this part ends the body, so that a single request can carry it.
    pub(super) fn is_last(&self, part: &Bytes) -> bool {
        part.len() < self.part_size
    }

    /// The next part; shorter than the part size only at the end. Dropping the future loses
    /// nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        match &mut self.source {
            Source::Bytes(bytes) => {
                let part = bytes.split_to(self.part_size.min(bytes.len()));
                if bytes.is_empty() {
                    self.source = Source::Ended;
                }
                Ok((!part.is_empty()).then_some(part))
            }
            Source::Stream { chunks, rest } => {
                // Grown step by step it would end up with room for much more than a part, times the
                // parts in flight.
                self.gathered.reserve(self.part_size - self.gathered.len());
                while self.gathered.len() < self.part_size {
                    if rest.is_empty() {
                        match chunks.recv().await {
                            Some(Ok(chunk)) => *rest = chunk,
                            Some(Err(error)) => {
                                let detail = format!("{}: body aborted: {error}", self.what);
                                return Err(StoreError::Permanent { detail });
                            }
                            None => {
                                self.source = Source::Ended;
                                break;
                            }
                        }
                    }
                    let missing = self.part_size - self.gathered.len();
                    self.gathered.extend_from_slice(&rest.split_to(missing.min(rest.len())));
                }
                let part = self.gathered.split().freeze();
                Ok((!part.is_empty()).then_some(part))
            }
            Source::Ended => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_small_as_ten_thousand_of_them_allow() {
        const GIB: u64 = 1 << 30;
        let cut = |len, part_size, concurrency| {
            let plan = PartPlan::of(len, part_size, concurrency);
            (plan.part_bytes / MIB, plan.in_flight)
        };
        let table = [
            (0, (5, 5)),
            (100, (5, 5)),
            (PARTS_MAX * 5 * MIB, (5, 5)),
            (PARTS_MAX * 5 * MIB + 1, (6, 4)),
            (100 * GIB, (11, 2)),
            (200 * GIB, (21, 1)),
            (1024 * GIB, (105, 1)),
            (5 * 1024 * GIB, (525, 1)),
            (u64::MAX, (5 * 1024, 1)),
        ];
        for (len, expected) in table {
            assert_eq!(cut(len, 5 * MIB, 5), expected, "{len}");
        }
        assert_eq!(cut(100 * GIB, 64 * MIB, 8), (64, 8), "what the user allows");
        assert_eq!(cut(5 * 1024 * GIB, 64 * MIB, 10), (525, 1));
        assert_eq!(cut(1, 5 * GIB, 0), (5 * 1024, 1));
    }

    #[test]
    fn parts_are_enough_and_memory_is_bounded() {
        let seed = crate::clock::MACHINE.random_u64();
        println!("seed {seed}");
        let mut state = seed;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 16) % below
        };
        for _ in 0..10_000 {
            let (len, part_size) = (next(5 << 40), (5 * MIB) << next(8));
            let concurrency = 1 + usize::try_from(next(20)).expect("small");
            let plan = PartPlan::of(len, part_size, concurrency);
            assert!(plan.part_bytes * PARTS_MAX >= len, "{len} {plan:?}");
            let budget = part_size * concurrency as u64;
            assert!(plan.in_flight as u64 * plan.part_bytes <= budget.max(plan.part_bytes), "{len} {plan:?}");
            assert!((1..=concurrency).contains(&plan.in_flight), "{len} {plan:?}");
        }
    }
}
