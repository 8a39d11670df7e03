use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::restore::testing::history::{History, txid};
use crate::store::memory::{Fault, Op};

mod damage;
mod elsewhere;
mod golden;
mod histories;
mod several;

struct Place {
    dir: tempfile::TempDir,
    request: Request,
    progress: Arc<Progress>,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().expect("tempdir");
        let request = Request::new(dir.path().join("app.db"));
        Place { dir, request, progress: Arc::default() }
    }

    fn target(mut self, target: Target) -> Place {
        self.request.target = target;
        self
    }

    async fn restore(&self, remote: &Remote) -> Result<Restored, RestoreError> {
        restore(remote, &self.request, &CancellationToken::new(), &self.progress).await
    }

    fn database(&self) -> Vec<u8> {
        std::fs::read(&self.request.output).expect("restored")
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).expect("dir").flatten();
        entries.map(|e| e.file_name().into_string().expect("text")).collect()
    }

    /// An error, and not a trace of the attempt.
    async fn refused(&self, remote: &Remote) -> RestoreError {
        let before = self.files();
        let error = self.restore(remote).await.expect_err("refused");
        assert_eq!(self.files(), before, "{error}");
        error
    }
}

fn ltx_header(restored: &Restored) -> Header {
    match restored.reached {
        Reached::Ltx { txid, header } if header.max_txid == txid => header,
        other => panic!("{other:?}"),
    }
}

async fn assert_restores(history: &History, target: Target, wanted: u64) -> Restored {
    let place = Place::new().target(target);
    let restored = place.restore(&history.remote).await.expect("restores");
    let header = ltx_header(&restored);
    assert_eq!((header.max_txid, header.timestamp_ms), (txid(wanted), History::time_ms(wanted)));
    assert!(place.database() == history.databases[wanted as usize - 1], "the database at {wanted}, page for page");
    assert_eq!(place.files(), ["app.db"]);
    let done = place.progress.now();
    assert_eq!((done.pages_done, restored.database_bytes), (done.pages_total, place.database().len() as u64));
    assert!(done.bytes_done <= done.bytes_total && done.bytes_total == restored.bytes);
    restored
}

/// Five transactions: growth, change, shrinking, growth again; a snapshot of the first two, a
/// level-1 file of the next two.
async fn small_history() -> History {
    let mut history = History::new(512);
    history.write(40, []).await;
    history.write(60, [1, 7]).await;
    history.write(30, [1, 3]).await;
    history.write(50, [1, 45]).await;
    history.write(50, [1, 7]).await;
    history.compact(9, 1, 2).await;
    history.compact(1, 3, 4).await;
    history
}

#[tokio::test]
async fn the_newest_state_is_restored_with_one_listing() {
    let history = small_history().await;
    let (lists, gets) = (history.store.calls(Op::List), history.store.calls(Op::Get));
    let restored = assert_restores(&history, Target::Latest, 5).await;
    assert_eq!((restored.files, ltx_header(&restored).wal.size), (3, 500));
    assert_eq!(history.store.calls(Op::List) - lists, 1);
    assert_eq!(history.store.calls(Op::Get) - gets, 4, "the newest header, and each file once");
    assert_eq!(history.store.calls(Op::Head), 0);
}

#[tokio::test]
async fn every_page_size_is_restored() {
    for shift in 9..=16 {
        let mut history = History::new(1 << shift);
        history.write(20, []).await;
        history.write(30, [1, 25]).await;
        history.write(10, [2, 10]).await;
        history.compact(9, 1, 2).await;
        assert_restores(&history, Target::Latest, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_are_read_in_parts() {
    let mut history = History::new(4096);
    history.write(2000, []).await;
    for n in 0..6u32 {
        history.write(2000 + n * 20, (1..300).map(|i| 1 + (i * 7 * (n + 1)) % 2000)).await;
    }
    history.compact(9, 1, 3).await;
    let Ok(Found::Ltx(checked_plan)) = plan(&history.remote, Target::Latest, &CancellationToken::new()).await else {
        panic!("there is a plan")
    };
    let asked = || history.store.calls(Op::Get) + history.store.calls(Op::List);
    let before = asked();
    let restored = assert_restores(&history, Target::Latest, 7).await;
    assert_eq!(restored.files, 5);
    assert_eq!((asked() - before) as u64, checked_plan.requests(), "as was foretold");
    for wanted in 3..=7 {
        assert_restores(&history, Target::Txid(txid(wanted)), wanted).await;
    }
}

#[tokio::test]
async fn an_index_longer_than_the_guess_is_read_to_its_beginning() {
    // 512-byte pages that compress well have an index that is large for the size of the file.
    let mut history = History::new(512);
    history.write(40_000, []).await;
    assert!(history.store.bytes(&history.name(0, 1, 1)).expect("there").len() > 20_000_000);
    assert_restores(&history, Target::Latest, 1).await;
}

#[tokio::test]
async fn a_point_in_time_is_strictly_before_it() {
    let history = small_history().await;
    for (before_ms, wanted) in [
        (History::time_ms(5) + 1, 5),
        (i64::MAX, 5),
        (History::time_ms(5), 4),
        (History::time_ms(4), 3),
        (History::time_ms(2) + 1, 2),
        (History::time_ms(2), 1),
    ] {
        assert_restores(&history, Target::Before(before_ms), wanted).await;
    }
    let error = Place::new().target(Target::Before(History::time_ms(1))).refused(&history.remote).await;
    assert!(matches!(error, RestoreError::TooEarly { oldest_ms, newest_ms }
        if oldest_ms == History::time_ms(1) && newest_ms == History::time_ms(5)));
}

#[tokio::test]
async fn a_transaction_inside_a_compacted_range_is_not_restored_approximately() {
    let history = small_history().await;
    for n in 1..=4 {
        history.remove(0, n, n);
    }
    assert_restores(&history, Target::Txid(txid(4)), 4).await;
    let error = Place::new().target(Target::Txid(txid(3))).refused(&history.remote).await;
    let RestoreError::NotReached { wanted, below, above } = error else { panic!("{error}") };
    assert_eq!((wanted, below, above), (txid(3), Some(txid(2)), Some(txid(4))));
    let error = Place::new().target(Target::Txid(txid(9))).refused(&history.remote).await;
    assert!(matches!(error, RestoreError::NotReached { above: None, .. }));
}

#[tokio::test]
async fn no_backup_is_said_only_when_there_is_none() {
    let history = History::new(512);
    assert!(matches!(Place::new().refused(&history.remote).await, RestoreError::NoBackup { .. }));
    history.store.insert("notes.txt", "hello", 1);
    assert!(matches!(Place::new().refused(&history.remote).await, RestoreError::NoBackup { .. }));
    // Something of Litestream 0.3, readable or not, is a backup.
    for name in ["wal/00000000_00000000.wal.lz4", "snapshots/zero", "snapshots/00000000.snapshot.lz4"] {
        history.store.insert(&format!("generations/0123456789abcdef/{name}"), "x", 1);
        assert!(matches!(Place::new().refused(&history.remote).await, RestoreError::Corrupt { .. }), "{name}");
    }
    let error = Place::new().target(Target::Txid(txid(1))).refused(&history.remote).await;
    assert!(matches!(error, RestoreError::Corrupt { .. } | RestoreError::NoTxids { .. }), "{error}");
    // Damaged beyond recognition, but it has the name of a backup.
    history.store.insert(&history.name(9, 1, 7), "", 1);
    assert!(matches!(Place::new().refused(&history.remote).await, RestoreError::Corrupt { .. }));
    history.store.insert(&history.name(9, 1, 7), vec![7; 5000], 1);
    assert!(matches!(Place::new().refused(&history.remote).await, RestoreError::Corrupt { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_bucket_is_not_an_empty_one() {
    let history = History::new(512);
    history.store.inject(Op::List, Fault::Fail(|detail| StoreError::Transient { detail }), usize::MAX);
    let error = Place::new().refused(&history.remote).await;
    assert!(matches!(error, RestoreError::CannotTell(StoreError::Transient { .. })), "{error}");
}

#[tokio::test]
async fn a_database_that_is_there_is_replaced_only_when_told_to() {
    let history = small_history().await;
    let mut place = Place::new();
    place.restore(&history.remote).await.expect("restores");
    std::fs::write(&place.request.output, [b"SQLite format 3\0\x10\0".as_slice(), &[1; 4000]].concat()).expect("write");
    std::fs::write(place.dir.path().join("app.db-wal"), "stale").expect("write");
    assert!(matches!(place.refused(&history.remote).await, RestoreError::TargetExists { .. }));
    place.request.overwrite_empty = true;
    assert!(matches!(place.refused(&history.remote).await, RestoreError::TargetExists { .. }));
    place.request.force = true;
    let restored = place.restore(&history.remote).await.expect("told to");
    assert!(place.database() == history.databases[4]);
    assert_eq!(restored.orphaned.len(), 1);
    assert_eq!(std::fs::read_to_string(&restored.orphaned[0]).expect("kept"), "stale");

    place.request.force = false;
    std::fs::write(&place.request.output, "").expect("write");
    let restored = place.restore(&history.remote).await.expect("empty counts as missing");
    assert!(restored.orphaned.is_empty());
    std::fs::write(&place.request.output, "perhaps an encrypted database").expect("write");
    assert!(matches!(place.refused(&history.remote).await, RestoreError::NoDatabase { .. }));
    assert_eq!(place.database(), b"perhaps an encrypted database");
    place.request.force = true;
    let restored = place.restore(&history.remote).await.expect("told to");
    assert!(place.database() == history.databases[4]);
    assert_eq!(std::fs::read_to_string(&restored.orphaned[0]).expect("kept"), "perhaps an encrypted database");
}

#[tokio::test]
async fn an_unsound_database_is_not_put_in_place() {
    // Noise is no database: SQLite must say so, and only when it is asked.
    let history = small_history().await;
    let mut place = Place::new();
    place.request.integrity = Integrity::Quick;
    assert!(matches!(place.refused(&history.remote).await, RestoreError::Unsound { .. }));
    place.request.integrity = Integrity::None;
    place.restore(&history.remote).await.expect("not asked");
}

#[tokio::test]
async fn a_cancelled_restore_stops_at_once_and_leaves_nothing() {
    let history = small_history().await;
    for (name, fault) in [(history.name(9, 1, 2), Fault::Stall(300)), (history.name(0, 5, 5), Fault::Stall(0))] {
        history.store.inject_at(&name, fault, 1);
        let place = Place::new();
        let cancel = CancellationToken::new();
        let work = restore(&history.remote, &place.request, &cancel, &place.progress);
        let stop = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            cancel.cancel();
        };
        let (result, ()) = tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(work, stop) })
            .await
            .expect("far below the stall timeout");
        assert!(matches!(result, Err(RestoreError::Cancelled)));
        assert!(place.files().is_empty(), "{:?}", place.files());
        history.store.heal();
    }
    let place = Place::new();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let result = restore(&history.remote, &place.request, &cancel, &place.progress).await;
    assert!(matches!(result, Err(RestoreError::Cancelled)));
    assert!(place.files().is_empty());
}

#[tokio::test]
async fn a_dry_run_plans_and_reads_next_to_nothing() {
    let history = small_history().await;
    let (gets, served) = (history.store.calls(Op::Get), history.store.bytes_served());
    let found = plan(&history.remote, Target::Latest, &CancellationToken::new()).await.expect("plan");
    let Found::Ltx(checked_plan) = found else { panic!("{found:?}") };
    assert_eq!((checked_plan.plan.txid(), checked_plan.plan.files.len(), checked_plan.newest.commit), (txid(5), 3, 50));
    assert_eq!((history.store.calls(Op::Get) - gets, history.store.bytes_served() - served), (1, 100));
}

#[test]
fn errors_say_what_to_do() {
    let exists = RestoreError::TargetExists { path: Path::new("/data/app.db").into() };
    assert!(exists.to_string().contains("/data/app.db"));
    let early = RestoreError::TooEarly { oldest_ms: 0, newest_ms: 1_795_288_837_500 };
    assert!(early.to_string().contains("1970-01-01T00:00:00Z") && early.to_string().contains("2026-11-21T19:20:37.5Z"));
    let inside = RestoreError::NotReached { wanted: txid(3), below: Some(txid(2)), above: None };
    assert!(inside.to_string().ends_with("the nearest that can is 0000000000000002"), "{inside}");
    let encrypted = RestoreError::Encrypted { name: "generations/x".into() };
    assert!(encrypted.to_string().contains("age") && encrypted.to_string().contains("generations/x"));
}
