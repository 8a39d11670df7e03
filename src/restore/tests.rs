use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::remote::Layout;
use crate::store::memory::{Fault, MemoryStore, Op};
use history::{History, txid};

pub(super) mod golden;
pub(super) mod history;

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

/// Five transactions: growth, change, shrinking, growth again; a snapshot of the first two, a level-1 file of the next two.
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
    let Ok(Found::Ltx(survey)) = plan(&history.remote, Target::Latest, &CancellationToken::new()).await else {
        panic!("there is a plan")
    };
    let asked = || history.store.calls(Op::Get) + history.store.calls(Op::List);
    let before = asked();
    let restored = assert_restores(&history, Target::Latest, 7).await;
    assert_eq!(restored.files, 5);
    assert_eq!((asked() - before) as u64, survey.requests(), "as was foretold");
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
async fn strays_are_ignored_and_true_gaps_are_errors() {
    let history = small_history().await;
    history.store.insert(&history.name(0, u64::MAX, u64::MAX), vec![9; 300], 1);
    history.store.insert(&history.name(9, 1, u64::MAX), vec![9; 300], 1);
    history.store.insert(&history.name(2, 1, 77), vec![9; 300], 1);
    history.store.insert(&history.name(0, 70, 70), history.store.bytes(&history.name(0, 5, 5)).expect("there"), 1);
    assert_restores(&history, Target::Latest, 5).await;
    assert_restores(&history, Target::Before(i64::MAX), 5).await;

    let mut history = small_history().await;
    history.write(50, [1]).await;
    history.write(50, [2]).await;
    history.remove(0, 6, 6);
    let error = Place::new().refused(&history.remote).await;
    let RestoreError::Gap { reached, first_missing, last_missing, beyond } = &error else { panic!("{error}") };
    assert_eq!((*reached, *first_missing, *last_missing), (Some(txid(5)), txid(6), txid(6)));
    assert_eq!(beyond.as_str(), history.name(0, 7, 7));
    assert!(error.to_string().contains("0000000000000006"), "{error}");
    assert_restores(&history, Target::Txid(txid(5)), 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_flipped_bit_on_the_way_is_read_again() {
    let mut history = History::new(4096);
    history.write(400, []).await;
    history.write(400, [1, 2, 3]).await;
    for (min, len) in [(1, 400 * 4000), (2, 12_000)] {
        let name = history.name(0, min, min);
        let size = history.store.bytes(&name).expect("there").len();
        assert!(size > len);
        // Header, frame header, block, end mark, index, tail.
        for at in [0, 14, 35, 101, 5000, size / 2, size - 40, size - 20, size - 1] {
            history.store.inject_at(&name, Fault::Flip(at), 1);
            assert_restores(&history, Target::Latest, 2).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_at_rest_names_the_object() {
    for at in [14, 101, 5000, 700_000, 1_600_000] {
        let mut history = History::new(4096);
        history.write(400, []).await;
        history.write(400, [1, 2, 3]).await;
        history.damage(0, 1, 1, |bytes| bytes[at] ^= 1);
        let error = Place::new().refused(&history.remote).await;
        let RestoreError::Corrupt { name, .. } = &error else { panic!("byte {at}: {error}") };
        assert_eq!(*name, history.name(0, 1, 1));
    }
}

#[tokio::test]
async fn other_files_with_the_same_transactions_replace_a_damaged_one() {
    let history = small_history().await;
    history.damage(1, 3, 4, |bytes| bytes[300] ^= 1);
    assert_restores(&history, Target::Latest, 5).await;
    history.damage(9, 1, 2, |bytes| bytes.truncate(400));
    assert_restores(&history, Target::Latest, 5).await;
    history.damage(0, 2, 2, |bytes| bytes[300] ^= 1);
    let error = Place::new().refused(&history.remote).await;
    assert!(matches!(error, RestoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_last_commit_is_never_dropped_in_silence() {
    for (at, len) in [(0, 0), (30, 0), (400, 0), (0, 200)] {
        let history = small_history().await;
        history.damage(0, 5, 5, |bytes| if len > 0 { bytes.truncate(len) } else { bytes[at] ^= 1 });
        let error = Place::new().refused(&history.remote).await;
        let RestoreError::Corrupt { name, .. } = &error else { panic!("{error}") };
        assert_eq!(*name, history.name(0, 5, 5));
    }
}

#[tokio::test]
async fn a_bucket_that_changes_meanwhile_is_listed_again() {
    let history = small_history().await;
    let snapshot = history.name(9, 1, 2);
    history.store.inject_at(&snapshot, Fault::Fail(|detail| StoreError::NotFound { detail }), 2);
    let lists = history.store.calls(Op::List);
    assert_restores(&history, Target::Latest, 5).await;
    assert_eq!(history.store.calls(Op::List) - lists, 3);
    history.store.inject_at(&snapshot, Fault::Fail(|detail| StoreError::NotFound { detail }), 100);
    assert!(matches!(Place::new().refused(&history.remote).await, RestoreError::CannotTell(_)));
}

#[tokio::test]
async fn files_that_do_not_make_a_whole_database_are_refused() {
    let mut other = History::new(1024);
    other.write(10, []).await;
    other.write(10, [1]).await;
    let mut history = History::new(512);
    history.write(10, []).await;
    history.store.insert(&history.name(0, 2, 2), other.store.bytes(&other.name(0, 2, 2)).expect("there"), 1);
    let error = Place::new().refused(&history.remote).await;
    assert!(error.to_string().contains("1024"), "page sizes differ: {error}");

    // A file that makes the database longer without the new pages.
    let mut longer = History::new(512);
    longer.write(90, []).await;
    longer.write(90, [1]).await;
    history.store.insert(&history.name(0, 2, 2), longer.store.bytes(&longer.name(0, 2, 2)).expect("there"), 1);
    let error = Place::new().refused(&history.remote).await;
    assert!(error.to_string().contains("page 11 is in no file"), "{error}");
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
    let Found::Ltx(survey) = found else { panic!("{found:?}") };
    assert_eq!((survey.plan.txid(), survey.plan.files.len(), survey.newest.commit), (txid(5), 3, 50));
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

#[derive(Clone, Debug)]
enum Step {
    Write { commit: u32, seed: u32 },
    Compact { level: u8, len: u64 },
    Snapshot,
    Retain { keep: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u32..60, any::<u32>()).prop_map(|(commit, seed)| Step::Write { commit, seed }),
        2 => (1u8..4, 1u64..6).prop_map(|(level, len)| Step::Compact { level, len }),
        1 => Just(Step::Snapshot),
        1 => (1u64..5).prop_map(|keep| Step::Retain { keep }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever was written, compacted and retained: the newest state is restored, and every transaction either exactly or not.
    #[test]
    fn any_history_is_restored_exactly(steps in prop::collection::vec(any_step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let mut history = History::new(512);
            history.write(5, []).await;
            let mut compacted = 0;
            for step in steps {
                let newest = history.txid();
                match step {
                    Step::Write { commit, seed } => history.write(commit, (1..60).filter(|n| seed >> (n % 32) & 1 == 1)).await,
                    Step::Compact { level, len } if compacted + len <= newest => {
                        history.compact(level, compacted + 1, compacted + len).await;
                        compacted += len;
                    }
                    Step::Snapshot if !history.store.names().contains(&history.name(9, 1, newest)) => {
                        history.compact(9, 1, newest).await;
                    }
                    Step::Retain { keep } => {
                        for n in 1..=compacted.min(newest - keep.min(newest)) {
                            history.store.remove(&history.name(0, n, n));
                        }
                    }
                    _ => {}
                }
            }
            assert_restores(&history, Target::Latest, history.txid()).await;
            for wanted in 1..=history.txid() {
                let place = Place::new().target(Target::Txid(txid(wanted)));
                match place.restore(&history.remote).await {
                    Ok(_) => assert!(place.database() == history.databases[wanted as usize - 1]),
                    Err(RestoreError::NotReached { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
}

/// The objects of `from`, each under another name.
fn renamed(from: &History, rename: impl Fn(&str) -> String) -> (MemoryStore, Remote) {
    let store = MemoryStore::new();
    for name in from.store.names() {
        store.insert(&rename(&name), from.store.bytes(&name).expect("listed").to_vec(), 5);
    }
    (store.clone(), Remote::new(Arc::new(store), Layout::S3))
}

/// `0003/…` as `ltx/3/…`.
fn as_in_a_directory(name: &str) -> String {
    format!("ltx/{}", &name[3..])
}

async fn three_transactions() -> History {
    let mut history = History::new(512);
    for changed in 1..=3 {
        history.write(4, [changed]).await;
    }
    history
}

#[tokio::test]
async fn a_history_in_the_layout_of_another_store_is_restored() {
    let history = three_transactions().await;
    let (_, remote) = renamed(&history, as_in_a_directory);
    for (target, at) in [(Target::Latest, 3), (Target::Txid(txid(2)), 2), (Target::Before(History::time_ms(2)), 1)] {
        let place = Place::new().target(target);
        place.restore(&remote).await.expect("restores");
        assert_eq!(place.database(), history.databases[at - 1], "{target:?}");
    }
}

#[tokio::test]
async fn what_looks_like_a_backup_and_lies_elsewhere_is_never_no_backup() {
    let history = three_transactions().await;
    let moves: [fn(&str) -> String; 5] = [
        |name| format!("app/{name}"),
        |name| format!("app/{}", as_in_a_directory(name)),
        |name| name[3..].to_owned(),
        |name| name[5..].to_owned(),
        |name| format!("{name}.gz"),
    ];
    for rename in moves {
        let (_, remote) = renamed(&history, rename);
        let error = Place::new().refused(&remote).await;
        assert!(matches!(error, RestoreError::Misplaced { .. }), "{}: {error}", rename(&history.name(0, 1, 1)));
        let order = Order { deep: None, window: None, parallelism: 2 };
        let error = verify(&remote, &order, &CancellationToken::new()).await.expect_err("nothing to verify");
        assert!(matches!(error, RestoreError::Misplaced { .. }), "{error}");
        // Another database's replica that is known to be there is not wondered about.
        let beside = remote.beside(["app".to_owned()]);
        let error = Place::new().refused(&beside).await;
        let is_known = rename(&history.name(0, 1, 1)).starts_with("app/");
        assert_eq!(matches!(error, RestoreError::NoBackup { .. }), is_known, "{error}");
    }
    let (store, remote) = renamed(&history, |name| format!("{name}.tmp"));
    store.insert("notes.txt", b"mine".to_vec(), 5);
    assert!(matches!(Place::new().refused(&remote).await, RestoreError::NoBackup { .. }));
}

#[tokio::test]
async fn two_histories_are_not_guessed_between() {
    let history = three_transactions().await;
    for (behind, refused) in [(1, true), (3, false)] {
        let (store, remote) = renamed(&history, as_in_a_directory);
        for at in 1..=behind {
            let name = history.name(0, at, at);
            store.insert(&name, history.store.bytes(&name).expect("there").to_vec(), 5);
        }
        let place = Place::new();
        match place.restore(&remote).await {
            Ok(_) => assert!(!refused),
            Err(error) => assert!(refused && matches!(error, RestoreError::TwoHistories { .. }), "{error}"),
        }
    }
}
