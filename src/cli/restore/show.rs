//! What `restore` says: the plan of a dry run and the result, as text and in Litestream's JSON.

use std::time::Duration;

use serde_json::json;

use super::Order;
use crate::cli::args::{IntegrityCheck, Restore};
use crate::cli::timestamp as time;
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
    println!("Restore plan:");
    println!("  source: {}", order.source);
    println!("  target: {}", order.destination.path().display());
    println!("  replica: {}", order.shown(name));
    println!("  txid range: {first} - {}", plan.txid());
    println!("  moment: {}", time(checked_plan.newest.timestamp_ms));
    println!("  bytes: {} in {} files, with {} requests", plan.bytes(), plan.files.len(), checked_plan.requests());
    println!("\nFiles to fetch:");
    println!("{:<5}  {:<37}  {:<16}  {:<16}  {:>12}  timestamp", "level", "file", "min_txid", "max_txid", "size");
    for file in &plan.files {
        let name = file_name(file.name.as_str());
        let (level, min, max) = (file.level.index(), file.min_txid, file.max_txid);
        println!("{level:<5}  {name:<37}  {min}  {max}  {:>12}  {}", file.size, time(file.modified_ms));
    }
    Ok(0)
}

pub(super) fn show_old_plan(command: &Restore, order: &Order, name: &str, plan: &OldPlan) -> Result<u8, Failure> {
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
    println!("Restore plan:");
    println!("  source: {}", order.source);
    println!("  target: {}", order.destination.path().display());
    println!("  replica: {}, written by Litestream 0.3", order.shown(name));
    println!("  generation: {}", plan.generation);
    println!("  moment: {}", time(plan.time_ms()));
    println!("  bytes: {} in {} files, with {} requests", plan.bytes(), plan.objects().count(), plan.reads() + 1);
    println!("\nFiles to fetch:");
    println!("{:<8}  {:<33}  {:>12}  timestamp", "kind", "file", "size");
    for (at, object) in plan.objects().enumerate() {
        let name = file_name(object.name.as_str());
        println!("{:<8}  {name:<33}  {:>12}  {}", kind(at), object.size, time(object.modified_ms));
    }
    Ok(0)
}

pub(super) fn show_result(command: &Restore, order: &Order, name: &str, restored: &Restored, took: Duration) {
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
            "db_path": order.destination.path(),
            "replica": order.shown(name),
            "txid": txid,
            "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "integrity_check": check,
        })
    );
}

pub(super) fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    println!("{}", serde_json::to_string_pretty(value).map_err(|error| Failure::new(INTERNAL, error))?);
    Ok(())
}

fn file_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}
