//! Another writer, or what looks like one.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_is_not_another_writer() {
    let mut rig = Rig::new(|_| {});
    rig.start();
    rig.until_objects(1).await;
    rig.store.inject(Op::Put, Fault::LostReply, 1);
    rig.write(10);
    rig.until_objects(2).await;
    rig.write(10);
    rig.until_objects(3).await;
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.assert_restores();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_writer_is_never_overwritten() {
    let mut rig = Rig::new(|_| {});
    rig.start();
    rig.until_objects(1).await;
    let theirs = rig.store.bytes(&rig.objects()[0]).expect("stored");
    let name = "0000/0000000000000002-0000000000000002.ltx";
    rig.store.put(&Key::new(name).expect("valid"), Put::create(theirs.clone())).await.expect("put");
    rig.write(10);
    while !matches!(rig.event().await, Event::Fenced) {}
    assert!(rig.app.execute_batch("PRAGMA busy_timeout=0; INSERT INTO t(x) VALUES (1)").is_err(), "not frozen");
    rig.run("PRAGMA busy_timeout=5000");
    assert!(matches!(rig.finish().await, Ended::Fenced));
    assert_eq!(rig.store.bytes(name), Some(theirs), "the other writer's object was replaced");
    let kept = std::fs::read_dir(rig.settings.meta_path.join("orphaned")).expect("kept").count();
    assert_eq!(kept, 1, "the tail is kept aside");
    assert!(rig.store.names().iter().any(|name| name.starts_with("orphaned/")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_slept_looks_before_it_uploads() {
    let mut rig = Rig::new(|settings| settings.proof_lasts = Duration::ZERO);
    rig.start();
    rig.until_objects(1).await;
    // Another writer has gone on, and its TXID 2 was compacted and deleted meanwhile.
    let bytes = rig.store.bytes(&rig.objects()[0]).expect("stored");
    let mut decoder = Decoder::new(bytes.as_ref()).expect("header");
    let txid = Txid::new(3).expect("non-zero");
    let header = crate::ltx::Header { min_txid: txid, max_txid: txid, ..*decoder.header() };
    let mut page = vec![0; header.page_size.bytes()];
    let mut encoder = crate::ltx::Encoder::new(Vec::new(), header).expect("header");
    while let Some(pgno) = decoder.next_page(&mut page).expect("page") {
        encoder.page(pgno, &page).expect("page");
    }
    let bytes = encoder.finish().expect("finish").writer;
    let name = Key::new("0000/0000000000000003-0000000000000003.ltx").expect("valid");
    rig.store.put(&name, Put::create(bytes)).await.expect("put");
    rig.write(10);
    while !matches!(rig.event().await, Event::Fenced) {}
    assert!(matches!(rig.finish().await, Ended::Fenced));
    assert_eq!(rig.objects().len(), 2, "nothing was added to the other writer's history");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_was_deleted_begins_again_with_an_image() {
    let mut rig = Rig::new(|settings| settings.proof_lasts = Duration::ZERO);
    rig.start();
    rig.until_objects(1).await;
    rig.write(10);
    rig.until_objects(2).await;
    let keys: Vec<Key> = rig.objects().into_iter().filter_map(Key::new).collect();
    rig.store.delete(&keys).await.expect("delete");
    rig.write(10);
    rig.until_objects(1).await;
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    assert_eq!(rig.images(), 1);
    assert!(rig.store.names().iter().any(|name| name.starts_with("0009/")), "no restore could begin with it");
}
