//! `millstream ltx`: the LTX files of a replica, in Litestream's two shapes.

use std::io::{self, Write};

use serde::Serialize;

use super::args::{Levels, Ltx};
use super::source::{self, Looked};
use super::{Style, table, timestamp};
use crate::config::Replica;
use crate::remote::{Level, Listing};
use crate::run::{Failure, store_failure};

#[derive(Serialize)]
struct Row {
    level: u8,
    min_txid: String,
    max_txid: String,
    size: u64,
    timestamp: String,
    #[serde(skip)]
    modified_ms: i64,
}

pub async fn ltx(command: Ltx) -> Result<u8, Failure> {
    if command.by_old_name {
        super::stderr::say("warning: `wal` is the old name of this command; use `ltx` instead");
    }
    let look = &command.look;
    let looked = source::find(&look.source(), look.replica(), |env, cwd| look.sources(env, cwd))?;
    let (mut tables, mut failures) = (Vec::new(), Vec::new());
    for replica in &looked.replicas {
        match list(&looked, replica, command.level).await {
            Ok(rows) => tables.push((looked.are_several().then_some(replica.name.as_str()), rows)),
            Err(failure) => failures.push((replica.name.clone(), failure)),
        }
    }
    let printed = match command.output.json {
        true => print_json(&tables, &mut io::stdout()),
        false => print(&tables, &Style::of_stdout(&command.output), &mut io::stdout()),
    };
    if !tables.is_empty() {
        super::printed(printed)?;
    }
    super::each_said(failures, looked.are_several())
}

async fn list(looked: &Looked, replica: &Replica, levels: Levels) -> Result<Vec<Row>, Failure> {
    let remote = looked.connect(replica).await?;
    let listing = remote.listing().await.map_err(|error| store_failure(&error))?;
    remote.announce(&listing);
    Ok(rows(&listing, levels))
}

fn rows(listing: &Listing, levels: Levels) -> Vec<Row> {
    let chosen = Level::all().filter(|level| matches!(levels, Levels::All) || levels == Levels::One(level.get()));
    let objects = chosen.flat_map(|level| listing.level(level));
    let row = |object: &crate::remote::LtxObject| Row {
        level: object.level.get(),
        min_txid: object.min_txid.to_string(),
        max_txid: object.max_txid.to_string(),
        size: object.size,
        timestamp: timestamp(object.modified_ms),
        modified_ms: object.modified_ms,
    };
    objects.map(row).collect()
}

/// The files of one replica, with its name where there are several.
type Table<'a> = (Option<&'a str>, Vec<Row>);

/// Litestream's list. With several replicas every row names its replica.
fn print_json(tables: &[Table<'_>], out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Named<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        replica: Option<&'a str>,
        #[serde(flatten)]
        row: &'a Row,
    }
    let mut named = Vec::new();
    for (replica, rows) in tables {
        named.extend(rows.iter().map(|row| Named { replica: *replica, row }));
    }
    serde_json::to_writer_pretty(&mut *out, &named)?;
    writeln!(out)
}

/// One table below the other.
fn print(tables: &[Table<'_>], style: &Style, out: &mut dyn Write) -> io::Result<()> {
    for (at, (name, rows)) in tables.iter().enumerate() {
        super::heading(*name, at == 0, out)?;
        print_table(rows, style, out)?;
    }
    Ok(())
}

fn print_table(rows: &[Row], style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let heads = ["level", "min_txid", "max_txid", "size", "created"].map(str::to_owned).to_vec();
    let cells = |row: &Row| {
        let (level, size) = (row.level.to_string(), style.size(row.size));
        vec![level, row.min_txid.clone(), row.max_txid.clone(), size, style.time(row.modified_ms)]
    };
    let lines: Vec<Vec<String>> = std::iter::once(heads).chain(rows.iter().map(cells)).collect();
    table::write(&lines, &[], style.width, out)
}

#[cfg(test)]
mod tests {
    use super::super::show::testing::on_terminal;
    use super::*;
    use crate::remote::Layout;
    use crate::store::Listed;

    fn shown(levels: Levels, json: bool) -> String {
        styled(levels, json, &Style::default())
    }

    fn styled(levels: Levels, json: bool, style: &Style) -> String {
        let listed =
            [("0/0000000000000001-0000000000000001", 3560, 3), ("9/0000000000000001-0000000000000012", 16684, 4)].map(
                |(name, size, second)| Listed {
                    name: format!("ltx/{name}.ltx"),
                    size,
                    modified_ms: 1_795_300_220_000 + second * 1000 + 999,
                },
            );
        let listing = Listing::parse(Layout::Directories, listed.into());
        let mut out = Vec::new();
        let tables = [(None, rows(&listing, levels))];
        match json {
            true => print_json(&tables, &mut out),
            false => print(&tables, style, &mut out),
        }
        .expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn tables_and_json_have_litestreams_shape() {
        let table = "level  min_txid          max_txid          size  created\n\
                     0      0000000000000001  0000000000000001  3560  2026-11-21T22:30:23Z\n";
        assert_eq!(shown(Levels::One(0), false), table);
        let all = shown(Levels::All, false);
        assert_eq!(all.lines().count(), 3);
        assert!(all.ends_with("\n9      0000000000000001  0000000000000012  16684  2026-11-21T22:30:24Z\n"), "{all}");
        assert_eq!(shown(Levels::One(7), false), "level  min_txid  max_txid  size  created\n");
        assert_eq!(shown(Levels::One(7), true), "[]\n");
        let json = "[\n  {\n    \"level\": 9,\n    \"min_txid\": \"0000000000000001\",\n    \
                    \"max_txid\": \"0000000000000012\",\n    \"size\": 16684,\n    \
                    \"timestamp\": \"2026-11-21T22:30:24Z\"\n  }\n]\n";
        assert_eq!(shown(Levels::One(9), true), json);
        let terminal = "level  min_txid          max_txid          size    created\n\
                        0      0000000000000001  0000000000000001  3.6 kB  2026-11-21T23:30:23+01:00\n";
        assert_eq!(styled(Levels::One(0), false, &on_terminal(80)), terminal);
    }

    #[test]
    fn of_several_replicas_each_is_named() {
        let row = |min_txid: &str| Row {
            level: 0,
            min_txid: min_txid.into(),
            max_txid: "2".into(),
            size: 5,
            timestamp: "2026-11-21T22:30:23Z".into(),
            modified_ms: 1_795_300_223_000,
        };
        let tables = [(Some("s3"), vec![row("1")]), (Some("nas"), vec![])];
        let mut out = Vec::new();
        print(&tables, &Style::default(), &mut out).expect("memory");
        let text = "replica s3\nlevel  min_txid  max_txid  size  created\n\
                    0      1         2         5     2026-11-21T22:30:23Z\n\n\
                    replica nas\nlevel  min_txid  max_txid  size  created\n";
        assert_eq!(String::from_utf8(out).expect("text"), text);
        let mut out = Vec::new();
        print_json(&tables, &mut out).expect("memory");
        let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!((&json[0]["replica"], &json[0]["min_txid"]), (&"s3".into(), &"1".into()));
    }
}
