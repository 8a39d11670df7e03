//! A client and a server, over a real socket, with real databases and a bucket in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::clock::MACHINE;
use crate::fleet::testing::{App, cannot_be_locked};
use crate::fleet::{FleetEvents, FleetHandle, Registration};
use crate::replicate::Limits;
use crate::store::memory::{Fault, MemoryStore, Op};
use crate::store::{FileStore, StoreError};

/// One process with its socket.
struct Process {
    dir: TempDir,
    fleet: FleetHandle,
    noted: Noted,
    _heard: FleetEvents,
    _serving: Serving,
}

/// Knows one database that may be registered.
struct Known {
    fleet: FleetHandle,
    registration: Option<Registration>,
    noted: Noted,
}

/// What is to outlive the process.
type Noted = Arc<std::sync::Mutex<Vec<String>>>;

#[async_trait]
impl Registrar for Known {
    fn database(&self, name: &str) -> Result<PathBuf, String> {
        if name.contains("memory") { Err("in memory".into()) } else { Ok(Path::new("/").join(name)) }
    }

    async fn register(&self, database: PathBuf, replica_url: &str) -> Result<DatabaseId, Refused> {
        let registration = self.registration.clone().filter(|known| known.settings.path == database);
        let registration = registration.ok_or_else(|| Refused::Invalid(format!("not {replica_url}")))?;
        self.fleet.add(registration).await.map_err(|error| Refused::Failed(error.to_string()))
    }

    async fn note_registered(&self, database: PathBuf, replica_url: String) -> Result<(), String> {
        self.noted.lock().expect("no panic").push(format!("+ {} {replica_url}", database.display()));
        Ok(())
    }

    async fn note_unregistered(&self, database: PathBuf) -> Result<(), String> {
        self.noted.lock().expect("no panic").push(format!("- {}", database.display()));
        Ok(())
    }
}

impl Process {
    async fn start(dir: TempDir, may_be_registered: Option<Registration>) -> Process {
        let (fleet, heard) = FleetHandle::new(Limits::default());
        let socket = Socket::bind(&dir.path().join("control.sock"), 0o600).await.expect("bind");
        let noted = Noted::default();
        let known = Known { fleet: fleet.clone(), registration: may_be_registered, noted: noted.clone() };
        let serving = socket.serve(Control::new(fleet.clone(), Arc::new(known), MACHINE));
        Process { dir, fleet, noted, _heard: heard, _serving: serving }
    }

    fn client(&self) -> Client {
        Client::new(self.dir.path().join("control.sock"), Duration::from_secs(30))
    }

    async fn with(&self, app: &App) -> String {
        let id = self.fleet.add(app.registration()).await.expect("new");
        let mut events = self.fleet.watch_events(id).await.expect("there");
        events.wait_for(Option::is_some).await.expect("it is ready");
        app.path.display().to_string()
    }

    /// Whatever the words: the status line and the body of the answer.
    async fn raw(&self, request: &str) -> (String, String) {
        let mut stream = UnixStream::connect(self.dir.path().join("control.sock")).await.expect("connect");
        stream.write_all(request.as_bytes()).await.expect("write");
        let mut answer = String::new();
        let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_string(&mut answer)).await;
        read.expect("the connection is closed").expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    async fn post(&self, route: &str, body: &str) -> (String, String) {
        let length = body.len();
        self.raw(&format!(
            "POST {route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await
    }

    async fn get(&self, route: &str) -> (String, String) {
        self.raw(&format!("GET {route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> String {
    match answer {
        Err(ClientError::Refused { error }) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_was_waited_for_is_in_the_bucket() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = MemoryStore::new();
    let app = App::new(&dir, "app.db", store.clone());
    let process = Process::start(dir, None).await;
    let (client, path) = (process.client(), process.with(&app).await);
    let mut before = 0;
    for rows in 1..10 {
        app.write(10);
        if rows % 3 == 0 {
            store.inject(Op::Put, Fault::Delay(Duration::from_millis(30)), 1);
        }
        let synced = client.sync(path.clone(), true).await.expect("synced");
        assert_eq!(app.restored().await, rows);
        assert_eq!((synced.path.as_str(), synced.txid), (path.as_str(), synced.replicated_txid));
        // It may have been uploaded before it was asked for.
        assert!(["synced", "no_change"].contains(&synced.status.as_str()), "{synced:?}");
        assert!(synced.txid > before, "{synced:?}");
        before = synced.txid;
    }
    let again = client.sync(path.clone(), true).await.expect("synced");
    assert_eq!((again.status.as_str(), again.txid), ("no_change", before));
    // What is not waited for is on its way.
    app.write(10);
    let local = client.sync(path.clone(), false).await.expect("captured");
    assert!(local.txid > before || local.status == "no_change", "{local:?}");
    client.sync(path.clone(), true).await.expect("synced");
    assert_eq!(app.restored().await, 10);
    let listed = client.list().await.expect("listed").databases;
    assert_eq!((listed.len(), listed[0].status.as_str()), (1, "replicating"));
    assert!(listed[0].last_sync_at.is_some() && listed[0].replicas[0].replicated_txid > before);

    // The bucket is away: the answer is why, and comes in time.
    store.inject(Op::Put, Fault::Fail(|detail| StoreError::Transient { detail }), u64::MAX as usize);
    app.write(10);
    let impatient = Client::new(process.dir.path().join("control.sock"), Duration::from_secs(1));
    let error = refused(impatient.sync(path.clone(), true).await);
    assert!(error.starts_with("sync database: the deadline passed"), "{error}");
    let error = refused(impatient.stop(path.clone()).await);
    assert!(error.contains("NOT in the replica"), "{error}");
    assert_eq!(client.stop(path.clone()).await.expect("it has stopped").status, "already_stopped");
    store.heal();
    client.start(path.clone()).await.expect("started");
    client.sync(path, true).await.expect("synced");
    assert_eq!(app.restored().await, 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_are_stopped_started_registered_and_forgotten() {
    let dir = tempfile::tempdir().expect("tempdir");
    let one = App::new(&dir, "one.db", MemoryStore::new());
    let two = App::new(&dir, "two.db", FileStore::new(dir.path().join("replica")));
    let process = Process::start(dir, Some(two.registration())).await;
    let (client, path) = (process.client(), process.with(&one).await);
    let info = client.info().await.expect("answered");
    assert_eq!((info.pid, info.database_count), (std::process::id(), 1));
    assert_eq!((info.version.as_str(), info.program.as_deref()), (env!("CARGO_PKG_VERSION"), Some("millstream")));

    assert_eq!(client.start(path.clone()).await.expect("it runs").status, "already_running");
    one.write(10);
    let stopped = client.stop(path.clone()).await.expect("stopped");
    assert!(stopped.status == "stopped" && stopped.txid > 0, "{stopped:?}");
    assert_eq!(one.restored().await, 1, "after a last sync");
    one.write(10);
    assert_eq!(client.list().await.expect("listed").databases[0].status, "stopped");
    assert!(refused(client.sync(path.clone(), true).await).starts_with("database not open: "));
    assert!(refused(client.snapshot(path.clone()).await).starts_with("database not open: "));
    assert_eq!(client.start(path.clone()).await.expect("started").status, "started");
    client.sync(path.clone(), true).await.expect("synced");
    assert_eq!(one.restored().await, 2);
    one.write(10);
    let done = client.checkpoint(path.clone()).await.expect("done");
    assert_eq!(done.txid, client.sync(path.clone(), true).await.expect("synced").txid);
    let made = client.snapshot(path.clone()).await.expect("made");
    assert_eq!(made.txid, client.sync(path.clone(), true).await.expect("synced").txid);

    let other = two.path.display().to_string();
    two.write(10);
    assert_eq!(client.register(other.clone(), "file:///x".into()).await.expect("new").status, "registered");
    let again = client.register(other.clone(), "file:///x".into()).await.expect("known");
    assert_eq!(again.status, "already_registered");
    client.sync(other.clone(), true).await.expect("synced");
    assert_eq!(two.restored().await, 1);
    two.write(10);
    let gone = client.unregister(other.clone()).await.expect("gone");
    assert!(gone.status == "unregistered" && gone.txid > 0, "{gone:?}");
    assert_eq!(two.restored().await, 2, "after a last sync");
    assert_eq!(client.unregister(other.clone()).await.expect("gone").status, "already_unregistered");
    assert!(refused(client.sync(other.clone(), true).await).starts_with("database not found: "));
    assert!(refused(client.stop(other.clone()).await).starts_with("database not found: "));
    assert_eq!(client.register(other.clone(), "file:///x".into()).await.expect("new").status, "registered");
    assert_eq!(client.list().await.expect("listed").databases.len(), 2);
    let noted =
        [format!("+ {other} file:///x"), format!("- {other}"), format!("- {other}"), format!("+ {other} file:///x")];
    assert_eq!(*process.noted.lock().expect("no panic"), noted, "for the next start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_replicated_is_not_registered() {
    let dir = tempfile::tempdir().expect("tempdir");
    let broken = App::new(&dir, "broken.db", MemoryStore::new());
    let (registration, path) = (cannot_be_locked(&broken), broken.path.clone());
    let process = Process::start(dir, Some(registration)).await;
    let client = process.client();
    let error = refused(client.register(path.display().to_string(), "file:///x".into()).await);
    assert!(error.starts_with("failed to register database: "), "{error}");
    assert!(client.list().await.expect("listed").databases.is_empty());
    assert_eq!(refused(client.register("/elsewhere.db".into(), "file:///x".into()).await), "not file:///x");
    assert!(process.noted.lock().expect("no panic").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_codes_and_errors_are_litestreams() {
    let dir = tempfile::tempdir().expect("tempdir");
    let app = App::new(&dir, "app.db", MemoryStore::new());
    let process = Process::start(dir, None).await;
    let path = process.with(&app).await;
    let body = format!("{{\"path\":\"{path}\"}}");
    for (route, body, status, error) in [
        ("/sync", "{", "400", "invalid request body"),
        ("/sync", "{}", "400", "path required"),
        ("/start", "{\"path\":\"\"}", "400", "path required"),
        ("/sync", "{\"path\":\":memory:\"}", "400", "invalid path: in memory"),
        ("/sync", "{\"path\":\"/no.db\",\"timeout\":-5}", "404", "database not found: /no.db"),
        ("/stop", "{\"path\":\"/no.db\"}", "500", "database not found: /no.db"),
        ("/register", body.as_str(), "400", "replica_url required"),
        ("/list", "", "405", "method not allowed"),
        ("/debug/pprof/", "", "404", "no such command on this socket"),
    ] {
        let (line, answer) = process.post(route, body).await;
        assert!(line.contains(status), "{route} {body}: {line}");
        let problem: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(problem["error"], error, "{route} {body}");
    }
    let (line, _) = process.post("/sync", &format!("{{\"path\":\"{}\"}}", "x".repeat(100_000))).await;
    assert!(line.contains("400"), "a body without an end: {line}");
    let (line, answer) = process.get(&format!("/txid?path={}", path.replace('/', "%2F"))).await;
    assert!(line.contains("200") && answer.starts_with("{\"txid\":"), "{line} {answer}");
    assert!(process.get("/txid").await.0.contains("400"));
    assert!(process.get("/txid?path=/no.db").await.0.contains("404"));
    let (line, answer) = process.get("/debug/sync-status").await;
    assert!(line.contains("200") && answer.contains("\"active\":"), "{line} {answer}");
    // A client that sends nothing does not delay the others.
    let _silent = UnixStream::connect(process.dir.path().join("control.sock")).await.expect("connect");
    process.client().info().await.expect("answered");
}

#[tokio::test]
async fn nobody_there_is_said() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("control.sock");
    let client = Client::new(path.clone(), Duration::from_secs(1));
    let error = client.list().await.expect_err("nobody");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bind"));
    let error = client.list().await.expect_err("left by a process that was killed");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    let _silent = std::os::unix::net::UnixListener::bind(dir.path().join("silent.sock")).expect("bind");
    let client = Client::new(dir.path().join("silent.sock"), Duration::from_secs(1));
    let error = client.list().await.expect_err("no answer");
    assert!(matches!(error, ClientError::Late { .. }), "{error}");
}
