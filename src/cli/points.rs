//! `millstream points`: which points in time can be restored.

use std::io::{self, Write};

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::args::Points as Command;
use super::mark;
use super::source::{self, Looked};
use super::{Style, count, timestamp};
use crate::config::Replica;
use crate::remote::{LtxObject, Mark, Remote};
use crate::restore::{Density, PointRange, Points, nothing_in, points as summarise};
use crate::run::{Failure, restore_failure, store_failure};

/// The exact times of the two ends: a listing shows when a file was written, not when the commit
/// was made.
struct Window {
    oldest: (LtxObject, i64),
    newest: (LtxObject, i64),
}

pub async fn points(command: Command) -> Result<u8, Failure> {
    let look = &command.look;
    let looked = source::find(&look.source(), look.replica(), |env, cwd| look.sources(env, cwd))?;
    let (mut shown, mut failures) = (Vec::new(), Vec::new());
    for replica in &looked.replicas {
        match points_of(&looked, replica).await {
            Ok(found) => shown.push((replica.name.as_str(), found)),
            Err(failure) => failures.push((replica.name.clone(), failure)),
        }
    }
    let out = &mut io::stdout();
    let style = Style::of_stdout(&command.output);
    let printed = match (command.output.json, looked.are_several()) {
        (true, false) => shown.iter().try_for_each(|(_, found)| writeln!(out, "{:#}", found.as_json())),
        (true, true) => writeln!(out, "{:#}", named_json(&shown)),
        (false, several) => print_each(&shown, several, &style, out),
    };
    super::printed(printed)?;
    super::each_said(failures, looked.are_several())
}

struct Found {
    points: Points,
    window: Option<Window>,
    marks: Vec<Mark>,
}

impl Found {
    fn as_json(&self) -> Value {
        as_json(&self.points, self.window.as_ref(), &self.marks)
    }

    fn print(&self, style: &Style, out: &mut dyn Write) -> io::Result<()> {
        print(&self.points, self.window.as_ref(), &self.marks, style, out)
    }
}

async fn points_of(looked: &Looked, replica: &Replica) -> Result<Found, Failure> {
    let remote = looked.connect(replica).await?;
    let listing = remote.listing_with_old().await.map_err(|error| store_failure(&error))?;
    remote.announce(&listing);
    let points = summarise(&listing);
    if points.is_empty() {
        return Err(restore_failure(nothing_in(&remote, &listing)));
    }
    let window = window(&remote, &points).await?;
    let marks = match remote.marks().await {
        Ok(found) => found.marks,
        Err(error) => {
            tracing::warn!("the marks in {} are not shown: {error}", remote.address());
            Vec::new()
        }
    };
    Ok(Found { points, window, marks })
}

/// A list in which each entry names its replica.
fn named_json(shown: &[(&str, Found)]) -> Value {
    let named = |(name, found): &(&str, Found)| {
        let mut shown = found.as_json();
        shown["replica"] = json!(name);
        shown
    };
    shown.iter().map(named).collect()
}

fn print_each(shown: &[(&str, Found)], several: bool, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    for (at, (name, found)) in shown.iter().enumerate() {
        super::heading(several.then_some(*name), at == 0, out)?;
        found.print(style, out)?;
    }
    Ok(())
}

async fn window(remote: &Remote, points: &Points) -> Result<Option<Window>, Failure> {
    let Some((oldest, newest)) = &points.ends else { return Ok(None) };
    let created = async |object: &LtxObject| remote.created_ms(object).await.map_err(|error| store_failure(&error));
    let (oldest_ms, newest_ms) = (created(oldest).await?, created(newest).await?);
    Ok(Some(Window { oldest: (oldest.clone(), oldest_ms), newest: (newest.clone(), newest_ms) }))
}

/// For `explain`, which asks for no exact times.
pub fn ranges_json(points: &Points) -> Value {
    as_json(points, None, &[])
}

pub fn print_ranges(points: &Points, out: &mut dyn Write) -> io::Result<()> {
    print(points, None, &[], &Style::of_stdout(&super::args::OutputFlags::default()), out)
}

fn as_json(points: &Points, window: Option<&Window>, marks: &[Mark]) -> Value {
    let end =
        |(object, ms): &(LtxObject, i64)| json!({ "txid": object.max_txid.to_string(), "timestamp": timestamp(*ms) });
    let range = |range: &PointRange| {
        let every_ms = match range.density {
            Density::Every { ms } => Some(ms),
            Density::EveryCommit | Density::Single => None,
        };
        json!({
            "from": timestamp(range.from_ms),
            "to": timestamp(range.to_ms),
            "min_txid": range.first_txid.to_string(),
            "max_txid": range.last_txid.to_string(),
            "points": range.points,
            "every_commit": range.density == Density::EveryCommit,
            "every_ms": every_ms,
        })
    };
    json!({
        "oldest": window.map(|window| end(&window.oldest)),
        "newest": window.map(|window| end(&window.newest)),
        "ranges": points.ranges.iter().map(range).collect::<Vec<_>>(),
        "holes": points.holes.iter().map(|hole| json!({
            "min_txid": hole.first_missing.to_string(),
            "max_txid": hole.last_missing.to_string(),
        })).collect::<Vec<_>>(),
        "generations": points.old.iter().map(|old| json!({
            "generation": old.generation.to_string(),
            "from": timestamp(old.from_ms),
            "to": timestamp(old.to_ms),
            "files": old.files,
        })).collect::<Vec<_>>(),
        "marks": marks.iter().map(mark::as_json).collect::<Vec<_>>(),
    })
}

fn print(
    points: &Points,
    window: Option<&Window>,
    marks: &[Mark],
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    if let Some(Window { oldest, newest }) = window {
        for (word, (object, ms)) in [("oldest", oldest), ("newest", newest)] {
            writeln!(out, "{word}  {}  TXID {}", style.time(*ms), object.max_txid)?;
        }
        writeln!(out)?;
    }
    let line = |from: i64, to: i64, what: String, out: &mut dyn Write| {
        let times = format!("{} … {}", style.time(from), style.time(to));
        let fits = style.width.is_none_or(|width| times.chars().count() + 2 + what.chars().count() <= width);
        writeln!(out, "{times}{}{what}", if fits { "  " } else { "\n  " })
    };
    for range in &points.ranges {
        let density = match range.density {
            Density::EveryCommit => "every commit".into(),
            Density::Every { ms } => format!("about every {}", rounded(ms)),
            Density::Single => "one moment".into(),
        };
        line(range.from_ms, range.to_ms, format!("{density}, {}", count(range.points, "point")), out)?;
    }
    for hole in &points.holes {
        writeln!(out, "missing: the transactions {} to {} are in no file", hole.first_missing, hole.last_missing)?;
    }
    for old in &points.old {
        let what = format!("generation {} of Litestream 0.3, {}", old.generation, count(old.files, "file"));
        line(old.from_ms, old.to_ms, what, out)?;
    }
    marks.iter().try_for_each(|marked| mark::print(marked, style, out))
}

/// Whole seconds, from a second on.
fn rounded(ms: i64) -> String {
    let shown = if ms < 1000 { SignedDuration::from_millis(ms) } else { SignedDuration::from_secs((ms + 500) / 1000) };
    format!("{shown:#}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{Layout, Listing};
    use crate::store::Listed;

    fn listing() -> Listing {
        let second = |second: i64| 1_795_300_220_000 + second * 1000;
        let file = |name: &str, at: i64| Listed { name: format!("{name}.ltx"), size: 500, modified_ms: second(at) };
        let old = "generations/00000000000000a0/snapshots/00000000.snapshot.lz4";
        Listing::parse(
            Layout::S3,
            vec![
                file("0009/0000000000000001-0000000000000004", 0),
                file("0001/0000000000000005-0000000000000007", 30),
                file("0001/0000000000000008-0000000000000009", 60),
                file("0000/000000000000000a-000000000000000a", 62),
                file("0000/000000000000000c-000000000000000c", 64),
                Listed { name: old.into(), size: 9, modified_ms: second(-1000) },
            ],
        )
    }

    fn newest_txid(points: &Points) -> crate::ltx::Txid {
        points.ends.clone().expect("points").1.max_txid
    }

    #[test]
    fn a_person_reads_when_and_how_densely() {
        let points = summarise(&listing());
        let (oldest, newest) = points.ends.clone().expect("points");
        let (from, to) = (oldest.modified_ms, newest.modified_ms);
        let window = Window { oldest: (oldest, from), newest: (newest, to) };
        let by = "millstream".to_owned();
        let marked = Mark {
            name: "v1".into(),
            txid: newest_txid(&points),
            timestamp_ms: to,
            created_ms: to,
            expires_ms: None,
            note: None,
            by,
        };
        let found = Found { points, window: Some(window), marks: vec![marked] };
        let mut out = Vec::new();
        found.print(&Style::default(), &mut out).expect("memory");
        let wanted = "oldest  2026-11-21T22:30:20Z  TXID 0000000000000004\n\
                      newest  2026-11-21T22:31:22Z  TXID 000000000000000a\n\
                      \n\
                      2026-11-21T22:30:20Z … 2026-11-21T22:31:20Z  about every 30s, 3 points\n\
                      2026-11-21T22:31:22Z … 2026-11-21T22:31:22Z  every commit, 1 point\n\
                      missing: the transactions 000000000000000b to 000000000000000b are in no file\n\
                      2026-11-21T22:13:40Z … 2026-11-21T22:13:40Z  generation 00000000000000a0 of Litestream 0.3, 1 file\n\
                      mark    2026-11-21T22:31:22Z  TXID 000000000000000a  v1\n";
        assert_eq!(String::from_utf8(out).expect("text"), wanted);
        let shown = found.as_json();
        assert_eq!(shown["marks"][0]["name"], "v1");
        assert_eq!(shown["newest"], json!({ "txid": "000000000000000a", "timestamp": "2026-11-21T22:31:22Z" }));
        assert_eq!(
            (&shown["ranges"][0]["every_ms"], &shown["holes"][0]["min_txid"]),
            (&json!(30_000), &json!("000000000000000b"))
        );
        assert_eq!(shown["generations"][0]["files"], 1);
        let bare = Found { points: found.points.clone(), window: None, marks: Vec::new() };
        let several = [("s3", found), ("nas", bare)];
        let mut out = Vec::new();
        print_each(&several, true, &Style::default(), &mut out).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("replica s3\noldest  2026") && text.contains("  v1\n\nreplica nas\n2026"), "{text}");
        let shown = named_json(&several);
        assert_eq!((&shown[0]["replica"], &shown[1]["replica"]), (&json!("s3"), &json!("nas")));
        assert_eq!(shown[0]["newest"]["txid"], "000000000000000a");
    }
}
