//! The faults are what they are called.

use futures_util::TryStreamExt;

use super::*;

fn key(name: &str) -> Key {
    Key::new(name).expect("a valid key")
}

async fn read(store: &MemoryStore, name: &str) -> Result<usize> {
    let chunks: Vec<Bytes> = store.get(&key(name), Range::WHOLE).await?.try_collect().await?;
    Ok(chunks.iter().map(Bytes::len).sum())
}

#[tokio::test]
async fn faults_come_in_their_order_and_end() {
    let store = MemoryStore::new();
    store.inject(Op::Put, Fault::Fail(|detail| StoreError::Denied { detail }), 2);
    store.inject(Op::Put, Fault::LostReply, 1);
    for _ in 0..2 {
        assert!(matches!(store.put(&key("a"), Put::create("x")).await, Err(StoreError::Denied { .. })));
        assert_eq!(store.names(), Vec::<String>::new());
    }
    assert!(store.put(&key("a"), Put::create("x")).await.expect_err("reply lost").is_transient());
    assert_eq!(store.names(), ["a"], "but the object is there");
    assert!(matches!(store.put(&key("a"), Put::create("x")).await, Err(StoreError::AlreadyExists { .. })));

    store.inject(Op::Put, Fault::IgnoreCreate, 1);
    store.put(&key("a"), Put::create("replaced")).await.expect("the condition is ignored");
    assert_eq!(store.bytes("a").as_deref(), Some(b"replaced".as_slice()));
    assert_eq!((store.calls(Op::Put), store.calls(Op::Get)), (5, 0));

    store.inject(Op::List, Fault::Hang, 1);
    store.heal();
    assert_eq!(store.list("").await.expect("healed").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn listings_lag_and_calls_dawdle_or_hang() {
    let store = MemoryStore::new();
    store.insert("old", "x", 1);
    store.set_list_lag(2);
    store.put(&key("new"), Put::create("x")).await.expect("put");
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(store.list("").await.expect("list").len());
    }
    assert_eq!(seen, [1, 1, 2]);
    assert!(store.remove("old") && !store.remove("old"));

    let minute = Duration::from_secs(60);
    store.inject(Op::Head, Fault::Delay(minute), 1);
    store.inject(Op::Head, Fault::Hang, 1);
    assert!(tokio::time::timeout(minute * 2, store.head(&key("new"))).await.is_ok());
    assert!(tokio::time::timeout(minute * 2, store.head(&key("new"))).await.is_err());
}

#[tokio::test]
async fn bodies_can_be_cut_short_with_and_without_notice() {
    let store = MemoryStore::new();
    store.insert("a", vec![7; 3 * CHUNK], 1);
    store.inject(Op::Get, Fault::Truncate(CHUNK + 1), 1);
    store.inject(Op::Get, Fault::Break(CHUNK + 1), 1);
    assert_eq!(read(&store, "a").await.expect("silently short"), CHUNK + 1);
    assert!(read(&store, "a").await.expect_err("noticed").is_transient());
    assert_eq!(read(&store, "a").await.expect("whole"), 3 * CHUNK);
    store.inject_at("a", Fault::Extra, 1);
    store.inject_at("b", Fault::Fail(|detail| StoreError::Denied { detail }), 1);
    assert_eq!(read(&store, "a").await.expect("too long"), 5 * CHUNK);
    assert_eq!(store.calls(Op::Get), 4);
    assert_eq!(store.bytes_served(), 10 * CHUNK as u64 + 2);
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_waits_for_its_byte_and_a_stalled_body_never_ends() {
    let store = MemoryStore::new();
    store.insert("a", "abc", 1);
    store.inject_at("a", Fault::Flip(2), 1);
    let get = async |start, len| -> Vec<Bytes> {
        store.get(&key("a"), Range { start, len }).await.expect("get").try_collect().await.expect("a body")
    };
    assert_eq!(get(0, 2).await, ["ab"]);
    assert_eq!(get(1, 2).await, ["bb"]);
    assert_eq!(get(1, 2).await, ["bc"]);
    store.inject_at("a", Fault::Stall(1), 1);
    let minute = Duration::from_secs(60);
    assert!(tokio::time::timeout(minute, get(0, 3)).await.is_err());
}
