//! Which file is read, and what flags and environment change in it.

use std::time::Duration;

use super::super::target::Target;
use super::*;

const USERS_FILE: &str = "access-key-id: ${LITESTREAM_ACCESS_KEY_ID}
secret-access-key: ${LITESTREAM_SECRET_ACCESS_KEY}

dbs:
  - path: /data/distributed_sql.db
    replicas:
      - url: ${REPLICA_URL}
";

struct File {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn file(text: &str) -> File {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("litestream.yml");
    std::fs::write(&path, text).expect("write");
    File { _dir: dir, path }
}

fn load(text: &str, env: &[(&str, &str)], change: impl FnOnce(&mut Sources<'_>)) -> (PathBuf, anyhow::Result<Loaded>) {
    let file = file(text);
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    let mut sources = Sources::new(&env, "/srv".into());
    sources.config_path = Some(file.path.clone());
    change(&mut sources);
    (file.path.clone(), Options::load(&sources))
}

fn bare() -> impl Fn(&str) -> Option<String> {
    |_: &str| None
}

/// The commands, in the order in which they are run.
fn lines(options: &Options) -> Vec<&str> {
    options.migrate.iter().chain(&options.exec).map(|command| command.line.as_str()).collect()
}

#[test]
fn the_users_file_works_as_it_is() {
    let env = [
        ("LITESTREAM_ACCESS_KEY_ID", "id"),
        ("LITESTREAM_SECRET_ACCESS_KEY", "hunter2"),
        ("REPLICA_URL", "s3://mybucket.nyc3.digitaloceanspaces.com/app"),
    ];
    let (path, loaded) = load(USERS_FILE, &env, |_| {});
    let loaded = loaded.expect("the user's file");
    loaded.require_databases().expect("one database");
    assert_eq!(loaded.origin, path.display().to_string());
    assert!(loaded.warnings.is_empty() && loaded.notes.is_empty(), "{:?} {:?}", loaded.warnings, loaded.notes);
    let db = loaded.options.find(Path::new("/data/distributed_sql.db")).expect("configured");
    assert_eq!(db.replicas.first.url, "s3://mybucket.nyc3.digitaloceanspaces.com/app");
    let Target::S3(target) = &db.replicas.first.target else { panic!("not S3") };
    assert_eq!((target.bucket.as_str(), target.prefix.as_str()), ("mybucket", "app"));
    assert_eq!(target.endpoint.as_deref(), Some("https://nyc3.digitaloceanspaces.com"));
    assert_eq!(target.credentials.as_ref().map(|keys| keys.secret_access_key.expose()), Some("hunter2"));
    assert!(!format!("{loaded:?}").contains("hunter2"));
}

#[test]
fn the_example_is_valid_without_a_warning() {
    let env = [
        ("LITESTREAM_ACCESS_KEY_ID", "id"),
        ("LITESTREAM_SECRET_ACCESS_KEY", "a: #secret"),
        ("REPLICA_URL", "s3://mybucket.nyc3.digitaloceanspaces.com/app"),
    ];
    let (_, loaded) = load(include_str!("../../../litestream.yml.example"), &env, |_| {});
    let loaded = loaded.expect("the example");
    assert!(loaded.warnings.is_empty() && loaded.notes.is_empty(), "{:?} {:?}", loaded.warnings, loaded.notes);
    let Target::S3(target) = &loaded.options.databases[0].replicas.first.target else { panic!("not S3") };
    assert_eq!(target.credentials.as_ref().map(|keys| keys.secret_access_key.expose()), Some("a: #secret"));
}

#[test]
fn an_unset_variable_is_named_in_the_error_it_causes_and_in_warnings() {
    let env = [("LITESTREAM_ACCESS_KEY_ID", "id"), ("LITESTREAM_SECRET_ACCESS_KEY", "secret")];
    let (path, loaded) = load(USERS_FILE, &env, |_| {});
    let error = format!("{:#}", loaded.expect_err("no URL"));
    let expected = "7: dbs[0].replicas[0].url: ${REPLICA_URL} is not set in the environment; give it a \
                    value, or write a default: ${REPLICA_URL:-value}";
    assert_eq!(error, format!("{}:{expected}", path.display()));
    let (path, loaded) = load("exec: app $NOPE\n", &[], |_| {});
    let warning = format!("{}: ${{NOPE}} is not set in the environment, its value is empty", path.display());
    assert_eq!(loaded.expect("valid").warnings, [warning]);
}

#[test]
fn expansion_can_be_switched_off_and_knows_the_pid() {
    let (_, loaded) = load("exec: app $NOPE\n", &[], |sources| sources.expand_env = false);
    assert_eq!(lines(&loaded.expect("valid").options), ["app $NOPE"]);
    let (_, loaded) = load("exec: app $PID\n", &[], |_| {});
    assert_eq!(lines(&loaded.expect("valid").options), [format!("app {}", std::process::id())]);
}

#[test]
fn flags_beat_environment_beats_file() {
    let text = "exec: a\nmigrate: b\ngrace: 5s\nlogging: {level: error}\ndbs: [{path: /a, replica: {path: /b}}]\n";
    let (_, loaded) = load(text, &[("LOG_LEVEL", "debug")], |_| {});
    let options = loaded.expect("valid").options;
    assert_eq!(options.logging.level, LogLevel::Debug);
    assert_eq!(lines(&options), ["b", "a"]);
    assert!(!options.require_backup && !options.databases[0].restore_if_db_not_exists);
    let (_, loaded) = load(text, &[("LOG_LEVEL", "debug")], |sources| {
        sources.exec = Some("c".into());
        sources.migrate = Some("d".into());
        sources.grace = Some(Duration::from_secs(7));
        sources.log_level = Some(LogLevel::Trace);
        sources.require_backup = true;
        sources.restore_if_db_not_exists = true;
    });
    let options = loaded.expect("valid").options;
    assert_eq!(lines(&options), ["d", "c"]);
    assert_eq!((options.logging.level, options.shutdown.grace), (LogLevel::Trace, Duration::from_secs(7)));
    assert!(options.require_backup && options.databases[0].restore_if_db_not_exists);
    let (_, loaded) = load("strip-env: [A, B]\n", &[], |sources| sources.strip_env = vec!["C".into()]);
    assert_eq!(loaded.expect("valid").options.strip_env, ["A", "B", "C"], "they add up");
    let (_, loaded) = load("strip-env: [A, 'B=c']\n", &[], |_| {});
    assert!(loaded.expect_err("not a name").to_string().contains("strip-env: \"B=c\""));
    let (_, loaded) = load(text, &[("LOG_LEVEL", "notice")], |_| {});
    let loaded = loaded.expect("a word of another program");
    assert_eq!(loaded.options.logging.level, LogLevel::Error);
    assert!(loaded.warnings[0].contains("LOG_LEVEL is ignored"), "{:?}", loaded.warnings);
}

#[test]
fn the_file_is_found_by_flag_then_environment() {
    let file = file("exec: from-env\n");
    let path = file.path.display().to_string();
    let env = |name: &str| (name == "LITESTREAM_CONFIG").then(|| path.clone());
    let sources = Sources::new(&env, "/srv".into());
    assert_eq!(lines(&Options::load(&sources).expect("by environment").options), ["from-env"]);
    let mut sources = Sources::new(&env, "/srv".into());
    sources.config_path = Some("/nonexistent/litestream.yml".into());
    let error = format!("{:#}", Options::load(&sources).expect_err("the flag wins"));
    assert_eq!(error, "cannot read /nonexistent/litestream.yml: No such file or directory (os error 2)");
}

#[test]
fn a_database_from_flags_needs_no_file() {
    let env = |name: &str| match name {
        "LITESTREAM_ACCESS_KEY_ID" => Some("id".to_owned()),
        "LITESTREAM_SECRET_ACCESS_KEY" => Some("secret".to_owned()),
        _ => None,
    };
    let mut sources = Sources::new(&env, "/srv".into());
    sources.database = Some(("app.db".into(), vec!["s3://b/p".into()]));
    sources.restore_if_db_not_exists = true;
    let loaded = Options::load(&sources).expect("flags only");
    let db = &loaded.options.databases[0];
    assert_eq!(
        (db.path.as_path(), db.meta_path.as_path()),
        (Path::new("/srv/app.db"), Path::new("/srv/.app.db-millstream"))
    );
    assert!(db.restore_if_db_not_exists);
    let Target::S3(target) = &db.replicas.first.target else { panic!("not S3") };
    assert_eq!(target.credentials.as_ref().map(|keys| keys.access_key_id.as_str()), Some("id"));
    let written = sources.absolute(Path::new("sqlite://./app.db")).expect("a path");
    assert!(loaded.options.find(&written).is_some() && loaded.options.find(Path::new("/app.db")).is_none());
    sources.config_path = Some("/etc/litestream.yml".into());
    assert!(Options::load(&sources).is_err(), "a file and a database contradict each other");
    let env = bare();
    let mut sources = Sources::new(&env, "/srv".into());
    sources.database = Some(("app.db".into(), vec!["s3://b/p".into(), "file:///b".into(), "file:///c".into()]));
    let several = Options::load(&sources).expect("three").options.databases.remove(0).replicas;
    assert_eq!(several.iter().map(|replica| replica.name.as_str()).collect::<Vec<_>>(), ["s3", "file", "file-2"]);
    sources.database = Some(("app.db".into(), vec!["file:///b".into(), "file:///b/".into()]));
    let error = format!("{:#}", Options::load(&sources).expect_err("twice"));
    assert!(error.contains("/srv/app.db are the same place"), "{error}");
    sources.database = Some(("app.db".into(), vec!["sftp://u:hunter2@h/p".into()]));
    let error = format!("{:#}", Options::load(&sources).expect_err("sftp"));
    assert_eq!(error, "replica URL: `sftp` replicas are not supported yet; use s3 or file");
}

#[test]
fn a_file_without_databases_is_an_error_only_where_one_is_needed() {
    let (path, loaded) = load("", &[], |_| {});
    let error = loaded.expect("readable").require_databases().expect_err("nothing to do").to_string();
    assert!(error.starts_with(&format!("{}: no database is configured", path.display())), "{error}");
}

#[test]
fn errors_name_the_file_once() {
    let (path, loaded) = load("foo: 1\n", &[], |_| {});
    let error = format!("{:#}", loaded.expect_err("unknown key"));
    assert_eq!(error, format!("{}:1: unknown key `foo`", path.display()));
    let (path, loaded) = load("grace: 0\n", &[], |_| {});
    let error = format!("{:#}", loaded.expect_err("zero"));
    assert_eq!(error, format!("{}: grace must be greater than zero", path.display()));
}

#[test]
fn a_url_alone_is_enough_for_restore() {
    let replica = replica_from_url("s3://k:hunter2@b.ams3.digitaloceanspaces.com/p", &bare()).expect("valid");
    assert_eq!(replica.url, "s3://redacted@b.ams3.digitaloceanspaces.com/p");
    assert!(!format!("{replica:?}").contains("hunter2"));
    assert!(replica_from_url("b/p", &bare()).is_err());
}
