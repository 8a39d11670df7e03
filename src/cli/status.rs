//! `millstream status`: how far each database of the configuration file is replicated, from the
//! notes on this disk and from the running process if there is one.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;

use super::args::Status as Command;
use super::show::rounded;
use super::{Environment, logger, printed, table, terminal, variable};
use crate::config::{Database, Target};
use crate::control::{Client, Summary};
use crate::ltx::Txid;
use crate::run::Failure;
use crate::run::exit::CONFIG;
use crate::state::LocalState;
use crate::store::{FileStore, Store};
use crate::{fsx, replicate};

/// A process on this machine answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// The first four are Litestream's.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    database: String,
    status: String,
    local_txid: String,
    wal_size: String,
    /// In bytes; the others are not in Litestream's JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    wal_bytes: Option<u64>,
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
        // No process answers this user: the state on the disk is shown all the same.
        Some(Err(error)) => {
            tracing::debug!("{error}");
            Some(Vec::new())
        }
        None => None,
    };
    let exact = command.bytes;
    let row = move |db: &Database| row(db, listed.as_deref(), exact);
    let rows = replicate::blocking(move || databases.iter().map(row).collect()).await;
    printed(print(rows, command.json, terminal::width(), &mut io::stdout()))
}

fn row(database: &Database, listed: Option<&[Summary]>, exact: bool) -> Row {
    let path = &database.path;
    let summary = listed.and_then(|listed| listed.iter().find(|summary| Path::new(&summary.path) == *path));
    let replica = summary.and_then(|summary| summary.replicas.first());
    let noted = LocalState::open(path, &database.meta_path).replica(&address(database)).last_synced().txid();
    let local = noted.max(replica.and_then(|replica| Txid::new(replica.txid)));
    let (exists, wal_size) = (size(path), size(&fsx::with_suffix(path, "-wal")));
    let wal_bytes = match (&exists, wal_size) {
        (Ok(Some(_)), Ok(wal)) => Some(wal.unwrap_or(0)),
        _ => None,
    };
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
        wal_size: wal_bytes.map_or_else(|| "-".into(), |bytes| if exact { bytes.to_string() } else { rounded(bytes) }),
        wal_bytes,
        process: listed.map(|_| summary.map_or("not running", |summary| summary.status.as_str()).to_owned()),
        replica_txid: replica.and_then(|replica| Txid::new(replica.replicated_txid)).map(|txid| txid.to_string()),
    }
}

/// The address of the first replica, as in our notes.
fn address(database: &Database) -> String {
    match &database.replicas.first.target {
        Target::File { path } => FileStore::new(path.clone()).address().to_owned(),
        Target::S3(settings) => settings.address(),
    }
}

fn size(path: &Path) -> Result<Option<u64>, ErrorKind> {
    fsx::metadata_if_exists(path).map(|found| found.map(|file| file.len())).map_err(|error| error.kind())
}

fn print(rows: Vec<Row>, json: bool, width: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, &rows)?;
        return writeln!(out);
    }
    let with_process = rows.iter().any(|row| row.process.is_some());
    let heads = ["database", "status", "local txid", "wal size", "process", "replica txid"];
    let mut lines: Vec<Vec<String>> = vec![heads.map(str::to_owned).to_vec()];
    lines.extend(rows.into_iter().map(|row| {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        vec![row.database, row.status, row.local_txid, row.wal_size, or_none(row.process), or_none(row.replica_txid)]
    }));
    let columns = if with_process { 6 } else { 4 };
    lines.iter_mut().for_each(|line| line.truncate(columns));
    table::write(&lines, &[0], width, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_its_columns_only_where_there_is_a_socket_to_ask() {
        let row = |process: Option<&str>| Row {
            database: "/data/app.db".into(),
            status: "ok".into(),
            local_txid: "0000000000000004".into(),
            wal_size: "0 B".into(),
            wal_bytes: Some(0),
            process: process.map(Into::into),
            replica_txid: process.map(|_| "0000000000000003".into()),
        };
        let shown = |process, json| {
            let mut out = Vec::new();
            print(vec![row(process)], json, None, &mut out).expect("memory");
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
