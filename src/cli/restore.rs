//! `restore`: a database by hand, its plan, and its progress.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::json;
use tokio::time::Instant;

use super::args::{IntegrityCheck, Restore, RestoreSource};
use super::{Environment, install, logger, variable};
use crate::config::{self, Database, Logging, Options, Replica};
use crate::ltx::Txid;

use crate::restore::{
    self as road, FileOwner, Found, Integrity, OldPlan, Reached, Request, RestoreError, Restored, Survey, Target,
};
use crate::run::exit::{CONFIG, Failure, INTERNAL, USAGE};
use crate::run::{Revival, connect, restore_and_note, restore_failure, unless_signalled};
use crate::sqlite::{Presence, look_at_file};

/// What the command line and the configuration say together.
struct Order {
    replica: Replica,
    /// As the user wrote it, for output.
    source: String,
    output: PathBuf,
    meta_path: PathBuf,
    owner: Option<FileOwner>,
    mode: Option<u32>,
}

pub async fn restore(command: Restore) -> Result<u8, Failure> {
    let (mut signals, _nursery) = install()?;
    let order = order(&command)?;
    let revival = revival(&command, &order)?;
    let remote = connect(&order.replica).await?;
    if command.dry_run {
        let target = revival.request.target;
        let planned = unless_signalled(&mut signals, async |cancel| road::plan(&remote, target, &cancel).await).await?;
        return match planned {
            Ok(Found::Ltx(survey)) => show_plan(&command, &order, &survey),
            Ok(Found::Old(plan)) => show_old_plan(&command, &order, &plan),
            Err(error) => without_backup(&command, error),
        };
    }
    if let Some(code) = refuse_existing(&command, &revival.request.output)? {
        return Ok(code);
    }
    let began = Instant::now();
    let restored =
        unless_signalled(&mut signals, async |cancel| restore_and_note(&remote, &revival, &cancel).await).await?;
    match restored {
        Ok(restored) => {
            show_result(&command, &order, &restored, began.elapsed());
            Ok(0)
        }
        Err(error) => without_backup(&command, error),
    }
}

fn order(command: &Restore) -> Result<Order, Failure> {
    let environment = Environment::of_process()?;
    match command.source() {
        RestoreSource::Url(url) => {
            start_logging(command, None);
            let replica = config::replica_from_url(&url, &variable).map_err(|error| Failure::new(CONFIG, error))?;
            let output = command.output.clone().context("-o is required with a URL");
            let output = output.and_then(|path| Ok(std::path::absolute(path)?));
            let output = output.map_err(|error| Failure::new(USAGE, error))?;
            let (source, meta_path) = (replica.url.clone(), config::default_meta_path(&output));
            Ok(Order { replica, source, output, meta_path, owner: None, mode: None })
        }
        RestoreSource::Database(path) => {
            let sources = command.sources(&variable, environment.cwd.clone());
            let path = sources.absolute(&path).map_err(|error| Failure::new(CONFIG, error))?;
            let loaded = environment.load(|env, cwd| command.sources(env, cwd))?;
            start_logging(command, Some(&loaded.options));
            loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            let unknown = || anyhow!("{}: no database is configured with the path {}", loaded.origin, path.display());
            let database = loaded.options.find(&path).ok_or_else(|| Failure::new(CONFIG, unknown()))?;
            of_database(command, database)
        }
    }
}

fn of_database(command: &Restore, database: &Database) -> Result<Order, Failure> {
    let output = match &command.output {
        Some(path) => std::path::absolute(path).map_err(|error| Failure::new(USAGE, error))?,
        None => database.path.clone(),
    };
    let meta_path = match output == database.path {
        true => database.meta_path.clone(),
        false => config::default_meta_path(&output),
    };
    Ok(Order {
        replica: database.replica.clone(),
        source: database.path.display().to_string(),
        output,
        meta_path,
        owner: database.file_owner.map(|(uid, gid)| FileOwner { uid, gid }),
        mode: database.file_mode,
    })
}

fn start_logging(command: &Restore, options: Option<&Options>) {
    let configured = options.map(|options| options.logging);
    let level = match command.verbose {
        true => config::LogLevel::Debug,
        false => configured.map(|logging| logging.level).unwrap_or_default(),
    };
    logger::start(&Logging { level, format: configured.map(|logging| logging.format).unwrap_or_default() });
}

fn revival(command: &Restore, order: &Order) -> Result<Revival, Failure> {
    let mut request = Request::new(&order.output);
    request.target = match (command.txid, command.timestamp) {
        (Some(txid), _) => {
            let zero = || Failure::new(USAGE, anyhow!("-txid: there is no TXID 0"));
            Target::Txid(Txid::new(txid).ok_or_else(zero)?)
        }
        (None, Some(timestamp)) => Target::Before(timestamp.as_millisecond()),
        (None, None) => Target::Latest,
    };
    request.force = command.force;
    request.overwrite_empty = true;
    request.owner = order.owner;
    request.mode = order.mode.unwrap_or(request.mode);
    request.parallelism = command.parallelism;
    request.integrity = match command.integrity_check {
        IntegrityCheck::None => Integrity::None,
        IntegrityCheck::Quick => Integrity::Quick,
        IntegrityCheck::Full => Integrity::Full,
    };
    Ok(Revival { request, meta_path: order.meta_path.clone(), require_backup: true })
}

/// A database that exists is only replaced with -force; `Some` is the exit code that this ends with.
fn refuse_existing(command: &Restore, output: &Path) -> Result<Option<u8>, Failure> {
    let presence = look_at_file(output).map_err(|error| restore_failure(error.into()))?;
    if !matches!(presence, Presence::Database(_)) {
        return Ok(None);
    }
    if command.if_db_not_exists {
        tracing::info!("database already exists, skipping: {}", output.display());
        return Ok(Some(0));
    }
    if command.force {
        return Ok(None);
    }
    Err(restore_failure(RestoreError::TargetExists { path: output.to_owned() }))
}

fn without_backup(command: &Restore, error: RestoreError) -> Result<u8, Failure> {
    match error {
        RestoreError::NoBackup { address } if command.if_replica_exists => {
            tracing::info!("no matching backups found in {address}");
            Ok(0)
        }
        error => Err(restore_failure(error)),
    }
}

fn show_plan(command: &Restore, order: &Order, survey: &Survey) -> Result<u8, Failure> {
    let plan = &survey.plan;
    let first = plan.files.iter().map(|file| file.min_txid).min();
    let first = first.map(|txid| txid.to_string()).unwrap_or_default();
    if command.json {
        let files: Vec<_> = plan
            .files
            .iter()
            .map(|file| {
                json!({
                    "level": file.level.index(),
                    "name": file_name(file.name.as_str()),
                    "min_txid": file.min_txid.to_string(),
                    "max_txid": file.max_txid.to_string(),
                    "size": file.size,
                    "timestamp": time(file.modified_ms),
                })
            })
            .collect();
        let shown = json!({
            "source": order.source,
            "target_path": order.output,
            "replica": order.replica.kind(),
            "min_txid": first,
            "max_txid": plan.txid().to_string(),
            "files": files,
        });
        print_json(&shown)?;
        return Ok(0);
    }
    println!("Restore plan:");
    println!("  source: {}", order.source);
    println!("  target: {}", order.output.display());
    println!("  replica: {}", order.replica.kind());
    println!("  txid range: {first} - {}", plan.txid());
    println!("  bytes: {} in {} files", plan.bytes(), plan.files.len());
    println!("\nFiles to fetch:");
    println!("{:<5}  {:<37}  {:<16}  {:<16}  {:>12}  timestamp", "level", "file", "min_txid", "max_txid", "size");
    for file in &plan.files {
        let name = file_name(file.name.as_str());
        let (level, min, max) = (file.level.index(), file.min_txid, file.max_txid);
        println!("{level:<5}  {name:<37}  {min}  {max}  {:>12}  {}", file.size, time(file.modified_ms));
    }
    Ok(0)
}

fn show_old_plan(command: &Restore, order: &Order, plan: &OldPlan) -> Result<u8, Failure> {
    let kind = |at: usize| if at == 0 { "snapshot" } else { "wal" };
    if command.json {
        let files = plan.objects().enumerate().map(|(at, object)| {
            json!({
                "kind": kind(at),
                "name": file_name(object.name.as_str()),
                "index": object.place.index,
                "offset": object.place.offset,
                "size": object.size,
                "timestamp": time(object.modified_ms),
            })
        });
        let shown = json!({
            "source": order.source,
            "target_path": order.output,
            "replica": order.replica.kind(),
            "generation": plan.generation.to_string(),
            "files": files.collect::<Vec<_>>(),
        });
        print_json(&shown)?;
        return Ok(0);
    }
    println!("Restore plan:");
    println!("  source: {}", order.source);
    println!("  target: {}", order.output.display());
    println!("  replica: {}, written by Litestream 0.3", order.replica.kind());
    println!("  generation: {}", plan.generation);
    println!("  bytes: {} in {} files", plan.bytes(), plan.objects().count());
    println!("\nFiles to fetch:");
    println!("{:<8}  {:<33}  {:>12}  timestamp", "kind", "file", "size");
    for (at, object) in plan.objects().enumerate() {
        let name = file_name(object.name.as_str());
        println!("{:<8}  {name:<33}  {:>12}  {}", kind(at), object.size, time(object.modified_ms));
    }
    Ok(0)
}

fn show_result(command: &Restore, order: &Order, restored: &Restored, took: Duration) {
    if !command.json {
        return;
    }
    let check = match command.integrity_check {
        IntegrityCheck::None => "none",
        IntegrityCheck::Quick => "quick",
        IntegrityCheck::Full => "full",
    };
    // Litestream's answer where there are no TXIDs.
    let txid = match restored.reached {
        Reached::Ltx { txid, .. } => txid.to_string(),
        Reached::Old { .. } => String::new(),
    };
    println!(
        "{:#}",
        json!({
            "db_path": order.output,
            "replica": order.replica.kind(),
            "txid": txid,
            "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "integrity_check": check,
        })
    );
}

fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    println!("{}", serde_json::to_string_pretty(value).map_err(|error| Failure::new(INTERNAL, error))?);
    Ok(())
}

fn file_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

fn time(unix_ms: i64) -> String {
    let second = jiff::Timestamp::from_second(unix_ms.div_euclid(1000));
    second.map_or_else(|_| unix_ms.to_string(), |time| time.to_string())
}
