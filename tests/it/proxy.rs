//! The proxy in front of a real application: what it must not spoil, what it holds, and deploys without a failed request.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use nix::sys::signal::Signal;

use crate::harness::process::PATIENCE;
use crate::harness::rig::python;
use crate::harness::{Rig, Running, eventually};
use crate::health::{ADDR, page, served_at};

mod acks;
mod cluster;
mod deploys;

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// One node: its rig, and the port of its application.
struct Web {
    rig: Rig,
    port: u16,
    name: &'static str,
}

impl Web {
    fn new(mut rig: Rig, name: &'static str, settings: &str) -> Web {
        let port = free_port();
        rig.settings = format!("grace: 20s\n{}", settings.replace("TARGET", &format!("127.0.0.1:{port}")));
        Web { rig, port, name }
    }

    fn argv(&self, start_ms: u64) -> Vec<OsString> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/web.py");
        let (port, start) = (self.port.to_string(), start_ms.to_string());
        vec![python(), script.into(), port.into(), self.rig.db().into(), self.name.into(), start.into()]
    }

    fn spawn(&self, start_ms: u64) -> Running {
        let run = ["run".into(), "-config".into(), self.rig.config().into(), "--".into()];
        self.rig.millstream::<OsString>(run).args(self.argv(start_ms)).spawn()
    }
}

const PROXY: &str = "proxy: {listen: \"127.0.0.1:0\", target: \"TARGET\"}\n";

/// Where the proxy listens, as it has said.
fn listens_at(running: &mut Running) -> String {
    running.wait_until_says(0, &["the proxy listens at http://127.0.0.1:"]);
    let said = running.to_string();
    let (_, rest) = said.split_once("the proxy listens at http://").expect("it was said");
    rest.chars().take_while(|c| !c.is_whitespace() && *c != ',').collect()
}

fn open(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

/// The status and the whole answer; `Err`: there was none.
fn ask(address: &str, method: &str, path: &str) -> Result<(u16, String), String> {
    ask_with(address, method, path, "Accept: */*")
}

/// The same with another line in the head.
fn ask_with(address: &str, method: &str, path: &str, line: &str) -> Result<(u16, String), String> {
    let mut stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{line}\r\n{length}\r\n");
    stream.write_all(head.as_bytes()).map_err(|error| format!("write: {error}"))?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).map_err(|error| format!("read: {error}"))?;
    let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.map(|status| (status, reply.clone())).ok_or(format!("no answer: {reply:?}"))
}

fn body(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn answered(address: &str, method: &str, path: &str) -> String {
    let (status, reply) = ask(address, method, path).expect("an answer");
    assert_eq!(status, 200, "{method} {path}: {reply}");
    body(&reply).to_owned()
}

fn ends(running: Running) {
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
}

/// Highest memory of the process so far, in KiB.
fn peak_kib(running: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("there is such a line");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

const LARGE: usize = 200 << 20;

#[test]
fn bodies_of_any_size_pass_in_both_directions_in_little_memory() {
    let web = Web::new(Rig::on_file(), "a", PROXY);
    let mut running = web.spawn(0);
    let address = listens_at(&mut running);
    assert_eq!(answered(&address, "GET", "/name"), "a");
    let before = peak_kib(&running);
    let chunk = vec![b'x'; 1 << 20];
    for chunked in [false, true] {
        let mut stream = open(&address);
        let kind = if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {LARGE}") };
        write!(stream, "POST /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{kind}\r\n\r\n").expect("write");
        for _ in 0..LARGE / chunk.len() {
            if chunked {
                write!(stream, "{:x}\r\n", chunk.len()).expect("write");
            }
            stream.write_all(&chunk).expect("write");
            if chunked {
                stream.write_all(b"\r\n").expect("write");
            }
        }
        if chunked {
            stream.write_all(b"0\r\n\r\n").expect("write");
        }
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("read");
        assert_eq!(body(&reply), LARGE.to_string(), "{reply}");
    }
    let mut stream = open(&address);
    write!(stream, "GET /bytes/{LARGE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("write");
    let (mut count, mut buffer) = (0, vec![0; 1 << 20]);
    // One that is slow at first: what it does not take is not taken from the application.
    std::thread::sleep(std::time::Duration::from_millis(500));
    loop {
        match stream.read(&mut buffer).expect("read") {
            0 => break,
            read => count += read,
        }
    }
    assert!(count > LARGE && count < LARGE + 1024, "{count}");
    let grown = peak_kib(&running).saturating_sub(before);
    assert!(grown < 16 << 10, "600 MiB have passed, and its memory grew by {grown} KiB");
    ends(running);
}

#[test]
fn events_come_one_by_one_and_a_websocket_talks() {
    let web = Web::new(Rig::on_file(), "a", PROXY);
    let mut running = web.spawn(0);
    let address = listens_at(&mut running);
    let mut events = open(&address);
    write!(events, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    let mut seen = String::new();
    while !seen.contains("data: 5\n") {
        let mut buffer = [0; 4096];
        let count = events.read(&mut buffer).expect("read");
        assert!(count > 0, "it was cut: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    let mut socket = open(&address);
    let ask = "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(ask.as_bytes()).expect("write");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("read");
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    for text in [&b"hello"[..], b"again"] {
        socket.write_all(&[&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text].concat()).expect("write");
        let mut frame = vec![0; 2 + 2 * text.len()];
        socket.read_exact(&mut frame).expect("read");
        assert_eq!(frame[2..], [text, text].concat());
    }
    // Neither of them keeps the program from ending.
    ends(running);
}

#[test]
fn what_comes_while_the_application_starts_is_answered_when_it_is_there() {
    let mut web = Web::new(Rig::on_file(), "a", PROXY);
    let started = web.rig.path("may-migrate");
    let migrate = format!("while [ ! -e {} ]; do sleep 0.05; done", started.display());
    web.rig.settings.push_str(&format!("migrate: sh -c {}\n", shell_words::quote(&migrate)));
    let mut running = web.spawn(300);
    let address = listens_at(&mut running);
    let held: Vec<JoinHandle<String>> = (0..10)
        .map(|n| {
            let (address, method) = (address.clone(), if n % 2 == 0 { "POST" } else { "GET" });
            std::thread::spawn(move || answered(&address, method, "/rows"))
        })
        .collect();
    running.wait_until_says(0, &["started the migration"]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(held.iter().all(|held| !held.is_finished()), "nothing is answered yet");
    fs::write(&started, "").expect("write");
    held.into_iter().for_each(|held| drop(held.join().expect("answered")));
    assert_eq!(answered(&address, "GET", "/rows"), "5");
    ends(running);
}

#[test]
fn who_is_told_to_end_answers_what_it_has() {
    let web = Web::new(Rig::on_file(), "a", PROXY);
    let mut running = web.spawn(0);
    let address = listens_at(&mut running);
    assert_eq!(answered(&address, "POST", "/rows"), "1");
    let slow: Vec<JoinHandle<String>> = (0..5)
        .map(|_| {
            let address = address.clone();
            std::thread::spawn(move || answered(&address, "POST", "/slow/1500"))
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(500));
    running.signal(Signal::SIGTERM);
    slow.into_iter().for_each(|slow| drop(slow.join().expect("answered")));
    let ended = running.wait();
    ended.assert_code(0).assert_says(&["every commit is in the replica"]);
    assert!(TcpStream::connect(&address).is_err(), "the port is free");
}

#[test]
fn an_application_that_does_not_come_is_said_in_time() {
    let settings = PROXY.replace("\"TARGET\"", "\"TARGET\", hold: {wait: 300ms, requests: 2}");
    let web = Web::new(Rig::on_file(), "a", &settings);
    let mut running = web.spawn(600_000);
    let address = listens_at(&mut running);
    let (status, reply) = ask(&address, "GET", "/name").expect("an answer");
    assert!(status == 503 && reply.contains("retry-after: ") && reply.contains("in time"), "{reply}");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
}

fn rows_in(database: &std::path::Path) -> usize {
    let db = crate::harness::oracle::open(database);
    crate::harness::oracle::assert_intact(&db, database);
    db.query_row("SELECT count(*) FROM web", [], |row| row.get::<_, i64>(0)).expect("count") as usize
}

#[test]
fn load_balancers_are_told_where_the_primary_is() {
    let web = Web::new(Rig::on_file(), "a", ADDR);
    let mut running = web.spawn(0);
    let address = served_at(&mut running);
    running.wait_until_says(0, &["started the application"]);
    let (status, text) = page(&address, "/primary");
    assert_eq!((status, text.as_str()), (200, "primary\n"));
    running.signal(Signal::SIGTERM);
    // Python may not be far enough yet to answer a signal.
    assert!(matches!(running.wait().code(), Some(0 | 143)));
}
