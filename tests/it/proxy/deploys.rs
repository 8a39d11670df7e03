//! Several nodes: deploys without a failed request, and writes that go to the primary.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

pub const SECRET: &str = "secret: 0123456789abcdef0123456789abcdef";

/// What a load balancer does: requests go to one address, until it is another one.
struct Load {
    address: Arc<std::sync::Mutex<String>>,
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(usize, usize, Vec<String>)>>,
    rows: Arc<AtomicUsize>,
}

impl Load {
    fn start(address: &str, clients: usize) -> Load {
        let address = Arc::new(std::sync::Mutex::new(address.to_owned()));
        let (is_over, rows) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |n: usize| {
            let (address, is_over, rows) = (address.clone(), is_over.clone(), rows.clone());
            std::thread::spawn(move || {
                let (mut reads, mut writes, mut failed) = (0, 0, Vec::new());
                while !is_over.load(Ordering::SeqCst) {
                    let to = address.lock().expect("no panic").clone();
                    let method = if (n + reads + writes).is_multiple_of(2) { "POST" } else { "GET" };
                    match ask(&to, method, "/rows") {
                        Ok((200, _)) if method == "POST" => {
                            writes += 1;
                            rows.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok((200, _)) => reads += 1,
                        other => failed.push(format!("{method} at {to}: {other:?}")),
                    }
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                (reads, writes, failed)
            })
        };
        let clients = (0..clients).map(client).collect();
        Load { address, is_over, clients, rows }
    }

    fn wait_for_rows(&self, more: usize) {
        let before = self.rows.load(Ordering::SeqCst);
        eventually("rows are acknowledged", || self.rows.load(Ordering::SeqCst) >= before + more);
    }

    fn turn_to(&self, address: &str) {
        *self.address.lock().expect("no panic") = address.to_owned();
    }

    /// How many writes were acknowledged; none has failed.
    fn end(self) -> usize {
        self.is_over.store(true, Ordering::SeqCst);
        let ended: Vec<_> = self.clients.into_iter().map(|client| client.join().expect("no panic")).collect();
        let failed: Vec<&String> = ended.iter().flat_map(|(_, _, failed)| failed).collect();
        assert!(failed.is_empty(), "{} requests have failed: {:#?}", failed.len(), &failed[..failed.len().min(5)]);
        assert!(ended.iter().all(|(reads, _, _)| *reads > 0), "every client has read");
        ended.iter().map(|(_, writes, _)| writes).sum()
    }
}

/// Containers with disks of their own, in the shape of Kamal: the load balancer goes to the new one when that is healthy, and
/// the old one is stopped after that.
#[test]
fn deploys_under_load_without_a_failed_request_or_a_lost_row() {
    let listening = |own: &str| {
        format!(
            // The nodes tell each other: a look would come too late for what is held.
            "handover: {{wait: 60s, look: 30s}}\n\
             proxy: {{listen: \"{own}\", target: \"TARGET\", advertise: \"http://{own}\", hold: {{wait: 15s}}, {SECRET}}}\n"
        )
    };
    let node = |rig: Rig, name| {
        let own = format!("127.0.0.1:{}", free_port());
        (Web::new(rig, name, &listening(&own)), own)
    };
    let (mut first, address) = node(Rig::on_s3(), "a");
    let mut old = first.spawn(0);
    listens_at(&mut old);
    eventually("it is healthy", || matches!(ask(&address, "GET", "/name"), Ok((200, _))));
    let load = Load::start(&address, 6);
    load.wait_for_rows(20);
    let mut nodes = Vec::new();
    for name in ["b", "c"] {
        let mut rig = Rig::on_file();
        rig.remote = first.rig.remote.clone();
        let (next, address) = node(rig, name);
        let mut new = next.spawn(200);
        listens_at(&mut new);
        // What the new one holds is answered by its own application, and so is the health check.
        assert_eq!(answered(&address, "GET", "/name"), name);
        load.turn_to(&address);
        load.wait_for_rows(20);
        old.signal(Signal::SIGTERM);
        let ended = old.wait();
        ended.assert_says(&["every commit is in the replica"]);
        assert!(matches!(ended.code(), Some(0 | 143)), "{ended}");
        old = new;
        nodes.push(next);
    }
    let acknowledged = load.end();
    ends(old);
    let restored = first.rig.restored();
    let rows = rows_in(&restored);
    assert_eq!(rows, acknowledged, "rows in the replica, and rows that were acknowledged");
}

/// Two nodes, of which one always sends writes to the other.
#[test]
fn writes_go_to_the_primary_and_reads_stay() {
    let own = format!("127.0.0.1:{}", free_port());
    let primary =
        Web::new(Rig::on_file(), "primary", &format!("proxy: {{listen: \"{own}\", target: \"TARGET\", {SECRET}}}\n"));
    let follower = Web::new(
        Rig::on_file(),
        "follower",
        &format!(
            "proxy: {{listen: \"127.0.0.1:0\", target: \"TARGET\", primary: \"http://{own}\", always-forward: [/name], {SECRET}}}\n"
        ),
    );
    let mut here = follower.spawn(0);
    let address = listens_at(&mut here);
    // The primary is not there yet, so what is for it is held.
    let held = {
        let address = address.clone();
        std::thread::spawn(move || answered(&address, "POST", "/rows"))
    };
    assert_eq!(answered(&address, "GET", "/rows"), "0", "a read is answered here");
    let mut there = primary.spawn(0);
    listens_at(&mut there);
    assert_eq!(held.join().expect("answered"), "1");
    assert_eq!(answered(&address, "POST", "/rows"), "2");
    assert_eq!(answered(&address, "GET", "/name"), "primary", "its path is always forwarded");
    assert_eq!((answered(&address, "GET", "/rows"), answered(&own, "GET", "/rows")), ("0".into(), "2".into()));
    let head = answered(&own, "GET", "/head");
    assert!(!head.to_lowercase().contains("secret"), "{head}");
    ends(here);
    ends(there);
}
