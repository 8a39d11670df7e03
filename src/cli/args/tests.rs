//! What is understood, and what is refused with which words.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::cli::moment::Moment;
use crate::cli::source::Source;
use crate::config::{LogLevel, Options};
use crate::replicate::OnceWork;
use crate::supervise::Signal;

fn try_parse(words: &[&str]) -> Result<Command, Rejected> {
    parse(std::iter::once("millstream").chain(words.iter().copied()).map(OsString::from))
}

fn ok(words: &[&str]) -> Command {
    try_parse(words).unwrap_or_else(|rejected| panic!("{words:?}: {rejected}"))
}

/// The complaint about a command line that must be refused with exit code 64.
fn refused(words: &[&str]) -> String {
    let rejected = try_parse(words).err().unwrap_or_else(|| panic!("{words:?} was accepted"));
    assert_eq!(rejected.exit_code(), 64, "{words:?}");
    rejected.to_string()
}

fn no_env(_: &str) -> Option<String> {
    None
}

#[test]
fn the_definitions_are_consistent() {
    definition().debug_assert();
}

#[test]
fn the_users_script_works_as_it_is() {
    let words = ["restore", "-v", "-if-replica-exists", "-o", "/data/d.db", "s3://b.nyc3.digitaloceanspaces.com/app"];
    let Command::Restore(restore) = ok(&words) else { panic!("not restore") };
    assert_eq!(restore.sources(&no_env, "/".into()).log_level, Some(LogLevel::Debug));
    assert!(restore.if_replica_exists && !restore.if_db_not_exists);
    assert_eq!(restore.output.as_deref(), Some(Path::new("/data/d.db")));
    assert_eq!(restore.source(), Source::Url("s3://b.nyc3.digitaloceanspaces.com/app".into()));
    let Command::Replicate(replicate) = ok(&["replicate", "-exec", "/app/bin/server"]) else { panic!("not replicate") };
    assert_eq!(replicate.exec.as_deref(), Some("/app/bin/server"));
    assert!(replicate.sources(&no_env, "/".into()).database.is_none());
    // REPLICA_URL is not set.
    assert!(refused(&["restore", "-o", "/data/d.db", ""]).contains("a database path or replica URL is required"));
}

#[test]
fn run_takes_the_application_as_words() {
    let words =
        ["run", "-config", "c.yml", "-grace", "25s", "-require-backup", "-log-level", "warning", "--", "app", "-x"];
    let Command::Run(run) = ok(&words) else { panic!("not run") };
    assert_eq!(run.command, ["app", "-x"]);
    assert_eq!(run.grace, Some(Duration::from_secs(25)));
    let sources = run.sources(&no_env, "/".into());
    assert!(sources.require_backup && sources.expand_env);
    assert_eq!((sources.config_path, sources.log_level), (Some("c.yml".into()), Some(LogLevel::Warn)));
    let Command::Run(run) = ok(&["run", "app", "--", "-config", "-h"]) else { panic!("not run") };
    assert_eq!(run.command, ["app", "--", "-config", "-h"]);
    assert!(matches!(ok(&["run"]), Command::Run(run) if run.command.is_empty()));
}

#[test]
fn run_without_a_file() {
    let words = ["run", "-db", "app.db", "-replica", "file:///b", "-migrate", "m", "-exec", "e"];
    let Command::Run(run) = ok(&words) else { panic!("not run") };
    let loaded = Options::load(&run.sources(&no_env, "/srv".into())).expect("flags are enough");
    assert_eq!(loaded.options.databases[0].path, Path::new("/srv/app.db"));
    assert_eq!((&*loaded.options.migrate[0].line, &*loaded.options.exec[0].line), ("m", "e"));
    let words = ["run", "-db", "app.db", "-replica", "file:///b", "-replica=s3://b/p", "-exec", "e"];
    let Command::Run(run) = ok(&words) else { panic!("not run") };
    let loaded = Options::load(&run.sources(&no_env, "/srv".into())).expect("two replicas");
    let urls: Vec<&str> = loaded.options.databases[0].replicas.iter().map(|replica| replica.url.as_str()).collect();
    assert_eq!(urls, ["file:///b", "s3://b/p"]);
    assert!(refused(&["run", "-db", "app.db"]).contains("-replica"));
    assert!(refused(&["run", "-replica", "file:///b"]).contains("-db"));
    assert!(refused(&["run", "-config", "c", "-db", "a", "-replica", "file:///b"]).contains("cannot be used with"));
    assert!(refused(&["run", "-exec", "a", "--", "b"]).contains("cannot be used with"));
    assert!(refused(&["run", "-grace", "10"]).contains("write for example 10s"));
    assert!(refused(&["run", "-log-level", "loud"]).contains("not a log level"));
}

#[test]
fn signals_can_be_rewritten() {
    let words =
        ["run", "-stop-signal", "QUIT", "-rewrite", "15:3", "-rewrite=HUP:0", "-migrate-timeout", "1m", "--", "app"];
    let Command::Run(run) = ok(&words) else { panic!("not run") };
    assert_eq!(run.life.stop_signal, Some(Signal::QUIT));
    assert_eq!(run.life.rewrites, [(Signal::TERM, Some(Signal::QUIT)), (Signal::HUP, None)]);
    assert_eq!((run.migrate_timeout, run.command.len()), (Some(Duration::from_secs(60)), 1));
    assert!(refused(&["run", "-rewrite", "15", "--", "app"]).contains("FROM:TO"));
    assert!(refused(&["run", "-stop-signal", "FOO", "--", "app"]).contains("not a signal"));
}

#[test]
fn variables_can_be_stripped() {
    for command in ["run", "replicate"] {
        let sources = match ok(&[command, "-strip-env", "TOKEN", "-strip-env=KEY"]) {
            Command::Run(run) => run.sources(&no_env, "/".into()),
            Command::Replicate(replicate) => replicate.sources(&no_env, "/".into()),
            other => panic!("{other:?}"),
        };
        assert_eq!(sources.strip_env, ["TOKEN", "KEY"]);
        assert!(refused(&[command, "-strip-env", "A=B"]).contains("not the name of an environment variable"));
    }
}

#[test]
fn replicate_takes_one_database_and_its_urls() {
    let Command::Replicate(replicate) = ok(&["replicate", "-restore-if-db-not-exists", "a.db", "s3://b/p"]) else {
        panic!("not replicate")
    };
    let sources = replicate.sources(&no_env, "/".into());
    assert_eq!(sources.database, Some(("a.db".into(), vec!["s3://b/p".into()])));
    assert!(sources.restore_if_db_not_exists);
    let Command::Replicate(several) = ok(&["replicate", "a.db", "s3://b/p", "file:///c"]) else {
        panic!("not replicate")
    };
    let database = several.sources(&no_env, "/".into()).database;
    assert_eq!(database, Some(("a.db".into(), vec!["s3://b/p".into(), "file:///c".into()])), "as 0.3 takes them");
    assert!(refused(&["replicate", "a.db", "s3://b", ""]).contains("URL is empty"));
    assert!(refused(&["replicate", "a.db", "s3://b", "s3://c\n"]).contains("contains '\\n'"));
    assert!(refused(&["replicate", "a.db"]).contains("a replica URL is missing"));
    assert!(refused(&["replicate", "a.db", ""]).contains("URL is empty"));
    assert!(refused(&["replicate", "-config", "c", "a.db", "s3://b"]).contains("-config cannot be combined"));
    assert!(refused(&["replicate", "-once", "-exec", "x"]).contains("cannot be used with"));
    let Command::Replicate(replicate) = ok(&["replicate", "-once", "-force-snapshot"]) else { panic!("not replicate") };
    assert_eq!(replicate.once(), Some(OnceWork { snapshot: true, retention: false }));
    for flag in ["-force-snapshot", "-enforce-retention"] {
        assert!(refused(&["replicate", flag]).contains(&format!("cannot specify {flag} flag without -once")));
    }
    assert!(matches!(ok(&["replicate", "a.db", "s3://b", "-once"]), Command::Replicate(replicate) if replicate.once));
}

#[test]
fn restore_reads_times_and_transactions() {
    let Command::Restore(restore) = ok(&["restore", "-txid", "000000000000002A", "/a.db"]) else {
        panic!("not restore")
    };
    assert_eq!((restore.txid, restore.source()), (Some(42), Source::Database("/a.db".into())));
    assert_eq!((restore.parallelism, restore.integrity_check), (8, IntegrityCheck::None));
    let words = ["restore", "-timestamp", "2000-01-01T00:00:00.5+01:00", "-integrity-check", "full", "/a.db"];
    let Command::Restore(restore) = ok(&words) else { panic!("not restore") };
    let at = |moment| matches!(moment, Some(Moment::At(at)) if at.as_millisecond() == 946_681_200_500);
    assert!(at(restore.timestamp));
    assert_eq!(restore.integrity_check, IntegrityCheck::Full);
    assert!(refused(&["restore", "-txid", "2a", "/a.db"]).contains("16 hex digits"));
    assert!(refused(&["restore", "-txid", "0000000000000000", "/a.db"]).contains("16 hex digits"));
    assert!(refused(&["restore", "-timestamp", "yesterday", "/a.db"]).contains("at what time"));
    let both = ["restore", "-txid", "0000000000000001", "-timestamp", "2000-01-01T00:00:00Z", "/a.db"];
    assert!(refused(&both).contains("cannot be used with"));
    assert!(refused(&["restore", "-parallelism", "0", "/a.db"]).contains("one or more"));
    assert!(refused(&["restore", "-integrity-check", "some", "/a.db"]).contains("quick"));
}

#[test]
fn restore_says_what_is_missing() {
    assert!(refused(&["restore"]).contains("a database path or replica URL is required"));
    assert!(refused(&["restore", "s3://b/p"]).contains("add -o PATH"));
    assert!(refused(&["restore", "-config", "c", "-o", "x", "s3://b/p"]).contains("-config cannot be combined"));
    assert!(refused(&["restore", "/a.db", "/b.db"]).contains("too many arguments"));
    assert!(refused(&["restore", "-o", "", "/a.db"]).contains("-output"));
}

#[test]
fn ltx_and_points_take_one_source() {
    let Command::Ltx(ltx) = ok(&["ltx", "-level", "all", "-json", "s3://b/p"]) else { panic!("not ltx") };
    assert_eq!((ltx.level, ltx.by_old_name, ltx.look.source()), (Levels::All, false, Source::Url("s3://b/p".into())));
    let Command::Ltx(ltx) = ok(&["wal", "-config", "c.yml", "/a.db"]) else { panic!("not ltx") };
    assert_eq!((ltx.level, ltx.by_old_name), (Levels::One(0), true));
    assert!(matches!(ok(&["points", "/a.db"]), Command::Points(points) if !points.output.json));
    for command in ["ltx", "wal", "points"] {
        assert!(refused(&[command]).contains("a database path or replica URL is required"));
        assert!(refused(&[command, "a", "b"]).contains("too many arguments"));
        assert!(refused(&[command, "-config", "c", "s3://b"]).contains("-config cannot be combined"));
    }
    for level in ["10", "-1", "some", ""] {
        assert!(refused(&["ltx", "-level", level, "a"]).contains("0 to 9"), "{level}");
    }
    assert!(refused(&["restore", "-json", "-o", "-", "s3://b"]).contains("both write to stdout"));
}

#[test]
fn a_replica_is_picked_by_its_name_and_only_with_a_database() {
    let Command::Restore(restore) = ok(&["restore", "-replica", "s3", "/a.db"]) else { panic!("not restore") };
    assert_eq!(restore.look.replica(), Some("s3"));
    let Command::Points(points) = ok(&["points", "-replica=nas", "/a.db"]) else { panic!("not points") };
    assert_eq!(points.look.replica(), Some("nas"));
    assert!(matches!(ok(&["verify", "-replica", "nas"]), Command::Verify(verify) if verify.source().is_none()));
    for words in [["restore", "-o", "x"].as_slice(), &["points"], &["ltx"], &["wal"], &["verify"]] {
        let words = [words, &["-replica", "s3", "s3://b/p"]].concat();
        assert!(refused(&words).contains("cannot be combined with a URL"), "{words:?}");
    }
}

#[test]
fn a_running_process_is_asked_with_litestreams_flags() {
    let Command::Sync(sync) = ok(&["sync", "-wait", "-timeout", "120", "-json", "-socket=/run/x.sock", "/a.db"]) else {
        panic!("not sync")
    };
    assert!(sync.wait && sync.asking.json);
    assert_eq!((sync.asking.long(), sync.operand.database()), (Duration::from_secs(120), Path::new("/a.db")));
    assert_eq!(sync.asking.socket, Path::new("/run/x.sock"));
    let Command::List(list) = ok(&["list"]) else { panic!("not list") };
    assert_eq!(list.asking.socket, Path::new("/var/run/litestream.sock"));
    assert_eq!((list.asking.short(), list.asking.long()), (Duration::from_secs(10), Duration::from_secs(30)));
    let Command::Register(register) = ok(&["register", "-replica", "s3://b/p", "app.db"]) else {
        panic!("not register")
    };
    assert_eq!(register.replica, "s3://b/p");
    assert!(refused(&["register", "app.db"]).contains("-replica is required"));
    for command in ["sync", "start", "stop", "unregister", "snapshot", "checkpoint"] {
        assert!(refused(&[command]).contains("database path required"), "{command}");
        assert!(refused(&[command, "s3://b/p"]).contains("not the URL of its replica"), "{command}");
        assert!(refused(&[command, "-timeout", "0", "/a.db"]).contains("greater than 0"), "{command}");
        assert!(refused(&[command, "/a.db", "/b.db"]).contains("too many arguments"), "{command}");
    }
    assert!(
        matches!(ok(&["unregister", "-dry-run", "-timeout=5s", "/a.db"]), Command::Unregister(gone) if gone.dry_run)
    );
    assert!(matches!(ok(&["status", "-config", "c.yml"]), Command::Status(status) if status.database().is_none()));
}

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    for (command, instead) in GONE {
        let refused = refused(&[command, "-json", "x"]);
        assert!(refused.contains(&format!("`{command}` was a command of Litestream 0.3; use {instead}")), "{refused}");
    }
    for words in [["-generation", "g"].as_slice(), &["-index", "0"]] {
        let words = [["restore"].as_slice(), words, &["/a.db"]].concat();
        assert!(refused(&words).contains(&format!("{} is not supported yet", words[1])));
    }
    assert!(refused(&["frobnicate"]).contains("frobnicate"));
}

#[test]
fn help_and_version_are_answers_and_nothing_is_not() {
    for words in [["-h"].as_slice(), &["help"], &["run", "-help"], &["--version"], &["help", "restore"]] {
        assert_eq!(try_parse(words).expect_err("an answer").exit_code(), 0, "{words:?}");
    }
    assert!(refused(&[]).contains("Usage"));
    assert!(matches!(ok(&["version", "-verbose"]), Command::Version(Version { verbose: true, .. })));
    assert!(matches!(ok(&["databases", "-json", "-json"]), Command::Databases(Databases { json: true, .. })));
    assert!(refused(&["databases", "x"]).contains("unexpected argument"));
}

#[test]
fn every_command_stands_in_the_overview_once() {
    let mut grouped: Vec<&str> = help::commands().collect();
    grouped.sort_unstable();
    let definition = definition();
    let mut defined: Vec<&str> = definition.get_subcommands().map(clap::Command::get_name).collect();
    defined.sort_unstable();
    assert_eq!(grouped, defined);
}

#[test]
fn every_command_takes_the_flags_of_the_log() {
    for command in help::commands().filter(|command| *command != "version") {
        let definition = definition();
        let flags = definition.find_subcommand(command).expect("a command").get_arguments();
        let shorts: Vec<char> = flags.filter_map(clap::Arg::get_short).collect();
        assert!(shorts.contains(&'q') && shorts.contains(&'v'), "{command}");
    }
    assert!(matches!(ok(&["version", "-q"]), Command::Version(_)));
    let level = |words: &[&str]| match ok(words) {
        Command::Databases(databases) => databases.file.log.level(),
        other => panic!("{other:?}"),
    };
    assert_eq!(level(&["databases", "-q"]), Some(LogLevel::Error));
    assert_eq!(level(&["databases", "-log-level", "warn"]), Some(LogLevel::Warn));
    assert_eq!(level(&["databases"]), None);
    assert!(refused(&["databases", "-q", "-v"]).contains("cannot be used with"));
}

#[test]
fn every_visible_flag_explains_itself() {
    for command in definition().get_subcommands() {
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional()) {
            assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
        }
    }
}

#[test]
fn reset_takes_one_path() {
    let Command::Reset(reset) = ok(&["reset", "-dry-run", "app.db"]) else { panic!("not reset") };
    assert!(reset.dry_run && !reset.names_a_file());
    assert_eq!(reset.database(), Path::new("app.db"));
    let Command::Reset(reset) = ok(&["reset", "-config", "c.yml", "-no-expand-env", "/a.db"]) else {
        panic!("not reset")
    };
    assert!(reset.names_a_file() && !reset.sources(&no_env, "/".into()).expand_env);
    assert!(refused(&["reset"]).contains("a database path is required"));
    assert!(refused(&["reset", ""]).contains("a database path is required"));
    assert!(refused(&["reset", "a.db", "b.db"]).contains("too many arguments"));
    assert!(refused(&["reset", "s3://b/p"]).contains("not the URL"));
}
