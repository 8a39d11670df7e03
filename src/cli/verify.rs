//! `millstream verify`: whether the backup exists, is complete, and is that of this database.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::args::Verify as Command;
use super::source::{Source, picked};
use super::{Environment, Style, count, install, logger, replica_at, timestamp, variable};
use crate::config::{self, Database, Replica};
use crate::fsx::{self, FsError};
use crate::remote::{Finding, Severity, Span};
use crate::restore::{Reached, RestoreError};
use crate::run::exit::{BACKUP, CANNOT_WRITE, CONFIG};
use crate::run::{Failure, connect, restore_failure, unless_signalled};
use crate::verify::{self as proof, Deep, Live, Order, Verified};

const PATIENCE: Duration = Duration::from_secs(30);
const PARALLELISM: usize = 8;

/// One replica to verify.
struct Subject {
    replica: Replica,
    /// The replica's name, if its database has several.
    name: Option<String>,
    /// The path of the database, if it is known.
    database: Option<PathBuf>,
    /// The retention: how far back every point in time must be restorable.
    window: Option<Duration>,
}

impl Subject {
    fn of(database: &Database, replica: &Replica, keeps: bool) -> Subject {
        let window = keeps.then_some(replica.snapshot.retention);
        let name = database.replicas.are_several().then(|| replica.name.clone());
        Subject { replica: replica.clone(), name, database: Some(database.path.clone()), window }
    }

    /// The title in the output.
    fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("{}  (replica {name})", self.replica.url),
            None => self.replica.url.clone(),
        }
    }
}

/// The result for one replica.
enum Outcome {
    Told(Box<Verified>),
    /// There is no backup.
    Nothing(String),
    Failed(Failure),
}

impl Outcome {
    fn code(&self) -> u8 {
        match self {
            Outcome::Told(verified) if verified.is_proven() => 0,
            Outcome::Told(_) | Outcome::Nothing(_) => BACKUP,
            Outcome::Failed(failure) => failure.code,
        }
    }

    fn verdict(&self) -> &'static str {
        match self {
            Outcome::Told(verified) if verified.is_proven() => "proven",
            Outcome::Told(_) => "damaged",
            Outcome::Nothing(_) => "no-backup",
            Outcome::Failed(_) => "unknown",
        }
    }
}

pub async fn verify(command: Command) -> Result<u8, Failure> {
    let (mut signals, _reaper) = install()?;
    let (subjects, all) = subjects(&command)?;
    check_paths(&command)?;
    let style = Style::of_stdout(&command.output);
    let mut outcomes = Vec::with_capacity(subjects.len());
    for subject in subjects {
        let order = order(&command, &subject);
        let work = async |cancel| match connect(&subject.replica, &all).await {
            Ok(remote) => match proof::verify(&remote, &order, &cancel).await {
                Ok(verified) => Outcome::Told(Box::new(verified)),
                Err(error @ RestoreError::NoBackup { .. }) => Outcome::Nothing(error.to_string()),
                Err(error) => Outcome::Failed(cannot_tell(error)),
            },
            Err(failure) => Outcome::Failed(failure),
        };
        let outcome = unless_signalled(&mut signals, work).await?;
        if !command.output.json {
            super::printed(print(&subject, &order, &outcome, &style, &mut io::stdout()))?;
        }
        outcomes.push((subject, order, outcome));
    }
    if command.output.json {
        let all: Vec<Value> =
            outcomes.iter().map(|(subject, order, outcome)| as_json(subject, order, outcome)).collect();
        super::printed(writeln!(io::stdout(), "{:#}", Value::from(all)))?;
    }
    Ok(worst(outcomes.iter().map(|(_, _, outcome)| outcome.code())))
}

/// Refuses paths that cannot be a database, or a directory for one, before any request.
fn check_paths(command: &Command) -> Result<(), Failure> {
    let refused = |error: FsError| Failure::told(CANNOT_WRITE, error);
    if let Some(path) = &command.db {
        fsx::regular_file_if_exists(path).map_err(refused)?;
    }
    let Some(dir) = command.dir.as_ref().filter(|_| command.deep) else { return Ok(()) };
    match fsx::metadata_if_exists(dir).map_err(refused)?.is_none_or(|dir| dir.is_dir()) {
        true => Ok(()),
        false => Err(Failure::new(CANNOT_WRITE, anyhow!("-dir {}: it is not a directory", dir.display()))),
    }
}

/// The exit code for all replicas: damage counts more than an unknown state.
fn worst(codes: impl Iterator<Item = u8>) -> u8 {
    codes.max_by_key(|code| (*code == BACKUP, *code)).unwrap_or(0)
}

fn cannot_tell(error: RestoreError) -> Failure {
    match error {
        RestoreError::CannotTell(store) => crate::run::store_failure(&store),
        error => restore_failure(error),
    }
}

/// What to verify, and every database of the configuration.
fn subjects(command: &Command) -> Result<(Vec<Subject>, Vec<Database>), Failure> {
    let configuration = |error: anyhow::Error| Failure::new(CONFIG, error);
    if let Some(Source::Url(url)) = command.source() {
        logger::start_as_told(&command.look.sources(&variable, PathBuf::new()));
        let replica = replica_at(&url)?;
        let file = |db| config::database_file(db).map(std::borrow::Cow::into_owned);
        let database = command.db.as_deref().map(file).transpose();
        let database = database.map_err(|why| configuration(anyhow!("-db: {why}")))?;
        return Ok((vec![Subject { replica, name: None, database, window: None }], Vec::new()));
    }
    let environment = Environment::of_process()?;
    let named = match command.source() {
        Some(Source::Database(path)) => {
            let sources = command.look.sources(&variable, environment.cwd.clone());
            Some(sources.absolute(&path).map_err(configuration)?)
        }
        _ => None,
    };
    let loaded = environment.load(|env, cwd| command.look.sources(env, cwd))?;
    logger::start(&loaded.options.logging);
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let keeps = loaded.options.lifecycle.retention_enabled;
    let name = command.look.replica();
    let subjects = |database| {
        picked(database, name).map(|replicas| replicas.into_iter().map(move |r| Subject::of(database, r, keeps)))
    };
    let databases = loaded.options.with_those_in_directories();
    let found: Vec<Subject> = match named {
        None => {
            loaded.require_databases().map_err(configuration)?;
            // Not every database must have a replica of that name.
            let found: Vec<Subject> = databases.iter().filter_map(|db| subjects(db).ok()).flatten().collect();
            let unknown = || anyhow!("{}: no database has a replica {:?}", loaded.origin, name.unwrap_or_default());
            (!found.is_empty()).then_some(found).ok_or_else(unknown).map_err(configuration)?
        }
        Some(path) => subjects(&loaded.database(&path).map_err(configuration)?)?.collect(),
    };
    Ok((found, databases))
}

fn order(command: &Command, subject: &Subject) -> Order {
    let deep = command.deep.then(|| Deep {
        dir: command.dir.clone().unwrap_or_else(std::env::temp_dir),
        live: subject.database.clone().filter(|path| command.db.is_some() || path.exists()),
        patience: command.wait.unwrap_or(PATIENCE),
    });
    Order { deep, window: subject.window, parallelism: PARALLELISM }
}

fn print(subject: &Subject, order: &Order, outcome: &Outcome, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let url = subject.title();
    let verified = match outcome {
        Outcome::Told(verified) => verified,
        Outcome::Nothing(why) => return writeln!(out, "NO BACKUP  {url}\n  {why}"),
        Outcome::Failed(failure) => return writeln!(out, "UNKNOWN  {url}\n  {}", failure.sentence()),
    };
    let damage = verified.audit.damage().count();
    match damage {
        0 => writeln!(out, "PROVEN  {url}")?,
        _ => writeln!(out, "DAMAGED  {url}")?,
    }
    if let (Some((oldest, _)), Some((newest, ms))) = (&verified.audit.ends, verified.newest()) {
        let (oldest, oldest_ms) = (oldest.max_txid, oldest.modified_ms);
        writeln!(out, "  newest  {}  TXID {newest}", style.time(ms))?;
        writeln!(out, "  oldest  {}  TXID {oldest}", style.time(oldest_ms))?;
    }
    let how = if order.deep.is_some() { "every byte was read" } else { "names, headers and ends were read" };
    if verified.audit.files > 0 {
        let (files, bytes) = (count(verified.audit.files, "sound file"), style.amount(verified.audit.bytes));
        writeln!(out, "  {files}, {bytes}: {how}")?;
    }
    if let Some(proof) = &verified.restored {
        let (bytes, reached) = (style.amount(proof.database_bytes), &proof.reached);
        writeln!(out, "  restored {reached}: {bytes}, integrity_check ok")?;
    }
    let path = subject.database.as_deref().unwrap_or_else(|| std::path::Path::new("")).display();
    match &verified.live {
        Live::NotAsked | Live::Differs => {}
        Live::Equal { txid, pages } => writeln!(out, "  equal to {path} at TXID {txid}: all of its {pages} pages")?,
        Live::NotCompared { why } => writeln!(out, "  not compared with {path}: {why}")?,
    }
    for finding in &verified.audit.findings {
        let word = if finding.severity == Severity::Damage { "damage" } else { "remark" };
        writeln!(out, "  {word}: {finding}")?;
    }
    Ok(())
}

fn as_json(subject: &Subject, order: &Order, outcome: &Outcome) -> Value {
    let mut shown = json!({
        "replica": subject.replica.url,
        "db": subject.database.as_ref().map(|path| path.display().to_string()),
        "depth": if order.deep.is_some() { "deep" } else { "shallow" },
        "verdict": outcome.verdict(),
        "code": outcome.code(),
    });
    if let Some(name) = &subject.name {
        shown["name"] = json!(name);
    }
    match outcome {
        Outcome::Nothing(why) => shown["error"] = json!(why),
        Outcome::Failed(failure) => shown["error"] = json!(failure.sentence()),
        Outcome::Told(verified) => add_result(&mut shown, verified),
    }
    shown
}

fn add_result(shown: &mut Value, verified: &Verified) {
    let newest = verified.newest();
    shown["newest"] =
        newest.map_or(Value::Null, |(txid, ms)| json!({ "txid": txid.to_string(), "timestamp": timestamp(ms) }));
    let oldest = verified.audit.ends.as_ref().map(|(oldest, _)| oldest);
    shown["oldest"] = oldest
        .map_or(Value::Null, |o| json!({ "txid": o.max_txid.to_string(), "timestamp": timestamp(o.modified_ms) }));
    shown["files"] = json!(verified.audit.files);
    shown["bytes"] = json!(verified.audit.bytes);
    shown["restored"] = verified.restored.as_ref().map_or(Value::Null, |proof| {
        let txid = match proof.reached {
            Reached::Ltx { txid, .. } => txid.to_string(),
            Reached::Old { .. } => String::new(),
        };
        json!({ "txid": txid, "database_bytes": proof.database_bytes, "integrity_check": "ok" })
    });
    shown["live"] = match &verified.live {
        Live::NotAsked => Value::Null,
        Live::Equal { txid, pages } => json!({ "result": "equal", "txid": txid.to_string(), "pages": pages }),
        Live::Differs => json!({ "result": "differs" }),
        Live::NotCompared { why } => json!({ "result": "not compared", "why": why }),
    };
    shown["findings"] = verified.audit.findings.iter().map(finding).collect();
}

fn finding(finding: &Finding) -> Value {
    let span = |span: &Span| json!({ "min_txid": span.first.to_string(), "max_txid": span.last.to_string() });
    json!({
        "severity": if finding.severity == Severity::Damage { "damage" } else { "remark" },
        "kind": finding.what.kind(),
        "object": finding.object,
        "message": finding.to_string(),
        "cannot_be_restored": finding.affected.iter().map(span).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_comes_before_doubt() {
        for (codes, wanted) in
            [(vec![], 0), (vec![0, 0], 0), (vec![0, 69], 69), (vec![77, 76, 69], 76), (vec![69, 77], 77)]
        {
            assert_eq!(worst(codes.iter().copied()), wanted, "{codes:?}");
        }
    }
}
