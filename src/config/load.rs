//! Brings the sources together: which file is read, and what flags and environment change in it.
//!
//! The environment and the working directory are handed in, so that every rule here can be tested. Precedence: flag,
//! environment, file, default. Every error is one sentence that begins with the file it is about.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fsx;
use anyhow::{anyhow, bail};

use super::expand::{self, Expanded};
use super::options::{CaptureOptions, Database, Lifecycle, LogFormat, LogLevel, Logging, Options, Replica, Shutdown};
use super::paths::{PathContext, default_meta_path};
use super::{collisions, placement, replica, replicas, resolve, unset, url, yaml};

const DEFAULT_CONFIG_PATH: &str = "/etc/litestream.yml";

/// Everything the options are made of.
pub struct Sources<'a> {
    /// `-config`.
    pub config_path: Option<PathBuf>,
    /// Off with `-no-expand-env`.
    pub expand_env: bool,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Relative paths start here.
    pub cwd: PathBuf,
    /// A database's path and its replicas' URLs, instead of a file.
    pub database: Option<(PathBuf, Vec<String>)>,
    pub exec: Option<String>,
    pub migrate: Option<String>,
    pub grace: Option<Duration>,
    pub require_backup: bool,
    /// In addition to the file's.
    pub strip_env: Vec<String>,
    pub restore_if_db_not_exists: bool,
    pub log_level: Option<LogLevel>,
}

impl<'a> Sources<'a> {
    /// No flags: the environment and the default file only.
    pub fn new(env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        Sources {
            config_path: None,
            expand_env: true,
            env,
            cwd,
            database: None,
            exec: None,
            migrate: None,
            grace: None,
            require_backup: false,
            strip_env: Vec::new(),
            restore_if_db_not_exists: false,
            log_level: None,
        }
    }

    /// A database from the command line as the databases' paths are written in [`Options`], for [`Options::find`].
    pub fn absolute(&self, path: &Path) -> anyhow::Result<PathBuf> {
        self.context().database(path).map_err(|why| anyhow!(why))
    }

    /// Whether there is a file to read: one that was named, or the one at the usual place.
    pub fn has_file(&self) -> bool {
        // What cannot be told is left to the reading, which says why.
        self.named_file().is_some() || Path::new(DEFAULT_CONFIG_PATH).try_exists().unwrap_or(true)
    }

    /// By flag or environment.
    fn named_file(&self) -> Option<PathBuf> {
        self.config_path.clone().or_else(|| non_empty(self, "LITESTREAM_CONFIG").map(PathBuf::from))
    }

    fn context(&self) -> PathContext<'_> {
        PathContext { cwd: &self.cwd, env: self.env }
    }
}

#[derive(Debug)]
pub struct Loaded {
    pub options: Options,
    /// For the user, at start.
    pub warnings: Vec<String>,
    /// Keys that have no effect here, and why; for the debug log.
    pub notes: Vec<String>,
    /// Where the options come from: a file's path, or "the command line".
    pub origin: String,
}

impl Loaded {
    /// For the commands that have nothing to do without a database.
    pub fn require_databases(&self) -> anyhow::Result<()> {
        if self.options.databases.is_empty() {
            bail!("{}: no database is configured; add one under `dbs:`, or pass DB and URL", self.origin);
        }
        Ok(())
    }

    /// For the commands that write to replicas: refuses one that would be lost with its database. What is only near to it
    /// is to be said.
    pub fn refuse_shared_fate(&self) -> anyhow::Result<Vec<String>> {
        placement::check(&self.options.databases).map_err(|why| anyhow!("{}: {why}", self.origin))
    }
}

impl Options {
    pub fn load(sources: &Sources<'_>) -> anyhow::Result<Loaded> {
        let loaded = match &sources.database {
            Some((db, urls)) => from_flags(sources, db, urls),
            None => from_file(sources),
        };
        let mut loaded = loaded.map_err(on_one_line)?;
        apply_overrides(&mut loaded, sources);
        Ok(loaded)
    }
}

/// The replica that a URL describes, for commands that are given one instead of a database.
pub fn replica_from_url(url: &str, env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Replica> {
    at_url(url, PathContext { cwd: Path::new("/"), env }).map_err(on_one_line)
}

/// An error may quote a key or a path. A line break or an escape sequence in it must not reach a log or a terminal as one.
fn on_one_line(error: anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}");
    if !text.contains(char::is_control) {
        return error;
    }
    let visible = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    anyhow!(text.chars().map(visible).collect::<String>())
}

fn at_url(url: &str, context: PathContext<'_>) -> anyhow::Result<Replica> {
    if let Some(variable) = unset::unreplaced(&url::redact(url)) {
        bail!("replica URL: {variable} in it was not replaced by a value; only a shell does that on the command line");
    }
    replica::from_url(url, context).map_err(|why| anyhow!("replica URL: {why}"))
}

fn from_flags(sources: &Sources<'_>, db: &Path, urls: &[String]) -> anyhow::Result<Loaded> {
    if sources.config_path.is_some() {
        bail!("-config cannot be combined with a database and a replica URL on the command line");
    }
    let context = sources.context();
    let shown = db.to_string_lossy();
    if let Some(variable) = unset::unreplaced(&shown)
        && !context.absolute(db).is_ok_and(|path| path.exists())
    {
        bail!(
            "database: {variable} in {shown} was not replaced by a value; only a shell does that on the command line"
        );
    }
    let path = context.database(db).map_err(|why| anyhow!("database: {why}"))?;
    let replica = |(index, url): (usize, &String)| {
        // Which of them it is, where there are several.
        at_url(url, context).map_err(|why| if urls.len() > 1 { anyhow!("URL {}: {why}", index + 1) } else { why })
    };
    let replicas = urls.iter().enumerate().map(replica).collect::<anyhow::Result<Vec<Replica>>>()?;
    let database = Database {
        meta_path: default_meta_path(&path),
        path,
        capture: CaptureOptions::default(),
        restore_if_db_not_exists: false,
        file_mode: None,
        file_owner: None,
        replicas: replicas::of_urls(replicas).map_err(|why| anyhow!(why))?,
        optional: false,
    };
    collisions::refuse(std::slice::from_ref(&database)).map_err(|why| anyhow!(why))?;
    let options = Options {
        databases: vec![database],
        exec: None,
        migrate: None,
        logging: Logging { level: LogLevel::default(), format: LogFormat::default() },
        shutdown: Shutdown::default(),
        require_backup: false,
        strip_env: Vec::new(),
        lifecycle: Lifecycle::default(),
    };
    Ok(Loaded { options, warnings: Vec::new(), notes: Vec::new(), origin: "the command line".into() })
}

fn from_file(sources: &Sources<'_>) -> anyhow::Result<Loaded> {
    let named = sources.named_file();
    let is_default = named.is_none();
    let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG_PATH));
    let path = sources.context().absolute(&path).map_err(|why| anyhow!("-config: {why}"))?;
    let origin = path.display().to_string();
    let bytes = fsx::read(&path).map_err(|error| {
        let way_out = if is_default { "; pass -config FILE, or DB and URL" } else { "" };
        anyhow!("cannot read {origin}: {}{way_out}", error.source)
    })?;
    let text = yaml::decode(bytes).map_err(|why| anyhow!("{origin}: {why}"))?;
    let (text, mut warnings) = expanded(&origin, text, sources).map_err(|problem| anyhow!(problem))?;
    let (options, notes, more) = read_text(&origin, &text, sources.context()).map_err(|problem| anyhow!(problem))?;
    warnings.extend(more);
    Ok(Loaded { options, warnings, notes, origin })
}

/// The text with the environment in it, and what is to be said about names without a value.
fn expanded(origin: &str, text: String, sources: &Sources<'_>) -> Result<(String, Vec<String>), String> {
    if !sources.expand_env {
        return Ok((text, Vec::new()));
    }
    let env = |name: &str| if name == "PID" { Some(std::process::id().to_string()) } else { (sources.env)(name) };
    let Expanded { text: expanded, missing } = expand::expand(&text, &env);
    let warnings = unset::judge(origin, &text, &env, &missing)?;
    Ok((expanded, warnings))
}

/// What flags and environment say about every database, wherever that comes from.
fn apply_overrides(loaded: &mut Loaded, sources: &Sources<'_>) {
    let options = &mut loaded.options;
    // `-exec "$CMD"` with an unset CMD is as good as no -exec, as in Litestream.
    let command = |flag: &Option<String>| flag.clone().filter(|command| !command.trim().is_empty());
    options.exec = command(&sources.exec).or(options.exec.take());
    options.migrate = command(&sources.migrate).or(options.migrate.take());
    options.shutdown.grace = sources.grace.unwrap_or(options.shutdown.grace);
    options.require_backup |= sources.require_backup;
    options.strip_env.extend_from_slice(&sources.strip_env);
    for database in &mut options.databases {
        database.restore_if_db_not_exists |= sources.restore_if_db_not_exists;
    }
    match (sources.log_level, non_empty(sources, "LOG_LEVEL")) {
        (Some(level), _) => options.logging.level = level,
        // Other programs in the container read this name too: a word we do not know is not an error.
        (None, Some(text)) => match LogLevel::parse(&text) {
            Ok(level) => options.logging.level = level,
            Err(why) => loaded.warnings.push(format!("LOG_LEVEL is ignored: {why}")),
        },
        (None, None) => {}
    }
}

fn non_empty(sources: &Sources<'_>, name: &str) -> Option<String> {
    (sources.env)(name).filter(|value| !value.is_empty())
}

fn read_text(file: &str, text: &str, context: PathContext<'_>) -> Result<(Options, Vec<String>, Vec<String>), String> {
    let parsed = yaml::parse(file, text)?;
    let mut warnings = Vec::new();
    let options =
        resolve::options(&parsed.root, context, &mut warnings).map_err(|problem| format!("{file}: {problem}"))?;
    let warnings = warnings.into_iter().map(|warning| format!("{file}: {warning}")).collect();
    Ok((options, parsed.notes, warnings))
}

#[cfg(test)]
mod tests {
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

    fn load(
        text: &str,
        env: &[(&str, &str)],
        change: impl FnOnce(&mut Sources<'_>),
    ) -> (PathBuf, anyhow::Result<Loaded>) {
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
        let (_, loaded) = load(include_str!("../../litestream.yml.example"), &env, |_| {});
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
        assert_eq!(loaded.expect("valid").options.exec.as_deref(), Some("app $NOPE"));
        let (_, loaded) = load("exec: app $PID\n", &[], |_| {});
        assert_eq!(loaded.expect("valid").options.exec, Some(format!("app {}", std::process::id())));
    }

    #[test]
    fn flags_beat_environment_beats_file() {
        let text = "exec: a\nmigrate: b\ngrace: 5s\nlogging: {level: error}\ndbs: [{path: /a, replica: {path: /b}}]\n";
        let (_, loaded) = load(text, &[("LOG_LEVEL", "debug")], |_| {});
        let options = loaded.expect("valid").options;
        assert_eq!(options.logging.level, LogLevel::Debug);
        assert_eq!((options.exec.as_deref(), options.migrate.as_deref()), (Some("a"), Some("b")));
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
        assert_eq!((options.exec.as_deref(), options.migrate.as_deref()), (Some("c"), Some("d")));
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
        assert_eq!(Options::load(&sources).expect("by environment").options.exec.as_deref(), Some("from-env"));
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
}
