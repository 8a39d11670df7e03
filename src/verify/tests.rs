use super::*;
use crate::remote::Layout;
use crate::restore::testing::golden;
use crate::restore::testing::history::{History, txid};
use crate::store::StoreError;
use crate::store::memory::{Fault, Op};

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

fn shallow() -> Order {
    Order { deep: None, window: None, parallelism: 4 }
}

fn deep(dir: &Path) -> Order {
    let deep = Deep { dir: dir.to_owned(), live: None, patience: Duration::ZERO };
    Order { deep: Some(deep), ..shallow() }
}

async fn verified(remote: &Remote, order: &Order) -> Verified {
    verify(remote, order, &CancellationToken::new()).await.expect("told")
}

fn damage_of(verified: &Verified) -> Vec<String> {
    verified.audit.damage().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_sound_replica_takes_one_list_and_a_look_at_each_object() {
    let history = small_history().await;
    let (lists, gets) = (history.store.calls(Op::List), history.store.calls(Op::Get));
    let verified = verified(&history.remote, &shallow()).await;
    assert!(verified.is_proven() && verified.audit.findings.is_empty(), "{:?}", verified.audit.findings);
    assert_eq!((history.store.calls(Op::List) - lists, history.store.calls(Op::Get) - gets), (1, 7));
    assert_eq!(verified.newest(), Some((txid(5), History::time_ms(5))));
}

#[tokio::test]
async fn what_is_missing_is_looked_for_twice() {
    let history = small_history().await;
    history.remove(0, 5, 5);
    let name = history.name(0, 9, 9);
    history.store.insert(&name, vec![7; 300], 1);
    assert!(verified(&history.remote, &shallow()).await.is_proven(), "a stray is no damage");

    let mut history = small_history().await;
    history.write(50, [2]).await;
    history.remove(0, 5, 5);
    let lists = history.store.calls(Op::List);
    let found = damage_of(&verified(&history.remote, &shallow()).await);
    assert!(found.len() == 1 && found[0].contains("0000000000000005"), "{found:?}");
    assert_eq!(history.store.calls(Op::List) - lists, 2);
}

#[tokio::test]
async fn an_object_that_vanishes_meanwhile_is_nobodys_fault() {
    let history = small_history().await;
    history.store.inject_at(&history.name(0, 3, 3), Fault::Fail(|detail| StoreError::NotFound { detail }), 1);
    assert!(verified(&history.remote, &shallow()).await.is_proven());
    history.store.inject_at(&history.name(0, 5, 5), Fault::Flip(20), 1);
    assert!(verified(&history.remote, &shallow()).await.is_proven(), "damaged on its way, and read again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_deep_look_sees_a_flipped_bit_in_any_file() {
    let dir = tempfile::tempdir().expect("tempdir");
    for (level, min, max, redundant) in [(0, 5, 5, false), (1, 3, 4, true), (9, 1, 2, true), (0, 2, 2, true)] {
        let history = small_history().await;
        history.damage(level, min, max, |bytes| bytes[300] ^= 1);
        assert!(verified(&history.remote, &shallow()).await.is_proven());
        let found = verified(&history.remote, &deep(dir.path())).await.audit.findings;
        let name = history.name(level, min, max);
        let finding = found.iter().find(|f| f.object.as_deref() == Some(&name)).expect("named");
        let wanted = if redundant && level != 0 { "damaged-redundant" } else { "damaged" };
        assert!(finding.what.kind() == wanted || level == 0, "{finding:?}");
        // The pages of this history are noise, which SQLite takes for no database: that is said,
        // too.
        assert_eq!(std::fs::read_dir(dir.path()).expect("dir").count(), 0, "nothing stays");
    }
}

#[tokio::test]
async fn doubt_is_not_damage() {
    let history = small_history().await;
    history.store.inject(Op::List, Fault::Fail(|detail| StoreError::Transient { detail }), usize::MAX);
    let cancel = CancellationToken::new();
    let impatient = history.remote.clone().with_policy(crate::remote::ReadPolicy::impatient());
    assert!(matches!(verify(&impatient, &shallow(), &cancel).await, Err(RestoreError::CannotTell(_))));
    history.store.heal();
    history.store.inject_at(&history.name(0, 1, 1), Fault::Fail(|detail| StoreError::Denied { detail }), 1);
    assert!(matches!(verify(&impatient, &shallow(), &cancel).await, Err(RestoreError::CannotTell(_))));
    let empty = History::new(512);
    assert!(matches!(verify(&empty.remote, &shallow(), &cancel).await, Err(RestoreError::NoBackup { .. })));
    cancel.cancel();
    assert!(matches!(verify(&history.remote, &shallow(), &cancel).await, Err(RestoreError::Cancelled)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_of_litestream_are_proven() {
    let dir = tempfile::tempdir().expect("tempdir");
    for (name, layout, is_ltx) in
        [("litestream-0.5.17", Layout::Directories, true), ("litestream-0.3.13", Layout::S3, false)]
    {
        let (store, remote) = golden::replica(name, layout);
        for order in [shallow(), deep(dir.path())] {
            let verified = verified(&remote, &order).await;
            assert!(verified.is_proven(), "{name}: {:?}", verified.audit.findings);
            assert_eq!(verified.restored.is_some(), order.deep.is_some(), "{name}");
            assert_eq!(verified.audit.ends.is_some(), is_ltx);
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("dir").count(), 0, "nothing stays");
        if !is_ltx {
            for name in store.names().into_iter().filter(|name| name.contains("/wal/00000001_")) {
                store.remove(&name);
            }
            let found = damage_of(&verified(&remote, &shallow()).await);
            assert!(found.len() == 1 && found[0].contains("lacks its WAL segment 00000001_00000000"), "{found:?}");
        }
    }
}

#[tokio::test]
async fn what_looks_like_a_backup_and_lies_elsewhere_is_neither_proven_nor_no_backup() {
    let history = small_history().await;
    let moves: [fn(&str) -> String; 3] =
        [|name| format!("app/{name}"), |name| name[5..].to_owned(), |name| format!("{name}.gz")];
    for rename in moves {
        let (_, remote) = history.renamed(rename);
        let error = verify(&remote, &shallow(), &CancellationToken::new()).await.expect_err("nothing to verify");
        assert!(matches!(error, RestoreError::Misplaced { .. }), "{error}");
    }
}
