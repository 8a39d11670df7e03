//! From the checked sections of a file to [`Options`]: defaults, inheritance, and the rules that
//! concern several keys at once.
//!
//! Errors are sentences that begin with the place (`dbs[0].replica: …`); the caller adds the file.

use std::path::{Path, PathBuf};

use super::options::{
    CaptureOptions, Database, Lifecycle, LogFormat, LogLevel, Logging, Options, Presets, Shutdown, Socket,
};
use super::paths::{PathContext, default_meta_path};
use super::registrations::RegistrationsFile;
use super::replicas::Surroundings;
use super::section::Section;
use super::{
    cluster, collisions, commands, directory, handover, lifecycle, litefs, monitoring, owner, proxy, replicas, scalar,
};

/// Everything the file says, or the first thing that is wrong with it.
pub fn options(root: &Section, context: PathContext<'_>, warnings: &mut Vec<String>) -> Result<Options, String> {
    let lifecycle = lifecycle::global(root)?;
    let (mut databases, mut directories) = (Vec::new(), Vec::new());
    for (index, section) in root.sections("dbs").unwrap_or_default().iter().enumerate() {
        let place = format!("dbs[{index}]");
        directory::check_keys(section, &place)?;
        let (is_directory, path) = match section.text("dir") {
            Some(dir) => (true, directory::root(dir, context, &place)?),
            None => (false, path(section, context, &place)?),
        };
        let model = database(section, path, root, &lifecycle, context, &place, warnings)?;
        match is_directory {
            true => directories.push((index, directory::of_entry(section, model, context, &place)?)),
            false => databases.push((index, model)),
        }
    }
    collisions::refuse(&databases)?;
    collisions::refuse_directories(&databases, &directories)?;
    let databases: Vec<Database> = databases.into_iter().map(|(_, database)| database).collect();
    let directories = directories.into_iter().map(|(_, directory)| directory).collect();
    let logging = root.section("logging");
    let logging = |name: &str| logging.and_then(|section| section.text(name));
    let level = logging("level").map(LogLevel::parse).transpose().map_err(|why| format!("logging.level: {why}"))?;
    let format = logging("type").map(LogFormat::parse).transpose().map_err(|why| format!("logging.type: {why}"))?;
    let defaults = Shutdown::default();
    let (proxy, cluster) = (proxy::of_root(root)?, cluster::of_root(root)?);
    let nodes_reach_each_other = proxy.as_ref().is_some_and(|proxy| proxy.advertise.is_some());
    Ok(Options {
        litefs: litefs::of_root(root, databases.iter().map(|database| &*database.path), context)?,
        databases,
        directories,
        on_database_failure: monitoring::on_database_failure(root)?,
        exec: commands::exec(root)?,
        migrate: commands::migrate(root)?,
        mark_before_migration: root.bool("mark-before-migration").unwrap_or(true),
        logging: Logging { level: level.unwrap_or_default(), format: format.unwrap_or_default() },
        shutdown: Shutdown {
            grace: root.positive("", "grace", defaults.grace)?,
            sync_timeout: root.duration("shutdown-sync-timeout").unwrap_or(defaults.sync_timeout),
            sync_interval: root.positive("", "shutdown-sync-interval", defaults.sync_interval)?,
        },
        handover: handover::of_root(root, nodes_reach_each_other && cluster.is_none())?,
        cluster,
        require_backup: root.bool("require-backup").unwrap_or(false),
        strip_env: variables(root, "strip-env")?,
        lifecycle,
        monitoring: monitoring::of_root(root)?,
        socket: socket(root, context)?,
        proxy,
        presets: Presets::of(root),
    })
}

fn socket(root: &Section, context: PathContext<'_>) -> Result<Option<Socket>, String> {
    let Some(section) = root.section("socket") else { return Ok(None) };
    let path = section.text("path").unwrap_or(Socket::PATH);
    let path = context.absolute(Path::new(path)).map_err(|why| format!("socket.path: {why}"))?;
    let mode = section.text("permissions").map(scalar::parse_mode).transpose();
    let mode = mode.map_err(|why| format!("socket.permissions: {why}"))?.unwrap_or(Socket::MODE);
    let registrations = section.text("registrations").map(|path| context.absolute(Path::new(path))).transpose();
    let registrations = registrations.map_err(|why| format!("socket.registrations: {why}"))?;
    let registrations = registrations.map(RegistrationsFile::at);
    Ok(section.bool("enabled").unwrap_or(false).then_some(Socket { path, mode, registrations }))
}

fn variables(section: &Section, name: &str) -> Result<Vec<String>, String> {
    let names = section.texts(name).unwrap_or_default().iter();
    names.map(|text| scalar::parse_variable(text).map_err(|why| format!("{name}: {why}"))).collect()
}

fn path(section: &Section, context: PathContext<'_>, place: &str) -> Result<PathBuf, String> {
    let path = section.text("path").ok_or_else(|| format!("{place}: `path` is missing or empty"))?;
    let path = context.database(Path::new(path)).map_err(|why| format!("{place}.path: {why}"))?;
    match path.file_name() {
        Some(_) => Ok(path),
        None => Err(format!("{place}.path: {} is not a file", path.display())),
    }
}

/// Of a directory: what every database in it has, at the path of the directory.
fn database(
    section: &Section,
    path: PathBuf,
    root: &Section,
    lifecycle: &Lifecycle,
    context: PathContext<'_>,
    place: &str,
    warnings: &mut Vec<String>,
) -> Result<Database, String> {
    let meta_path = match section.text("meta-path") {
        Some(meta) => context.absolute(Path::new(meta)).map_err(|why| format!("{place}.meta-path: {why}"))?,
        None => default_meta_path(&path),
    };
    let file_mode = section.text("mode").map(scalar::parse_mode).transpose();
    let file_owner = section.text("owner").map(owner::parse).transpose();
    Ok(Database {
        capture: capture(section, place)?,
        restore_if_db_not_exists: section.bool("restore-if-db-not-exists").unwrap_or(false),
        optional: section.bool("optional").unwrap_or(false),
        may_vanish: false,
        file_mode: file_mode.map_err(|why| format!("{place}.mode: {why}"))?,
        file_owner: file_owner.map_err(|why| format!("{place}.owner: {why}"))?,
        replicas: replicas::of_database(section, &Surroundings { root, lifecycle, context }, place, warnings)?,
        path,
        meta_path,
    })
}

fn capture(section: &Section, place: &str) -> Result<CaptureOptions, String> {
    let defaults = CaptureOptions::default();
    let pages = |name: &str, default: u32| match section.number(name) {
        None => Ok(default),
        Some(number) => u32::try_from(number).map_err(|_| format!("{place}.{name}: {number} is too large")),
    };
    Ok(CaptureOptions {
        monitor_interval: section.positive(place, "monitor-interval", defaults.monitor_interval)?,
        checkpoint_interval: section.duration("checkpoint-interval").unwrap_or(defaults.checkpoint_interval),
        busy_timeout: section.duration("busy-timeout").unwrap_or(defaults.busy_timeout),
        min_checkpoint_page_count: pages("min-checkpoint-page-count", defaults.min_checkpoint_page_count)?,
        truncate_page_n: pages("truncate-page-n", defaults.truncate_page_n)?,
        max_sync_wal_bytes: section.number("max-sync-wal-bytes").unwrap_or(defaults.max_sync_wal_bytes),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::options::{Replica, SnapshotPolicy, Verify};
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
        assert_eq!(db.replicas.first.sync_interval, Replica::SYNC_INTERVAL);
        assert_eq!(db.replicas.first.target, Target::File { path: "/backup".into() });
        assert_eq!((options.shutdown, options.lifecycle), (Shutdown::default(), Lifecycle::default()));
        assert_eq!((db.file_mode, db.file_owner, db.restore_if_db_not_exists), (None, None, false));
        assert!(!db.optional);
        assert_eq!(read(&one("")).expect("valid").1, Vec::<String>::new());
    }

    #[test]
    fn verification_is_asked_for_globally_and_per_database() {
        let verify = |text: &str| accept(text).databases.remove(0).replicas.first.verify;
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
        let lines = [&options.migrate[..], &options.exec[..]].concat();
        assert_eq!(lines.iter().map(|command| &*command.line).collect::<Vec<_>>(), ["app migrate", "app serve"]);
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
        assert!(db.restore_if_db_not_exists && db.optional && db.replicas.first.sync_interval.is_zero());
    }

    #[test]
    fn the_control_socket_is_off_unless_it_is_switched_on() {
        let socket = |text: &str| accept(&one(text)).socket;
        assert_eq!(socket(""), None);
        assert_eq!(socket("socket: {path: /run/x.sock}\n"), None);
        assert_eq!(socket("socket: {enabled: false}\n"), None);
        let usual = Socket { path: Socket::PATH.into(), mode: 0o600, registrations: None };
        assert_eq!(socket("socket: {enabled: true}\n"), Some(usual));
        let own = Socket { path: "/srv/run/x.sock".into(), mode: 0o660, registrations: None };
        assert_eq!(socket("socket: {enabled: true, path: run/x.sock, permissions: 0660}\n"), Some(own));
        let wrong = problem(&one("socket: {enabled: true, permissions: rw}\n"));
        assert!(wrong.starts_with("socket.permissions: "), "{wrong}");
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
        let snapshot = |index: usize| options.databases[index].replicas.first.snapshot;
        let hours = |h: u64| Duration::from_secs(h * 3600);
        let first = SnapshotPolicy { interval: hours(2), retention: hours(72), check_interval: hours(2) };
        let second = SnapshotPolicy { interval: hours(4), retention: hours(48), check_interval: hours(1) };
        assert_eq!((snapshot(0), snapshot(1)), (first, second));
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn litestreams_validation_is_a_verification() {
        let verify =
            |lines: &str| accept(lines).databases.into_iter().map(|db| db.replicas.first.verify).collect::<Vec<_>>();
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
            ("dbs: [{replica: {path: /b}}]".to_owned(), "dbs[0]: `path` is missing"),
        ];
        for (text, part) in cases {
            let problem = problem(&text);
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }
}
