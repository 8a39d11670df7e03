//! The history is sealed before the application is started.

use super::*;

fn pages_of(rig: &Rig, name: &str) -> usize {
    let bytes = rig.store.bytes(name).expect("listed");
    let mut decoder = Decoder::new(bytes.as_ref()).expect("header");
    let mut page = vec![0; decoder.header().page_size.bytes()];
    std::iter::from_fn(|| decoder.next_page(&mut page).expect("page")).count()
}

async fn sealed(rig: &mut Rig) {
    while rig.event().await != Event::Sealed {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seal_is_one_page_and_is_continued_after_any_end() {
    let (permit, permitted) = watch::channel(SealPermit::Until(Duration::MAX));
    let mut rig = Rig::new(|settings| settings.seal = Some(permitted));
    rig.start();
    sealed(&mut rig).await;
    assert_eq!(rig.objects().len(), 1, "the first image is the seal");
    rig.write(3000);
    rig.until_objects(2).await;
    for (round, how) in ["in order", "killed", "killed, and the notes are gone", "after a reset"].iter().enumerate() {
        match round {
            0 => drop(rig.finish().await),
            1 => rig.crash().await,
            2 => {
                rig.crash().await;
                std::fs::remove_dir_all(&rig.settings.meta_path).expect("remove the notes");
            }
            _ => {
                rig.finish().await;
                rig.run("PRAGMA wal_checkpoint(TRUNCATE)");
            }
        }
        let before = rig.objects();
        rig.start();
        sealed(&mut rig).await;
        let objects = rig.objects();
        assert_eq!(objects.len(), before.len() + 1, "{how}: {objects:?}");
        rig.assert_restores();
        // What the WAL proves no more is uploaded whole, if it is small, and that is the seal.
        match round {
            3 => assert_eq!(rig.images(), 2, "{how}"),
            _ => assert_eq!((pages_of(&rig, &objects[objects.len() - 1]), rig.images()), (1, 1), "{how}"),
        }
    }
    rig.write(3000);
    assert!(matches!(rig.finish().await, Ended::Synced(Some(_))));
    rig.assert_restores();
    drop(permit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_permission_nothing_is_created_and_a_commit_that_waited_is_the_seal() {
    let (permit, permitted) = watch::channel(SealPermit::No);
    let mut rig = Rig::new(|settings| settings.seal = Some(permitted));
    rig.start();
    assert_eq!(rig.event().await, Event::Ready(Ready::Armed), "the bucket has no history");
    rig.write(3000);
    tokio::time::sleep(Duration::from_millis(300)).await;
    permit.send_replace(SealPermit::Until(MACHINE.since_boot()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(rig.objects().is_empty(), "{:?}", rig.objects());
    permit.send_replace(SealPermit::Until(Duration::MAX));
    sealed(&mut rig).await;
    assert!(matches!(rig.finish().await, Ended::Synced(Some(_))));
    rig.assert_restores();
    permit.send_replace(SealPermit::No);
    rig.start();
    rig.write(3000);
    assert!(matches!(rig.finish().await, Ended::Unsynced { .. }), "its commit stays here");
    let before = rig.objects();
    permit.send_replace(SealPermit::Free);
    rig.start();
    assert!(matches!(rig.finish().await, Ended::Synced(Some(_))));
    assert_eq!(rig.objects().len(), before.len() + 1, "nothing was to be sealed");
    rig.assert_restores();
}
