//! Replicas that are in the layout of another store, or where they are not looked for.

use super::*;
use crate::restore::testing::history::as_in_a_directory;

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
    let (_, remote) = history.renamed(as_in_a_directory);
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
        let (_, remote) = history.renamed(rename);
        let error = Place::new().refused(&remote).await;
        assert!(matches!(error, RestoreError::Misplaced { .. }), "{}: {error}", rename(&history.name(0, 1, 1)));
        // Another database's replica that is known to be there is not wondered about.
        let beside = remote.beside(["app".to_owned()]);
        let error = Place::new().refused(&beside).await;
        let is_known = rename(&history.name(0, 1, 1)).starts_with("app/");
        assert_eq!(matches!(error, RestoreError::NoBackup { .. }), is_known, "{error}");
    }
    let (store, remote) = history.renamed(|name| format!("{name}.tmp"));
    store.insert("notes.txt", b"mine".to_vec(), 5);
    assert!(matches!(Place::new().refused(&remote).await, RestoreError::NoBackup { .. }));
}

#[tokio::test]
async fn two_histories_are_not_guessed_between() {
    let history = three_transactions().await;
    for (behind, refused) in [(1, true), (3, false)] {
        let (store, remote) = history.renamed(as_in_a_directory);
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
