//! Files that are damaged, missing, strange, or gone by the time they are read.

use super::*;

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
