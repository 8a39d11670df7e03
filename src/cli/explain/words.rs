//! What the configuration does, in sentences. Pure.

use std::time::Duration;

use crate::config::{Configured, Database, Options, RunsOn};
use crate::doctor::human;
use crate::remote::Rates;

/// How a price is reckoned.
pub const ASSUMED: &str = "reckoned from the TXIDs and files that are listed, at the list prices of S3 Standard in us-east-1: $0.005 for \
                           1,000 PUT or LIST, $0.0004 for 1,000 GET, $0.023 for a GB and month; what goes in and deletes are free, \
                           restores are not counted";

type Told = Vec<(&'static str, String)>;

/// What holds for the whole program.
pub fn program(options: &Options) -> Told {
    let mut told = Told::new();
    let (app, before) = match options.exec.split_last() {
        Some((app, before)) => (Some(app), before),
        None => (None, &[][..]),
    };
    let first: Vec<String> = options.migrate.iter().chain(before).map(|command| quoted(options, command)).collect();
    let first = match first.as_slice() {
        [] => String::new(),
        [one] => format!("{one} is run first, and only if it succeeds "),
        several => format!("{} are run first, and only if each succeeds ", several.join(", then ")),
    };
    told.push((
        "runs",
        match app {
            Some(app) => format!("{first}{} is started when every database is restored and replicated, and is ended with this program", quoted(options, app)),
            None => format!(
                "{first}what `millstream run -- COMMAND` names is started when every database is restored and replicated; \
                 `millstream replicate` only replicates"
            ),
        },
    ));
    told.push((
        "stops",
        format!(
            "from the first signal on there are {} for the application's end and the last upload together (`grace`); the exit code \
             says whether every commit is in the bucket",
            plain(options.shutdown.grace)
        ),
    ));
    told
}

/// With the nodes of a cluster on which it is run.
fn quoted(options: &Options, command: &Configured) -> String {
    let on = match command.on {
        _ if options.cluster.is_none() => "",
        RunsOn::Every => "",
        RunsOn::Primary => " (on the primary)",
        RunsOn::Follower => " (on followers)",
        RunsOn::Candidate => " (on candidates)",
    };
    format!("`{}`{on}", command.line)
}

/// What holds for one database.
pub fn database(options: &Options, database: &Database) -> Told {
    let interval = database.replicas.first.sync_interval;
    vec![
        ("restores", restores(options, database)),
        ("ships", ships(interval)),
        ("keeps", keeps(options, database)),
        ("can lose", can_lose(interval)),
    ]
}

fn restores(options: &Options, database: &Database) -> String {
    let by = match database.restore_if_db_not_exists {
        true => "`millstream run` and `millstream replicate` restore it at the start if the file is missing",
        false => {
            "`millstream run` restores it at the start if the file is missing; `millstream replicate` does not \
             (`restore-if-db-not-exists`)"
        }
    };
    let without = match options.require_backup {
        true => "without a backup nothing is started (`require-backup`)",
        false => {
            "if there is no backup yet, the application begins with an empty disk; if that cannot be told, it is not started"
        }
    };
    let from = if database.replicas.are_several() { ", from the replica with the newest state" } else { "" };
    format!("{by}{from}; {without}")
}

fn ships(interval: Duration) -> String {
    match interval.is_zero() {
        true => {
            "a commit leaves at once, and the next upload begins when the last one is done (`sync-interval: 0`)".into()
        }
        false => format!(
            "a commit leaves at once; only a writer that never rests waits, and makes one upload in {} on average (`sync-interval`): after a \
             rest they may be {} apart, for as long as what was saved in the last hour lasts",
            plain(interval),
            plain(interval / 10)
        ),
    }
}

fn keeps(options: &Options, database: &Database) -> String {
    let lifecycle = &options.lifecycle;
    let snapshot = &database.replicas.first.snapshot;
    let level = lifecycle.levels.first().map(|level| plain(*level)).unwrap_or_default();
    let snapshots = format!("a snapshot is written every {} if something has changed", plain(snapshot.interval));
    if !lifecycle.retention_enabled {
        return format!("everything, for ever (`retention: {{enabled: false}}`); {snapshots}");
    }
    let back = plain(snapshot.retention);
    let every = match lifecycle.l0_retention {
        Duration::ZERO => format!("you can go back to every commit of the last {back} (`l0-retention: 0`)"),
        kept => format!(
            "you can go back to every commit of the last {} (`l0-retention`), and to a moment every {level} or less of the last {back} \
             (`snapshot.retention`)",
            plain(kept)
        ),
    };
    format!("{every}; {snapshots}")
}

fn can_lose(interval: Duration) -> String {
    let disk = match interval.is_zero() {
        true => "what one upload takes".into(),
        false => format!(
            "what one upload takes and up to {} of writing, or up to {} for a writer that never rests",
            plain(interval / 10),
            plain(interval)
        ),
    };
    format!(
        "if the process or the machine is killed and the disk is still there: nothing, the next start ships the rest; if the disk \
         is lost with it: {disk}; if the bucket was away, everything since then (the log and /metrics say since when)"
    )
}

/// What was measured.
pub fn rates(rates: &Rates) -> String {
    format!(
        "{:.0} uploads and {:.1} compacted files an hour, {} an hour, measured over the last {}",
        rates.uploads,
        rates.compactions,
        human(rates.bytes as u64),
        plain(Duration::from_secs((rates.hours * 3600.0) as u64))
    )
}

/// A duration in the largest unit that says it, or in two.
fn plain(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |larger: u64, unit, smaller: u64, sub| match smaller {
        0 => format!("{larger} {unit}"),
        smaller => format!("{larger} {unit} {smaller} {sub}"),
    };
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7200 => two(seconds / 60, "min", seconds % 60, "s"),
        7200..172_800 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "days", seconds % 86_400 / 3600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn told(text: &str) -> String {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("litestream.yml");
        std::fs::write(&path, text).expect("write");
        let env = |_: &str| None;
        let sources = Sources { config_path: Some(path), ..Sources::new(&env, "/".into()) };
        let options = Options::load(&sources).expect("valid").options;
        let all = [program(&options), database(&options, &options.databases[0])].concat();
        all.iter().map(|(topic, text)| format!("{topic}: {text}\n")).collect()
    }

    #[test]
    fn durations_are_said_as_people_say_them() {
        let said: Vec<String> = [50, 1_000, 90_000, 300_000, 3_660_000, 86_400_000, 604_800_000]
            .map(Duration::from_millis)
            .map(plain)
            .into();
        assert_eq!(said.join(", "), "50 ms, 1 s, 90 s, 5 min, 61 min, 24 h, 7 days");
    }

    #[test]
    fn the_configuration_is_told_as_it_will_act() {
        let usual = told("dbs: [{path: /data/a.db, replica: {url: 's3://b/p'}}]");
        for words in [
            "every commit of the last 5 min",
            "every 30 s or less of the last 24 h",
            "one upload in 1 s",
            "100 ms of writing",
            "nothing, the next start",
        ] {
            assert!(usual.contains(words), "{words}: {usual}");
        }
        let other = told(
            "exec: ./app\nmigrate: ./migrate\nrequire-backup: true\nl0-retention: 0s\ngrace: 20s\nsnapshot: {retention: 168h}\n\
             dbs: [{path: /data/a.db, restore-if-db-not-exists: true, replica: {url: 's3://b/p', sync-interval: 0s}}]",
        );
        for words in [
            "`./migrate` is run first",
            "`./app`",
            "nothing is started",
            "every commit of the last 7 days",
            "sync-interval: 0",
            "20 s for",
            "and `millstream replicate` restore",
        ] {
            assert!(other.contains(words), "{words}: {other}");
        }
        assert!(
            told("retention: {enabled: false}\ndbs: [{path: /a, replica: {url: 's3://b/p'}}]").contains("for ever")
        );
    }
}
