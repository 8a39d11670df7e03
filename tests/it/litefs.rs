//! Programs that were written for LiteFS, on the nodes of a cluster: what they read, and what they get to see.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::process::PATIENCE;
use crate::harness::rig::python;
use crate::harness::{Rig, Running, eventually};

mod api;
mod beam;
mod javascript;

/// One node: a volume of its own, and where LiteFS's API is.
struct Member {
    rig: Rig,
    name: &'static str,
    api: String,
}

impl Member {
    fn first(name: &'static str) -> Member {
        Member::of(Rig::on_s3(), name)
    }

    fn next(&self, name: &'static str) -> Member {
        let mut rig = Rig::on_file();
        rig.remote = self.rig.remote.clone();
        Member::of(rig, name)
    }

    fn of(mut rig: Rig, name: &'static str) -> Member {
        // A port that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let api = free.to_string();
        rig.settings = format!(
            "grace: 20s\nsync-interval: 100ms\ncluster: {{node: {name}, ttl: 3s}}\nlitefs: {{listen: \"{api}\"}}\n"
        );
        Member { rig, name, api }
    }

    fn run<A: Into<OsString>>(&self, argv: impl IntoIterator<Item = A>, env: &[(&str, String)]) -> Running {
        let run = ["run".into(), "-config".into(), self.rig.config().into(), "--".into()];
        let invocation = self.rig.millstream::<OsString>(run).args(argv);
        env.iter().fold(invocation, |invocation, (name, value)| invocation.env(*name, value)).spawn()
    }

    /// With an application that tries to commit a row all the time.
    fn run_rows(&self) -> Running {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/app.py");
        let argv = [python(), script.into(), self.rig.db().into(), self.rig.path("acks").into(), self.name.into()];
        self.run(argv.into_iter().chain(["member:20".into()]), &[])
    }

    /// A file beside the database.
    fn says(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.rig.path("data").join(name)).ok()
    }

    /// The number in `app.db-pos`, read as elixir_litefs does; 0 while there is none.
    fn position(&self) -> u64 {
        let Some(text) = self.says("app.db-pos") else { return 0 };
        let (txid, checksum) = text.trim().split_once('/').unwrap_or_else(|| panic!("half a file: {text:?}"));
        assert_eq!((txid.len(), checksum.len(), text.len()), (16, 16, 34), "{text:?}");
        u64::from_str_radix(txid, 16).expect("a number")
    }

    fn is_primary(&self) -> bool {
        self.says("app.db-pos").is_some() && self.says(".primary").is_none()
    }

    fn follows(&self, running: &mut Running, primary: &str) {
        let named = format!("{primary}\n");
        running.wait_until("it names the primary", || self.says(".primary").as_deref() == Some(&named));
    }

    /// The status and what came after the head.
    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = self.connect(method, path);
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("read");
        let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, reply.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
    }

    fn connect(&self, method: &str, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.api).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", self.api);
        stream.write_all(head.as_bytes()).expect("write");
        stream
    }
}

fn ends(running: Running) {
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    assert!(matches!(ended.code(), Some(0 | 143)), "{ended}");
}

/// Three nodes, the first of which is the primary, each with an application that wants to write.
fn three() -> ([Member; 3], [Running; 3]) {
    let a = Member::first("a");
    let mut on_a = a.run_rows();
    on_a.wait_until("the first node is the primary", || a.is_primary() && a.position() > 1);
    let (b, c) = (a.next("b"), a.next("c"));
    let (mut on_b, mut on_c) = (b.run_rows(), c.run_rows());
    b.follows(&mut on_b, "a");
    c.follows(&mut on_c, "a");
    ([a, b, c], [on_a, on_b, on_c])
}
