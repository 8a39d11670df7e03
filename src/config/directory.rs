//! An entry with `dir`: what its databases have in common, and what each of them has for itself.
//!
//! Paths are derived as Litestream derives them: the path of a database relative to the directory
//! is appended to the path of each replica, so that either program finds what the other has
//! written.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::options::{Database, Directory, Notes, Options, Replica, Replicas};
use super::paths::{PathContext, default_meta_path};
use super::places::Places;
use super::section::Section;
use super::target::Target;
use crate::directory::{Found, Held, Pattern, Scan, Selection, scan};
use crate::fsx;

/// A database that lies in a directory of the configuration, or something that should be one.
#[derive(Debug)]
pub struct InDirectory {
    pub path: PathBuf,
    /// Or why it cannot be replicated: completes "PATH: ".
    pub database: Result<Database, String>,
}

/// Which keys may stand together.
pub fn check_keys(section: &Section, place: &str) -> Result<(), String> {
    let (path, dir) = (section.text("path").is_some(), section.text("dir").is_some());
    let refuse = |why: &str| Err(format!("{place}: {why}"));
    match (path, dir) {
        (true, true) => return refuse("`path` and `dir` exclude each other; remove one"),
        (false, false) => return refuse("`path` is missing or empty, and so is `dir`"),
        _ => {}
    }
    if dir && section.text("pattern").is_none() {
        return refuse("`dir` needs a `pattern` of the names of its databases, for example \"*.db\"");
    }
    if !dir && section.bool("watch") == Some(true) {
        return refuse("`watch` is for an entry with `dir`: a database with a `path` is watched in any case");
    }
    if !dir && section.has("meta-dir") {
        return refuse("`meta-dir` is for an entry with `dir`; write `meta-path`");
    }
    if section.has("meta-dir") && section.has("meta-path") {
        return refuse("`meta-path` and `meta-dir` exclude each other; remove one");
    }
    Ok(())
}

/// The directory itself.
pub fn root(dir: &str, context: PathContext<'_>, place: &str) -> Result<PathBuf, String> {
    context.absolute(Path::new(dir)).map_err(|why| format!("{place}.dir: {why}"))
}

/// The directory that the section describes.
pub fn of_entry(
    section: &Section,
    model: Database,
    context: PathContext<'_>,
    place: &str,
) -> Result<Directory, String> {
    let pattern = section.text("pattern").unwrap_or_default();
    let pattern = Pattern::parse(pattern).map_err(|why| format!("{place}.pattern: {why}"))?;
    let notes = match (section.text("meta-dir"), section.text("meta-path")) {
        (Some(dir), _) => {
            Notes::Dir(context.absolute(Path::new(dir)).map_err(|why| format!("{place}.meta-dir: {why}"))?)
        }
        (None, Some(_)) => Notes::Path(model.meta_path.clone()),
        (None, None) => Notes::Beside,
    };
    let apart = match &notes {
        Notes::Beside => Vec::new(),
        Notes::Dir(dir) | Notes::Path(dir) => vec![dir.clone()],
    };
    let recursive = section.bool("recursive").unwrap_or(false);
    let selection = Selection { root: model.path.clone(), pattern, recursive, apart };
    let watch = section.bool("watch").unwrap_or(false);
    // One that is not there yet, or not any more, is missing nowhere.
    let model = Database { optional: true, may_vanish: true, ..model };
    Ok(Directory { selection, watch, notes, model })
}

/// For what concerns directories and databases alike: an entry that stands for all databases of a
/// directory. Of several entries for the databases of one directory the first is enough.
pub fn stand_ins(directories: &[Directory]) -> Vec<Database> {
    let mut seen = HashSet::new();
    let new =
        directories.iter().filter(|directory| seen.insert((directory.root(), &directory.model.replicas.first.url)));
    let stand_in = |directory: &Directory| {
        let path = directory.root().join(directory.selection.pattern.as_str());
        let meta_path = match &directory.notes {
            Notes::Beside => default_meta_path(&path),
            Notes::Dir(dir) | Notes::Path(dir) => dir.clone(),
        };
        Database { path, meta_path, ..directory.model.clone() }
    };
    new.map(stand_in).collect()
}

impl Directory {
    pub fn root(&self) -> &Path {
        &self.selection.root
    }

    /// Where the databases have their replicas.
    pub fn replicas(&self) -> &Replicas {
        &self.model.replicas
    }

    /// The database at this absolute path, if it is one of this directory. The error completes
    /// "PATH: ".
    pub fn at(&self, path: &Path) -> Option<Result<Database, String>> {
        let relative = path.strip_prefix(self.root()).ok()?;
        self.selection.covers(relative).then(|| self.database(relative))
    }

    /// The database at this relative path, which the selection covers.
    pub fn database(&self, relative: &Path) -> Result<Database, String> {
        let path = self.root().join(relative);
        let below = |replica: &Replica| {
            let target = replica.target.below(relative)?;
            Ok(Replica { url: url_below(&replica.url, relative), target, ..replica.clone() })
        };
        let Replicas { first, mirrors } = &self.model.replicas;
        let mirrors = mirrors.iter().map(below).collect::<Result<_, String>>()?;
        let replicas = Replicas { first: below(first)?, mirrors };
        let meta_path = match &self.notes {
            Notes::Beside => default_meta_path(&path),
            Notes::Dir(dir) => fsx::with_suffix(&dir.join(relative), "-millstream"),
            Notes::Path(dir) => default_meta_path(&dir.join(relative)),
        };
        Ok(Database { path, meta_path, replicas, ..self.model.clone() })
    }

    /// What lies there now.
    pub fn scan(&self, held: &Held) -> Scan {
        scan(&self.selection, held)
    }
}

/// As it is shown: the path, before what follows a question mark.
fn url_below(url: &str, relative: &Path) -> String {
    let (place, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    format!("{}/{}{query}", place.trim_end_matches('/'), relative.display())
}

impl Target {
    /// A place below this one, joined as Go joins paths.
    pub fn below(&self, relative: &Path) -> Result<Target, String> {
        match self {
            Target::File { path } => Ok(Target::File { path: path.join(relative) }),
            Target::S3(settings) => {
                let Some(relative) = relative.to_str() else {
                    return Err("its name is not UTF-8 text, and a bucket has no other names; rename it".into());
                };
                let prefix = go_join(&settings.prefix, relative);
                let settings = crate::store::s3::Settings { prefix, ..(**settings).clone() };
                settings.problem().map_or_else(|| Ok(Target::S3(Arc::new(settings.clone()))), Err)
            }
        }
    }
}

/// Go's `path.Join`: without empty segments and dots.
fn go_join(prefix: &str, relative: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in prefix.split('/').chain(relative.split('/')) {
        match segment {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => drop(kept.pop()),
            ".." if prefix.starts_with('/') => {}
            segment => kept.push(segment),
        }
    }
    let slash = if prefix.starts_with('/') { "/" } else { "" };
    format!("{slash}{}", kept.join("/"))
}

impl Options {
    /// The database that is configured under this path: by an entry of its own, or because it lies,
    /// or would lie, in a directory of the configuration.
    pub fn find(&self, db: &Path) -> Option<Database> {
        let listed = self.databases.iter().find(|database| database.path == db).cloned();
        listed.or_else(|| self.directories.iter().find_map(|directory| directory.at(db)?.ok()))
    }

    /// What lies in the directories of the configuration now. What has an entry of its own, or was
    /// found by an earlier one, is not named again. `places` are those of the databases so far;
    /// those of the databases that are found are added. For a time when none of them is replicated
    /// by this process.
    pub fn in_directories(&self, places: &mut Places) -> Vec<InDirectory> {
        let mut found = Vec::new();
        for directory in &self.directories {
            let scan = directory.scan(&Held::default());
            for (relative, why) in &scan.unread {
                let path = directory.root().join(relative);
                found.push(InDirectory { path, database: Err(format!("the directory cannot be read: {why}")) });
            }
            for (relative, what) in &scan.files {
                let path = directory.root().join(relative);
                if places.knows(&path) {
                    continue;
                }
                let database = match what {
                    Found::Database => directory.database(relative).and_then(|database| {
                        places.claim(&database)?;
                        Ok(database)
                    }),
                    Found::Unreadable(why) => Err(format!("it cannot be read: {why}")),
                    Found::SameAs(other) => {
                        Err(format!("it is the same file as {}, which is replicated under that name", other.display()))
                    }
                    Found::Empty | Found::Other | Found::Held => continue,
                };
                found.push(InDirectory { path, database });
            }
        }
        found
    }

    /// All databases: those with an entry of their own, and those that lie in a directory now.
    pub fn with_those_in_directories(&self) -> Vec<Database> {
        let mut places = Places::of(&self.databases);
        let found = self.in_directories(&mut places).into_iter().filter_map(|found| found.database.ok());
        self.databases.iter().cloned().chain(found).collect()
    }
}

#[cfg(test)]
mod tests;
