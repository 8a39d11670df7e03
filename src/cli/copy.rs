//! `millstream copy`: a replica, or what one of its states needs, in another place.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::args::Copy as Command;
use super::show::rounded;
use super::source::{Source, picked};
use super::target::target;
use super::{Environment, Style, count, install, logger, printed, replica_at, variable};
use crate::config::{Database, Replica};
use crate::copy::{CopyError, CopyPlan, Order, Tally, copy as bring, plan_copy};
use crate::remote::Remote;
use crate::restore::{self as restoring, Target};
use crate::run::exit::{BACKUP, CANNOT_WRITE, CONFIG, Failure, INTERNAL, UNAVAILABLE, USAGE};
use crate::run::mark::{find as find_mark, rfc3339};
use crate::run::{backups, connect, restore_failure, store_failure, unless_signalled};

const LOG_EVERY: Duration = Duration::from_secs(5);

/// The two ends, as they are configured.
struct Ends {
    /// Of a database all, unless one was picked.
    from: Vec<Replica>,
    to: Replica,
    all: Vec<Database>,
}

pub async fn copy(command: Command) -> Result<u8, Failure> {
    let (mut signals, _reaper) = install()?;
    let ends = ends(&command)?;
    if ends.from.iter().any(|from| from.target.is_same_place(&ends.to.target)) {
        return Err(Failure::new(USAGE, anyhow!("{} would be copied onto itself", ends.to.url)));
    }
    let work = async |cancel: CancellationToken| carry_out(&command, &ends, &cancel).await;
    unless_signalled(&mut signals, work).await?
}

async fn carry_out(command: &Command, ends: &Ends, cancel: &CancellationToken) -> Result<u8, Failure> {
    let backups = backups(ends.from.iter(), &ends.all).await;
    let target = match &command.mark {
        Some(name) => {
            let found = find_mark(backups.iter().filter_map(|backup| backup.remote.as_ref().ok()), name);
            Target::Txid(cancel.run_until_cancelled(found).await.ok_or_else(cancelled)??.txid)
        }
        None => target(command.txid, command.timestamp.as_ref())?,
    };
    let order = Order { target, history: command.history };
    let ((_, from), _) = restoring::newest(&backups, target, cancel).await.map_err(restore_failure)?;
    if command.dry_run {
        let plan = plan_copy(from, order, cancel).await.map_err(failure)?;
        return show(command, (from.address(), &ends.to.url), &plan, None);
    }
    let to = connect(&ends.to, &ends.all).await?;
    let tally = Tally::default();
    let done = tokio::select! {
        done = bring(from, &to, order, &tally, cancel) => done,
        () = announce(&tally, &to) => Err(CopyError::Cancelled),
    };
    let plan = done.map_err(failure)?;
    show(command, (from.address(), to.address()), &plan, Some(tally.now()))
}

/// One line every few seconds. Never returns.
async fn announce(tally: &Tally, to: &Remote) {
    loop {
        tokio::time::sleep(LOG_EVERY).await;
        let (files, bytes, _) = tally.now();
        tracing::info!("copied so far to {}: {}, {}", to.address(), count(files, "file"), rounded(bytes));
    }
}

fn show(
    command: &Command,
    (from, to): (&str, &str),
    plan: &CopyPlan,
    copied: Option<(u64, u64, u64)>,
) -> Result<u8, Failure> {
    let style = Style::of_stdout(&command.output);
    let out = &mut io::stdout();
    let (files, bytes) = (plan.files.len(), plan.bytes());
    let printed_now = match (command.output.json, copied) {
        (true, _) => {
            let (copied_files, copied_bytes, there) = copied.unwrap_or_default();
            let shown = json!({
                "from": from,
                "to": to,
                "txid": plan.txid.to_string(),
                "timestamp": rfc3339(plan.timestamp_ms),
                "history": command.history,
                "dry_run": command.dry_run,
                "files": files,
                "bytes": bytes,
                "marks": plan.marks.len(),
                "copied_files": copied_files,
                "copied_bytes": copied_bytes,
                "files_there_before": there,
            });
            writeln!(out, "{shown:#}")
        }
        (false, None) => writeln!(
            out,
            "would copy {}, {}, from {from} to {to}, up to TXID {} of {}",
            count(files, "file"),
            style.amount(bytes),
            plan.txid,
            style.time(plan.timestamp_ms)
        ),
        (false, Some((copied_files, copied_bytes, there))) => {
            let before = if there == 0 { String::new() } else { format!(" (there before: {there})") };
            writeln!(
                out,
                "copied {}, {}, to {to}{before}; it holds TXID {} of {}",
                count(copied_files, "file"),
                style.amount(copied_bytes),
                plan.txid,
                style.time(plan.timestamp_ms)
            )
        }
    };
    printed(printed_now)
}

fn ends(command: &Command) -> Result<Ends, Failure> {
    let (from, to) = (command.from(), command.to());
    if let (Source::Url(from), Source::Url(to)) = (&from, &to) {
        logger::start_as_told(&command.sources(&variable, PathBuf::new()));
        return Ok(Ends { from: vec![replica_at(from)?], to: replica_at(to)?, all: Vec::new() });
    }
    let configuration = |error: anyhow::Error| Failure::new(CONFIG, error);
    let environment = Environment::of_process()?;
    let sources = command.sources(&variable, environment.cwd.clone());
    let loaded = environment.load(|env, cwd| command.sources(env, cwd))?;
    logger::start(&loaded.options.logging);
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let replicas = |end: &Source| -> Result<Vec<Replica>, Failure> {
        match end {
            Source::Url(url) => Ok(vec![replica_at(url)?]),
            Source::Database(path) => {
                let path = sources.absolute(path).map_err(configuration)?;
                let database = loaded.database(&path).map_err(configuration)?;
                Ok(picked(&database, command.replica())?.into_iter().cloned().collect())
            }
        }
    };
    let (from, mut places) = (replicas(&from)?, replicas(&to)?);
    match (places.pop(), places.is_empty()) {
        (Some(to), true) => Ok(Ends { from, to, all: loaded.options.databases }),
        _ => Err(Failure::new(USAGE, anyhow!("the database to copy to has several replicas: name one with -replica"))),
    }
}

fn cancelled() -> Failure {
    failure(CopyError::Cancelled)
}

/// As for a restore.
fn failure(error: CopyError) -> Failure {
    match error {
        CopyError::From(error) => restore_failure(error),
        CopyError::To(error) => store_failure(&error),
        CopyError::Occupied { .. } => Failure::told(CANNOT_WRITE, error),
        CopyError::Moving { .. } => Failure::told(UNAVAILABLE, error),
        CopyError::Incomplete { .. } => Failure::told(BACKUP, error),
        CopyError::Cancelled => Failure::told(INTERNAL, error),
    }
}
