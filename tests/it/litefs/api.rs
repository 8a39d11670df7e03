//! The files and the API: what litefs-go reads, what ecto_litefs relies on, and whole databases.

use std::io::{BufRead, BufReader};

use super::*;

/// A subscriber of `/events`.
struct Events(BufReader<TcpStream>);

impl Events {
    fn of(member: &Member) -> Events {
        let mut reader = BufReader::new(member.connect("GET", "/events"));
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).expect("a head");
        }
        Events(reader)
    }

    /// The next event that is no transaction.
    fn next(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).expect("read"), 0, "it was cut");
            // Lengths of chunks stand between.
            if line.starts_with('{') && !line.contains("\"type\":\"tx\"") {
                return line.trim().to_owned();
            }
        }
    }

    fn until(&mut self, wanted: &str) {
        while self.next() != wanted {}
    }

    /// The number of the next transaction.
    fn transaction(&mut self) -> u64 {
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).expect("read"), 0, "it was cut");
            let Some((_, rest)) = line.split_once("{\"type\":\"tx\",\"db\":\"app.db\",\"data\":{\"txID\":\"") else {
                continue;
            };
            assert!(line.contains("\"pageSize\":4096,\"commit\":") && !line.contains("\"commit\":0,"), "{line}");
            return u64::from_str_radix(&rest[..16], 16).expect("a number");
        }
    }
}

/// As litefs-go's `Lag`: `None` is its error that nothing is replicated yet.
fn lag(member: &Member) -> Option<i32> {
    let text = member.says(".lag").expect("it is there");
    assert_eq!(text.len(), 11, "{text:?}");
    let lag: i32 = text.trim().parse().expect("a number of 32 bits");
    (lag != i32::MAX).then_some(lag)
}

#[test]
fn every_node_says_who_writes_and_the_primary_moves_by_litefs_own_request() {
    let ([a, b, c], [on_a, mut on_b, mut on_c]) = three();
    let mut on_both = [Events::of(&a), Events::of(&b)];
    assert_eq!(on_both[0].next(), "{\"type\":\"init\",\"data\":{\"isPrimary\":true}}");
    assert_eq!(on_both[1].next(), "{\"type\":\"init\",\"data\":{\"isPrimary\":false,\"hostname\":\"a\"}}");
    let first = on_both[1].transaction();
    assert!(on_both[1].transaction() > first, "a follower tells of what it shows");
    let committed = a.position();
    on_b.wait_until("the copies show it", || b.position() >= committed && c.position() >= committed);
    assert_eq!(lag(&a), Some(0));
    on_b.wait_until("it is not far behind", || lag(&b).is_some_and(|ms| (0..10_000).contains(&ms)));
    assert_eq!(b.ask("POST", "/handoff").0, 500, "it is not the primary");
    assert_eq!(b.ask("POST", "/promote"), (200, String::new()), "{on_a}\n{on_b}");
    on_both[1].until("{\"type\":\"primaryChange\",\"data\":{\"isPrimary\":true}}");
    on_both[0].until("{\"type\":\"primaryChange\",\"data\":{\"isPrimary\":false,\"hostname\":\"b\"}}");
    on_b.wait_until("it is the primary", || b.is_primary());
    c.follows(&mut on_c, "b");
    assert!(a.says(".primary").is_some() && lag(&b) == Some(0));
    // What ecto_litefs relies on: a row of its own is written on the primary, and refused elsewhere.
    let write = |member: &Member| {
        let db = rusqlite::Connection::open(member.rig.db()).expect("open");
        db.busy_timeout(if member.is_primary() { PATIENCE } else { std::time::Duration::ZERO }).expect("set");
        db.execute_batch(
            "CREATE TABLE IF NOT EXISTS _ecto_litefs_primary (node); INSERT INTO _ecto_litefs_primary VALUES ('x')",
        )
    };
    assert!(write(&c).is_err(), "it is a copy");
    write(&b).expect("it is the primary");
    let info = |member: &Member| member.ask("GET", "/info").1;
    assert!(info(&b).contains("\"isPrimary\": true") && info(&c).contains("\"hostname\": \"b\""));
    assert!(c.ask("GET", "/metrics").1.contains("litefs_is_primary 0"));
    on_b.wait_until("it goes out with the row", || {
        let copy = c.rig.path("export.db");
        fs::write(&copy, export(&c)).expect("write");
        let db = rusqlite::Connection::open(&copy).expect("open");
        db.query_row("SELECT count(*) FROM _ecto_litefs_primary", [], |row| row.get(0))
            .is_ok_and(|count: i64| count == 1)
    });
    imported(&b, &c, &mut on_b);
    ends(on_c);
    ends(on_a);
    ends(on_b);
    for member in [&a, &b, &c] {
        assert!(member.says(".primary").is_some(), "{}: no application of it may write now", member.name);
    }
}

fn export(member: &Member) -> Vec<u8> {
    let mut reply = Vec::new();
    member.connect("GET", "/export?name=app.db").read_to_end(&mut reply).expect("read");
    let end = reply.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    assert!(reply.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&reply[..end]));
    reply.split_off(end + 4)
}

/// Another database takes the place of the live one, on every node.
fn imported(primary: &Member, follower: &Member, running: &mut Running) {
    let path = primary.rig.path("import.db");
    let db = rusqlite::Connection::open(&path).expect("open");
    let rows = "CREATE TABLE imported (x); INSERT INTO imported VALUES (1), (2); \
                CREATE TABLE t (seq INTEGER PRIMARY KEY, life TEXT NOT NULL, body TEXT NOT NULL)";
    db.execute_batch(rows).expect("create");
    drop(db);
    let send = |member: &Member| {
        let body = fs::read(&path).expect("read");
        let mut stream = TcpStream::connect(&member.api).expect("it listens");
        let head = format!(
            "POST /import?name=app.db HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("write");
        let _ = stream.write_all(&body);
        let mut reply = String::new();
        let _ = stream.read_to_string(&mut reply);
        reply
    };
    let refused = send(follower);
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let done = send(primary);
    assert!(done.starts_with("HTTP/1.1 200 "), "{done}");
    let count = |table: &str| {
        let db = rusqlite::Connection::open(follower.rig.db()).expect("open");
        db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap_or(0)
    };
    running.wait_until("it is on the follower", || count("imported") == 2);
    running.wait_until("the application goes on with it", || count("t") > 0_i64);
}
