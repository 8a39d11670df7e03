//! `millstream status`: how far each database of the configuration file is replicated, from the
//! notes on this disk and from the running process if there is one.
//!
//! ```text
//!   status.rs        asks and reads
//!   status/show.rs   pure: rows and reports as text or JSON
//!   status/watch.rs  again and again, in place on a terminal
//! ```

mod show;
mod watch;

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use url::Url;

use super::args::{OutputFlags, Status as Command};
use super::show::rounded;
use super::{Environment, Style, logger, printed, variable};
use crate::clock::MACHINE;
use crate::config::{Database, Loaded, Target};
use crate::control::{Client, Summary};
use crate::http::{Document, ask_status};
use crate::ltx::Txid;
use crate::run::Failure;
use crate::run::exit::CONFIG;
use crate::state::LocalState;
use crate::store::{FileStore, Store};
use crate::{fsx, replicate};
use show::{Row, Shown};

/// A process on this machine answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(2);

pub async fn status(command: Command) -> Result<u8, Failure> {
    let configuration = |error: anyhow::Error| Failure::new(CONFIG, error);
    let environment = Environment::of_process()?;
    let named = match command.database() {
        Some(path) => Some(command.sources(&variable, environment.cwd.clone()).absolute(path).map_err(configuration)?),
        None => None,
    };
    let loaded = environment.load(|env, cwd| command.sources(env, cwd))?;
    logger::start(&loaded.options.logging);
    let flags = OutputFlags { json: command.json, bytes: command.bytes, utc: command.utc };
    let mut style = Style::of_stdout(&flags);
    if !command.watch {
        let shown = look(&loaded, named.as_deref(), command.bytes).await?;
        return printed(show::print(&shown, command.json, &style, &mut io::stdout()));
    }
    let mut screen = watch::Screen::of_stdout(command.json);
    let watching = async {
        loop {
            let shown = look(&loaded, named.as_deref(), command.bytes).await?;
            style.width = super::terminal::width();
            match screen.show(&shown, &style, MACHINE.unix_ms(), &mut io::stdout()) {
                Ok(()) => tokio::time::sleep(command.interval).await,
                Err(error) => return printed(Err(error)),
            }
        }
    };
    tokio::select! {
        ended = watching => ended,
        // Without a handler the signal has ended the process already.
        _ = tokio::signal::ctrl_c() => printed(screen.leave(&mut io::stdout())),
    }
}

/// The state at this moment.
async fn look(loaded: &Loaded, named: Option<&Path>, exact: bool) -> Result<Shown, Failure> {
    let wanted = |database: &Database| named.is_none_or(|path| *path == database.path);
    let mut databases: Vec<Database> = loaded.options.with_those_in_directories().into_iter().filter(wanted).collect();
    if let (Some(path), true) = (named, databases.is_empty()) {
        // One of a directory that is not there now may have been.
        databases.push(loaded.database(path).map_err(|error| Failure::new(CONFIG, error))?);
    }
    let heard = ask(loaded, named).await;
    let document = match &heard {
        Heard::Status(document) => Some((**document).clone()),
        _ => None,
    };
    let row = move |db: &Database| row(db, &heard, exact);
    let rows = replicate::blocking(move || databases.iter().map(row).collect()).await;
    Ok(Shown { rows, document })
}

/// What the running process says.
enum Heard {
    /// There is no way to ask it.
    Unasked,
    /// No process answers this user: the state on the disk is shown all the same.
    Nothing,
    /// What the status page shows.
    Status(Box<Document>),
    /// What `list` shows.
    List(Vec<Summary>),
}

async fn ask(loaded: &Loaded, named: Option<&Path>) -> Heard {
    let mut heard = Heard::Unasked;
    let url = loaded.options.monitoring.addr.as_ref().and_then(|addr| Url::parse(&addr.url()?).ok());
    if let Some(url) = url {
        let named = named.map(|path| path.display().to_string());
        match ask_status(&url, named.as_deref(), PATIENCE).await {
            Ok(document) => return Heard::Status(Box::new(document)),
            Err(error) => {
                tracing::debug!("{error}");
                heard = Heard::Nothing;
            }
        }
    }
    if let Some(socket) = &loaded.options.socket {
        match Client::new(socket.path.clone(), PATIENCE).list().await {
            Ok(listed) => return Heard::List(listed.databases),
            Err(error) => {
                tracing::debug!("{error}");
                heard = Heard::Nothing;
            }
        }
    }
    heard
}

/// What is heard of one database.
#[derive(Default)]
struct Of {
    process: Option<String>,
    captured: Option<Txid>,
    uploaded: Option<Txid>,
    lag_seconds: Option<f64>,
}

impl Heard {
    fn of(&self, path: &Path) -> Of {
        let not_running = || Of { process: Some("not running".into()), ..Of::default() };
        match self {
            Heard::Unasked => Of::default(),
            Heard::Nothing => not_running(),
            Heard::List(listed) => {
                let Some(summary) = listed.iter().find(|summary| Path::new(&summary.path) == path) else {
                    return not_running();
                };
                let replica = summary.replicas.first();
                Of {
                    process: Some(summary.status.clone()),
                    captured: replica.and_then(|replica| Txid::new(replica.txid)),
                    uploaded: replica.and_then(|replica| Txid::new(replica.replicated_txid)),
                    lag_seconds: replica.map(|replica| replica.lag_seconds.unwrap_or(0.0)),
                }
            }
            Heard::Status(document) => {
                let Some(entry) = document.databases.iter().find(|entry| Path::new(&entry.path) == path) else {
                    // Not yet, or by none: it answers, and does not have this one.
                    return Of { process: Some("not replicated".into()), ..Of::default() };
                };
                let txid = |text: &Option<String>| text.as_deref().and_then(Txid::parse_hex);
                Of {
                    process: Some(entry.state.clone()),
                    captured: txid(&entry.txid),
                    uploaded: entry.replicas.first().and_then(|replica| txid(&replica.txid)),
                    lag_seconds: entry.lag_seconds,
                }
            }
        }
    }
}

fn row(database: &Database, heard: &Heard, exact: bool) -> Row {
    let path = &database.path;
    let Of { process, captured, uploaded, lag_seconds } = heard.of(path);
    let noted = LocalState::open(path, &database.meta_path).replica(&address(database)).last_synced().txid();
    let local = noted.max(captured);
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
    let mut report = match heard {
        Heard::Status(document) => document.databases.iter().find(|entry| Path::new(&entry.path) == *path).cloned(),
        _ => None,
    };
    // Texts for the page.
    report.iter_mut().for_each(|report| report.shown.clear());
    Row {
        database: path.display().to_string(),
        status: status.into(),
        local_txid: local.map_or_else(|| "-".to_owned(), |txid| txid.to_string()),
        wal_size: wal_bytes.map_or_else(|| "-".into(), |bytes| if exact { bytes.to_string() } else { rounded(bytes) }),
        wal_bytes,
        process,
        replica_txid: uploaded.map(|txid| txid.to_string()),
        lag_seconds,
        report,
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
