//! The driver over a store with faults.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::core::{Access, Config, Outcome, Stop};
use super::driver::{Driver, Node, Order, Report};
use super::seen::Identity;
use super::wire::{self, Beat, BeatState, Claim};
use crate::clock::{Clock, Dice, MACHINE};
use crate::remote::{Layout, Remote};
use crate::store::StoreError;
use crate::store::memory::{Fault, MemoryStore, Op};

const WAIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3600);

/// A process that does what it is ordered to.
struct Running {
    orders: mpsc::UnboundedReceiver<Order>,
    reports: mpsc::UnboundedSender<Report>,
    seal_until: watch::Receiver<Option<Duration>>,
    clock: Clock,
    task: JoinHandle<Outcome>,
}

impl Running {
    fn start(store: &MemoryStore, instance: &str) -> Running {
        let clock = Clock::simulated(Dice::from_env().roll(1 << 30), 1_700_000_000_000);
        let remote = Remote::new(Arc::new(store.clone()), Layout::S3).with_clock(clock);
        let process = format!("{:016x}", MACHINE.random_u64());
        let me = Identity { instance: instance.into(), process };
        let config = Config { me, wait: WAIT, look: LOOK, ttl: Duration::from_secs(15), may_be_alone: false };
        let node = Node { name: "web".into(), hostname: format!("host-{instance}"), url: None, cluster_url: None };
        let (order, orders) = mpsc::unbounded_channel();
        let (reports, reported) = mpsc::unbounded_channel();
        let driver = Driver::new(remote, node, config, order, reported);
        let seal_until = driver.seal_until();
        Running { orders, reports, seal_until, clock, task: tokio::spawn(driver.run()) }
    }

    /// Waits until the application is started.
    async fn serves(&mut self) {
        assert_eq!(self.orders.recv().await, Some(Order::Seal));
        self.reports.send(Report::Sealed).expect("it runs");
        assert_eq!(self.orders.recv().await, Some(Order::Open));
    }

    /// Waits until the application is to be stopped, and stops it.
    async fn drains(&mut self) {
        assert_eq!(self.orders.recv().await, Some(Order::Drain));
        self.reports.send(Report::Drained).expect("it runs");
    }

    async fn stop(mut self) -> Outcome {
        let deadline = MACHINE.instant() + Duration::from_secs(10);
        self.reports.send(Report::Stop(Stop { deadline, failed: false })).expect("it runs");
        // None of those that stand by.
        if let Some(Order::Drain) = self.orders.recv().await {
            self.reports.send(Report::Drained).expect("it runs");
        }
        self.task.await.expect("no panic")
    }

    fn kill(self) {
        self.task.abort();
    }
}

fn beat(store: &MemoryStore, epoch: u64) -> Beat {
    let name = format!("claims/{epoch:016x}.beat");
    wire::decode(&name, &store.bytes(&name).expect("a beat")).expect("ours")
}

fn claim(store: &MemoryStore, epoch: u64) -> Claim {
    let name = format!("claims/{epoch:016x}.json");
    wire::decode(&name, &store.bytes(&name).expect("a claim")).expect("ours")
}

fn claims(store: &MemoryStore) -> usize {
    store.names().iter().filter(|name| name.ends_with(".json")).count()
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_gets_the_claim_when_the_holder_has_drained() {
    let store = MemoryStore::new();
    let mut old = Running::start(&store, "old");
    old.serves().await;
    tokio::time::sleep(HOUR).await;
    let mut new = Running::start(&store, "new");
    let began = MACHINE.instant();
    assert_eq!(old.orders.recv().await, Some(Order::Drain));
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(new.orders.try_recv().is_err(), "the holder shows life, however long it takes");
    old.reports.send(Report::Drained).expect("it runs");
    new.serves().await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    tokio::time::sleep(LOOK).await;
    let released = BeatState::Released { to: Some("new".into()), told_to_end: false };
    assert_eq!((beat(&store, 1).state, beat(&store, 2).state), (released, BeatState::Held));
    let (first, second) = (claim(&store, 1), claim(&store, 2));
    assert_eq!((first.why.as_str(), first.parent), ("first", None));
    assert_eq!((second.why.as_str(), second.parent.as_deref()), ("deploy", Some("0000000000000001")));
    assert_eq!(old.stop().await, Outcome::Released);
    assert_eq!(beat(&store, 1).state, BeatState::Released { to: None, told_to_end: true });
    assert_eq!(new.stop().await, Outcome::Released);
}

#[tokio::test(start_paused = true)]
async fn a_dead_holder_is_waited_for_and_no_longer() {
    let store = MemoryStore::new();
    let mut old = Running::start(&store, "old");
    old.serves().await;
    old.kill();
    let began = MACHINE.instant();
    let mut new = Running::start(&store, "new");
    new.serves().await;
    let waited = began.elapsed();
    assert!(waited >= WAIT && waited < WAIT + Duration::from_secs(10), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_same_instance_goes_on_and_a_superseded_one_stands_by() {
    let store = MemoryStore::new();
    let mut old = Running::start(&store, "old");
    old.serves().await;
    old.kill();
    let began = MACHINE.instant();
    let mut old = Running::start(&store, "old");
    old.serves().await;
    assert!(began.elapsed() < Duration::from_secs(1), "its own earlier process is not waited for");
    let mut new = Running::start(&store, "new");
    old.drains().await;
    new.serves().await;
    old.kill();
    let mut old = Running::start(&store, "old");
    tokio::time::sleep(HOUR).await;
    assert!(old.orders.try_recv().is_err() && claims(&store) == 3);
    assert_eq!(new.stop().await, Outcome::Released);
    old.serves().await;
    assert_eq!(claim(&store, 4).why, "successor-ended");
}

#[tokio::test(start_paused = true)]
async fn what_was_killed_while_it_drained_drains_when_it_is_restarted() {
    let store = MemoryStore::new();
    let mut old = Running::start(&store, "old");
    old.serves().await;
    let mut new = Running::start(&store, "new");
    assert_eq!(old.orders.recv().await, Some(Order::Drain));
    old.kill();
    let mut old = Running::start(&store, "old");
    old.drains().await;
    new.serves().await;
    assert_eq!(claims(&store), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_settled_and_a_request_that_hangs_is_given_up() {
    for fault in [Fault::LostReply, Fault::Hang, Fault::Fail(|detail| StoreError::Transient { detail })] {
        for (op, before) in [(Op::List, 0), (Op::Put, 0), (Op::Put, 1), (Op::List, 1)] {
            let store = MemoryStore::new();
            store.inject(op, Fault::Delay(Duration::ZERO), before);
            store.inject(op, fault, 1);
            let mut one = Running::start(&store, "one");
            one.serves().await;
            assert_eq!(claims(&store), 1, "{fault:?} of {op:?} {before}");
            assert_eq!(one.stop().await, Outcome::Released);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_read_or_create_claims_ends_and_who_might_once_goes_on() {
    let denied = Fault::Fail(|detail| StoreError::Denied { detail });
    for (op, access) in [(Op::List, Access::Read), (Op::Put, Access::Create)] {
        let store = MemoryStore::new();
        store.inject(op, denied, usize::MAX);
        let one = Running::start(&store, "one");
        let outcome = one.task.await.expect("no panic");
        assert!(matches!(&outcome, Outcome::Denied(what, _) if *what == access), "{op:?}: {outcome:?}");
    }
    let store = MemoryStore::new();
    let mut one = Running::start(&store, "one");
    one.serves().await;
    for op in [Op::List, Op::Put, Op::Get, Op::Head] {
        store.inject(op, denied, usize::MAX);
    }
    tokio::time::sleep(HOUR).await;
    assert!(!one.task.is_finished() && one.orders.try_recv().is_err(), "the application goes on");
    store.heal();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(one.stop().await, Outcome::Released);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_no_free_place() {
    for (name, bytes) in [("claims/0000000000000001.json", "{"), ("claims/0000000000000002.beat", "[")] {
        let store = MemoryStore::new();
        let other = Claim {
            node: "web".into(),
            instance: "other".into(),
            process: "1".into(),
            hostname: "h".into(),
            url: None,
            cluster_url: None,
            ttl_ms: 15_000,
            parent: None,
            why: "first".into(),
        };
        store.insert("claims/0000000000000002.json", wire::encode(&other), 0);
        store.insert(name, bytes, 0);
        let mut one = Running::start(&store, "one");
        tokio::time::sleep(HOUR).await;
        assert!(one.orders.try_recv().is_err() && !store.names().contains(&"claims/0000000000000003.json".into()));
        store.remove(name);
        one.serves().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_serves_for_long_asks_little() {
    let store = MemoryStore::new();
    let mut one = Running::start(&store, "one");
    one.serves().await;
    tokio::time::sleep(3 * HOUR).await;
    let counts = [Op::Head, Op::List, Op::Get, Op::Put].map(|op| store.calls(op));
    tokio::time::sleep(HOUR).await;
    let [heads, lists, gets, puts] = [Op::Head, Op::List, Op::Get, Op::Put].map(|op| store.calls(op));
    assert!(heads - counts[0] <= 3600 / LOOK.as_secs() as usize, "{} heads", heads - counts[0]);
    assert_eq!((lists - counts[1], gets - counts[2]), (0, 0));
    assert!((1..=7).contains(&(puts - counts[3])), "{} puts", puts - counts[3]);
}

#[tokio::test(start_paused = true)]
async fn who_stands_by_reads_each_claim_once() {
    let store = MemoryStore::new();
    let mut old = Running::start(&store, "old");
    old.serves().await;
    let mut new = Running::start(&store, "new");
    old.drains().await;
    new.serves().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (lists, gets) = (store.calls(Op::List), store.calls(Op::Get));
    tokio::time::sleep(Duration::from_secs(100)).await;
    let (lists, gets) = (store.calls(Op::List) - lists, store.calls(Op::Get) - gets);
    assert!((19..=21).contains(&lists) && gets <= lists, "{lists} lists, {gets} gets");
}

#[tokio::test(start_paused = true)]
async fn without_a_bucket_it_ends_at_its_deadline() {
    let store = MemoryStore::new();
    let mut one = Running::start(&store, "one");
    one.serves().await;
    store.inject(Op::Put, Fault::Hang, 1000);
    let began = MACHINE.instant();
    assert_eq!(one.stop().await, Outcome::Unreleased);
    assert!(began.elapsed() <= Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_writer_without_a_claim_ends_it() {
    let store = MemoryStore::new();
    let mut one = Running::start(&store, "one");
    one.serves().await;
    one.reports.send(Report::Fenced).expect("it runs");
    one.drains().await;
    assert_eq!(one.task.await.expect("no panic"), Outcome::Foreign);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_another_one_went_over_is_made_anew() {
    let store = MemoryStore::new();
    // Both see an empty place, and the store lets the second replace the claim of the first.
    store.inject(Op::List, Fault::Delay(Duration::from_secs(1)), 2);
    store.inject(Op::Put, Fault::IgnoreCreate, 2);
    let (mut one, mut other) = (Running::start(&store, "one"), Running::start(&store, "other"));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let replaced = claim(&store, 1).instance == "one";
    let (first, second) = if replaced { (&mut one, &mut other) } else { (&mut other, &mut one) };
    assert_eq!(first.orders.try_recv().ok(), Some(Order::Seal));
    first.reports.send(Report::Sealed).expect("it runs");
    first.drains().await;
    second.serves().await;
    assert_eq!(claims(&store), 2);
}

#[tokio::test(start_paused = true)]
async fn without_answers_of_the_bucket_nothing_is_sealed_any_more() {
    let store = MemoryStore::new();
    let mut one = Running::start(&store, "one");
    assert_eq!(one.orders.recv().await, Some(Order::Seal));
    let left = |one: &Running| one.seal_until.borrow().map(|until| until.saturating_sub(one.clock.since_boot()));
    tokio::time::sleep(HOUR).await;
    assert!(left(&one).is_some_and(|left| left > LOOK), "{:?}", left(&one));
    for op in [Op::Put, Op::List, Op::Get] {
        store.inject(op, Fault::Fail(|detail| StoreError::Transient { detail }), 1000);
    }
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(left(&one), Some(Duration::ZERO));
    store.heal();
    tokio::time::sleep(LOOK * 2).await;
    assert!(left(&one).is_some_and(|left| left > LOOK), "{:?}", left(&one));
}
