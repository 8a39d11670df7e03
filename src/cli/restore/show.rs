//! The output of `restore`: the plan of a dry run and the result, as text and in Litestream's JSON.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::json;

use super::Order;
use crate::cli::args::{IntegrityCheck, Restore};
use crate::cli::printed;
use crate::cli::{Style, count, table, timestamp as time};
use crate::restore::{CheckedPlan, OldPlan, Reached, Restored};
use crate::run::exit::{Failure, INTERNAL};

pub(super) fn show_plan(
    command: &Restore,
    order: &Order,
    name: &str,
    checked_plan: &CheckedPlan,
) -> Result<u8, Failure> {
    let plan = &checked_plan.plan;
    let first = plan.files.iter().map(|file| file.min_txid).min();
    let first = first.map(|txid| txid.to_string()).unwrap_or_default();
    if command.output_flags.json {
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
            "target_path": order.destination.path(),
            "replica": order.shown(name),
            "min_txid": first,
            "max_txid": plan.txid().to_string(),
            "files": files,
            "bytes": plan.bytes(),
            "requests": checked_plan.requests(),
            "timestamp": time(checked_plan.newest.timestamp_ms),
        });
        print_json(&shown)?;
        return Ok(0);
    }
    let style = Style::of_stdout(&command.output_flags);
    printed(plan_text(order, name, checked_plan, &first, &style, &mut io::stdout()))
}

fn plan_text(
    order: &Order,
    name: &str,
    checked_plan: &CheckedPlan,
    first: &str,
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let plan = &checked_plan.plan;
    head(order, order.shown(name), out)?;
    writeln!(out, "  txid range: {first} - {}", plan.txid())?;
    writeln!(out, "  moment: {}", style.time(checked_plan.newest.timestamp_ms))?;
    writeln!(out, "  {}", cost(plan.bytes(), plan.files.len(), checked_plan.requests(), style))?;
    // On a terminal the name is left out: it consists of the two TXIDs.
    let is_terminal = style.width.is_some();
    let mut rows = vec![["level", "file", "min_txid", "max_txid", "size", "timestamp"].map(str::to_owned).to_vec()];
    rows.extend(plan.files.iter().map(|file| {
        let (level, min, max) = (file.level.index().to_string(), file.min_txid.to_string(), file.max_txid.to_string());
        let file_name = file_name(file.name.as_str()).to_owned();
        vec![level, file_name, min, max, style.size(file.size), style.time(file.modified_ms)]
    }));
    if is_terminal {
        rows.iter_mut().for_each(|row| drop(row.remove(1)));
    }
    let size = if is_terminal { 3 } else { 4 };
    files_to_fetch(rows, size, style, out)
}

/// What every plan begins with.
fn head(order: &Order, replica: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "Restore plan:")?;
    writeln!(out, "  source: {}", order.source)?;
    writeln!(out, "  target: {}", order.destination.path().display())?;
    writeln!(out, "  replica: {replica}")
}

fn cost(bytes: u64, files: usize, requests: u64, style: &Style) -> String {
    format!("bytes: {} in {}, with {}", style.size(bytes), count(files, "file"), count(requests, "request"))
}

/// The table below a plan; the column of sizes is aligned to the right, at least as wide as
/// Litestream's.
fn files_to_fetch(mut rows: Vec<Vec<String>>, size: usize, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let least = if style.width.is_some() { 0 } else { 12 };
    let width = rows.iter().map(|row| row[size].len()).max().unwrap_or(0).max(least);
    rows.iter_mut().for_each(|row| row[size] = format!("{:>width$}", row[size]));
    writeln!(out, "\nFiles to fetch:")?;
    table::write(&rows, &[], style.width, out)
}

pub(super) fn show_old_plan(command: &Restore, order: &Order, name: &str, plan: &OldPlan) -> Result<u8, Failure> {
    if command.output_flags.json {
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
            "target_path": order.destination.path(),
            "replica": order.shown(name),
            "generation": plan.generation.to_string(),
            "files": files.collect::<Vec<_>>(),
            "bytes": plan.bytes(),
            "requests": plan.reads() + 1,
            "timestamp": time(plan.time_ms()),
        });
        print_json(&shown)?;
        return Ok(0);
    }
    let style = Style::of_stdout(&command.output_flags);
    printed(old_plan_text(order, name, plan, &style, &mut io::stdout()))
}

fn old_plan_text(order: &Order, name: &str, plan: &OldPlan, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    head(order, &format!("{}, written by Litestream 0.3", order.shown(name)), out)?;
    writeln!(out, "  generation: {}", plan.generation)?;
    writeln!(out, "  moment: {}", style.time(plan.time_ms()))?;
    writeln!(out, "  {}", cost(plan.bytes(), plan.objects().count(), plan.reads() + 1, style))?;
    let mut rows = vec![["kind", "file", "size", "timestamp"].map(str::to_owned).to_vec()];
    rows.extend(plan.objects().enumerate().map(|(at, object)| {
        let name = file_name(object.name.as_str()).to_owned();
        vec![kind(at).to_owned(), name, style.size(object.size), style.time(object.modified_ms)]
    }));
    files_to_fetch(rows, 2, style, out)
}

/// The first file of a generation is its snapshot.
fn kind(at: usize) -> &'static str {
    if at == 0 { "snapshot" } else { "wal" }
}

pub(super) fn show_result(command: &Restore, order: &Order, name: &str, restored: &Restored, took: Duration) {
    if !command.output_flags.json {
        return;
    }
    let check = check_name(command.integrity_check);
    // Litestream's answer where there are no TXIDs.
    let txid = match restored.reached {
        Reached::Ltx { txid, .. } => txid.to_string(),
        Reached::Old { .. } => String::new(),
    };
    println!(
        "{:#}",
        json!({
            "db_path": order.destination.path(),
            "replica": order.shown(name),
            "txid": txid,
            "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "integrity_check": check,
        })
    );
}

/// As Litestream writes it.
pub fn check_name(check: IntegrityCheck) -> &'static str {
    match check {
        IntegrityCheck::None => "none",
        IntegrityCheck::Quick => "quick",
        IntegrityCheck::Full => "full",
    }
}

pub fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    println!("{}", serde_json::to_string_pretty(value).map_err(|error| Failure::new(INTERNAL, error))?);
    Ok(())
}

fn file_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}
