//! Several replicas of one database: which one is taken, and what is said where that cannot be
//! told.

use super::*;
use crate::remote::ReadPolicy;
use crate::store::StoreError;
use crate::store::memory::MemoryStore;

/// So many transactions of one history. `kind` makes another one of it.
async fn history(transactions: u32, kind: u32) -> History {
    let mut history = History::new(512);
    for at in 1..=transactions {
        history.write(3 + kind, [at % 3 + 1]).await;
    }
    history
}

fn backup(name: &str, remote: &Remote) -> Backup {
    Backup { name: name.into(), remote: Ok(remote.clone().with_policy(ReadPolicy::impatient())) }
}

fn transient(detail: String) -> StoreError {
    StoreError::Transient { detail }
}

/// The names of those that would be restored from.
async fn chosen(backups: &[Backup], target: Target) -> Result<Vec<String>, RestoreError> {
    let (best, others) = newest(backups, target, &CancellationToken::new()).await?;
    Ok(std::iter::once(best).chain(others).map(|(name, _)| name.to_owned()).collect())
}

async fn latest(backups: &[Backup]) -> Result<Vec<String>, RestoreError> {
    chosen(backups, Target::Latest).await
}

#[tokio::test]
async fn the_newest_state_is_taken_and_of_equals_the_first() {
    let (three, also_three, five, none) =
        (history(3, 0).await, history(3, 0).await, history(5, 0).await, History::new(512));
    let [a, b, c, d] = [&three, &also_three, &five, &none].map(|history| &history.remote);
    let pair = |x: &Remote, y: &Remote| [backup("one", x), backup("two", y)];
    assert_eq!(latest(&pair(a, b)).await.expect("both"), ["one", "two"]);
    assert_eq!(latest(&pair(a, c)).await.expect("the second"), ["two"]);
    assert_eq!(latest(&pair(c, a)).await.expect("the first"), ["one"]);
    assert_eq!(latest(&pair(d, a)).await.expect("a mirror alone has one"), ["two"]);
    let exactly = Target::Txid(txid(2));
    assert_eq!(chosen(&pair(c, a), exactly).await.expect("both have it"), ["one", "two"]);
    assert_eq!(chosen(&pair(a, c), Target::Txid(txid(4))).await.expect("one has it"), ["two"]);
    let error = chosen(&pair(a, b), Target::Txid(txid(9))).await.expect_err("nobody has it");
    assert!(matches!(error.cause(), RestoreError::NotReached { .. }), "{error}");
    let error = latest(&pair(d, d)).await.expect_err("nothing anywhere");
    assert!(matches!(error, RestoreError::NoBackup { .. }), "{error}");
}

#[tokio::test]
async fn no_backup_is_said_only_if_every_replica_says_so() {
    let (full, empty) = (history(3, 0).await, History::new(512));
    let silent = |history: &History| history.store.inject(Op::List, Fault::Fail(transient), 1);
    let denied =
        |history: &History| history.store.inject(Op::List, Fault::Fail(|detail| StoreError::Denied { detail }), 1);

    silent(&full);
    let error = latest(&[backup("one", &empty.remote), backup("two", &full.remote)]).await.expect_err("cannot tell");
    assert!(matches!(error.cause(), RestoreError::CannotTell(_)), "{error}");
    assert!(error.to_string().starts_with("the replica two: "), "{error}");

    silent(&empty);
    let error = latest(&[backup("one", &empty.remote), backup("two", &full.remote)]).await.expect_err("the first");
    assert!(matches!(error.cause(), RestoreError::CannotTell(_)), "{error}");
    let told = error.to_string();
    assert!(
        told.contains("`millstream restore -replica NAME`") && told.contains("two (up to TXID 0000000000000003)"),
        "{told}"
    );

    for fault in [silent as fn(&History), denied] {
        fault(&empty);
        let three = [backup("one", &full.remote), backup("two", &empty.remote)];
        assert_eq!(latest(&three).await.expect("a mirror is only missing"), ["one"]);
    }
    let unopened = Backup { name: "two".into(), remote: Err(transient("no region".into())) };
    assert_eq!(latest(&[backup("one", &full.remote), unopened]).await.expect("a mirror"), ["one"]);
    let unopened = Backup { name: "two".into(), remote: Err(transient("no region".into())) };
    let error = latest(&[backup("one", &empty.remote), unopened]).await.expect_err("cannot tell");
    assert!(matches!(error.cause(), RestoreError::CannotTell(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_hangs_holds_up_nothing_that_can_begin() {
    let (full, mirror) = (history(3, 0).await, history(5, 0).await);
    mirror.store.inject(Op::List, Fault::Hang, 1);
    let both = [backup("one", &full.remote), backup("two", &mirror.remote)];
    assert_eq!(latest(&both).await.expect("without it"), ["one"]);
}

#[tokio::test]
async fn damage_is_passed_over_only_by_a_state_as_new() {
    let (broken, short, long) = (history(5, 0).await, history(4, 0).await, history(5, 0).await);
    broken.remove(0, 2, 2);
    let error = latest(&[backup("one", &broken.remote), backup("two", &short.remote)]).await.expect_err("older");
    assert!(matches!(error.cause(), RestoreError::Gap { .. }), "{error}");
    assert!(error.to_string().contains("two (up to TXID 0000000000000004)"), "{error}");
    let whole = latest(&[backup("one", &broken.remote), backup("two", &long.remote)]).await.expect("as new");
    assert_eq!(whole, ["two"]);
    let whole =
        latest(&[backup("one", &long.remote), backup("two", &broken.remote)]).await.expect("the first is whole");
    assert_eq!(whole, ["one"]);
}

#[tokio::test]
async fn a_mirror_with_another_history_is_not_taken_for_a_newer_state() {
    let (ours, foreign, newer) = (history(3, 0).await, history(7, 1).await, history(5, 0).await);
    let (one, two, three) =
        (backup("one", &ours.remote), backup("two", &foreign.remote), backup("three", &newer.remote));
    let backups = [one, two, three];
    assert_eq!(latest(&backups[..2]).await.expect("the first owns the history"), ["one"]);
    assert_eq!(latest(&backups).await.expect("the mirror of this history"), ["three"]);
    // The first has no history to compare with.
    let empty = MemoryStore::new();
    let nothing = Remote::new(std::sync::Arc::new(empty), crate::remote::Layout::S3);
    assert_eq!(latest(&[backup("one", &nothing), backup("two", &foreign.remote)]).await.expect("a backup"), ["two"]);
}

#[tokio::test]
async fn a_mirror_that_goes_on_further_must_show_that_it_is_this_history() {
    let (first, mirror) = (history(4, 0).await, history(9, 0).await);
    let both = [backup("one", &first.remote), backup("two", &mirror.remote)];
    // A compacted file tells where no level-0 object is left in both.
    mirror.compact(2, 1, 4).await;
    mirror.compact(1, 5, 8).await;
    (1..=8).for_each(|number| mirror.remove(0, number, number));
    assert_eq!(latest(&both).await.expect("the file that ends with TXID 4"), ["two"]);
    mirror.compact(3, 1, 8).await;
    mirror.remove(2, 1, 4);
    mirror.remove(1, 5, 8);
    let error = latest(&both).await.expect_err("nothing to compare");
    assert!(matches!(error.cause(), RestoreError::NotComparable { .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains("one (up to TXID 0000000000000004), two (up to TXID 0000000000000009)"), "{told}");
    // It does not matter what a mirror is that has no more than the first.
    let ahead = history(9, 1).await;
    assert_eq!(latest(&[backup("one", &ahead.remote), backup("two", &mirror.remote)]).await.expect("equal"), ["one"]);
}

/// Two branches of one history agree up to where they part.
#[tokio::test]
async fn an_older_transaction_that_both_have_proves_nothing() {
    let (mut first, mut mirror) = (history(3, 0).await, history(3, 0).await);
    first.write(3, [1]).await;
    for _ in 4..=9 {
        mirror.write(5, [1, 4, 5]).await;
    }
    let both = [backup("one", &first.remote), backup("two", &mirror.remote)];
    assert_eq!(latest(&both).await.expect("TXID 4 is another one in the mirror"), ["one"]);
    // TXID 3 is in both, as a compacted file, and TXID 4 in one of them only.
    first.compact(1, 1, 3).await;
    mirror.compact(1, 1, 3).await;
    mirror.compact(1, 4, 8).await;
    (1..=8).for_each(|number| mirror.remove(0, number, number));
    let error = latest(&both).await.expect_err("nothing shows that the mirror has TXID 4 of the first");
    assert!(matches!(error.cause(), RestoreError::NotComparable { .. }), "{error}");
}
