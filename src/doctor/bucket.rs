//! Tries each right that a replica needs, for real, with small objects beside it.
//!
//! They lie where every start puts its probe (`probes/`), so that a later start removes what a
//! killed doctor has left. Whatever fails or is interrupted in between, the last step removes what
//! was made.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{TryStreamExt, future};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::rights::{Appeared, Race, Removal, Step, Tried};
use crate::clock::Clock;
use crate::store::{Body, BodyError, Key, Put, Range, Result, Store, StoreError};

/// The size of the parts of an upload that the store is to be connected with: the least that S3
/// takes.
pub const PART_SIZE: u64 = 5 << 20;
/// For one small request.
const PATIENCE: Duration = Duration::from_secs(30);
/// For an upload of two parts.
const PATIENCE_FOR_PARTS: Duration = Duration::from_secs(300);
/// Of the object that is read back, and the range that is read of it.
const SIZE: usize = 4096;
const PART_OF_IT: Range = Range { start: 1000, len: 500 };
/// How many create the same object at once.
const RIVALS: usize = 8;
/// Names of the objects, by their number.
const FIRST: u16 = 3;
const RACED: u16 = 4;
const LISTED: [u16; 3] = [5, 2, 8];
const IN_PARTS: u16 = 9;
const ABORTED: u16 = 10;

/// Tries everything. What is cancelled was not tried.
pub async fn try_out(store: &dyn Store, clock: Clock, cancel: &CancellationToken) -> Tried {
    let mut probes = Probes { store, clock, run: clock.random_u64() >> 16, made: Vec::new() };
    let mut tried = Tried::default();
    let interrupted = cancel.run_until_cancelled(probes.try_each(&mut tried)).await.is_none();
    probes.remove(&mut tried).await;
    tried.lacks = store.lacks();
    tried.interrupted = interrupted;
    tried
}

struct Probes<'a> {
    store: &'a dyn Store,
    clock: Clock,
    /// 48 random bits.
    run: u64,
    made: Vec<u16>,
}

async fn within<T>(patience: Duration, asked: impl Future<Output = Result<T>>) -> Step<T> {
    match tokio::time::timeout(patience, asked).await {
        Ok(Ok(done)) => Step::Done(done),
        Ok(Err(error)) => Step::Failed(error),
        Err(_) => Step::Failed(StoreError::Transient { detail: format!("no answer within {patience:?}") }),
    }
}

/// Bytes that differ at every offset.
fn pattern() -> Bytes {
    (0..SIZE).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

impl Probes<'_> {
    fn prefix(&self) -> String {
        format!("probes/{:012x}", self.run)
    }

    fn key(&self, number: u16) -> Key {
        Key::new(format!("{}{number:04x}", self.prefix())).expect("hexadecimal digits are a valid name")
    }

    /// Creates an object, which is removed at the end also if the answer is lost.
    async fn create(&mut self, number: u16, bytes: Bytes) -> Step<()> {
        self.made.push(number);
        within(PATIENCE, self.store.put(&self.key(number), Put::create(bytes))).await
    }

    async fn try_each(&mut self, tried: &mut Tried) {
        tried.list = within(PATIENCE, self.store.list(&self.prefix())).await.map(drop);
        // Nothing else will be different there.
        if matches!(&tried.list, Step::Failed(StoreError::Transient { .. } | StoreError::Permanent { .. })) {
            return;
        }
        tried.create = self.create(FIRST, pattern()).await;
        if !matches!(tried.create, Step::Done(())) {
            return;
        }
        // Before another create, which may replace it.
        self.read_back(tried).await;
        tried.second = self.create_again().await;
        tried.race = Step::Done(self.race().await);
        tried.appeared = self.list_after_writing().await;
        tried.parts = self.put_in_parts(IN_PARTS, None).await;
        if matches!(tried.parts, Step::Done(())) {
            tried.aborted = self.abort_upload().await;
        }
    }

    /// Whether the second one was refused.
    async fn create_again(&self) -> Step<bool> {
        match within(PATIENCE, self.store.put(&self.key(FIRST), Put::create("second"))).await {
            Step::Done(()) => Step::Done(false),
            Step::Failed(StoreError::AlreadyExists { .. }) => Step::Done(true),
            Step::Failed(error) => Step::Failed(error),
            Step::NotTried => Step::NotTried,
        }
    }

    async fn race(&mut self) -> Race {
        self.made.push(RACED);
        let key = self.key(RACED);
        let racers =
            (0..RIVALS).map(|racer| within(PATIENCE, self.store.put(&key, Put::create(format!("racer {racer}")))));
        let mut race = Race { rivals: RIVALS, ..Race::default() };
        for ended in future::join_all(racers).await {
            match ended {
                Step::Done(()) => race.winners += 1,
                Step::Failed(StoreError::AlreadyExists { .. }) => race.refused += 1,
                Step::Failed(_) | Step::NotTried => race.unanswered += 1,
            }
        }
        race
    }

    async fn read_back(&self, tried: &mut Tried) {
        let key = self.key(FIRST);
        match within(PATIENCE, self.store.head(&key)).await {
            Step::Done(head) => {
                let now_ms = self.clock.unix_ms();
                tried.ahead_ms = Some(head.modified_ms).filter(|ms| *ms > 0).map(|ms| ms.saturating_sub(now_ms));
                tried.head = Step::Done(());
            }
            Step::Failed(error) => tried.head = Step::Failed(error),
            Step::NotTried => {}
        }
        let expected = pattern().slice(PART_OF_IT.start as usize..(PART_OF_IT.start + PART_OF_IT.len) as usize);
        tried.range = within(PATIENCE, self.read(&key, PART_OF_IT)).await.map(|bytes| bytes == expected);
    }

    async fn read(&self, key: &Key, range: Range) -> Result<Bytes> {
        let mut bytes = BytesMut::new();
        let mut chunks = self.store.get(key, range).await?;
        while let Some(chunk) = chunks.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    /// What was written a moment ago is listed, in the order of the names.
    async fn list_after_writing(&mut self) -> Step<Appeared> {
        for number in LISTED {
            match self.create(number, Bytes::from_static(b"listed")).await {
                Step::Done(()) => {}
                failed => return failed.map(|()| Appeared::default()),
            }
        }
        let listed = match within(PATIENCE, self.store.list(&self.prefix())).await {
            Step::Done(listed) => listed,
            failed => return failed.map(|_| Appeared::default()),
        };
        let mut wanted: Vec<String> = self.made.iter().map(|number| self.key(*number).to_string()).collect();
        wanted.sort();
        let missing = wanted.iter().filter(|name| listed.iter().all(|entry| entry.name != **name)).count();
        let in_order = listed.windows(2).all(|pair| pair[0].name < pair[1].name);
        Step::Done(Appeared { written: wanted.len(), missing, in_order })
    }

    /// One byte more than a part holds; it ends as given.
    async fn put_in_parts(&mut self, number: u16, end: Option<BodyError>) -> Step<()> {
        self.made.push(number);
        let (sender, chunks) = mpsc::channel(4);
        let part = Bytes::from(vec![0x6d; PART_SIZE as usize]);
        let each = [Ok(part), Ok(Bytes::from_static(b"m"))].into_iter().chain(end.map(Err));
        each.for_each(|chunk| drop(sender.try_send(chunk)));
        drop(sender);
        let body = Body::Stream { chunks, expected_len: PART_SIZE + 1 };
        let put = Put { body, create: true, modified_ms: None, metadata: Vec::new() };
        within(PATIENCE_FOR_PARTS, self.store.put(&self.key(number), put)).await
    }

    /// Begins an upload and gives it up: nothing of it may stay. The number of uploads that are
    /// still open.
    async fn abort_upload(&mut self) -> Step<usize> {
        let given_up = BodyError("given up on purpose".into());
        drop(self.put_in_parts(ABORTED, Some(given_up)).await);
        let ours = self.prefix();
        let open = within(PATIENCE, self.store.open_uploads()).await;
        open.map(|open| open.iter().filter(|upload| upload.name.starts_with(&ours)).count())
    }

    /// Removes everything, and looks whether it is gone.
    async fn remove(&self, tried: &mut Tried) {
        let keys: Vec<Key> = self.made.iter().map(|number| self.key(*number)).collect();
        if keys.is_empty() {
            return;
        }
        let removed = match within(PATIENCE, self.store.delete(&keys)).await {
            Step::Done(deleted) => Step::Done(deleted.refused.into_iter().map(|(_, error)| error).collect::<Vec<_>>()),
            failed => failed.map(|_| Vec::new()),
        };
        let was_made = matches!(tried.create, Step::Done(()));
        let stays = was_made && matches!(within(PATIENCE, self.store.head(&self.key(FIRST))).await, Step::Done(_));
        tried.removed = match removed {
            Step::Done(refused) if was_made => Step::Done(Removal { refused, stays }),
            // Of what could not be made nothing is to be said.
            _ if !was_made => Step::NotTried,
            failed => failed.map(|refused| Removal { refused, stays }),
        };
        if stays {
            tried.left = Some(format!("{}…", self.prefix()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{Blame, Check, Verdict, worst};
    use super::super::rights::judge;
    use super::*;
    use crate::clock::MACHINE;
    use crate::store::FileStore;
    use crate::store::memory::{Fault, MemoryStore, Op};

    async fn checks(store: &MemoryStore) -> Vec<Check> {
        let tried = try_out(store, MACHINE, &CancellationToken::new()).await;
        judge(&tried, true)
    }

    fn verdict(checks: &[Check], what: &str) -> Verdict {
        checks.iter().find(|check| check.what == what).expect(what).verdict
    }

    #[tokio::test]
    async fn a_store_that_is_well_is_found_well_and_left_as_it_was() {
        let store = MemoryStore::new();
        let found = checks(&store).await;
        assert!(found.iter().all(|check| check.verdict == Verdict::Ok), "{found:?}");
        assert_eq!(store.names(), Vec::<String>::new());
        let dir = tempfile::tempdir().expect("tempdir");
        let store = FileStore::new(dir.path().to_owned());
        let tried = try_out(&store, MACHINE, &CancellationToken::new()).await;
        let found = judge(&tried, true);
        assert!(found.iter().all(|check| check.verdict == Verdict::Ok), "{found:?}");
        assert_eq!(store.list("").await.expect("list"), []);
    }

    #[tokio::test]
    async fn ignored_conditions_are_found_by_the_second_and_by_the_eight() {
        let store = MemoryStore::new();
        store.inject(Op::Put, Fault::IgnoreCreate, usize::MAX);
        let found = checks(&store).await;
        assert_eq!(verdict(&found, "create-if-absent"), Verdict::Warning);
        assert_eq!(verdict(&found, "eight at once"), Verdict::Warning);
        assert_eq!((worst(&found), store.names().len()), (None, 0));
    }

    #[tokio::test]
    async fn each_right_that_is_missing_is_named_and_what_was_made_goes_all_the_same() {
        for (op, what) in [(Op::List, "list"), (Op::Put, "create"), (Op::Head, "head"), (Op::Get, "read ranges")] {
            let store = MemoryStore::new();
            store.inject(op, Fault::Fail(|detail| StoreError::Denied { detail }), usize::MAX);
            let found = checks(&store).await;
            assert_eq!(verdict(&found, what), Verdict::Problem(Blame::Denied), "{what}: {found:?}");
            assert_eq!(store.names(), Vec::<String>::new(), "{what}");
        }
        let store = MemoryStore::new();
        store.inject(Op::Delete, Fault::Fail(|detail| StoreError::Denied { detail }), usize::MAX);
        let found = checks(&store).await;
        assert_eq!(verdict(&found, "delete"), Verdict::Problem(Blame::Denied), "{found:?}");
    }

    #[tokio::test]
    async fn what_is_interrupted_is_removed() {
        let store = MemoryStore::new();
        store.inject(Op::Head, Fault::Hang, 1);
        let cancel = CancellationToken::new();
        let stop = async {
            while store.names().is_empty() {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
        };
        let (tried, ()) = future::join(try_out(&store, MACHINE, &cancel), stop).await;
        assert!(tried.interrupted);
        assert_eq!(store.names(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_listing_that_lags_is_found() {
        let store = MemoryStore::new();
        store.set_list_lag(1);
        assert_eq!(verdict(&checks(&store).await, "list after writing"), Verdict::Problem(Blame::Configuration));
    }
}
