//! A replica that the real Litestream 0.3.13 wrote (`tests/fixtures/make_litestream_0_3_13.py`),
//! and what becomes of it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::ltx::{Encoder, Header, Txid, WalPosition};
use crate::page::{PageSize, Pgno};
use crate::remote::{Layout, Level, Remote};
use crate::restore::testing::golden::{self, digest, number, try_restore};
use crate::restore::{Reached, Request, RestoreError, Target, restore};
use crate::store::Body;
use crate::store::memory::{Fault, MemoryStore, Op};

const NAME: &str = "litestream-0.3.13";

fn lines(file: &str) -> Vec<Vec<String>> {
    golden::lines(NAME, file)
}

fn replica() -> (MemoryStore, Remote) {
    golden::replica(NAME, Layout::S3)
}

#[tokio::test]
async fn every_point_of_a_real_replica_is_restored_page_for_page() {
    let (_, remote) = replica();
    let points = lines("points.txt");
    assert_eq!(points.len(), 8);
    for point in &points {
        let target = Target::Before(number(&point[0]));
        let (restored, database) = try_restore(&remote, target).await.expect("restores");
        assert_eq!((database.len() as i64, digest(&database)), (number(&point[1]), point[2].clone()), "{point:?}");
        assert_eq!(restored.database_bytes, database.len() as u64);
    }
    let (restored, database) = try_restore(&remote, Target::Latest).await.expect("restores");
    assert_eq!(digest(&database), points[7][2]);
    assert!(matches!(restored.reached, Reached::Old { .. }), "{:?}", restored.reached);
    assert_eq!(database[18..20], [2, 2], "the source was in WAL mode, and so is this");
}

#[tokio::test]
async fn a_moment_before_the_first_snapshot_names_the_window() {
    let (_, remote) = replica();
    let objects = lines("objects.txt");
    let error = try_restore(&remote, Target::Before(number(&objects[0][0]) - 1000)).await.expect_err("too early");
    let RestoreError::TooEarly { oldest_ms, newest_ms } = error else { panic!("{error}") };
    assert_eq!((oldest_ms, newest_ms), (number(&objects[0][0]), number(&objects[objects.len() - 1][0])));
    let error = try_restore(&remote, Target::Txid(Txid::FIRST)).await.expect_err("no TXIDs");
    assert!(matches!(error, RestoreError::NoTxids { .. }), "{error}");
}

#[tokio::test]
async fn any_missing_file_is_an_error_that_names_it() {
    let (_, remote) = replica();
    let (whole, expected) = try_restore(&remote, Target::Latest).await.expect("restores");
    let newest = lines("objects.txt").pop().expect("objects")[1].clone();
    let generation = newest.split('/').nth(1).expect("a generation").to_owned();
    let wal_of = |name: &str| name.rsplit('/').next().and_then(|file| file.split('_').next()).map(str::to_owned);
    let names: Vec<String> = lines("objects.txt").into_iter().map(|line| line[1].clone()).collect();
    let segments: Vec<&String> = names.iter().filter(|name| name.contains(&format!("{generation}/wal/"))).collect();
    // The last segment of a WAL leaves no hole behind: nothing in the format says how long a WAL
    // was.
    let ends_a_wal =
        |name: &str| segments.iter().filter(|s| wal_of(s) == wal_of(name)).max().is_some_and(|s| **s == name);
    let mut gaps = 0;
    for line in lines("objects.txt").into_iter().filter(|line| line[1].contains(&generation)) {
        let (store, remote) = replica();
        store.remove(&line[1]);
        match try_restore(&remote, Target::Latest).await {
            Ok((restored, database)) => {
                assert!(ends_a_wal(&line[1]) || line[1].contains("/snapshots/"), "{}", line[1]);
                assert!(restored.files < whole.files && (database != expected || line[1] != newest));
            }
            Err(RestoreError::OldGap { .. } | RestoreError::Corrupt { .. }) => gaps += 1,
            // Asked or not, SQLite has a look: with this hole pages of two times stand side by
            // side.
            Err(RestoreError::Unsound { .. }) if ends_a_wal(&line[1]) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let wals: std::collections::BTreeSet<_> = segments.iter().map(|name| wal_of(name)).collect();
    assert!(gaps >= segments.len() - wals.len() && gaps > 10, "{gaps} of {}", segments.len());
}

#[tokio::test]
async fn damage_names_the_file_and_a_flip_on_the_way_is_read_again() {
    let (_, remote) = replica();
    let (_, expected) = try_restore(&remote, Target::Latest).await.expect("restores");
    let newest = lines("objects.txt").pop().expect("objects")[1].clone();
    let generation = newest.split('/').nth(1).expect("a generation").to_owned();
    for line in lines("objects.txt").into_iter().filter(|line| line[1].contains(&generation)).step_by(7) {
        let (store, remote) = replica();
        let size = store.bytes(&line[1]).expect("there").len();
        store.inject_at(&line[1], Fault::Flip(size / 2), 1);
        let (_, database) = try_restore(&remote, Target::Latest).await.expect("read again");
        assert!(database == expected);
        store.inject_at(&line[1], Fault::Flip(size - 1), 2);
        let error = try_restore(&remote, Target::Latest).await.expect_err("damaged");
        assert!(matches!(&error, RestoreError::Corrupt { name, .. } if *name == line[1]), "{error}");
    }
    let (store, remote) = replica();
    store.insert(&newest, "age-encryption.org/v1\n-> X25519", i64::MAX);
    let error = try_restore(&remote, Target::Latest).await.expect_err("encrypted");
    assert!(matches!(&error, RestoreError::Encrypted { name } if *name == newest), "{error}");
}

/// Puts an LTX image of one page beside the old files.
async fn put_ltx(remote: &Remote, level: Level, timestamp_ms: i64) {
    let header = Header {
        page_size: PageSize::new(512).expect("valid"),
        commit: 1,
        min_txid: Txid::FIRST,
        max_txid: Txid::FIRST,
        timestamp_ms,
        wal: WalPosition::default(),
    };
    let mut encoder = Encoder::new(Vec::new(), header).expect("header");
    encoder.page(Pgno::FIRST, &[7; 512]).expect("page");
    let file = encoder.finish().expect("complete").writer;
    remote.put(level, &header, Body::Bytes(file.into())).await.expect("put");
}

#[tokio::test]
async fn of_two_formats_the_younger_one_is_restored() {
    let objects = lines("objects.txt");
    let newest_ms = number(&objects[objects.len() - 1][0]);
    let oldest_ms = number(&objects[0][0]);
    for (ltx_ms, target, is_ltx) in [
        (newest_ms + 5, Target::Latest, true),
        (newest_ms, Target::Latest, true),
        (newest_ms - 1, Target::Latest, false),
        (newest_ms + 5, Target::Before(newest_ms + 6), true),
        (newest_ms + 5, Target::Before(newest_ms + 5), false),
        (oldest_ms - 5, Target::Before(oldest_ms - 1), true),
        (oldest_ms - 5, Target::Before(oldest_ms), false),
        (newest_ms - 1, Target::Txid(Txid::FIRST), true),
    ] {
        let (_, remote) = replica();
        put_ltx(&remote, Level::L0, ltx_ms).await;
        let dir = tempfile::tempdir().expect("tempdir");
        let request = Request { target, ..Request::new(dir.path().join("app.db")) };
        let restored = restore(&remote, &request, &CancellationToken::new(), &Arc::default()).await.expect("restores");
        assert_eq!(matches!(restored.reached, Reached::Ltx { .. }), is_ltx, "{ltx_ms} {target:?}");
    }
}

#[tokio::test]
async fn damaged_ltx_files_are_no_reason_to_go_back_to_the_old_ones() {
    let (store, remote) = replica();
    store.insert("0000/0000000000000001-0000000000000001.ltx", "", i64::MAX);
    let error = try_restore(&remote, Target::Latest).await.expect_err("damaged");
    assert!(matches!(error, RestoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn the_old_files_may_lie_under_another_prefix() {
    let (_, old) = replica();
    let store = MemoryStore::new();
    let remote = Remote::new(Arc::new(store.clone()), Layout::S3).with_old_store(old.store().clone());
    let (restored, _) = try_restore(&remote, Target::Latest).await.expect("restores");
    assert!(matches!(restored.reached, Reached::Old { .. }));
    assert_eq!(store.calls(Op::Get), 0);
}
