//! Paths as people write them, made absolute: `~/`, relative ones, and the names of databases.
//!
//! Lexical, as Go's `filepath.Abs`: nothing is looked up on the disk and symbolic links stay what
//! they are.

use std::path::{Component, Path, PathBuf};

use nix::unistd::{Uid, User};

use super::database_file::database_file;
use crate::fsx;

/// What a path can depend on: the working directory and the environment.
#[derive(Clone, Copy)]
pub struct PathContext<'a> {
    pub cwd: &'a Path,
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl PathContext<'_> {
    /// The file of a database, in every way in which SQLite databases are named.
    pub fn database(&self, name: &Path) -> Result<PathBuf, String> {
        self.absolute(&database_file(name)?)
    }

    pub fn absolute(&self, path: &Path) -> Result<PathBuf, String> {
        if path.as_os_str().is_empty() {
            return Err("the path is empty".into());
        }
        let joined = match path.strip_prefix("~") {
            Ok(below) => {
                self.home().ok_or_else(|| format!("{}: no home directory is known", path.display()))?.join(below)
            }
            Err(_) => self.cwd.join(path),
        };
        Ok(clean(&joined))
    }

    fn home(&self) -> Option<PathBuf> {
        match (self.env)("HOME").filter(|home| !home.is_empty()) {
            Some(home) => Some(PathBuf::from(home)),
            None => User::from_uid(Uid::effective()).ok().flatten().map(|user| user.dir),
        }
    }
}

fn clean(path: &Path) -> PathBuf {
    let mut kept = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                kept.pop();
            }
            component => kept.push(component),
        }
    }
    kept
}

/// The directory of our own state of a database: `/data/app.db` → `/data/.app.db-millstream`.
pub fn default_meta_path(db: &Path) -> PathBuf {
    db.with_file_name(fsx::framed(".", db.file_name().unwrap_or_default(), "-millstream", 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute() {
        let env = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
        let context = PathContext { cwd: Path::new("/srv/app"), env: &env };
        let cases = [
            ("/data/app.db", "/data/app.db"),
            ("app.db", "/srv/app/app.db"),
            ("./x/../app.db", "/srv/app/app.db"),
            ("/../a//b/.", "/a/b"),
            ("~/app.db", "/home/me/app.db"),
            ("~", "/home/me"),
            ("~other/app.db", "/srv/app/~other/app.db"),
        ];
        for (written, meant) in cases {
            assert_eq!(context.absolute(Path::new(written)), Ok(PathBuf::from(meant)), "{written}");
        }
        assert!(context.absolute(Path::new("")).is_err() && context.database(Path::new("sqlite://")).is_err());
        assert_eq!(context.database(Path::new("sqlite3://app.db")), Ok(PathBuf::from("/srv/app/app.db")));
    }

    #[test]
    fn our_state_lies_beside_the_database() {
        assert_eq!(default_meta_path(Path::new("/data/app.db")), Path::new("/data/.app.db-millstream"));
    }
}
