//! Two sides over real connections.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::claim::Leader;
use crate::clock::MACHINE;
use crate::ltx::{Header, Txid, WalPosition};
use crate::page::PageSize;
use crate::remote::{Epoch, Position, Pushed};
use crate::replicate::{Confirmed, Shipped};
use crate::secret::Secret;

const PATIENCE: Duration = Duration::from_secs(20);
const REPLICA: &str = "s3://bucket/app";

/// Remembers to whom it was to hand over.
#[derive(Default)]
struct Orders(Mutex<Vec<String>>);

#[async_trait]
impl HandOver for Orders {
    async fn hand_over(&self, instance: String) -> Result<(), String> {
        self.0.lock().expect("no panic").push(instance);
        Ok(())
    }
}

fn at(txid: u64) -> Position {
    Position { txid: Txid::new(txid).expect("not zero"), timestamp_ms: 1000 * txid as i64 }
}

fn epoch(number: u64) -> Epoch {
    Epoch::new(number).expect("not zero")
}

fn confirm(pusher: &Arc<dyn Confirmed>, txid: u64, length: usize) {
    let Position { txid, timestamp_ms } = at(txid);
    let (page_size, wal) = (PageSize::MAX, WalPosition::default());
    let header = Header { page_size, commit: 1, min_txid: txid, max_txid: txid, timestamp_ms, wal };
    let bytes = Some(Bytes::from(vec![7; length]));
    pusher.confirmed(&Shipped { header, size: length as u64, bytes, image: Some(false) });
}

fn introduction(name: &str) -> Introduction {
    Introduction { name: name.into(), instance: format!("{name}@host"), is_candidate: name != "c" }
}

struct Primary {
    hub: Hub,
    pusher: Arc<dyn Confirmed>,
    url: String,
    orders: Arc<Orders>,
    _serving: JoinSet<()>,
}

impl Primary {
    async fn start(secret: Option<&Secret>) -> Primary {
        let hub = Hub::new(introduction("a"), vec!["s3://bucket/other".into(), REPLICA.into()], MACHINE);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let orders = Arc::new(Orders::default());
        let server = Server::new(hub.clone(), secret.cloned(), orders.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { match server.serve(listener).await {} });
        hub.leads(Some(epoch(3)));
        Primary { pusher: hub.pusher(1), hub, url, orders, _serving: serving }
    }

    fn leader(&self, number: u64) -> Leader {
        Leader::At { epoch: epoch(number), name: "a".into(), url: Some(self.url.clone()) }
    }
}

struct Follower {
    leader: watch::Sender<Leader>,
    positions: watch::Sender<Vec<Option<Position>>>,
    lead: watch::Receiver<Option<Epoch>>,
    pushed: broadcast::Receiver<Pushed>,
    _reading: JoinSet<()>,
}

impl Follower {
    fn start(name: &str, secret: Option<&Secret>, leader: Leader) -> Follower {
        let (leader, lead) = (watch::Sender::new(leader), watch::Sender::new(None));
        let (positions, pushed) = (watch::Sender::new(vec![None]), broadcast::Sender::new(64));
        let reader = Reader {
            me: introduction(name),
            secret: secret.cloned(),
            databases: vec![REPLICA.into()],
            leader: leader.subscribe(),
            positions: positions.subscribe(),
            lead: lead.clone(),
            pushed: vec![pushed.clone()],
            clock: MACHINE,
        };
        let (lead, pushed) = (lead.subscribe(), pushed.subscribe());
        let mut reading = JoinSet::new();
        reading.spawn(reader.run());
        Follower { leader, positions, lead, pushed, _reading: reading }
    }

    async fn is_led_by(&mut self, lead: Option<Epoch>) {
        timeout(PATIENCE, self.lead.wait_for(|now| *now == lead)).await.expect("in time").expect("it lives");
    }

    async fn next(&mut self) -> Pushed {
        timeout(PATIENCE, self.pushed.recv()).await.expect("in time").expect("it lives")
    }
}

#[tokio::test]
async fn a_follower_gets_what_is_confirmed_and_says_how_far_it_is() {
    let secret = Secret::parse("0123456789abcdef").expect("valid");
    let primary = Primary::start(Some(&secret)).await;
    confirm(&primary.pusher, 4, 10);
    let mut b = Follower::start("b", Some(&secret), primary.leader(3));
    b.is_led_by(Some(epoch(3))).await;
    let notice = Pushed { epoch: epoch(3), onto: None, position: at(4), bytes: None };
    assert_eq!(b.next().await, notice, "where the bucket is");
    assert_eq!(b.next().await, Pushed { bytes: Some(vec![7; 10].into()), ..notice });
    confirm(&primary.pusher, 5, 20);
    let next = Pushed { epoch: epoch(3), onto: Some(at(4)), position: at(5), bytes: Some(vec![7; 20].into()) };
    assert_eq!(b.next().await, next);
    b.positions.send_replace(vec![Some(at(4))]);
    let asked = Asked { url: primary.url.clone(), secret: Some(secret.clone()) };
    let told = async {
        loop {
            let members = ask_members(&asked).await.expect("it answers");
            if members.nodes.get(1).is_some_and(|b| b.databases[1].txid.is_some()) {
                return members;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let members = timeout(PATIENCE, told).await.expect("in time");
    let shown: Vec<_> = members.nodes.iter().map(|node| (node.name.as_str(), node.role.as_str())).collect();
    assert_eq!(shown, [("a", "primary"), ("b", "follower")]);
    let database = &members.nodes[1].databases[1];
    assert_eq!((database.txid, database.behind_txids, database.behind_ms), (Some(4), Some(1), Some(1000)));
    // What it hands over to.
    let refused = ask_to_hand_over(&asked, "c").await.expect_err("there is no such node");
    assert!(refused.contains("no node \"c\" follows the primary now; these do: b"), "{refused}");
    ask_to_hand_over(&asked, "b").await.expect("it is there");
    assert_eq!(*primary.orders.0.lock().expect("no panic"), ["b@host"]);
    // It is the primary no more: whoever follows is told, and nothing is answered.
    primary.hub.leads(None);
    b.is_led_by(None).await;
    assert!(ask_members(&asked).await.expect_err("no primary").contains("not the primary"));
    // And again, by a later claim.
    primary.hub.leads(Some(epoch(5)));
    b.leader.send_replace(primary.leader(5));
    b.is_led_by(Some(epoch(5))).await;
    confirm(&primary.pusher, 9, 1);
    assert_eq!(b.next().await.position, at(9), "nothing of before");
}

#[tokio::test]
async fn who_does_not_know_the_secret_gets_nothing() {
    let [own, other] = ["0123456789abcdef", "0123456789abcdeX"].map(|text| Secret::parse(text).expect("valid"));
    let primary = Primary::start(Some(&own)).await;
    for secret in [None, Some(&other)] {
        let asked = Asked { url: primary.url.clone(), secret: secret.cloned() };
        for why in
            [ask_members(&asked).await.expect_err("refused"), ask_to_hand_over(&asked, "b").await.expect_err("refused")]
        {
            assert!(why.contains("403") && !why.contains("0123"), "{why}");
        }
        let mut b = Follower::start("b", secret, primary.leader(3));
        confirm(&primary.pusher, 4, 10);
        assert!(timeout(Duration::from_millis(300), b.lead.wait_for(Option::is_some)).await.is_err());
        assert!(b.pushed.try_recv().is_err());
    }
    assert!(primary.orders.0.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn a_follower_believes_no_other_claim_than_that_which_it_knows() {
    let primary = Primary::start(None).await;
    let mut b = Follower::start("b", None, primary.leader(4));
    assert!(timeout(Duration::from_millis(500), b.lead.wait_for(Option::is_some)).await.is_err());
    b.leader.send_replace(primary.leader(3));
    b.is_led_by(Some(epoch(3))).await;
}

/// It takes in what it can, and the primary goes on.
#[tokio::test]
async fn a_follower_that_does_not_read_holds_up_no_other_one() {
    let primary = Primary::start(None).await;
    let address = primary.url.trim_start_matches("http://").to_owned();
    let mut asleep = TcpStream::connect(&address).await.expect("connect");
    let head = "GET /stream HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: millstream-stream\r\n\
                millstream-node: z\r\nmillstream-instance: z\r\nmillstream-candidate: no\r\n\r\n";
    asleep.write_all(head.as_bytes()).await.expect("sent");
    let mut b = Follower::start("b", None, primary.leader(3));
    b.is_led_by(Some(epoch(3))).await;
    let began = MACHINE.instant();
    let mut newest = None;
    for txid in 1..=100 {
        confirm(&primary.pusher, txid, 1 << 20);
        tokio::task::yield_now().await;
        while newest < Some(at(txid).txid) {
            newest = Some(b.next().await.position.txid);
        }
    }
    assert!(MACHINE.instant() - began < PATIENCE, "100 MiB went to one that reads");
    drop(asleep);
}
