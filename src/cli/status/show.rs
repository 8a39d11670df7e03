//! Rows and reports as text or JSON. Pure.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::super::{Style, table};
use crate::http::{DatabaseEntry, Document, Level, ReplicaEntry, duration};

/// If there are no more databases than these, each is reported; otherwise those with a problem are,
/// and no more than these.
const REPORTED_MAX: usize = 6;

/// What is shown at one moment.
#[derive(Debug, Default)]
pub struct Shown {
    pub rows: Vec<Row>,
    /// What the status page shows, if the process could be asked.
    pub document: Option<Document>,
}

/// The first four are Litestream's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub database: String,
    pub status: String,
    pub local_txid: String,
    pub wal_size: String,
    /// In bytes; the others are not in Litestream's JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_bytes: Option<u64>,
    /// What the running process says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_txid: Option<String>,
    /// Age of the oldest commit that is not safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
    /// As in `/status.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<DatabaseEntry>,
}

pub fn print(shown: &Shown, json: bool, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, &shown.rows)?;
        return writeln!(out);
    }
    if let Some(document) = &shown.document {
        writeln!(out, "{}\n", one_line(&document.sentence))?;
    }
    table::write(&lines(&shown.rows), &[0], style.width, out)?;
    let reports: Vec<&DatabaseEntry> = shown.rows.iter().filter_map(|row| row.report.as_ref()).collect();
    let is_few = reports.len() <= REPORTED_MAX;
    let worth = reports.into_iter().filter(|report| is_few || report.level == Level::Problem);
    worth.take(REPORTED_MAX).try_for_each(|entry| report(entry, style, out))?;
    shown.document.iter().try_for_each(|document| price(document, out))
}

fn lines(rows: &[Row]) -> Vec<Vec<String>> {
    let heads = ["database", "status", "local txid", "wal size", "process", "replica txid", "lag"];
    let columns = if rows.iter().any(|row| row.process.is_some()) { heads.len() } else { 4 };
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let line = |row: &Row| {
        let lag = row.lag_seconds.map(|seconds| duration(Duration::try_from_secs_f64(seconds).unwrap_or_default()));
        vec![
            one_line(&row.database),
            row.status.clone(),
            row.local_txid.clone(),
            row.wal_size.clone(),
            or_none(&row.process),
            or_none(&row.replica_txid),
            or_none(&lag),
        ]
    };
    let mut lines: Vec<Vec<String>> = vec![heads.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(line));
    lines.iter_mut().for_each(|line| line.truncate(columns));
    lines
}

/// What the page shows of one database.
fn report(entry: &DatabaseEntry, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let seconds = |seconds: f64| duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    writeln!(out, "\n{}: {}", one_line(&entry.path), one_line(&entry.sentence))?;
    for problem in &entry.problems {
        // The sentence may have said it already.
        if problem.what != entry.sentence {
            writeln!(out, "  {}", one_line(&problem.what))?;
        }
        writeln!(out, "  {}", one_line(&problem.what_to_do))?;
    }
    writeln!(
        out,
        "  lag {}, at most {} in the last hour",
        entry.lag_seconds.map_or_else(|| "not known".to_owned(), seconds),
        seconds(entry.longest_lag_seconds)
    )?;
    if let (Some(size), Some(wal)) = (entry.size, entry.wal_size) {
        let (size, wal, spill) = (style.amount(size), style.amount(wal), style.amount(entry.spilled_bytes));
        writeln!(out, "  database {size}, WAL {wal}, waiting on this disk {spill}")?;
    }
    entry.replicas.iter().try_for_each(|of| replica(of, style, out))?;
    let ranges = entry.points.iter().flat_map(|points| &points.ranges);
    for range in ranges {
        let (from, to) = (style.time_of(&range.from), style.time_of(&range.to));
        writeln!(out, "  can be brought back: {from} … {to}, {}", range.density)?;
    }
    Ok(())
}

fn replica(replica: &ReplicaEntry, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let ReplicaEntry { name, address, sentence, txid, uploaded_at, proof, .. } = replica;
    write!(out, "  replica {} ({}): {sentence}", one_line(name), one_line(address))?;
    if let (Some(txid), Some(at)) = (txid, uploaded_at) {
        write!(out, ", TXID {txid} uploaded {}", style.time_of(at))?;
    }
    match proof.as_ref().map(|proof| (&proof.at, &proof.failed)) {
        None => writeln!(out),
        Some((_, Some(why))) => writeln!(out, ", damaged: {}", one_line(why)),
        Some((Some(at), None)) => writeln!(out, ", proved to restore {}", style.time_of(at)),
        Some((None, None)) => writeln!(out, ", not proved yet"),
    }
}

fn price(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    for (at, store) in document.stores.iter().enumerate() {
        let gap = if at == 0 { "\n" } else { "" };
        let name = if store.store.is_empty() { "the store" } else { &store.store };
        writeln!(
            out,
            "{gap}requests to {}: about ${:.2} a month at the rate since the start",
            one_line(name),
            store.month_dollars
        )?;
    }
    Ok(())
}

/// A text of others, which must not move the cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(process: Option<&str>) -> Row {
        Row {
            database: "/data/app.db".into(),
            status: "ok".into(),
            local_txid: "0000000000000004".into(),
            wal_size: "0 B".into(),
            wal_bytes: Some(0),
            process: process.map(Into::into),
            replica_txid: process.map(|_| "0000000000000003".into()),
            lag_seconds: process.map(|_| 0.25),
            report: None,
        }
    }

    fn text(shown: &Shown, json: bool) -> String {
        let mut out = Vec::new();
        print(shown, json, &Style::default(), &mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    fn shown(process: Option<&str>, json: bool) -> String {
        text(&Shown { rows: vec![row(process)], document: None }, json)
    }

    #[test]
    fn the_process_has_its_columns_only_where_it_can_be_asked() {
        assert_eq!(
            shown(None, false),
            "database      status  local txid        wal size\n/data/app.db  ok      0000000000000004  0 B\n"
        );
        assert!(shown(Some("replicating"), false).ends_with("0 B       replicating  0000000000000003  0.3 s\n"));
        assert!(!shown(None, true).contains("process"));
        assert!(shown(Some("replicating"), true).contains("\"replica_txid\": \"0000000000000003\""));
    }

    #[test]
    fn what_the_page_says_is_said_here() {
        let replica = ReplicaEntry {
            name: "s3".into(),
            address: "s3://b/p".into(),
            sentence: "has taken no uploads for 1 min".into(),
            ..ReplicaEntry::default()
        };
        let entry = DatabaseEntry {
            path: "/data/app.db".into(),
            level: Level::Problem,
            sentence: "Not safe: the commits of the last 1 min are on this disk only.".into(),
            lag_seconds: Some(60.0),
            longest_lag_seconds: 60.0,
            replicas: vec![replica],
            ..DatabaseEntry::default()
        };
        let document = Document { sentence: "The database is not safe.\x1b[2J".into(), ..Document::default() };
        let row = Row { report: Some(entry), ..row(Some("outage")) };
        let text = text(&Shown { rows: vec![row], document: Some(document) }, false);
        assert!(text.starts_with("The database is not safe. [2J\n\ndatabase "), "{text}");
        for part in [
            "outage",
            "1 min",
            "\n/data/app.db: Not safe",
            "lag 1 min, at most 1 min",
            "replica s3 (s3://b/p): has taken",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
