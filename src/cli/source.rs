//! The replicas that a command looks at: those of a database of the configuration file, or that of
//! a URL.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::{Environment, logger, replica_at, variable};
use crate::config::{Database, Replica, Sources, is_url};
use crate::remote::Remote;
use crate::run::exit::CONFIG;
use crate::run::{self, Failure};

/// The operand `DB|URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A database of the configuration file.
    Database(PathBuf),
    Url(String),
}

impl Source {
    /// What an operand names.
    pub fn of(operand: &OsStr) -> Source {
        match operand.to_str().filter(|text| is_url(text)) {
            Some(url) => Source::Url(url.to_owned()),
            None => Source::Database(PathBuf::from(operand)),
        }
    }
}

/// The replica of the database at this relative path below a URL.
pub fn below(root: &Replica, relative: &Path) -> Result<Replica, String> {
    let target = root.target.below(relative)?;
    Ok(Replica { url: format!("{} ({})", root.url, relative.display()), target, ..root.clone() })
}

/// The replicas to look at, in the order of the configuration; never none.
pub struct Looked {
    pub replicas: Vec<Replica>,
    /// Every database of the configuration file; their paths in the bucket are left out.
    all: Vec<Database>,
}

impl Looked {
    pub async fn connect(&self, replica: &Replica) -> Result<Remote, Failure> {
        run::connect(replica, &self.all).await
    }

    /// Whether the output must name the replica: not with the only one, or with one that was
    /// picked.
    pub fn are_several(&self) -> bool {
        self.replicas.len() > 1
    }
}

/// Finds the replicas and starts logging. `name` picks one of a database.
pub fn find<'a>(
    source: &Source,
    name: Option<&str>,
    sources: impl Fn(&'a dyn Fn(&str) -> Option<String>, PathBuf) -> Sources<'a>,
) -> Result<Looked, Failure> {
    let configuration = |error: anyhow::Error| Failure::new(CONFIG, error);
    match source {
        Source::Url(url) => {
            logger::start_as_told(&sources(&variable, PathBuf::new()));
            Ok(Looked { replicas: vec![replica_at(url)?], all: Vec::new() })
        }
        Source::Database(path) => {
            let environment = Environment::of_process()?;
            let path = sources(&variable, environment.cwd.clone()).absolute(path).map_err(configuration)?;
            let loaded = environment.load(sources)?;
            logger::start(&loaded.options.logging);
            loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            let database = loaded.database(&path).map_err(configuration)?;
            let replicas = picked(&database, name)?.into_iter().cloned().collect();
            Ok(Looked { replicas, all: loaded.options.databases })
        }
    }
}

/// The replica of this name, or all of them.
pub fn picked<'a>(database: &'a Database, name: Option<&str>) -> Result<Vec<&'a Replica>, Failure> {
    let Some(name) = name else { return Ok(database.replicas.iter().collect()) };
    let unknown = |why: String| Failure::new(CONFIG, anyhow!("{}: {why}", database.path.display()));
    database.replicas.named(name).map(|replica| vec![replica]).map_err(unknown)
}
