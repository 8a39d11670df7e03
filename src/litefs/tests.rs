//! The API over real connections.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::view::testing::{Told, at, told, txid};
use super::{Api, Moves, serve};
use crate::clock::MACHINE;
use crate::primary::Primary;

/// Counts what is ordered, and refuses what it is told to.
#[derive(Default)]
struct Orders {
    promotions: AtomicU32,
    hand_offs: AtomicU32,
}

#[async_trait]
impl Moves for Orders {
    async fn promote(&self, _limit: Duration) -> Result<(), String> {
        self.promotions.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn hand_off(&self, _limit: Duration) -> Result<(), String> {
        self.hand_offs.fetch_add(1, Ordering::Relaxed);
        Err("this node is not the primary".into())
    }
}

struct World {
    dir: tempfile::TempDir,
    told: Told,
    orders: Arc<Orders>,
    address: SocketAddr,
}

async fn world(is_candidate: bool) -> World {
    let dir = tempfile::tempdir().expect("tempdir");
    let (told, orders) = (told(dir.path(), &["app.db", "other.db"]), Arc::<Orders>::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let api = Api::new(("web-1".into(), is_candidate), told.watched.clone(), orders.clone(), None, MACHINE);
    tokio::spawn(serve(listener, Arc::new(api)));
    World { dir, told, orders, address }
}

impl World {
    async fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).await.expect("connect");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("write");
        // It may be refused before it is read.
        let _ = stream.write_all(body).await;
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        let end = reply.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let status = std::str::from_utf8(&reply[9..12]).ok().and_then(|status| status.parse().ok());
        (status.expect("a status"), reply[end + 4..].to_vec())
    }

    async fn asked(&self, method: &str, path: &str) -> (u16, String) {
        let (status, body) = self.ask(method, path, b"").await;
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

fn app(path: &Path, sql: &str) -> rusqlite::Connection {
    let app = rusqlite::Connection::open(path).expect("open");
    app.execute_batch(sql).expect("create");
    app
}

const FILL: &str = "CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    INSERT INTO t SELECT zeroblob(400) FROM n;";

fn rows(path: &Path) -> i64 {
    let db = rusqlite::Connection::open(path).expect("open");
    let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("check");
    assert_eq!(sound, "ok");
    db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("count")
}

#[tokio::test]
async fn routes_methods_and_roles_are_litefs() {
    let world = world(true).await;
    let info = |is_primary, hostname| {
        let dir = world.dir.path().display();
        format!(
            "{{\n  \"isPrimary\": {is_primary},\n  \"candidate\": true,\n  \"path\": \"{dir}\",\n  \"primary\": {{\n    \
             \"hostname\": \"{hostname}\"\n  }}\n}}\n"
        )
    };
    assert_eq!(world.asked("GET", "/info").await, (200, info(false, "")));
    assert_eq!(world.asked("POST", "/promote").await.0, 500, "there is no primary to ask");
    world.told.primary.send_replace(at("web-2"));
    assert_eq!(world.asked("GET", "/info").await, (200, info(false, "web-2")));
    assert_eq!(world.asked("POST", "/promote").await, (200, String::new()));
    assert_eq!(world.asked("POST", "/import?name=app.db").await.0, 503, "another node writes");
    world.told.primary.send_replace(Primary::Here);
    assert_eq!(world.asked("GET", "/info").await, (200, info(true, "web-1")));
    assert_eq!(world.asked("POST", "/promote").await.0, 200, "it is already");
    assert_eq!(world.orders.promotions.load(Ordering::Relaxed), 1);
    let (status, why) = world.asked("POST", "/handoff").await;
    assert_eq!((status, why.as_str()), (500, "cannot handoff: this node is not the primary\n"));
    assert_eq!(world.asked("POST", "/handoff?nodeID=1A").await.0, 400);
    assert_eq!(world.orders.hand_offs.load(Ordering::Relaxed), 1);
    for (method, path, status, part) in [
        ("POST", "/info", 405, "method not allowed"),
        ("GET", "/promote", 405, "method not allowed"),
        ("GET", "/export", 400, "name required"),
        ("GET", "/export?name=none.db", 404, "there is app.db, other.db"),
        ("GET", "/export?name=app.db", 404, "does not exist yet"),
        ("POST", "/import?name=app.db", 409, "does not exist yet"),
        ("POST", "/stream", 501, "from the bucket"),
        ("POST", "/halt", 501, "from the bucket"),
        ("GET", "/", 404, "/events"),
        ("GET", "/metrics", 200, "litefs_is_primary 1"),
    ] {
        let (found, body) = world.asked(method, path).await;
        assert!(found == status && body.contains(part), "{method} {path}: {found} {body}");
    }
    let mut stream = TcpStream::connect(world.address).await.expect("connect");
    let page = "POST /promote HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(page.as_bytes()).await.expect("write");
    let mut reply = [0; 12];
    stream.read_exact(&mut reply).await.expect("read");
    assert_eq!(&reply, b"HTTP/1.1 403");
}

#[tokio::test]
async fn a_node_that_is_no_candidate_does_not_become_the_primary() {
    let world = world(false).await;
    world.told.primary.send_replace(at("web-2"));
    assert_eq!(world.asked("POST", "/promote").await.0, 409);
    assert_eq!(world.orders.promotions.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn events_are_told_as_they_happen_to_everyone_who_listens() {
    let world = world(true).await;
    let _app = app(&world.dir.path().join("app.db"), &format!("PRAGMA journal_mode=WAL; {FILL}"));
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(world.address).await.expect("connect");
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
        streams.push((stream, String::new()));
    }
    async fn until(streams: &mut [(TcpStream, String)], part: &str) {
        for (stream, seen) in streams {
            while !seen.contains(part) {
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).await.expect("read");
                assert!(count > 0, "it was cut: {seen}");
                seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    }
    until(&mut streams, "{\"type\":\"init\",\"data\":{\"isPrimary\":false}}\n").await;
    world.told.primary.send_replace(Primary::Here);
    until(&mut streams, "{\"type\":\"primaryChange\",\"data\":{\"isPrimary\":true}}\n").await;
    assert!(world.asked("GET", "/metrics").await.1.contains("litefs_subscriber_count 2"));
    let path = world.dir.path().join("app.db");
    world.told.positions.send_if_modified(|positions| positions.set(&path, Some(txid(10))));
    until(&mut streams, "\"txID\":\"000000000000000a\",\"postApplyChecksum\":\"0000000000000000\",\"pageSize\":4096")
        .await;
    assert!(!streams[0].1.contains("\"commit\":0"), "{}", streams[0].1);
    let head = streams[0].1.to_lowercase();
    assert!(head.contains("content-type: application/json"), "{head}");
    drop(streams);
    let gone = async {
        while !world.asked("GET", "/metrics").await.1.contains("litefs_subscriber_count 0") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("who has gone away is not counted");
}

#[tokio::test]
async fn a_database_goes_out_whole_while_it_is_written_to_and_comes_in_again() {
    let world = world(true).await;
    world.told.primary.send_replace(Primary::Here);
    let path = world.dir.path().join("app.db");
    let writer = app(&path, &format!("PRAGMA journal_mode=WAL; {FILL}"));
    // More than is read ahead.
    let mut stream = TcpStream::connect(world.address).await.expect("connect");
    stream.write_all(b"GET /export?name=app.db HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("write");
    let mut reply = vec![0; 512];
    let first = stream.read(&mut reply).await.expect("read");
    reply.truncate(first);
    writer.execute_batch("DELETE FROM t; VACUUM").expect("write");
    stream.read_to_end(&mut reply).await.expect("read");
    let end = reply.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let out = world.dir.path().join("out.db");
    std::fs::write(&out, &reply[end..]).expect("write");
    assert_eq!(rows(&out), 3000, "one moment");
    let sent = std::fs::read(&out).expect("read");
    assert_eq!(world.ask("POST", "/import?name=app.db", &sent).await, (200, Vec::new()));
    assert_eq!(rows(&path), 3000);
    let (status, why) = world.ask("POST", "/import?name=app.db", &vec![b'x'; 9000]).await;
    assert_eq!((status, String::from_utf8_lossy(&why).contains("not a database")), (400, true));
    writer.execute_batch("INSERT INTO t VALUES (1)").expect("it goes on");
    assert_eq!(rows(&path), 3001);
    let names = std::fs::read_dir(world.dir.path()).expect("list").map(|entry| entry.expect("read").file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().ends_with(".tmp")).count(), 0);
}

/// As the `litefs` command asks.
#[tokio::test]
async fn http_2_without_tls_is_understood() {
    let world = world(true).await;
    let stream = TcpStream::connect(world.address).await.expect("connect");
    let (io, executor) = (hyper_util::rt::TokioIo::new(stream), hyper_util::rt::TokioExecutor::new());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = hyper::Request::get("http://x/info").body(http_body_util::Empty::<bytes::Bytes>::new());
    let answer = sender.send_request(request.expect("valid")).await.expect("an answer");
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("all of it").to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("\"isPrimary\": false"), "{body:?}");
}
