//! `millstream ltx`: the LTX files of a replica, in Litestream's two shapes.

use std::io::{self, Write};

use serde::Serialize;

use super::args::{Levels, Ltx};
use super::{source, timestamp};
use crate::remote::{Level, Listing};
use crate::run::{Failure, connect, store_failure};

#[derive(Serialize)]
struct Row {
    level: u8,
    min_txid: String,
    max_txid: String,
    size: u64,
    timestamp: String,
}

pub async fn ltx(command: Ltx) -> Result<u8, Failure> {
    if command.by_old_name {
        super::stderr::say("Warning: `wal` is the old name of this command, use `ltx` instead");
    }
    let replica = source::find(&command.look.source(), |env, cwd| command.look.sources(env, cwd))?;
    let remote = connect(&replica).await?;
    let listing = remote.listing().await.map_err(|error| store_failure(&error))?;
    remote.announce(&listing);
    super::printed(print(&rows(&listing, command.level), command.json, &mut io::stdout()))
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
    };
    objects.map(row).collect()
}

fn print(rows: &[Row], json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, rows)?;
        return writeln!(out);
    }
    let heads = ["level", "min_txid", "max_txid", "size", "created"].map(str::to_owned);
    let cells = |row: &Row| {
        let (level, size) = (row.level.to_string(), row.size.to_string());
        [level, row.min_txid.clone(), row.max_txid.clone(), size, row.timestamp.clone()]
    };
    let table: Vec<[String; 5]> = std::iter::once(heads).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| table.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths = [0, 1, 2, 3].map(width);
    for [level, min, max, size, created] in &table {
        let [a, b, c, d] = widths;
        writeln!(out, "{level:a$}  {min:b$}  {max:c$}  {size:d$}  {created}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Layout;
    use crate::store::Listed;

    fn shown(levels: Levels, json: bool) -> String {
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
        print(&rows(&listing, levels), json, &mut out).expect("memory");
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
    }
}
