//! Brings the sources together: which file is read, and what flags and environment change in it.
//!
//! The environment and the working directory are handed in, so that every rule here can be tested.
//! Precedence: flag, environment, file, default. Every error is one sentence that begins with the
//! file it is about.

use std::path::{Path, PathBuf};

use crate::fsx;
use anyhow::{anyhow, bail};

use super::commands::{self, RunsOn};
use super::expand::{self, Expanded};
use super::monitoring::Monitoring;
use super::options::{
    CaptureOptions, Database, Lifecycle, LogFormat, LogLevel, Logging, Options, Presets, Replica, Shutdown,
};
use super::paths::{PathContext, default_meta_path};
use super::presets::Added;
use super::registrations::RegistrationsFile;
use super::sources::{DEFAULT_CONFIG_PATH, Sources, non_empty};
use super::{collisions, directory, placement, replica, replicas, resolve, unset, url, yaml};

#[derive(Debug)]
pub struct Loaded {
    pub options: Options,
    /// For the user, at start.
    pub warnings: Vec<String>,
    /// Keys that have no effect here, and why; for the debug log.
    pub notes: Vec<String>,
    /// Where the options come from: a file's path, or "the command line".
    pub origin: String,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

impl Loaded {
    /// For the commands that have nothing to do without a database.
    pub fn require_databases(&self) -> anyhow::Result<()> {
        if self.options.databases.is_empty() && self.options.directories.is_empty() {
            bail!("{}: no database is configured; add one under `dbs:`, or pass DB and URL", self.origin);
        }
        Ok(())
    }

    /// The database of this path.
    pub fn database(&self, path: &Path) -> anyhow::Result<Database> {
        let unknown = || anyhow!("{}: no database is configured with the path {}", self.origin, path.display());
        self.options.find(path).ok_or_else(unknown)
    }

    /// Whether nothing is to be replicated, which only a command that can do without asks.
    pub fn is_off(&self) -> anyhow::Result<bool> {
        let is_off = self.options.databases.is_empty() && self.options.directories.is_empty();
        if is_off && self.options.require_backup {
            bail!("{}: a backup is required, and no database with a replica is configured", self.origin);
        }
        Ok(is_off)
    }

    /// For the commands that write to replicas: refuses one that would be lost with its database.
    /// Returns warnings about replicas that are on the same disk.
    pub fn refuse_shared_fate(&self) -> anyhow::Result<Vec<String>> {
        let mut all = self.options.databases.clone();
        all.extend(directory::stand_ins(&self.options.directories));
        placement::check(&all).map_err(|why| anyhow!("{}: {why}", self.origin))
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

/// An error may quote a key or a path. A line break or an escape sequence in it must not reach a
/// log or a terminal as one.
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
        // With several replicas the error says which one it is.
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
        may_vanish: false,
    };
    let databases = [(0, database)];
    collisions::refuse(&databases).map_err(|why| anyhow!(why))?;
    let options = Options {
        databases: databases.map(|(_, database)| database).into(),
        directories: Vec::new(),
        on_database_failure: None,
        exec: Vec::new(),
        migrate: Vec::new(),
        mark_before_migration: true,
        logging: Logging { level: LogLevel::default(), format: LogFormat::default() },
        shutdown: Shutdown::default(),
        handover: None,
        cluster: None,
        litefs: None,
        require_backup: false,
        strip_env: Vec::new(),
        lifecycle: Lifecycle::default(),
        monitoring: Monitoring::default(),
        socket: None,
        proxy: None,
        presets: Presets::default(),
    };
    Ok(Loaded { options, warnings: Vec::new(), notes: Vec::new(), origin: "the command line".into(), file: None })
}

fn from_file(sources: &Sources<'_>) -> anyhow::Result<Loaded> {
    let named = sources.named_file();
    let is_default = named.is_none();
    let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG_PATH));
    let path = sources.context().absolute(&path).map_err(|why| anyhow!("-config: {why}"))?;
    let origin = path.display().to_string();
    if is_default && sources.may_be_off && matches!(fsx::metadata_if_exists(&path), Ok(None)) {
        return off(&origin, sources);
    }
    let bytes = fsx::read(&path).map_err(|error| {
        let way_out = if is_default { "; pass -config FILE, or DB and URL" } else { "" };
        anyhow!("cannot read {origin}: {}{way_out}", error.source)
    })?;
    let text = yaml::decode(bytes).map_err(|why| anyhow!("{origin}: {why}"))?;
    let (text, mut warnings) = expanded(&origin, text, sources).map_err(|problem| anyhow!(problem))?;
    let (mut options, notes, more) =
        read_text(&origin, &text, sources.context()).map_err(|problem| anyhow!(problem))?;
    warnings.extend(more);
    if let Some(file) = options.socket.as_ref().and_then(|socket| socket.registrations.clone()) {
        warnings.extend(add_registered(&mut options, &file, sources).map_err(|problem| anyhow!(problem))?);
    }
    Ok(Loaded { options, warnings, notes, origin, file: Some(path) })
}

/// Adds the databases that were registered to those of the configuration, which win.
fn add_registered(
    options: &mut Options,
    file: &RegistrationsFile,
    sources: &Sources<'_>,
) -> Result<Vec<String>, String> {
    let mut warnings = Vec::new();
    for (path, url) in file.listed()? {
        if options.find(&path).is_some() {
            continue;
        }
        let added = options.added(path.clone(), &url, &options.databases, sources);
        let Added { database, warnings: more } = added.map_err(|why| {
            let (file, path) = (file.path().display(), path.display());
            format!("{file}: {path}: {why}; correct the entry, or remove it if the database is not used any more")
        })?;
        warnings.extend(more);
        options.databases.push(database);
    }
    Ok(warnings)
}

/// What holds when there is no file, and nothing to replicate.
fn off(origin: &str, sources: &Sources<'_>) -> anyhow::Result<Loaded> {
    let (options, notes, warnings) = read_text(origin, "{}", sources.context()).map_err(|problem| anyhow!(problem))?;
    Ok(Loaded { options, warnings, notes, origin: format!("there is no {origin}"), file: None })
}

/// The text after the expansion, and warnings about names without a value.
fn expanded(origin: &str, text: String, sources: &Sources<'_>) -> Result<(String, Vec<String>), String> {
    if !sources.expand_env {
        return Ok((text, Vec::new()));
    }
    let env = |name: &str| if name == "PID" { Some(std::process::id().to_string()) } else { (sources.env)(name) };
    let Expanded { text: expanded, missing } = expand::expand(&text, &env);
    let warnings = unset::judge(origin, &text, &env, &missing)?;
    Ok((expanded, warnings))
}

/// Applies flags and environment to the databases of a file or of the command line.
fn apply_overrides(loaded: &mut Loaded, sources: &Sources<'_>) {
    let options = &mut loaded.options;
    // `-exec "$CMD"` with an unset CMD is as good as no -exec, as in Litestream.
    let command = |flag: &Option<String>, on, by_file: &mut Vec<_>| {
        if let Some(line) = flag.as_deref().filter(|line| !line.trim().is_empty()) {
            *by_file = commands::of_flag(line, on);
        }
    };
    command(&sources.exec, RunsOn::Every, &mut options.exec);
    command(&sources.migrate, RunsOn::Primary, &mut options.migrate);
    options.shutdown.grace = sources.grace.unwrap_or(options.shutdown.grace);
    options.require_backup |= sources.require_backup;
    options.strip_env.extend_from_slice(&sources.strip_env);
    let listed = options.databases.iter_mut();
    for database in listed.chain(options.directories.iter_mut().map(|directory| &mut directory.model)) {
        database.restore_if_db_not_exists |= sources.restore_if_db_not_exists;
    }
    match level(sources) {
        Ok(level) => options.logging.level = level.unwrap_or(options.logging.level),
        Err(warning) => loaded.warnings.push(warning),
    }
}

/// How a command logs that reads no file, and a warning for the user.
pub fn logging_without_file(sources: &Sources<'_>) -> (Logging, Option<String>) {
    let (level, warning) = match level(sources) {
        Ok(level) => (level.unwrap_or_default(), None),
        Err(warning) => (LogLevel::default(), Some(warning)),
    };
    (Logging { level, format: LogFormat::default() }, warning)
}

/// The log level of flag or environment. Other programs in the container read LOG_LEVEL too, so a
/// word that is not known is a warning and no error.
fn level(sources: &Sources<'_>) -> Result<Option<LogLevel>, String> {
    match (sources.log_level, non_empty(sources, "LOG_LEVEL")) {
        (Some(level), _) => Ok(Some(level)),
        (None, Some(text)) => LogLevel::parse(&text).map(Some).map_err(|why| format!("LOG_LEVEL is ignored: {why}")),
        (None, None) => Ok(None),
    }
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
mod tests;
