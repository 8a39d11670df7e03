//! `millstream status`: how far each database of the configuration file is replicated, by what lies on this disk, and by the
//! running process if there is one to ask.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;

use super::args::Status as Command;
use super::{Environment, logger, printed, variable};
use crate::config::{Database, Target};
use crate::control::{Client, Summary};
use crate::ltx::Txid;
use crate::run::Failure;
use crate::run::exit::CONFIG;
use crate::state::LocalState;
use crate::store::{FileStore, Store};
use crate::{fsx, replicate};

/// The process is on this machine and answers at once, or does not.
const PATIENCE: Duration = Duration::from_secs(2);

/// The first four are Litestream's.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    database: String,
    status: String,
    local_txid: String,
    wal_size: String,
    /// What the running process says.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replica_txid: Option<String>,
}

pub async fn status(command: Command) -> Result<u8, Failure> {
    let configuration = |error: anyhow::Error| Failure::new(CONFIG, error);
    let environment = Environment::of_process()?;
    let named = match command.database() {
        Some(path) => Some(command.sources(&variable, environment.cwd.clone()).absolute(path).map_err(configuration)?),
        None => None,
    };
    let loaded = environment.load(|env, cwd| command.sources(env, cwd))?;
    logger::start(&loaded.options.logging);
    let wanted = |database: &Database| named.as_ref().is_none_or(|path| *path == database.path);
    let mut databases: Vec<Database> = loaded.options.with_those_in_directories().into_iter().filter(wanted).collect();
    if databases.is_empty() {
        // One of a directory that is not there now may have been.
        databases.extend(named.as_ref().and_then(|path| loaded.options.find(path)));
    }
    if let (Some(path), true) = (&named, databases.is_empty()) {
        let unknown = anyhow!("{}: no database is configured with the path {}", loaded.origin, path.display());
        return Err(configuration(unknown));
    }
    let asked = match &loaded.options.socket {
        Some(socket) => Some(Client::new(socket.path.clone(), PATIENCE).list().await),
        None => None,
    };
    let listed = match asked {
        Some(Ok(listed)) => Some(listed.databases),
        // No process runs, or not for this user: what is on the disk is told all the same.
        Some(Err(error)) => {
            tracing::debug!("{error}");
            Some(Vec::new())
        }
        None => None,
    };
    let rows = replicate::blocking(move || databases.iter().map(|db| row(db, listed.as_deref())).collect()).await;
    printed(print(rows, command.json, &mut io::stdout()))
}

fn row(database: &Database, listed: Option<&[Summary]>) -> Row {
    let path = &database.path;
    let summary = listed.and_then(|listed| listed.iter().find(|summary| Path::new(&summary.path) == *path));
    let replica = summary.and_then(|summary| summary.replicas.first());
    let noted = LocalState::open(path, &database.meta_path).replica(&address(database)).last_synced().txid();
    let local = noted.max(replica.and_then(|replica| Txid::new(replica.txid)));
    let (exists, wal_size) = (size(path), size(&fsx::with_suffix(path, "-wal")));
    let status = match (&exists, local) {
        (Ok(None), _) => "no database",
        (Err(_), _) => "error",
        (Ok(Some(_)), None) => "not initialized",
        (Ok(Some(_)), Some(_)) => "ok",
    };
    Row {
        database: path.display().to_string(),
        status: status.into(),
        local_txid: local.map_or_else(|| "-".to_owned(), |txid| txid.to_string()),
        wal_size: match (exists, wal_size) {
            (Ok(Some(_)), Ok(wal)) => human(wal.unwrap_or(0)),
            _ => "-".into(),
        },
        process: listed.map(|_| summary.map_or("not running", |summary| summary.status.as_str()).to_owned()),
        replica_txid: replica.and_then(|replica| Txid::new(replica.replicated_txid)).map(|txid| txid.to_string()),
    }
}

/// Of the first replica, as our notes name it.
fn address(database: &Database) -> String {
    match &database.replicas.first.target {
        Target::File { path } => FileStore::new(path.clone()).address().to_owned(),
        Target::S3(settings) => settings.address(),
    }
}

fn size(path: &Path) -> Result<Option<u64>, ErrorKind> {
    fsx::metadata_if_exists(path).map(|found| found.map(|file| file.len())).map_err(|error| error.kind())
}

/// In powers of a thousand, as Litestream shows sizes.
fn human(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ if value < 9.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

fn print(rows: Vec<Row>, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, &rows)?;
        return writeln!(out);
    }
    let with_process = rows.iter().any(|row| row.process.is_some());
    let mut lines =
        vec![["database", "status", "local txid", "wal size", "process", "replica txid"].map(str::to_owned)];
    lines.extend(rows.into_iter().map(|row| {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        [row.database, row.status, row.local_txid, row.wal_size, or_none(row.process), or_none(row.replica_txid)]
    }));
    let columns = if with_process { 6 } else { 4 };
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_litestreams() {
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (4152, "4.2 kB"),
            (9949, "9.9 kB"),
            (9960, "10 kB"),
            (32_992, "33 kB"),
            (4_152_992, "4.2 MB"),
        ] {
            assert_eq!(human(bytes), shown, "{bytes}");
        }
    }

    #[test]
    fn the_process_has_its_columns_only_where_there_is_a_socket_to_ask() {
        let row = |process: Option<&str>| Row {
            database: "/data/app.db".into(),
            status: "ok".into(),
            local_txid: "0000000000000004".into(),
            wal_size: "0 B".into(),
            process: process.map(Into::into),
            replica_txid: process.map(|_| "0000000000000003".into()),
        };
        let shown = |process, json| {
            let mut out = Vec::new();
            print(vec![row(process)], json, &mut out).expect("memory");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(
            shown(None, false),
            "database      status  local txid        wal size\n/data/app.db  ok      0000000000000004  0 B\n"
        );
        assert!(shown(Some("replicating"), false).ends_with("0 B       replicating  0000000000000003\n"));
        assert!(!shown(None, true).contains("process"));
        assert!(shown(Some("replicating"), true).contains("\"replica_txid\": \"0000000000000003\""));
    }
}
