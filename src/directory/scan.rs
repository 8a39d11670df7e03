//! What lies in a directory now: one walk. Symbolic links to files are followed and links to
//! directories are not, as in Litestream.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::held::{Held, Inode};
use super::pattern::Pattern;
use crate::fsx;
use crate::sqlite::{Content, Presence, look_at_file};

/// Which files are meant.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Absolute.
    pub root: PathBuf,
    pub pattern: Pattern,
    pub recursive: bool,
    /// Directories with notes of replicators: there are no databases in them.
    pub apart: Vec<PathBuf>,
}

/// What a file with a fitting name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It begins as a SQLite database does.
    Database,
    /// Nothing was written to it yet.
    Empty,
    /// It is held under this very name.
    Held,
    /// It is a held file or another database of this scan, which is at that path.
    SameAs(PathBuf),
    /// It is no SQLite database.
    Other,
    /// It cannot be told.
    Unreadable(String),
}

/// All paths are relative to the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    pub files: BTreeMap<PathBuf, Found>,
    /// The directories that were looked into.
    pub directories: Vec<PathBuf>,
    /// Those that could not be read: what is in them is not known.
    pub unread: BTreeMap<PathBuf, String>,
    /// There is no such directory.
    pub is_missing: bool,
}

impl Selection {
    /// Whether a database at this relative path would be taken.
    pub fn covers(&self, relative: &Path) -> bool {
        let Some(name) = relative.file_name() else { return false };
        let mut directories = relative.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        let is_deep = directories.clone().next().is_some();
        // A path that was put together from others may lead out of the directory.
        let stays_inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
        stays_inside
            && (self.recursive || !is_deep)
            && self.takes(name)
            && !directories.any(|above| self.is_apart(above))
    }

    /// Whether a file of this name may be one.
    fn takes(&self, name: &OsStr) -> bool {
        self.pattern.matches(name) && !is_auxiliary(name, self.pattern.as_str())
    }

    fn is_apart(&self, relative: &Path) -> bool {
        let name = relative.file_name().unwrap_or_default().as_encoded_bytes();
        let has_notes = name.starts_with(b".") && (name.ends_with(b"-litestream") || name.ends_with(b"-millstream"));
        has_notes || self.apart.iter().any(|apart| *apart == self.root.join(relative))
    }
}

/// Files beside databases: SQLite's own, and those of a restore that has not ended or has moved
/// them out of its way.
fn is_auxiliary(name: &OsStr, pattern: &str) -> bool {
    let name = name.as_encoded_bytes();
    let digits_after = |mark: &[u8]| {
        let at = name.windows(mark.len()).rposition(|window| window == mark);
        at.is_some_and(|at| name[at + mark.len()..].iter().all(u8::is_ascii_digit))
    };
    ["-wal", "-shm", "-journal"].iter().any(|suffix| name.ends_with(suffix.as_bytes()))
        || name.ends_with(b".tmp") && !pattern.ends_with(".tmp")
        || digits_after(b".orphaned-")
        || name.starts_with(b".") && name.windows(12).any(|window| window == b".millstream-")
}

/// Walks. What comes or goes meanwhile may be in the answer or not.
pub fn scan(selection: &Selection, held: &Held) -> Scan {
    let mut found = Scan::default();
    let mut open = vec![PathBuf::new()];
    let mut candidates = Vec::new();
    while let Some(relative) = open.pop() {
        match list(&selection.root.join(&relative)) {
            Ok(entries) => {
                for entry in entries {
                    take(selection, &relative, &entry, &mut open, &mut candidates);
                }
                found.directories.push(relative);
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                found.unread.insert(relative, error.to_string());
            }
            // One that is below has gone since it was listed.
            Err(_) => found.is_missing |= relative.as_os_str().is_empty(),
        }
    }
    candidates.sort();
    let mut seen = HashMap::new();
    for relative in candidates {
        let path = selection.root.join(&relative);
        if let Some(what) = look(&path, held, &mut seen) {
            found.files.insert(relative, what);
        }
    }
    found
}

fn list(directory: &Path) -> std::io::Result<Vec<DirEntry>> {
    fs::read_dir(directory)?.collect()
}

fn take(
    selection: &Selection,
    directory: &Path,
    entry: &DirEntry,
    open: &mut Vec<PathBuf>,
    candidates: &mut Vec<PathBuf>,
) {
    let (relative, kind) = (directory.join(entry.file_name()), entry.file_type());
    match kind {
        Ok(kind) if kind.is_dir() && selection.recursive && !selection.is_apart(&relative) => open.push(relative),
        Ok(kind) if !kind.is_file() && !kind.is_symlink() => {}
        _ if selection.takes(&entry.file_name()) => candidates.push(relative),
        _ => {}
    }
}

/// `None` when it is gone again, or is nothing that could ever be a database.
fn look(path: &Path, held: &Held, seen: &mut HashMap<Inode, PathBuf>) -> Option<Found> {
    if held.has_path(path) {
        return Some(Found::Held);
    }
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return None,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => return Some(Found::Unreadable(error.to_string())),
    };
    let inode = Inode::from(&metadata);
    if let Some(other) = held.path_of(inode).or_else(|| seen.get(&inode).map(PathBuf::as_path)) {
        return Some(Found::SameAs(other.to_owned()));
    }
    Some(match look_at_file(path) {
        // A header that is damaged is the header of a database all the same: it is told, not passed
        // over.
        Ok(Presence::Database(_) | Presence::NoDatabase(Content::DamagedHeader)) => {
            seen.insert(inode, path.to_owned());
            Found::Database
        }
        Ok(Presence::Empty) => Found::Empty,
        Ok(Presence::NoDatabase(_)) => Found::Other,
        Ok(Presence::Missing) => return None,
        Err(fsx::FsError { source, .. }) => Found::Unreadable(source.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn selection(root: &Path, pattern: &str, recursive: bool) -> Selection {
        let pattern = Pattern::parse(pattern).expect("valid");
        Selection { root: root.to_owned(), pattern, recursive, apart: vec![root.join("notes")] }
    }

    fn database(path: &Path) {
        fs::create_dir_all(path.parent().expect("has a parent")).expect("create");
        let mut bytes = b"SQLite format 3\0".to_vec();
        bytes.resize(4096, 0);
        bytes[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        fs::write(path, bytes).expect("write");
    }

    fn databases(scan: &Scan) -> Vec<&str> {
        let is_one = |found: &Found| matches!(found, Found::Database);
        scan.files.iter().filter(|(_, found)| is_one(found)).filter_map(|(path, _)| path.to_str()).collect()
    }

    #[test]
    fn only_databases_are_found_and_notes_are_left_alone() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path();
        for path in [
            "a.db",
            ".hidden.db",
            "a.sqlite",
            "sub/b.db",
            "sub/deep/er/c.db",
            "my-litestream/d.db",
            ".a.db-litestream/ltx/e.db",
            ".a.db-millstream/f.db",
            "notes/g.db",
            "a.db-wal",
            ".a.db.millstream-restore.00.tmp",
            ".a.db.millstream-forward",
            "a.db.tmp",
            "a.db.orphaned-17",
        ] {
            database(&root.join(path));
        }
        fs::write(root.join("text.db"), "hello").expect("write");
        fs::write(root.join("empty.db"), "").expect("write");
        nix::unistd::mkfifo(&root.join("fifo.db"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        fs::create_dir(root.join("directory.db")).expect("create");
        symlink("sub/b.db", root.join("linked.db")).expect("link");
        symlink("sub", root.join("linked")).expect("link");
        symlink("nothing", root.join("dangling.db")).expect("link");
        let flat = scan(&selection(root, "*.db", false), &Held::default());
        assert_eq!(databases(&flat), [".hidden.db", "a.db", "linked.db"]);
        assert_eq!(flat.files[Path::new("text.db")], Found::Other);
        assert_eq!(flat.files[Path::new("empty.db")], Found::Empty);
        assert_eq!((flat.directories.len(), flat.files.len()), (1, 5));
        let deep = scan(&selection(root, "*.db", true), &Held::default());
        assert_eq!(databases(&deep), [".hidden.db", "a.db", "linked.db", "my-litestream/d.db", "sub/deep/er/c.db"]);
        assert_eq!(deep.files[Path::new("sub/b.db")], Found::SameAs(root.join("linked.db")), "one file, two names");
        assert!(!deep.directories.contains(&"notes".into()) && deep.directories.contains(&"sub/deep".into()));
        let all = scan(&selection(root, "*", false), &Held::default());
        assert_eq!(databases(&all), [".hidden.db", "a.db", "a.sqlite", "linked.db"]);
    }

    #[test]
    fn what_is_held_is_not_opened_under_any_name() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path();
        database(&root.join("a.db"));
        let mut held = Held::default();
        held.hold(root.join("a.db"));
        fs::hard_link(root.join("a.db"), root.join("b.db")).expect("link");
        let found = scan(&selection(root, "*.db", false), &held);
        assert_eq!(found.files[Path::new("a.db")], Found::Held);
        assert_eq!(found.files[Path::new("b.db")], Found::SameAs(root.join("a.db")));
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_not_an_empty_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        let missing = scan(&selection(&dir.path().join("x"), "*", true), &Held::default());
        assert!(missing.is_missing && missing.files.is_empty() && missing.unread.is_empty());
        fs::write(dir.path().join("file"), "x").expect("write");
        let file = scan(&selection(&dir.path().join("file"), "*", true), &Held::default());
        assert!(!file.is_missing);
        assert_eq!(file.unread.keys().next().map(PathBuf::as_path), Some(Path::new("")));
    }

    #[test]
    fn a_path_is_covered_or_not_without_a_look_at_the_disk() {
        let root = Path::new("/data");
        let covers = |pattern, recursive, path: &str| selection(root, pattern, recursive).covers(Path::new(path));
        for (path, flat, deep) in [
            ("a.db", true, true),
            ("a.txt", false, false),
            ("sub/a.db", false, true),
            (".a.db-litestream/x.db", false, false),
            ("notes/x.db", false, false),
            ("notes/deeper/x.db", false, false),
            ("a.db-wal", false, false),
            ("", false, false),
            ("../a.db", false, false),
            ("sub/../../a.db", false, false),
            ("/a.db", false, false),
        ] {
            assert_eq!((covers("*.db", false, path), covers("*.db", true, path)), (flat, deep), "{path}");
        }
        assert!(covers("*.tmp", false, "x.tmp") && !covers("*", false, "x.tmp"));
    }
}
