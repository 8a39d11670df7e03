//! What others are told of a running process: metrics, readiness, the heartbeat, the service manager; and what becomes of the
//! application when a replication has ended.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::process::PATIENCE;
use crate::harness::rig::shell;
use crate::harness::{Proxy, Rig, Running, eventually};

/// Of Litestream 0.5.17, those that mean something here.
const LITESTREAMS: [&str; 19] = [
    "litestream_db_size{db=",
    "litestream_wal_size{db=",
    "litestream_total_wal_bytes{db=",
    "litestream_txid{db=",
    "litestream_sync_count{db=",
    "litestream_sync_error_count{db=",
    "litestream_sync_seconds{db=",
    "litestream_disk_full{db=",
    "litestream_compaction_verify_error_count{db=",
    "litestream_l0_retention_files_total{db=\"app.db\",status=\"too_recent\"}",
    "litestream_checkpoint_count{db=",
    "litestream_checkpoint_error_count{db=",
    "litestream_checkpoint_seconds{db=",
    "litestream_replica_operation_total{replica_type=\"s3\",operation=\"PUT\"}",
    "litestream_replica_operation_bytes{replica_type=\"s3\",operation=\"PUT\"}",
    "litestream_replica_operation_duration_seconds_bucket{replica_type=\"s3\",operation=\"PUT\",le=\"0.01\"}",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_start_time_seconds",
];

/// Listens on a port that nobody else has.
pub const ADDR: &str = "addr: \"127.0.0.1:0\"\n";

/// Where it listens, as it has said.
pub fn served_at(running: &mut Running) -> String {
    running.wait_until_says(0, &["metrics and health are served at http://127.0.0.1:"]);
    let said = running.to_string();
    let (_, rest) = said.split_once("served at http://").expect("it was said");
    rest.chars().take_while(|c| !c.is_whitespace() && *c != ',').collect()
}

/// The status and the body of a page.
pub fn page(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("write");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("read");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// The value of a sample whose line begins so.
pub fn sample(address: &str, begins: &str) -> Option<f64> {
    let (_, text) = page(address, "/metrics");
    let line = text.lines().find(|line| line.starts_with(begins))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

pub fn touch(rig: &Rig, name: &str) -> String {
    format!("touch:{}", rig.path(name).display())
}

pub fn until(rig: &Rig, name: &str) -> String {
    format!("until-file:{}", rig.path(name).display())
}

#[test]
fn metrics_have_litestreams_names_and_say_what_is_safe() {
    let mut rig = Rig::on_s3();
    rig.settings += ADDR;
    let mut running = rig.supervise(rig.app(&["create", "rows:5", "forever:20", "term-exit:0"])).spawn();
    let address = served_at(&mut running);
    running.wait_until("something was uploaded", || sample(&address, "millstream_uploaded_txid{").is_some());
    let (status, text) = page(&address, "/metrics");
    assert_eq!(status, 200);
    for name in LITESTREAMS {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is missing:\n{text}");
    }
    let db = rig.db().display().to_string();
    assert!(text.contains(&format!("litestream_db_size{{db=\"{db}\"}}")), "{text}");
    for name in ["millstream_unshipped_seconds", "millstream_uploaded_txid", "millstream_uploaded_timestamp_seconds"] {
        assert!(text.contains(&format!("{name}{{db=\"{db}\",replica=\"s3\"}}")), "{name}:\n{text}");
    }
    assert!(text.contains(&format!("millstream_replicating{{db=\"{db}\"}} 1\n")), "{text}");
    assert!(
        text.contains("millstream_store_requests_total{store=\"s3://millstream-test\",request=\"PutObject\"}"),
        "{text}"
    );
    let secret = crate::harness::process::setting("MILLSTREAM_TEST_S3_SECRET_KEY");
    assert!(!text.contains(&secret));
    // The watermark moves on.
    let txid = sample(&address, "millstream_uploaded_txid{").expect("a TXID");
    running.wait_until("more was uploaded", || sample(&address, "millstream_uploaded_txid{") > Some(txid));
    assert!(sample(&address, "litestream_total_wal_bytes{") > Some(0.0));
    assert_eq!(page(&address, "/debug/pprof/").0, 404, "no profiler");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
}

#[test]
fn it_is_ready_when_the_application_may_run_and_not_before() {
    let mut rig = Rig::on_file();
    rig.settings += ADDR;
    rig.settings += &format!("migrate: {:?}\n", shell(rig.app(&["create", &until(&rig, "migrated")])));
    let mut running = rig.supervise(rig.app(&["open", "rows:1", &touch(&rig, "ready"), "idle", "term-exit:0"])).spawn();
    let address = served_at(&mut running);
    running.wait_until("the migration runs", || page(&address, "/readyz").1.contains("the migration runs"));
    assert_eq!(page(&address, "/readyz").0, 503);
    assert_eq!(page(&address, "/livez"), (200, "alive\n".into()));
    fs::write(rig.path("migrated"), "").expect("write");
    running.wait_until("the application runs", || rig.path("ready").exists());
    let (status, text) = page(&address, "/readyz");
    assert_eq!((status, text), (200, format!("ready\n{}: ok\n", rig.db().display())));
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
}

#[test]
fn commits_that_wait_longer_than_max_lag_are_not_ready_until_they_are_safe() {
    let mut rig = Rig::on_s3();
    let direct = rig.remote.clone();
    let proxy = Proxy::start();
    rig.remote = direct.through(proxy.endpoint());
    rig.settings += ADDR;
    rig.settings += "max-lag: 500ms\n";
    let steps = ["create", "rows:1", &until(&rig, "go"), "rows:3", &touch(&rig, "during"), "idle", "term-exit:0"];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    let address = served_at(&mut running);
    running.wait_until("it is ready", || page(&address, "/readyz").0 == 200 && !direct.level0().is_empty());
    let health = |rig: &Rig, url: String| rig.millstream(["health".into(), "-url".into(), url]).finish();
    let well = health(&rig, format!("http://{address}"));
    well.assert_code(0);
    assert!(well.stdout.starts_with("ready\n"), "{well}");
    proxy.down();
    fs::write(rig.path("go"), "").expect("write");
    running.wait_until("rows were committed during the outage", || rig.path("during").exists());
    running.wait_until("it is not ready", || page(&address, "/readyz").0 == 503);
    let (_, text) = page(&address, "/readyz");
    assert!(text.contains(&rig.db().display().to_string()) && text.contains("max-lag"), "{text}");
    assert!(sample(&address, "millstream_lag_seconds{") >= Some(0.5));
    assert!(sample(&address, "millstream_outage_seconds{") > Some(0.0));
    assert_eq!(sample(&address, "millstream_ready"), Some(0.0));
    assert_eq!(page(&address, "/livez").0, 200, "an outage is nothing that a restart would cure");
    let ill = health(&rig, format!("http://{address}"));
    ill.assert_code(1);
    assert!(ill.stdout.starts_with("not ready\n"), "{ill}");
    health(&rig, format!("http://{address}/livez")).assert_code(0);
    proxy.up();
    running.wait_until("it is ready again", || page(&address, "/readyz").0 == 200);
    running.wait_until("the outage is over", || sample(&address, "millstream_outage_seconds{") == Some(0.0));
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
}

/// A run whose replication has ended because its file was cut off.
fn halted(rig: &mut Rig, on_end: &str) -> Running {
    rig.run_bare(&["create", "rows:1"]);
    rig.settings += ADDR;
    rig.settings += on_end;
    let mut running = rig.supervise(rig.app(&["open", &touch(rig, "ready"), &until(rig, "go")])).spawn();
    running.wait_until("the application is ready", || rig.path("ready").exists());
    running.wait_until("its rows are in the replica", || !rig.remote.level0().is_empty());
    fs::File::options().write(true).truncate(true).open(rig.db()).map(drop).expect("truncate");
    running.wait_until_says(0, &["replication has ended"]);
    running
}

#[test]
fn a_replication_that_ended_cannot_be_missed_while_the_application_runs_on() {
    let mut rig = Rig::on_file();
    let mut running = halted(&mut rig, "");
    let address = served_at(&mut running);
    running.wait_until("it is not ready", || page(&address, "/readyz").0 == 503);
    let (_, text) = page(&address, "/readyz");
    assert!(text.contains("replication has ended: "), "{text}");
    assert_eq!(sample(&address, "millstream_halted{"), Some(1.0));
    assert!(running.is_running());
    fs::write(rig.path("go"), "").expect("write");
    running.wait().assert_code(74);
}

#[test]
fn a_replication_that_ended_stops_the_application_if_it_is_told_to() {
    let mut rig = Rig::on_file();
    let running = halted(&mut rig, "on-replication-end: stop\n");
    // Nothing lets the application go on: it ends because it is stopped.
    running.wait().assert_code(74).assert_says(&["stopping the application", "on-replication-end: stop"]);
    assert!(!rig.path("go").exists());
}

#[test]
fn without_an_application_an_end_ends_the_program_if_it_is_told_to() {
    let mut rig = Rig::on_file();
    rig.run_bare(&["create", "rows:1"]);
    rig.settings += "on-replication-end: stop\n";
    let mut running = rig.millstream(["replicate".into(), "-config".into(), rig.config().into_os_string()]).spawn();
    running.wait_until("its rows are in the replica", || !rig.remote.level0().is_empty());
    fs::File::options().write(true).truncate(true).open(rig.db()).map(drop).expect("truncate");
    running.wait().assert_code(74);
}

#[test]
fn a_heartbeat_is_sent_when_everything_is_safe_and_not_before() {
    let mut rig = Rig::on_s3();
    let direct = rig.remote.clone();
    let proxy = Proxy::start();
    rig.remote = direct.through(proxy.endpoint());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("bound");
    rig.settings += ADDR;
    rig.settings += &format!("heartbeat-url: http://{host}/ping/t0ken\nheartbeat-interval: 1m\n");
    // Otherwise nothing is started before it is known whether there is a backup.
    rig.run_bare(&["create", "rows:1"]);
    proxy.down();
    let mut running = rig.supervise(rig.app(&["open", "rows:1", &touch(&rig, "ready"), "idle", "term-exit:0"])).spawn();
    let address = served_at(&mut running);
    running.wait_until("the application runs", || rig.path("ready").exists());
    running.wait_until("the outage is known", || sample(&address, "millstream_outage_seconds{") > Some(0.0));
    let beat = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody connects");
        let had_arrived = !direct.level0().is_empty();
        let mut buffer = [0; 1024];
        let len = stream.read(&mut buffer).expect("read");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("write");
        (had_arrived, String::from_utf8_lossy(&buffer[..len]).into_owned())
    });
    assert!(!beat.is_finished(), "nothing is safe yet");
    proxy.up();
    eventually("the heartbeat arrives", || beat.is_finished());
    let (had_arrived, request) = beat.join().expect("no panic");
    assert!(had_arrived, "it was sent before anything was in the bucket");
    assert!(request.starts_with("GET /ping/t0ken HTTP/1.1\r\n"), "{request}");
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    ended.assert_code(0);
    assert!(!ended.stderr.contains("t0ken"), "{ended}");
}

#[test]
fn the_service_manager_hears_of_start_life_and_end() {
    let mut rig = Rig::on_file();
    rig.settings += "logging: {level: debug}\n";
    let socket = rig.path("notify");
    let manager = UnixDatagram::bind(&socket).expect("bind");
    manager.set_read_timeout(Some(PATIENCE)).expect("set");
    let app = rig.app(&["create", "rows:1", &touch(&rig, "ready"), "idle", "term-exit:0"]);
    let invocation = rig.supervise(app).env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000");
    let mut running = invocation.spawn();
    let hear = || {
        let mut buffer = [0; 4096];
        let len = manager.recv(&mut buffer).expect("it is said in time");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    let until_heard = |wanted: &str| {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last: &String| !last.starts_with(wanted)) {
            assert!(Instant::now() < deadline, "{wanted} was not said: {heard:?}");
            heard.push(hear());
        }
        heard
    };
    let before = until_heard("READY=1");
    assert!(before.iter().any(|news| news.starts_with("STATUS=")), "{before:?}");
    running.wait_until("the application runs", || rig.path("ready").exists());
    until_heard("WATCHDOG=1");
    until_heard("WATCHDOG=1");
    running.signal(Signal::SIGTERM);
    until_heard("STOPPING=1");
    running.wait().assert_code(0);
}

#[test]
fn an_address_that_is_taken_keeps_nothing_from_running_and_is_had_later() {
    let mut rig = Rig::on_file();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    rig.settings += &format!("addr: \"{address}\"\n");
    let mut running =
        rig.supervise(rig.app(&["create", "rows:1", &touch(&rig, "ready"), "idle", "term-exit:0"])).spawn();
    running.wait_until("the application runs", || rig.path("ready").exists());
    running.wait_until_says(0, &["cannot listen at", &address, "trying again every"]);
    drop(taken);
    running.wait_until_says(0, &["metrics and health are served at", &address]);
    // Found by the configuration, as in a container.
    rig.millstream(["health".into(), "-config".into(), rig.config().into_os_string()]).finish().assert_code(0);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
    let gone = rig.millstream(["health".into(), "-config".into(), rig.config().into_os_string()]).finish();
    gone.assert_code(1).assert_says(&["nothing answers at", &address]);
    rig.settings = rig.settings.replace("addr:", "# addr:");
    let none = rig.millstream(["health".into(), "-config".into(), rig.config().into_os_string()]).finish();
    none.assert_code(1).assert_says(&["no `addr` is configured"]);
}

#[test]
fn who_does_not_read_or_write_holds_up_nobody() {
    let mut rig = Rig::on_file();
    rig.settings += ADDR;
    let mut running = rig.supervise(rig.app(&["create", "rows:1", "forever:50", "term-exit:0"])).spawn();
    let address = served_at(&mut running);
    // They ask for a page and never read it, or do not finish asking.
    let idle: Vec<TcpStream> = (0..40)
        .map(|number| {
            let mut stream = TcpStream::connect(&address).expect("connect");
            let asked = if number % 2 == 0 { "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" } else { "GET /met" };
            stream.write_all(asked.as_bytes()).expect("write");
            stream
        })
        .collect();
    let began = Instant::now();
    assert_eq!(page(&address, "/livez").0, 200);
    assert!(began.elapsed() < Duration::from_secs(20), "it was held up");
    let seen = rig.remote.level0().len();
    running.wait_until("replication goes on", || rig.remote.level0().len() > seen);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
    drop(idle);
}
