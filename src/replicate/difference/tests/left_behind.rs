//! A disk that another node has left behind.

use super::*;

/// Another node with a copy of the database, on the same bucket.
async fn copied_node(rig: &mut Rig) -> Rig {
    away(rig, "");
    let mut other = Rig::new(|_| {});
    close(&mut other);
    for suffix in ["-wal", "-shm"] {
        fsx::remove_file_if_exists(&fsx::with_suffix(&other.settings.path, suffix)).expect("remove");
    }
    close(rig);
    std::fs::copy(&rig.settings.path, &other.settings.path).expect("copy");
    open(rig);
    open(&mut other);
    other.store = rig.store.clone();
    other
}

/// Everything that a replication says until it ends.
async fn all_events(rig: &mut Rig) -> Vec<&'static str> {
    let mut said = Vec::new();
    loop {
        match rig.event().await {
            Event::Ready(_) => said.push("ready"),
            Event::Failed { .. } => said.push("failed"),
            Event::Exclusive { .. } => said.push("exclusive"),
            Event::Sealed => said.push("sealed"),
            Event::Fenced => {
                said.push("fenced");
                return said;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_left_behind_is_never_the_newest_state() {
    let mut rig = shipped().await;
    let mut other = copied_node(&mut rig).await;
    other.start();
    for _ in 0..3 {
        other.write(300);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    synced(&mut other).await;
    let objects = rig.objects();
    // With and without commits of its own; after an end in the middle the application is not even
    // started.
    for cut_off in [false, true] {
        if cut_off {
            rig.start();
            while !matches!(rig.event().await, Event::Fenced) {}
            rig.crash().await;
            rig.write(300);
        }
        rig.start();
        let said = all_events(&mut rig).await;
        assert!(!cut_off || said == ["fenced"], "{said:?}");
        match rig.finish().await {
            Ended::Fenced => {}
            ended => panic!("{ended:?}"),
        }
        assert_eq!(rig.objects(), objects, "nothing was uploaded");
    }
    // The other one goes on as if nothing had happened.
    other.start();
    other.write(10);
    synced(&mut other).await;
    other.assert_restores();
    // Until a human decides.
    let state = LocalState::open(&rig.settings.path, &rig.settings.meta_path);
    let steps = state.plan_reset("x").expect("plan");
    state.order_reset(&steps).expect("order");
    let images = rig.images();
    rig.start();
    assert!(matches!(rig.event().await, Event::Ready(_)));
    let txid = synced(&mut rig).await;
    assert_eq!((rig.images(), has_snapshot(&rig, txid)), (images + 1, true));
    rig.assert_restores();
    // It was said for once.
    rig.start();
    rig.write(10);
    assert_eq!(synced(&mut rig).await, txid + 1);
    assert_eq!(rig.images(), images + 1);
    rig.assert_restores();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_which_nobody_heard_is_not_somebody_elses() {
    let mut rig = shipped().await;
    rig.start();
    rig.store.inject(Op::Put, Fault::LostReply, 1);
    rig.store.inject(Op::Put, Fault::Hang, usize::MAX);
    rig.write(10);
    rig.until("the object", |rig| rig.objects().len() == 3).await;
    rig.crash().await;
    rig.store.heal();
    // All that it wrote is written anew, by a program that leaves no WAL.
    away(&mut rig, "UPDATE t SET x = randomblob(20) WHERE id > 240");
    rig.start();
    assert_eq!(synced(&mut rig).await, 4);
    rig.assert_restores();
    assert_eq!(rig.images(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_and_was_overtaken_is_kept_and_stops_nobody() {
    let mut rig = shipped().await;
    let mut other = copied_node(&mut rig).await;
    rig.settings.tuning.max_sync_wal_bytes = 20_000;
    rig.start();
    rig.until("the start", |rig| rig.store.calls(Op::List) > 0).await;
    rig.store.inject(Op::Put, Fault::Fail(transient), usize::MAX);
    for _ in 0..20 {
        rig.write(3000);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    rig.until("a spilled file", |rig| spilled(rig) > 0).await;
    rig.crash().await;
    rig.store.heal();
    other.start();
    other.write(300);
    synced(&mut other).await;
    let objects = rig.objects();
    for _ in 0..2 {
        rig.start();
        assert_eq!(all_events(&mut rig).await, ["fenced"]);
        assert!(matches!(rig.finish().await, Ended::Fenced));
        assert_eq!((spilled(&rig), rig.objects()), (0, objects.clone()));
        let kept = std::fs::read_dir(rig.settings.meta_path.join("orphaned")).expect("kept").count();
        assert!(kept > 0 && rig.store.names().iter().any(|name| name.starts_with("orphaned/")));
    }
}

fn spilled(rig: &Rig) -> usize {
    std::fs::read_dir(rig.settings.meta_path.join("spill")).map_or(0, Iterator::count)
}
