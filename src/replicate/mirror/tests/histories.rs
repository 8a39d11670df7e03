//! Which history a mirror has, where its number alone does not tell.

use super::*;

/// The first replica is taken out of the configuration for a while, and then put back: it has less
/// than the mirror, and what it has is not in the mirror any more by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_replica_that_was_left_out_for_a_while_gets_what_it_lacks() {
    for is_compacted in [false, true] {
        let mut rig = rig(1);
        rig.settings.lifecycle = Some(Policy::of_hours().into());
        rig.start();
        rig.until_objects(1).await;
        write(&rig, 2).await;
        until_newest(&rig, 0, 3).await;
        assert!(matches!(rig.finish().await, Ended::Synced(_)));
        let mirror = rig.mirrors.remove(0);
        let first = std::mem::replace(&mut rig.store, mirror);
        rig.start();
        write(&rig, 5).await;
        if is_compacted {
            rig.replication().snapshot().await.expect("a snapshot");
            for name in objects(&rig.store).into_keys().take(7) {
                assert!(rig.store.remove(&name));
            }
        }
        assert!(matches!(rig.finish().await, Ended::Synced(_)));
        let mirror = std::mem::replace(&mut rig.store, first);
        assert_eq!((newest(&rig.store), newest(&mirror)), (3, 8));
        rig.mirrors.push(mirror);
        rig.start();
        rig.until("the first replica has it", |rig| newest(&rig.store) >= 8).await;
        write(&rig, 1).await;
        until_newest(&rig, 0, 9).await;
        assert!(matches!(rig.finish().await, Ended::Synced(Some(txid)) if txid.get() == 9));
        for store in [&rig.store, &rig.mirrors[0]] {
            assert_restores(&rig, store).await;
        }
        assert_same_objects(&rig, 0);
        assert_eq!(rig.images(), 1, "the database was not uploaded again");
    }
}

/// A note of ours names the commit with which the mirror ended, not only its number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_whose_content_was_replaced_is_refused_though_it_ends_with_the_same_number() {
    let mut stranger = rig(0);
    stranger.start();
    stranger.until_objects(1).await;
    write_each(&stranger, 2, 3000).await;
    assert!(matches!(stranger.finish().await, Ended::Synced(_)));
    let mut rig = rig(1);
    rig.start();
    rig.until_objects(1).await;
    write(&rig, 2).await;
    until_newest(&rig, 0, 3).await;
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    for (name, bytes) in objects(&stranger.store) {
        rig.mirrors[0].insert(&name, bytes.to_vec(), 5);
    }
    // Retention has removed what could be compared.
    for name in objects(&rig.store).into_keys().take(2) {
        assert!(rig.mirrors[0].remove(&name));
    }
    let replaced = objects(&rig.mirrors[0]);
    rig.start();
    write(&rig, 2).await;
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    assert_eq!(objects(&rig.mirrors[0]), replaced, "nothing was written there");
}
