//! From the checked sections of a file to [`Options`]: defaults, inheritance, and the rules that concern several keys at once.
//!
//! Errors are sentences that begin with the place (`dbs[0].replica: …`); the caller adds the file.

use std::path::Path;
use std::time::Duration;

use nix::unistd::{Group, User};

use super::options::{
    CaptureOptions, Database, Lifecycle, LogFormat, LogLevel, Logging, Options, Shutdown, SnapshotPolicy, Verify,
};
use super::paths::{PathContext, default_meta_path};
use super::section::Section;
use super::{replica, scalar};

/// Litestream's: level 0 is implied, level 9 is for snapshots.
const LEVELS_MAX: usize = 8;

/// Everything the file says, or the first thing that is wrong with it.
pub fn options(root: &Section, context: PathContext<'_>, warnings: &mut Vec<String>) -> Result<Options, String> {
    let lifecycle = lifecycle(root)?;
    let mut databases = Vec::new();
    for (index, section) in root.sections("dbs").unwrap_or_default().iter().enumerate() {
        let place = format!("dbs[{index}]");
        databases.push(database(section, root, &lifecycle, context, &place, warnings)?);
    }
    refuse_collisions(&databases)?;
    let logging = root.section("logging");
    let logging = |name: &str| logging.and_then(|section| section.text(name));
    let level = logging("level").map(LogLevel::parse).transpose().map_err(|why| format!("logging.level: {why}"))?;
    let format = logging("type").map(LogFormat::parse).transpose().map_err(|why| format!("logging.type: {why}"))?;
    let defaults = Shutdown::default();
    Ok(Options {
        databases,
        exec: root.text("exec").map(str::to_owned),
        migrate: root.text("migrate").map(str::to_owned),
        logging: Logging { level: level.unwrap_or_default(), format: format.unwrap_or_default() },
        shutdown: Shutdown {
            grace: positive(root, "", "grace", defaults.grace)?,
            sync_timeout: root.duration("shutdown-sync-timeout").unwrap_or(defaults.sync_timeout),
            sync_interval: positive(root, "", "shutdown-sync-interval", defaults.sync_interval)?,
        },
        require_backup: root.bool("require-backup").unwrap_or(false),
        strip_env: variables(root, "strip-env")?,
        lifecycle,
    })
}

fn variables(section: &Section, name: &str) -> Result<Vec<String>, String> {
    let names = section.texts(name).unwrap_or_default().iter();
    names.map(|text| scalar::parse_variable(text).map_err(|why| format!("{name}: {why}"))).collect()
}

fn database(
    section: &Section,
    root: &Section,
    lifecycle: &Lifecycle,
    context: PathContext<'_>,
    place: &str,
    warnings: &mut Vec<String>,
) -> Result<Database, String> {
    let path = section.text("path").ok_or_else(|| format!("{place}: `path` is missing or empty"))?;
    let path = context.database(Path::new(path)).map_err(|why| format!("{place}.path: {why}"))?;
    if path.file_name().is_none() {
        return Err(format!("{place}.path: {} is not a file", path.display()));
    }
    let meta_path = match section.text("meta-path") {
        Some(meta) => context.absolute(Path::new(meta)).map_err(|why| format!("{place}.meta-path: {why}"))?,
        None => default_meta_path(&path),
    };
    let file_mode = section.text("mode").map(scalar::parse_mode).transpose();
    let file_owner = section.text("owner").map(owner).transpose();
    let (replica_section, replica_place) = the_replica(section, place)?;
    let mut replica_warnings = Vec::new();
    let replica = replica::from_section(replica_section, root, context, &mut replica_warnings)
        .map_err(|why| format!("{replica_place}: {why}"))?;
    warnings.extend(replica_warnings.into_iter().map(|warning| format!("{replica_place}: {warning}")));
    Ok(Database {
        capture: capture(section, place)?,
        verify: match section.has("verify") || root.has("verify") {
            true => verify(section, root, context, place)?,
            false => validation(replica_section, root),
        },
        restore_if_db_not_exists: section.bool("restore-if-db-not-exists").unwrap_or(false),
        optional: section.bool("optional").unwrap_or(false),
        file_mode: file_mode.map_err(|why| format!("{place}.mode: {why}"))?,
        file_owner: file_owner.map_err(|why| format!("{place}.owner: {why}"))?,
        snapshot: snapshot_policy(section, replica_section, lifecycle, place, &replica_place)?,
        replica,
        path,
        meta_path,
    })
}

/// The one replica of a database, under 0.5's name or 0.3's.
fn the_replica<'a>(section: &'a Section, place: &str) -> Result<(&'a Section, String), String> {
    match (section.section("replica"), section.sections("replicas").unwrap_or_default()) {
        (Some(_), [_, ..]) => Err(format!("{place}: `replica` and `replicas` exclude each other; remove one")),
        (Some(replica), []) => Ok((replica, format!("{place}.replica"))),
        (None, [replica]) => Ok((replica, format!("{place}.replicas[0]"))),
        (None, []) => Err(format!("{place}: no replica; add `replica:` with `url: s3://BUCKET/PATH` below it")),
        (None, _) => Err(format!("{place}.replicas: several replicas per database are not supported yet; leave one")),
    }
}

fn capture(section: &Section, place: &str) -> Result<CaptureOptions, String> {
    let defaults = CaptureOptions::default();
    let pages = |name: &str, default: u32| match section.number(name) {
        None => Ok(default),
        Some(number) => u32::try_from(number).map_err(|_| format!("{place}.{name}: {number} is too large")),
    };
    Ok(CaptureOptions {
        monitor_interval: positive(section, place, "monitor-interval", defaults.monitor_interval)?,
        checkpoint_interval: section.duration("checkpoint-interval").unwrap_or(defaults.checkpoint_interval),
        busy_timeout: section.duration("busy-timeout").unwrap_or(defaults.busy_timeout),
        min_checkpoint_page_count: pages("min-checkpoint-page-count", defaults.min_checkpoint_page_count)?,
        truncate_page_n: pages("truncate-page-n", defaults.truncate_page_n)?,
        max_sync_wal_bytes: section.number("max-sync-wal-bytes").unwrap_or(defaults.max_sync_wal_bytes),
    })
}

/// Litestream's keys: 0.3's restored the replica and compared it, 0.5's looks for gaps in its levels.
fn validation(replica: &Section, root: &Section) -> Option<Verify> {
    let of_03 = replica.duration("validation-interval").or_else(|| root.duration("validation-interval"));
    let of_05 = root.section("validation").and_then(|validation| validation.duration("interval"));
    let (interval, deep) = match (of_03, of_05) {
        (Some(interval), _) => (interval, true),
        (None, interval) => (interval?, false),
    };
    Some(Verify { interval, deep, rate: Verify::RATE, dir: None }).filter(|verify| !verify.interval.is_zero())
}

/// The database's keys, else the global ones. An interval of zero turns it off.
fn verify(db: &Section, root: &Section, context: PathContext<'_>, place: &str) -> Result<Option<Verify>, String> {
    let own = db.section("verify").map(|section| (section, format!("{place}.verify")));
    let global = root.section("verify").map(|section| (section, "verify".to_owned()));
    let sections: Vec<(&Section, String)> = own.into_iter().chain(global).collect();
    let Some((_, place)) = sections.first() else { return Ok(None) };
    let interval = sections.iter().find_map(|(section, _)| section.duration("interval"));
    let interval = interval.ok_or_else(|| format!("{place}.interval is missing: how often, for example 24h"))?;
    let rate = sections.iter().find_map(|(section, place)| Some((section.number("rate")?, place)));
    if let Some((rate, place)) = rate.filter(|(rate, _)| *rate < Verify::RATE_MIN) {
        return Err(format!("{place}.rate: {rate} bytes a second are too few, {} are the least", Verify::RATE_MIN));
    }
    let dir = sections.iter().find_map(|(section, place)| Some((section.text("dir")?, place)));
    let dir = dir.map(|(dir, place)| context.absolute(Path::new(dir)).map_err(|why| format!("{place}.dir: {why}")));
    Ok(Some(Verify {
        interval,
        deep: sections.iter().find_map(|(section, _)| section.bool("deep")).unwrap_or(true),
        rate: rate.map_or(Verify::RATE, |(rate, _)| rate),
        dir: dir.transpose()?,
    })
    .filter(|verify| !verify.interval.is_zero()))
}

fn lifecycle(root: &Section) -> Result<Lifecycle, String> {
    let defaults = Lifecycle::default();
    let levels = match root.sections("levels") {
        None => defaults.levels,
        Some(levels) if levels.len() > LEVELS_MAX => {
            return Err(format!("levels: {} are too many, there can be {LEVELS_MAX}", levels.len()));
        }
        Some(levels) => {
            let interval = |(index, level): (usize, &Section)| match level.duration("interval") {
                Some(interval) if !interval.is_zero() => Ok(interval),
                _ => Err(format!("levels[{index}].interval is missing or zero")),
            };
            levels.iter().enumerate().map(interval).collect::<Result<_, _>>()?
        }
    };
    let check = defaults.l0_retention_check_interval;
    Ok(Lifecycle {
        levels,
        snapshot: match root.section("snapshot") {
            None => defaults.snapshot,
            Some(section) => SnapshotPolicy {
                interval: positive(section, "snapshot", "interval", defaults.snapshot.interval)?,
                retention: positive(section, "snapshot", "retention", defaults.snapshot.retention)?,
                ..defaults.snapshot
            },
        },
        l0_retention: root.duration("l0-retention").unwrap_or(defaults.l0_retention),
        l0_retention_check_interval: positive(root, "", "l0-retention-check-interval", check)?,
        retention_enabled: root.section("retention").and_then(|r| r.bool("enabled")).unwrap_or(true),
    })
}

/// 0.3's keys of the replica, else 0.5's of the database, else the global ones.
fn snapshot_policy(
    db: &Section,
    replica: &Section,
    lifecycle: &Lifecycle,
    db_place: &str,
    replica_place: &str,
) -> Result<SnapshotPolicy, String> {
    let global = lifecycle.snapshot;
    let of_db = match db.section("snapshot") {
        None => global,
        Some(section) => {
            let place = format!("{db_place}.snapshot");
            SnapshotPolicy {
                interval: positive(section, &place, "interval", global.interval)?,
                retention: positive(section, &place, "retention", global.retention)?,
                ..global
            }
        }
    };
    Ok(SnapshotPolicy {
        interval: positive(replica, replica_place, "snapshot-interval", of_db.interval)?,
        retention: positive(replica, replica_place, "retention", of_db.retention)?,
        check_interval: positive(replica, replica_place, "retention-check-interval", of_db.check_interval)?,
    })
}

/// Two databases that share a file, our state, or a place in the bucket would destroy each other's history.
fn refuse_collisions(databases: &[Database]) -> Result<(), String> {
    for (b, later) in databases.iter().enumerate() {
        for (a, earlier) in databases[..b].iter().enumerate() {
            let shared = if earlier.path == later.path {
                "name the same database"
            } else if earlier.meta_path == later.meta_path {
                "have the same `meta-path`"
            } else if earlier.replica.target.is_same_place(&later.replica.target) {
                "have the same replica; give each database a path of its own"
            } else {
                continue;
            };
            return Err(format!("dbs[{a}] and dbs[{b}] {shared}"));
        }
    }
    Ok(())
}

fn positive(section: &Section, place: &str, name: &str, default: Duration) -> Result<Duration, String> {
    match section.duration(name) {
        Some(Duration::ZERO) => {
            let dot = if place.is_empty() { "" } else { "." };
            Err(format!("{place}{dot}{name} must be greater than zero"))
        }
        Some(duration) => Ok(duration),
        None => Ok(default),
    }
}

/// `1000:1000`, `app:app`, or `app` with the user's own group.
fn owner(text: &str) -> Result<(u32, u32), String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let known = match user.parse::<u32>() {
        Ok(uid) => (uid, None),
        Err(_) => {
            let found = User::from_name(user).map_err(|error| format!("look up the user {user:?}: {error}"))?;
            let found = found.ok_or_else(|| format!("there is no user {user:?}"))?;
            (found.uid.as_raw(), Some(found.gid.as_raw()))
        }
    };
    let gid = match (group, known.1) {
        (None, Some(gid)) => gid,
        (None, None) => return Err(format!("{text:?} names no group; write UID:GID")),
        (Some(group), _) => match group.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => {
                let found = Group::from_name(group).map_err(|error| format!("look up the group {group:?}: {error}"))?;
                found.ok_or_else(|| format!("there is no group {group:?}"))?.gid.as_raw()
            }
        },
    };
    Ok((known.0, gid))
}

#[cfg(test)]
mod tests {
    use super::super::options::Replica;
    use super::super::target::Target;
    use super::super::yaml;
    use super::*;

    fn read(text: &str) -> Result<(Options, Vec<String>), String> {
        let root = yaml::parse("f", text)?.root;
        let env = |_: &str| None;
        let mut warnings = Vec::new();
        let context = PathContext { cwd: Path::new("/srv"), env: &env };
        options(&root, context, &mut warnings).map(|options| (options, warnings))
    }

    fn accept(text: &str) -> Options {
        read(text).unwrap_or_else(|problem| panic!("{text}: {problem}")).0
    }

    fn problem(text: &str) -> String {
        read(text).err().unwrap_or_else(|| panic!("{text} was accepted"))
    }

    /// A file with one database on `/data/app.db` and these extra lines in it.
    fn one(lines: &str) -> String {
        format!("dbs:\n  - path: /data/app.db\n    replica: {{path: /backup}}\n{lines}")
    }

    #[test]
    fn a_small_file_gets_every_default() {
        let options = accept(&one(""));
        let db = &options.databases[0];
        assert_eq!(
            (db.path.as_path(), db.meta_path.as_path()),
            (Path::new("/data/app.db"), Path::new("/data/.app.db-millstream"))
        );
        assert_eq!(db.capture, CaptureOptions::default());
        assert_eq!(db.replica.sync_interval, Replica::SYNC_INTERVAL);
        assert_eq!(db.replica.target, Target::File { path: "/backup".into() });
        assert_eq!((options.shutdown, options.lifecycle), (Shutdown::default(), Lifecycle::default()));
        assert_eq!((db.file_mode, db.file_owner, db.restore_if_db_not_exists), (None, None, false));
        assert!(!db.optional);
        assert_eq!(read(&one("")).expect("valid").1, Vec::<String>::new());
    }

    #[test]
    fn verification_is_asked_for_globally_and_per_database() {
        let verify = |text: &str| accept(text).databases.remove(0).verify;
        assert_eq!(verify(&one("")), None);
        let day = Duration::from_secs(24 * 3600);
        let global = Verify { interval: day, deep: true, rate: Verify::RATE, dir: None };
        assert_eq!(verify(&one("verify: {interval: 24h}\n")), Some(global.clone()));
        let own = "dbs:\n  - path: /a\n    replica: {path: /b}\n    verify: {deep: false, dir: tmp}\nverify: {interval: 24h, rate: 1MiB}";
        let wanted = Verify { deep: false, rate: 1 << 20, dir: Some("/srv/tmp".into()), ..global };
        assert_eq!(verify(own), Some(wanted));
        assert_eq!(verify(&one("verify: {interval: 0}\n")), None);
        assert!(problem(&one("verify: {deep: true}\n")).contains("verify.interval is missing"));
        assert!(problem(&one("verify: {interval: 1h, rate: 7}\n")).contains("too few"));
    }

    #[test]
    fn every_setting_arrives() {
        let text = "exec: app serve\nmigrate: app migrate\ngrace: 25s\nrequire-backup: yes\n\
                    shutdown-sync-timeout: 1m\nshutdown-sync-interval: 250ms\n\
                    logging: {level: WARN, type: json, stderr: true}\n\
                    dbs:\n  - path: app.db\n    meta-path: /state/app\n    monitor-interval: 2s\n    \
                    checkpoint-interval: 5m\n    busy-timeout: 3s\n    min-checkpoint-page-count: 7\n    \
                    max-checkpoint-page-count: 9\n    truncate-page-n: 0\n    max-sync-wal-bytes: 1MiB\n    \
                    restore-if-db-not-exists: true\n    optional: true\n    mode: 0640\n    owner: '10:20'\n    \
                    replicas:\n      - {url: 'file:///b', name: x, sync-interval: 0}\n";
        let options = accept(text);
        assert_eq!((options.exec.as_deref(), options.migrate.as_deref()), (Some("app serve"), Some("app migrate")));
        assert_eq!(options.logging, Logging { level: LogLevel::Warn, format: LogFormat::Json });
        let shutdown = Shutdown {
            grace: Duration::from_secs(25),
            sync_timeout: Duration::from_secs(60),
            sync_interval: Duration::from_millis(250),
        };
        assert_eq!((options.shutdown, options.require_backup), (shutdown, true));
        let db = &options.databases[0];
        assert_eq!((db.path.as_path(), db.meta_path.as_path()), (Path::new("/srv/app.db"), Path::new("/state/app")));
        let capture = CaptureOptions {
            monitor_interval: Duration::from_secs(2),
            checkpoint_interval: Duration::from_secs(300),
            busy_timeout: Duration::from_secs(3),
            min_checkpoint_page_count: 7,
            truncate_page_n: 0,
            max_sync_wal_bytes: 1 << 20,
        };
        assert_eq!(db.capture, capture);
        assert_eq!((db.file_mode, db.file_owner), (Some(0o640), Some((10, 20))));
        assert!(db.restore_if_db_not_exists && db.optional && db.replica.sync_interval.is_zero());
    }

    #[test]
    fn exactly_one_replica() {
        let with = |lines: &str| format!("dbs:\n  - path: /a\n{lines}");
        assert!(problem(&with("")).contains("no replica"));
        assert!(problem(&with("    replicas: []\n")).contains("no replica"));
        let two = with("    replicas: [{path: /b}, {path: /c}]\n");
        assert_eq!(problem(&two), "dbs[0].replicas: several replicas per database are not supported yet; leave one");
        let both = with("    replica: {path: /b}\n    replicas: [{path: /c}]\n");
        assert!(problem(&both).contains("exclude each other"));
        accept(&with("    replica: {path: /b}\n    replicas: []\n"));
        assert!(problem("dbs: [{replica: {path: /b}}]").starts_with("dbs[0]: `path` is missing"));
        assert!(problem(&with("    replicas: [{url: ''}]\n")).starts_with("dbs[0].replicas[0]: the url is empty"));
    }

    #[test]
    fn an_empty_file_has_no_databases() {
        for text in ["", "dbs:\n", "dbs: []\n", "exec: x\n"] {
            assert!(accept(text).databases.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn the_lifecycle_of_05_is_read() {
        let text = "levels: [{interval: 10s}, {interval: 1h}]\nsnapshot: {interval: 12h, retention: 168h}\n\
                    l0-retention: 0\nl0-retention-check-interval: 1m\nretention: {enabled: false}\n\
                    validation: {interval: 6h}\nverify-compaction: true\n";
        let (options, warnings) = read(text).expect("valid");
        let expected = Lifecycle {
            levels: vec![Duration::from_secs(10), Duration::from_secs(3600)],
            snapshot: SnapshotPolicy {
                interval: Duration::from_secs(12 * 3600),
                retention: Duration::from_secs(168 * 3600),
                ..SnapshotPolicy::default()
            },
            l0_retention: Duration::ZERO,
            l0_retention_check_interval: Duration::from_secs(60),
            retention_enabled: false,
        };
        assert_eq!(options.lifecycle, expected);
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn the_retention_of_03_is_honoured_per_replica() {
        let text = "snapshot: {interval: 2h}\nvalidation-interval: 7h\ndbs:\n  - path: /a\n    snapshot: {retention: 48h}\n    \
                    replicas: [{path: /b, retention: 72h, retention-check-interval: 2h, validation-interval: 3h}]\n  \
                    - path: /c\n    snapshot: {retention: 48h}\n    replica: {path: /d, snapshot-interval: 4h}\n";
        let (options, warnings) = read(text).expect("valid");
        let hours = |h: u64| Duration::from_secs(h * 3600);
        let first = SnapshotPolicy { interval: hours(2), retention: hours(72), check_interval: hours(2) };
        let second = SnapshotPolicy { interval: hours(4), retention: hours(48), check_interval: hours(1) };
        assert_eq!((options.databases[0].snapshot, options.databases[1].snapshot), (first, second));
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn litestreams_validation_is_a_verification() {
        let verify = |lines: &str| accept(lines).databases.into_iter().map(|db| db.verify).collect::<Vec<_>>();
        let every = |hours: u64, deep| {
            Some(Verify { interval: Duration::from_secs(hours * 3600), deep, rate: Verify::RATE, dir: None })
        };
        assert_eq!(verify(&one("validation: {interval: 6h}\n")), [every(6, false)], "0.5 looks at names");
        assert_eq!(verify(&one("validation: {interval: 0}\n")), [None]);
        assert_eq!(verify(&one("validation: {}\n")), [None]);
        let of_03 = "validation-interval: 7h\ndbs:\n  - {path: /a, replica: {path: /b, validation-interval: 3h}}\n  \
                     - {path: /c, replica: {path: /d}}\n  - {path: /e, replica: {path: /f, validation-interval: 0}}\n";
        assert_eq!(verify(of_03), [every(3, true), every(7, true), None], "0.3 restored");
        let both = one("validation: {interval: 6h}\nverify: {interval: 2h}\n");
        assert_eq!(verify(&both), [every(2, true)], "ours is the more exact one");
        assert_eq!(verify(&one("validation: {interval: 6h}\nverify: {interval: 0}\n")), [None], "switched off");
    }

    #[test]
    fn a_database_can_be_optional() {
        assert!(!accept(&one("")).databases[0].optional);
        assert!(accept(&one("    optional: true\n")).databases[0].optional);
        assert!(problem("optional: true\n").contains("`optional` belongs under dbs[]"));
    }

    #[test]
    fn impossible_values_are_refused_by_place() {
        let cases = [
            ("grace: 0\n".to_owned(), "grace must be greater than zero"),
            ("levels: [{interval: 0}]\n".to_owned(), "levels[0].interval"),
            (format!("levels: [{}]\n", ["{interval: 1s}"; 9].join(", ")), "levels: 9 are too many"),
            ("snapshot: {interval: 0}\n".to_owned(), "snapshot.interval must be"),
            ("logging: {level: loud}\n".to_owned(), "logging.level"),
            ("logging: {type: xml}\n".to_owned(), "logging.type"),
            (one("    monitor-interval: 0\n"), "dbs[0].monitor-interval must be greater than zero"),
            (one("    snapshot: {retention: 0}\n"), "dbs[0].snapshot.retention must be"),
            (one("    mode: 999\n"), "dbs[0].mode"),
            (one("    owner: nobody-of-this-name:0\n"), "dbs[0].owner: there is no user"),
            (one("    owner: '0:no-such-group'\n"), "dbs[0].owner: there is no group"),
            (one("    owner: 1000\n"), "names no group"),
            (one("    truncate-page-n: 99999999999\n"), "dbs[0].truncate-page-n"),
            ("dbs: [{path: /, replica: {path: /b}}]".to_owned(), "not a file"),
        ];
        for (text, part) in cases {
            let problem = problem(&text);
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    #[test]
    fn owners_by_name() {
        assert_eq!(owner("root:root"), Ok((0, 0)));
        assert_eq!(owner("root"), Ok((0, 0)));
        assert_eq!(owner("root:7"), Ok((0, 7)));
    }

    #[test]
    fn databases_that_would_destroy_each_other_are_refused() {
        let two = |a: &str, b: &str| format!("dbs:\n  - {a}\n  - {b}\n");
        let same = two("{path: /a, replica: {path: /b}}", "{path: /x/../a, replica: {path: /c}}");
        assert_eq!(problem(&same), "dbs[0] and dbs[1] name the same database");
        let replica = two("{path: /a, replica: {url: 's3://b/p'}}", "{path: /c, replica: {url: 's3://b/p/'}}");
        assert!(problem(&replica).contains("same replica"));
        let meta =
            two("{path: /a, meta-path: /m, replica: {path: /b}}", "{path: /c, meta-path: /m, replica: {path: /d}}");
        assert!(problem(&meta).contains("same `meta-path`"));
        accept(&two("{path: /a, replica: {url: 's3://b/p'}}", "{path: /c, replica: {url: 's3://b/q'}}"));
    }
}
