//! There is no database where one should be: what to say, together with what lies at that path and
//! which databases are written nearby. When it is said: `core/opening/absent.rs`.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use crate::db::{AtPath, Neighbour, Surroundings};

/// So many neighbours are named.
const NAMED_MAX: usize = 5;
const PATTERN: [char; 3] = ['*', '?', '['];

/// The warning.
pub fn warning(path: &Path, seen: &Surroundings, lasts: Duration) -> String {
    format!("{}: nothing has been replicated for {lasts:.0?}; {}", what(path, seen), nearby(seen))
}

/// For the end.
pub fn verdict(path: &Path, seen: &Surroundings) -> String {
    format!("{} to the end: nothing was replicated; {}", what(path, seen), nearby(seen))
}

/// What is wrong with the path.
fn what(path: &Path, seen: &Surroundings) -> String {
    let shown = path.display();
    let mut text = match &seen.at_path {
        AtPath::Nothing => format!("there was no database at {shown}"),
        AtPath::NoDirectory => format!("there was no database at {shown}, and its directory is missing too"),
        AtPath::Directory => format!("{shown} was a directory and not a database"),
        AtPath::Empty => format!("there was only a file of zero bytes at {shown}"),
        AtPath::NoDatabase => format!("{shown} was no SQLite database"),
        AtPath::Unknown(why) => format!("{shown} could not be looked at ({why})"),
    };
    if path.file_name().is_some_and(|name| name.to_string_lossy().contains(PATTERN)) {
        text += " (a name is taken as it is: patterns stand for nothing)";
    }
    text
}

/// Which databases there are instead, and what to do.
fn nearby(seen: &Surroundings) -> String {
    let advice = "correct the path, or write `optional: true` below the database if it may be missing";
    if seen.neighbours.is_empty() {
        return format!("no other SQLite database was found nearby; {advice}");
    }
    let mut text = String::from("SQLite databases nearby: ");
    for (at, neighbour) in seen.neighbours.iter().take(NAMED_MAX).enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        let Neighbour { path, bytes, idle, open } = neighbour;
        let open = if *open { ", open" } else { "" };
        // A string takes every write.
        let written = match idle.as_secs() {
            0 => "just now".to_owned(),
            seconds => format!("{seconds}s ago"),
        };
        let _ = write!(text, "{comma}{} ({bytes} bytes{open}, written {written})", path.display());
    }
    if let more @ 1.. = seen.neighbours.len().saturating_sub(NAMED_MAX) {
        let _ = write!(text, " and {more} more");
    }
    format!("{text}: if one of them is meant, {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour(name: &str, idle: u64, open: bool) -> Neighbour {
        Neighbour { path: Path::new("/data").join(name), bytes: 8192, idle: Duration::from_millis(idle), open }
    }

    #[test]
    fn the_databases_nearby_are_named() {
        let neighbours = vec![neighbour("distributed_sql.db", 2_400, true), neighbour("old.db", 90_000, false)];
        let seen = Surroundings { at_path: AtPath::Nothing, neighbours };
        let text = warning(Path::new("/data/distributed_sqlite.db"), &seen, Duration::from_secs(10));
        assert_eq!(
            text,
            "there was no database at /data/distributed_sqlite.db: nothing has been replicated for 10s; SQLite databases nearby: \
             /data/distributed_sql.db (8192 bytes, open, written 2s ago), /data/old.db (8192 bytes, written 90s ago): if one of \
             them is meant, correct the path, or write `optional: true` below the database if it may be missing"
        );
        let seen = Surroundings { at_path: AtPath::Nothing, neighbours: vec![neighbour("x.db", 0, false); 8] };
        assert!(verdict(Path::new("/data/y.db"), &seen).contains(" and 3 more: "));
    }

    #[test]
    fn what_lies_at_the_path_is_said() {
        let says = |path: &str, at_path, words: &str| {
            let text = verdict(Path::new(path), &Surroundings { at_path, neighbours: Vec::new() });
            assert!(text.contains(words) && text.contains("no other SQLite database"), "{text}");
        };
        says("/data/*.db", AtPath::Nothing, "patterns stand for nothing");
        says("/data", AtPath::Directory, "/data was a directory and not a database to the end");
        says("/dta/app.db", AtPath::NoDirectory, "its directory is missing too");
        says("/data/app.db", AtPath::Empty, "zero bytes");
        says("/data/app.db", AtPath::NoDatabase, "no SQLite database to the end");
        says("/data/app.db", AtPath::Unknown("permission denied".into()), "permission denied");
    }
}
