//! The commands that ask a running process through its control socket, with Litestream's output.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;

use super::args::{
    Asking, Checkpoint, Info, List, Operand, OutputFlags, Register, Snapshot, Start, Stop, Sync, Unregister,
};
use super::{Environment, Style, logger, printed, variable};
use crate::clock::MACHINE;
use crate::config::{Sources, redact_url};
use crate::control::{self, Changed, Client, ClientError, Databases};
use crate::run::Failure;
use crate::run::exit::{CONFIG, REFUSED, UNAVAILABLE};

pub async fn info(command: Info) -> Result<u8, Failure> {
    let answer = client(&command.asking, command.asking.short()).info().await;
    let info = answer.map_err(|error| failure("info", error))?;
    let style = style(command.utc);
    show(command.asking.json, &info, |out| describe(&info, &style, out))
}

fn describe(info: &control::Info, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let program = info.program.as_deref().unwrap_or("Litestream");
    writeln!(out, "{program} {}", info.version)?;
    writeln!(out, "  PID:        {}", info.pid)?;
    writeln!(out, "  Uptime:     {}", uptime(info.uptime_seconds))?;
    writeln!(out, "  Started at: {}", style.time_of(&info.started_at))?;
    writeln!(out, "  Databases:  {}", info.database_count)
}

pub async fn list(command: List) -> Result<u8, Failure> {
    let answer = client(&command.asking, command.asking.short()).list().await;
    let listed = answer.map_err(|error| failure("list", error))?;
    let style = style(command.utc);
    show(command.asking.json, &listed, |out| table(&listed, &style, out))
}

fn table(listed: &Databases, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if listed.databases.is_empty() {
        return writeln!(out, "No databases configured");
    }
    for database in &listed.databases {
        let synced = database.last_sync_at.as_deref().map_or_else(|| "never".to_owned(), |at| style.time_of(at));
        write!(out, "{} [{}] (last sync: {synced})", database.path, database.status)?;
        match &database.detail {
            Some(detail) => writeln!(out, ": {detail}")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

/// Litestream's confirmation of a sync.
#[derive(Serialize)]
struct SyncResult {
    db_path: String,
    txid: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    replica_txid: Option<u64>,
    duration_ms: u64,
}

pub async fn sync(command: Sync) -> Result<u8, Failure> {
    let (client, path) = (client(&command.asking, command.asking.long()), path(&command.operand)?);
    let began = MACHINE.instant();
    let synced = client.sync(path, command.wait).await.map_err(|error| failure("sync", error))?;
    let took = MACHINE.instant().saturating_duration_since(began);
    let result = SyncResult {
        db_path: synced.path,
        txid: synced.txid,
        replica_txid: command.wait.then_some(synced.replicated_txid),
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    };
    show(command.asking.json, &result, |out| {
        writeln!(out, "db_path: {}\ntxid: {}", result.db_path, result.txid)?;
        if let Some(txid) = result.replica_txid {
            writeln!(out, "replica_txid: {txid}")?;
        }
        writeln!(out, "duration_ms: {}", result.duration_ms)
    })
}

/// Litestream's confirmation of a start or a stop.
#[derive(Serialize)]
struct StartStopResult {
    status: String,
    db_path: String,
    state: &'static str,
    txid: u64,
    socket: String,
}

pub async fn start(command: Start) -> Result<u8, Failure> {
    let client = client(&command.asking, command.asking.long());
    let started = client.start(path(&command.operand)?).await.map_err(|error| failure("start", error))?;
    started_or_stopped(started, "running", &command.asking)
}

pub async fn stop(command: Stop) -> Result<u8, Failure> {
    let client = client(&command.asking, command.asking.long());
    let stopped = client.stop(path(&command.operand)?).await.map_err(|error| failure("stop", error))?;
    started_or_stopped(stopped, "stopped", &command.asking)
}

fn started_or_stopped(done: Changed, state: &'static str, asking: &Asking) -> Result<u8, Failure> {
    let Changed { status, path, txid } = done;
    let result = StartStopResult { status, db_path: path, state, txid, socket: socket(asking) };
    show(asking.json, &result, |out| {
        writeln!(out, "status: {}\ndb_path: {}", result.status, result.db_path)?;
        writeln!(out, "state: {}\ntxid: {}\nsocket: {}", result.state, result.txid, result.socket)
    })
}

#[derive(Serialize)]
struct RegisterResult {
    status: String,
    db_path: String,
    /// Without secrets.
    replica: String,
    socket: String,
}

pub async fn register(command: Register) -> Result<u8, Failure> {
    let client = client(&command.asking, command.asking.long());
    let answer = client.register(path(&command.operand)?, command.replica.clone()).await;
    let registered = answer.map_err(|error| failure("register", error))?;
    let result = RegisterResult {
        status: registered.status,
        db_path: registered.path,
        replica: redact_url(&command.replica),
        socket: socket(&command.asking),
    };
    show(command.asking.json, &result, |out| {
        writeln!(out, "status: {}\ndb_path: {}", result.status.replace('_', " "), result.db_path)?;
        writeln!(out, "replica: {}\nsocket: {}", result.replica, result.socket)
    })
}

#[derive(Serialize)]
struct UnregisterResult {
    status: String,
    db_path: String,
    final_txid: u64,
    socket: String,
}

pub async fn unregister(command: Unregister) -> Result<u8, Failure> {
    let asking = &command.asking;
    let path = path(&command.operand)?;
    if command.dry_run {
        return printed(preview(&path, asking, &mut io::stdout()));
    }
    let answer = client(asking, asking.long()).unregister(path).await;
    let done = answer.map_err(|error| failure("unregister", error))?;
    let (status, db_path, final_txid) = (done.status, done.path, done.txid);
    let result = UnregisterResult { status, db_path, final_txid, socket: socket(asking) };
    show(asking.json, &result, |out| {
        writeln!(out, "status: {}\ndb_path: {}", result.status, result.db_path)?;
        writeln!(out, "final_txid: {}\nsocket: {}", result.final_txid, result.socket)
    })
}

fn preview(path: &str, asking: &Asking, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "Dry run: unregister request preview\n  database: {path}\n  socket: {}", socket(asking))?;
    writeln!(out, "  replicas: those that the running process keeps for this database; what they hold stays")?;
    writeln!(out, "  final sync: the last commits are uploaded before the command completes")?;
    writeln!(out, "  timeout: {}s\nNo unregister request was sent.", asking.long().as_secs())
}

/// What was done with a database, up to this TXID.
#[derive(Serialize)]
struct DoneUpTo {
    db_path: String,
    txid: u64,
    socket: String,
}

pub async fn snapshot(command: Snapshot) -> Result<u8, Failure> {
    let answer = client(&command.asking, command.asking.long()).snapshot(path(&command.operand)?).await;
    let made = answer.map_err(|error| failure("snapshot", error))?;
    show_done(&command.asking, made.path, made.txid)
}

pub async fn checkpoint(command: Checkpoint) -> Result<u8, Failure> {
    let answer = client(&command.asking, command.asking.long()).checkpoint(path(&command.operand)?).await;
    let done = answer.map_err(|error| failure("checkpoint", error))?;
    show_done(&command.asking, done.path, done.txid)
}

fn show_done(asking: &Asking, db_path: String, txid: u64) -> Result<u8, Failure> {
    let done = DoneUpTo { db_path, txid, socket: socket(asking) };
    show(asking.json, &done, |out| {
        writeln!(out, "db_path: {}\ntxid: {}\nsocket: {}", done.db_path, done.txid, done.socket)
    })
}

/// Starts logging, and makes what asks the process.
pub(super) fn client(asking: &Asking, limit: Duration) -> Client {
    logger::start_without_file(asking.log.level());
    Client::new(asking.socket.clone(), limit)
}

fn style(utc: bool) -> Style {
    Style::of_stdout(&OutputFlags { utc, ..OutputFlags::default() })
}

fn socket(asking: &Asking) -> String {
    asking.socket.display().to_string()
}

/// The absolute path, because the running process has another working directory.
fn path(operand: &Operand) -> Result<String, Failure> {
    let path = operand.database();
    let configuration = |error: anyhow::Error| Failure::new(CONFIG, error);
    let environment = Environment::of_process()?;
    let absolute = Sources::new(&variable, environment.cwd).absolute(path).map_err(configuration)?;
    let text = absolute.to_str().map(str::to_owned);
    text.ok_or_else(|| configuration(anyhow!("{} is not UTF-8 text", Path::new(&absolute).display())))
}

pub(super) fn failure(command: &str, error: ClientError) -> Failure {
    match error {
        ClientError::Refused { .. } => Failure::told(REFUSED, format!("{command} failed: {error}")),
        _ => Failure::told(UNAVAILABLE, error),
    }
}

pub(super) fn show<T: Serialize>(
    json: bool,
    answer: &T,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<u8, Failure> {
    let mut out = io::stdout();
    printed(match json {
        false => text(&mut out),
        true => serde_json::to_writer_pretty(&mut out, answer).map_err(Into::into).and_then(|()| writeln!(out)),
    })
}

/// As Go shows whole seconds: `1h2m3s`.
fn uptime(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn lists_have_litestreams_shape() {
        assert_eq!(
            text(|out| table(&Databases { databases: Vec::new() }, &Style::default(), out)),
            "No databases configured\n"
        );
        // As Litestream 0.5.17 writes it, and as we do.
        let listed = r#"{"databases":[
            {"path":"/a","status":"replicating","last_sync_at":"2026-04-24T12:00:00.123456789+02:00"},
            {"path":"/b","status":"stopped"},
            {"path":"/c","status":"failed","detail":"the disk is full","replicas":[]}]}"#;
        let listed: Databases = serde_json::from_str(listed).expect("JSON");
        assert_eq!(
            text(|out| table(&listed, &Style::default(), out)),
            "/a [replicating] (last sync: 2026-04-24T12:00:00+02:00)\n/b [stopped] (last sync: never)\n\
             /c [failed] (last sync: never): the disk is full\n"
        );
        assert!(!serde_json::to_string(&listed).expect("JSON").contains("null"));
    }

    #[test]
    fn info_names_the_program() {
        let info = r#"{"version":"v0.5.17","pid":7,"uptime_seconds":3661,"started_at":"2026-04-24T12:00:00.5Z","database_count":2}"#;
        let mut info: control::Info = serde_json::from_str(info).expect("JSON");
        let of_litestream = "Litestream v0.5.17\n  PID:        7\n  Uptime:     1h1m1s\n  \
                             Started at: 2026-04-24T12:00:00Z\n  Databases:  2\n";
        assert_eq!(text(|out| describe(&info, &Style::default(), out)), of_litestream);
        info.program = Some("millstream".into());
        assert!(text(|out| describe(&info, &Style::default(), out)).starts_with("millstream v0.5.17\n"));
        assert_eq!([0, 59, 60, 3600].map(uptime), ["0s", "59s", "1m0s", "1h0m0s"]);
    }
}
