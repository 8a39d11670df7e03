//! The commands that look at a replica: `ltx` and `points`, and the one operand DB|URL that they
//! share with `restore` and `verify`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::help::{self, Page};
use super::{FileFlags, OutputFlags};
use crate::cli::source::Source;
use crate::config::Sources;

/// Which replica to look at.
#[derive(Debug, Args)]
pub struct Look {
    #[command(flatten)]
    file: FileFlags,
    /// Only this replica of the database, by its name in the configuration file
    #[arg(long, value_name = "NAME", help_heading = help::CONFIGURATION)]
    replica: Option<String>,
    /// Database of the configuration file, or URL of a replica
    #[arg(value_name = "DB|URL")]
    operands: Vec<OsString>,
}

impl Look {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        self.file.sources(env, cwd)
    }

    /// The flag `-config` as it was given, with a space before it, as a shell reads it.
    pub fn config_flag(&self) -> String {
        let quoted = |path: &PathBuf| format!(" -config {}", shell_words::quote(&path.to_string_lossy()));
        self.file.config.as_ref().map_or_else(String::new, quoted)
    }

    /// The one replica that is meant.
    pub fn replica(&self) -> Option<&str> {
        self.replica.as_deref()
    }

    /// Whether there is no operand.
    pub fn names_nothing(&self) -> bool {
        self.operands.is_empty()
    }

    /// What the operand says.
    pub fn source(&self) -> Source {
        Source::of(self.operands.first().map(OsString::as_os_str).unwrap_or_default())
    }

    /// With `-dir`: a replica URL, or nothing.
    pub(super) fn check_below(&self, verb: &str) -> Result<(), String> {
        if self.names_nothing() {
            return Ok(());
        }
        self.check(&format!("{verb} -dir DIR"))?;
        match self.source() {
            Source::Url(_) => Ok(()),
            Source::Database(_) => Err(format!(
                "with -dir it is a replica URL that says what to {verb}, or nothing, and then the configuration file does"
            )),
        }
    }

    /// Exactly one operand, and a configuration file only for a database.
    pub(super) fn check(&self, command: &str) -> Result<(), String> {
        match self.operands.as_slice() {
            [operand] if !operand.is_empty() => {}
            [] | [_] => {
                return Err(format!(
                    "a database path or replica URL is required: millstream {command} s3://BUCKET/PATH"
                ));
            }
            [first, ..] => return Err(format!("too many arguments after {:?}", first.to_string_lossy())),
        }
        match self.source() {
            Source::Url(_) if self.file.config.is_some() => Err("-config cannot be combined with a replica URL".into()),
            Source::Url(_) if self.replica.is_some() => Err(
                "-replica names a replica of a database in the configuration file, and cannot be combined with a URL"
                    .into(),
            ),
            Source::Url(url) => on_one_line(&url),
            Source::Database(_) => Ok(()),
        }
    }
}

/// Refuses what comes from a file with a line break at its end, or from a wrong quote, and would
/// name another place.
pub(super) fn on_one_line(url: &str) -> Result<(), String> {
    match url.chars().find(|c| c.is_control()) {
        Some(c) => {
            Err(format!("the URL {url:?} contains {c:?}: check how it was quoted, or which file it was read from"))
        }
        None => Ok(()),
    }
}

/// Exit codes of the commands that look at a replica.
const LOOK_CODES: [help::Code; 5] = [help::DONE, help::USAGE, help::UNREACHABLE, help::DENIED, help::CONFIG];

const LTX: Page = Page {
    more: "Of several replicas each has its table. `wal` is the old name of this command.",
    examples: &["millstream ltx /data/app.db", "millstream ltx -level all -json s3://bucket/app"],
    variables: help::STORE_VARIABLES,
    codes: &LOOK_CODES,
};

/// Lists the LTX files of a replica
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    alias = "wal",
    after_help = LTX.text(),
    override_usage = "millstream ltx [FLAGS] DB|URL"
)]
pub struct Ltx {
    /// Compaction level, 0 to 9, or all
    #[arg(long, value_name = "LEVEL", default_value = "0", value_parser = levels)]
    pub level: Levels,
    #[command(flatten)]
    pub output: OutputFlags,
    #[command(flatten)]
    pub look: Look,
    /// Whether it was called `wal`, as Litestream 0.3 did.
    #[arg(skip)]
    pub by_old_name: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    All,
    One(u8),
}

const POINTS: Page = Page {
    more: "It shows from when to when, how densely, and which transactions are missing.",
    examples: &["millstream points /data/app.db", "millstream points -json s3://bucket/app"],
    variables: help::STORE_VARIABLES,
    codes: &[help::DONE, help::USAGE, help::UNREACHABLE, ("76", "there is no backup"), help::DENIED, help::CONFIG],
};

/// Shows which points in time can be restored
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = POINTS.text(),
    override_usage = "millstream points [FLAGS] DB|URL"
)]
pub struct Points {
    #[command(flatten)]
    pub output: OutputFlags,
    #[command(flatten)]
    pub look: Look,
}

fn levels(text: &str) -> Result<Levels, String> {
    match text.parse() {
        _ if text == "all" => Ok(Levels::All),
        Ok(level @ 0..=9) => Ok(Levels::One(level)),
        _ => Err("a level is 0 to 9, or all".into()),
    }
}
