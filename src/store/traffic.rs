//! What was asked of a store: operations, as this program thinks of them, and the HTTP requests
//! that they took. Counted where they are made; nothing is decided by it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::StoreError;

/// Upper bounds of the durations that are told apart, in seconds: Litestream's.
pub const DURATION_BUCKETS: [f64; 9] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0];

/// S3's operations, as its SDK names them; the last stands for any other.
const REQUESTS: [&str; 12] = [
    "PutObject",
    "GetObject",
    "HeadObject",
    "ListObjectsV2",
    "ListObjects",
    "DeleteObjects",
    "DeleteObject",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "Other",
];

/// Named as Litestream names them, and `HEAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Put,
    Get,
    Head,
    List,
    Delete,
}

impl Operation {
    const ALL: [Operation; 5] = [Operation::Put, Operation::Get, Operation::Head, Operation::List, Operation::Delete];

    pub const fn name(self) -> &'static str {
        match self {
            Operation::Put => "PUT",
            Operation::Get => "GET",
            Operation::Head => "HEAD",
            Operation::List => "LIST",
            Operation::Delete => "DELETE",
        }
    }

    pub const fn moves_bytes(self) -> bool {
        matches!(self, Operation::Put | Operation::Get)
    }
}

/// Errors that are none: an object that is not there, or is there already, is an answer.
const CODES: [&str; 3] = ["denied", "unavailable", "invalid"];

fn code(error: &StoreError) -> Option<usize> {
    match error {
        StoreError::NotFound { .. } | StoreError::AlreadyExists { .. } => None,
        StoreError::Denied { .. } => Some(0),
        StoreError::Transient { .. } => Some(1),
        StoreError::Permanent { .. } => Some(2),
    }
}

#[derive(Debug, Default)]
struct One {
    count: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
    /// Those that took at most so long, each counted in its own only.
    buckets: [AtomicU64; DURATION_BUCKETS.len()],
    errors: [AtomicU64; CODES.len()],
}

/// Of one store. Replicas in the same bucket share it.
#[derive(Debug)]
pub struct Traffic {
    kind: &'static str,
    store: String,
    operations: [One; Operation::ALL.len()],
    requests: [AtomicU64; REQUESTS.len()],
    /// By how much the store's clock is ahead of ours, by its newest answer. [`UNTOLD`]: it has not
    /// said.
    clock_ahead_ms: AtomicI64,
}

const UNTOLD: i64 = i64::MIN;

/// One operation's numbers at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Operated {
    /// Of store: `s3`, `file`.
    pub kind: &'static str,
    pub operation: Operation,
    pub count: u64,
    pub bytes: u64,
    pub seconds: f64,
    /// How many took at most [`DURATION_BUCKETS`].
    pub buckets: [u64; DURATION_BUCKETS.len()],
    pub errors: Vec<(&'static str, u64)>,
}

/// How often one kind of request was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    pub store: String,
    pub request: &'static str,
    pub count: u64,
}

impl Traffic {
    /// `kind` is Litestream's name of it; `store` the address without a path.
    pub fn new(kind: &'static str, store: impl Into<String>) -> Traffic {
        let (operations, requests) = (Default::default(), Default::default());
        Traffic { kind, store: store.into(), operations, requests, clock_ahead_ms: AtomicI64::new(UNTOLD) }
    }

    pub fn did<T>(&self, operation: Operation, took: Duration, done: &Result<T, StoreError>) {
        let one = self.of(operation);
        one.count.fetch_add(1, Relaxed);
        one.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        let seconds = took.as_secs_f64();
        if let Some(at) = DURATION_BUCKETS.iter().position(|bound| seconds <= *bound) {
            one.buckets[at].fetch_add(1, Relaxed);
        }
        if let Some(at) = done.as_ref().err().and_then(code) {
            one.errors[at].fetch_add(1, Relaxed);
        }
    }

    pub fn moved(&self, operation: Operation, bytes: usize) {
        self.of(operation).bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// A request goes out; `name` is the SDK's.
    pub fn requested(&self, name: &str) {
        let at = REQUESTS.iter().position(|known| *known == name).unwrap_or(REQUESTS.len() - 1);
        self.requests[at].fetch_add(1, Relaxed);
    }

    /// An answer has said what time it is there, at `now_ms` of our clock.
    pub fn told_the_time(&self, there_ms: i64, now_ms: i64) {
        self.clock_ahead_ms.store(there_ms.saturating_sub(now_ms).max(UNTOLD + 1), Relaxed);
    }

    /// By how much the store's clock is ahead of ours, to a second or so.
    pub fn clock_ahead_ms(&self) -> Option<i64> {
        Some(self.clock_ahead_ms.load(Relaxed)).filter(|ahead| *ahead != UNTOLD)
    }

    fn of(&self, operation: Operation) -> &One {
        &self.operations[operation as usize]
    }

    /// The operations that were made.
    pub fn operated(&self) -> impl Iterator<Item = Operated> {
        Operation::ALL.into_iter().filter_map(|operation| {
            let one = self.of(operation);
            let count = one.count.load(Relaxed);
            let mut sum = 0;
            let buckets = one.buckets.each_ref().map(|bucket| {
                sum += bucket.load(Relaxed);
                sum
            });
            let errors = CODES.iter().zip(&one.errors).map(|(code, count)| (*code, count.load(Relaxed)));
            (count > 0).then(|| Operated {
                kind: self.kind,
                operation,
                count,
                bytes: one.bytes.load(Relaxed),
                seconds: Duration::from_nanos(one.nanos.load(Relaxed)).as_secs_f64(),
                buckets,
                errors: errors.filter(|(_, count)| *count > 0).collect(),
            })
        })
    }

    /// The requests that were made.
    pub fn requests(&self) -> impl Iterator<Item = Requested> {
        let each = REQUESTS.iter().zip(&self.requests).map(|(request, count)| (*request, count.load(Relaxed)));
        each.filter(|(_, count)| *count > 0).map(|(request, count)| Requested {
            store: self.store.clone(),
            request,
            count,
        })
    }
}

impl Operated {
    /// Both together.
    pub fn add(&mut self, other: &Operated) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.seconds += other.seconds;
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, more)| *sum += more);
        for (code, more) in &other.errors {
            match self.errors.iter_mut().find(|(known, _)| known == code) {
                Some((_, count)) => *count += more,
                None => self.errors.push((*code, *more)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_buckets_and_answers_are_no_errors() {
        let traffic = Traffic::new("s3", "s3://b");
        let detail = || "x".to_owned();
        traffic.did(Operation::Get, Duration::from_millis(7), &Ok(()));
        traffic.did(
            Operation::Get,
            Duration::from_millis(70),
            &Err::<(), _>(StoreError::NotFound { detail: detail() }),
        );
        traffic.did(Operation::Get, Duration::from_secs(99), &Err::<(), _>(StoreError::Denied { detail: detail() }));
        traffic.moved(Operation::Get, 10);
        let mut operated: Vec<Operated> = traffic.operated().collect();
        assert_eq!(operated.len(), 1);
        assert_eq!(operated[0].buckets, [1, 1, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!((operated[0].count, operated[0].bytes, &operated[0].errors), (3, 10, &vec![("denied", 1)]));
        let other = operated[0].clone();
        operated[0].add(&other);
        assert_eq!((operated[0].count, operated[0].errors[0].1, operated[0].buckets[8]), (6, 2, 4));
    }

    #[test]
    fn an_unknown_request_counts_too() {
        let traffic = Traffic::new("s3", "s3://b");
        ["PutObject", "PutObject", "SomethingNew"].into_iter().for_each(|name| traffic.requested(name));
        let counted: Vec<_> = traffic.requests().map(|requested| (requested.request, requested.count)).collect();
        assert_eq!(counted, [("PutObject", 2), ("Other", 1)]);
    }
}
