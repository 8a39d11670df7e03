//! The status page and `status -watch`: what a person is told while all is well, during an outage, after a fence and after an end.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Proxy, Rig, eventually};
use crate::health::{ADDR, page, sample, served_at, touch, until};

/// Nothing but the page lists the replica.
const NO_UPKEEP: &str = "levels: [{interval: 24h}]\nl0-retention-check-interval: 24h\n";

const LISTS: &str = "millstream_store_requests_total{store=\"s3://millstream-test\",request=\"ListObjectsV2\"}";

fn status(address: &str) -> Value {
    serde_json::from_str(&page(address, "/status.json").1).expect("JSON")
}

fn sentence(address: &str) -> String {
    status(address)["sentence"].as_str().expect("a sentence").to_owned()
}

/// What a person reads: the page without its tags.
fn text(address: &str, path: &str) -> String {
    let (_, html) = page(address, path);
    let body =
        html.split("<body>").nth(1).expect("a body").split("<script>").next().expect("what is before the script");
    let mut inside = false;
    let kept = body.chars().filter(|c| {
        inside = (inside || *c == '<') && *c != '>';
        !inside && *c != '>'
    });
    kept.collect()
}

#[test]
fn the_page_has_the_facts_and_lists_the_replica_only_for_a_person() {
    let mut rig = Rig::on_s3();
    rig.settings += ADDR;
    rig.settings += NO_UPKEEP;
    let steps = ["create", "rows:5", &touch(&rig, "ready"), "idle", "term-exit:0"];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    let address = served_at(&mut running);
    running.wait_until("the application is ready", || rig.path("ready").exists());
    running.wait_until("every commit is safe", || sentence(&address) == "1 database: every commit is in the replica.");
    let lists = || sample(&address, LISTS).unwrap_or(0.0);
    let before = lists();
    for path in ["/status.json", "/?renew=1", "/metrics"].repeat(10) {
        assert_eq!(page(&address, path).0, 200);
    }
    assert_eq!(lists(), before, "a page that stays open costs no request");
    let opened = text(&address, "/");
    running.wait_until("the replica is listed", || status(&address)["databases"][0]["points"].is_object());
    let listed = lists();
    assert!(listed > before);
    assert_eq!(lists(), listed);
    let again = text(&address, "/");
    assert_eq!(lists(), listed, "it was listed a moment ago");
    let db = rig.db().display().to_string();
    let config = rig.config().display().to_string();
    let command = format!("millstream restore -config {config} -o {db}.restored {db}");
    for part in ["1 database: every commit is in the replica.", &db, "Newest TXID", "Lag over the last", &command] {
        assert!(opened.contains(part) && again.contains(part), "{part}:\n{again}");
    }
    assert!(
        again.contains("every commit") && again.contains("in the replica s3"),
        "what can be brought back:\n{again}"
    );
    let chosen = text(&address, &format!("/?db={db}&at=2026-01-31T14:00"));
    assert!(chosen.contains("-timestamp 2026-01-31T14:00:00Z"), "{chosen}");
    let secret = crate::harness::process::setting("MILLSTREAM_TEST_S3_SECRET_KEY");
    assert!(!page(&address, "/").1.contains(&secret) && !page(&address, "/status.json").1.contains(&secret));
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
}

#[test]
fn a_browser_may_run_nothing_but_the_page_and_no_one_may_change_anything() {
    let mut rig = Rig::on_file();
    rig.settings += ADDR;
    let mut running = rig.supervise(rig.app(&["create", &touch(&rig, "ready"), "idle", "term-exit:0"])).spawn();
    let address = served_at(&mut running);
    running.wait_until("the application is ready", || rig.path("ready").exists());
    let exchange = |method: &str| {
        let mut stream = TcpStream::connect(&address).expect("connect");
        // The name that is asked for means nothing to the answer.
        write!(stream, "{method} / HTTP/1.1\r\nHost: evil.example\"<b>\r\nConnection: close\r\n\r\n").expect("write");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("read");
        reply
    };
    let reply = exchange("GET");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    let head = head.to_lowercase();
    for part in [
        "200 ok",
        "content-security-policy: default-src 'none'; style-src 'sha256-",
        "cache-control: no-store",
        "text/html",
    ] {
        assert!(head.contains(part), "{part}: {head}");
    }
    assert!(
        !reply.contains("evil.example") && body.matches("<script").count() == 1 && !body.contains("http://"),
        "{body}"
    );
    for method in ["POST", "PUT", "DELETE"] {
        assert!(exchange(method).starts_with("HTTP/1.1 405 "), "{method}");
    }
    let head = exchange("HEAD");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
}

#[test]
fn an_outage_is_told_on_the_page_and_in_the_terminal_until_it_is_over() {
    let mut rig = Rig::on_s3();
    let direct = rig.remote.clone();
    let proxy = Proxy::start();
    rig.remote = direct.through(proxy.endpoint());
    // A port that is free now, for `status` to find in the configuration.
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    rig.settings += &format!("addr: \"127.0.0.1:{port}\"\n");
    let steps = ["create", "rows:1", &until(&rig, "go"), "rows:3", &touch(&rig, "during"), "idle", "term-exit:0"];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    let address = served_at(&mut running);
    let safe = "1 database: every commit is in the replica.";
    running.wait_until("every commit is safe", || sentence(&address) == safe && !direct.level0().is_empty());
    proxy.down();
    fs::write(rig.path("go"), "").expect("write");
    running.wait_until("rows were committed during the outage", || rig.path("during").exists());
    running
        .wait_until("the page says so", || sentence(&address).starts_with("The database is not safe: the commits of"));
    let told = text(&address, "/");
    for part in ["on this disk only", "has not taken uploads for", "millstream doctor", "could not be listed"] {
        // The listing of the page may take longer than the page waits.
        let is_slow = part == "could not be listed" && told.contains("is being listed");
        assert!(told.contains(part) || is_slow, "{part}:\n{told}");
    }
    let said = rig.millstream(["status".into(), "-config".into(), rig.config().into_os_string()]).finish();
    said.assert_code(0);
    for part in ["The database is not safe", "outage", "has not taken uploads for"] {
        assert!(said.stdout.contains(part), "{part}: {said}");
    }
    running.wait_until("the plot shows it", || {
        let plot = &status(&address)["databases"][0]["lag_ms"];
        plot.as_array().is_some_and(|plot| plot.iter().any(|ms| ms.as_u64() > Some(0)))
    });
    proxy.up();
    running.wait_until("it is over", || sentence(&address) == safe);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
    let gone = rig.millstream(["status".into(), "-config".into(), rig.config().into_os_string()]).finish();
    gone.assert_code(0);
    assert!(gone.stdout.contains("not running"), "{gone}");
}

#[test]
fn a_replication_that_has_ended_is_the_first_thing_that_the_page_says() {
    let mut rig = Rig::on_file();
    rig.run_bare(&["create", "rows:1"]);
    rig.settings += ADDR;
    let mut running = rig.supervise(rig.app(&["open", &touch(&rig, "ready"), &until(&rig, "go")])).spawn();
    let address = served_at(&mut running);
    running.wait_until("the application is ready", || rig.path("ready").exists());
    running.wait_until("its rows are in the replica", || !rig.remote.level0().is_empty());
    fs::File::options().write(true).truncate(true).open(rig.db()).map(drop).expect("truncate");
    running.wait_until("the page says so", || status(&address)["level"] == "problem");
    let said = sentence(&address);
    assert!(said.starts_with("The database is not safe: replication has ended: "), "{said}");
    let told = text(&address, "/");
    assert!(told.contains(&said.replace('\'', "&#39;")) && told.contains("millstream start"), "{told}");
    fs::write(rig.path("go"), "").expect("write");
    running.wait().assert_code(74);
}

#[test]
fn a_fence_is_told_while_the_application_is_being_stopped() {
    let mut rig = Rig::on_file();
    rig.settings += ADDR;
    rig.settings = rig.settings.replace("grace: 20s", "grace: 60s");
    let steps = ["ignore-term", "create", "rows:1", &until(&rig, "go"), "rows:1", &until(&rig, "end")];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    let address = served_at(&mut running);
    running.wait_until("its rows are in the replica", || sentence(&address).contains("every commit is in the replica"));
    // Another writer has made the next transactions.
    let (newest, objects) = (rig.remote.level0().into_iter().max().expect("an object"), rig.remote.objects());
    let bytes = &objects[&rig.remote.level0_name(newest)];
    (1..=3).for_each(|more| rig.remote.put(&rig.remote.level0_name(newest + more), bytes));
    fs::write(rig.path("go"), "").expect("write");
    running.wait_until("the page says so", || status(&address)["databases"][0]["state"] == "fenced");
    let told = text(&address, "/");
    assert!(told.contains("another writer owns the history in the replica") && told.contains("orphaned/"), "{told}");
    fs::write(rig.path("end"), "").expect("write");
    running.wait().assert_code(75);
}

#[test]
fn status_is_kept_up_to_date_until_ctrl_c() {
    let rig = Rig::on_file();
    rig.run_bare(&["create", "rows:1"]);
    let config = rig.config().display().to_string();
    let watching = rig.millstream(["status", "-config", &config, "-watch", "-interval", "20ms"]).spawn();
    eventually("three tables were written", || watching.to_string().matches("local txid").count() >= 3);
    let told = watching.to_string();
    assert!(told.contains(&rig.db().display().to_string()) && !told.contains('\u{1b}'), "{told}");
    watching.signal(Signal::SIGINT);
    watching.wait().assert_code(0);
}
