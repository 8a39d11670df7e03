//! Where the replicas and the notes of databases lie: what a new one would collide with is found
//! without a look at all of them, of which there may be ten thousand.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::options::{Database, Replica};
use super::target::Target;
use crate::remote::is_among_files;

/// The names that lead to a place, from the outside in, each with [`END`] behind it: what is below
/// a place begins with the way to it.
type Way = Arc<[u8]>;

/// No name has it.
const END: u8 = 0;

/// Where the replicas of one database lie, and its notes.
type Own = (Box<[Way]>, Arc<Path>);

/// The places of databases.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Whose replica lies there.
    replicas: BTreeMap<Way, Arc<Path>>,
    /// Whose notes lie there.
    notes: HashMap<Arc<Path>, Arc<Path>>,
    databases: HashMap<Arc<Path>, Own>,
}

impl Places {
    /// Those of databases that do not collide.
    pub fn of<'a>(databases: impl IntoIterator<Item = &'a Database>) -> Places {
        let mut places = Places::default();
        databases.into_iter().for_each(|database| places.insert(database));
        places
    }

    /// Whether no two of these databases, and no two replicas of one, come near each other. It does
    /// not compare each with each, of which there may be ten thousand.
    pub fn are_apart<'a>(databases: impl Iterator<Item = &'a Database> + Clone) -> bool {
        let mut all = Places::default();
        databases.clone().for_each(|database| all.insert(database));
        let (count, mut ways) = (databases.clone().count(), BTreeSet::new());
        let mut is_alone = |way: Way| all.above(&way).is_none() && ways.insert(way);
        let mut replicas = databases.flat_map(|database| database.replicas.iter());
        all.databases.len() == count
            && all.notes.len() == count
            && replicas.all(|replica| is_alone(way(&replica.target)))
    }

    pub fn knows(&self, database: &Path) -> bool {
        self.databases.contains_key(database)
    }

    /// Takes the places of one more database, or says what is in its way: the database that holds
    /// one of them, and a clause that completes "PATH: ".
    pub fn claim(&mut self, database: &Database) -> Result<(), String> {
        match self.obstacle(database) {
            Some((_, why)) => Err(why),
            None => {
                self.insert(database);
                Ok(())
            }
        }
    }

    /// What is in the way of a database: the one that holds a place, and why that is none for this
    /// one.
    pub fn obstacle(&self, database: &Database) -> Option<(PathBuf, String)> {
        if self.knows(&database.path) {
            return Some((database.path.clone(), "it is configured already".into()));
        }
        if let Some(holder) = self.notes.get(database.meta_path.as_path()) {
            let (notes, shown) = (database.meta_path.display(), holder.display());
            return Some((holder.to_path_buf(), format!("its notes would lie in {notes}, which are those of {shown}")));
        }
        database.replicas.iter().find_map(|replica| self.obstacle_to(replica))
    }

    fn obstacle_to(&self, replica: &Replica) -> Option<(PathBuf, String)> {
        let (way, url) = (way(&replica.target), &replica.url);
        if let Some(holder) = self.replicas.get(&way) {
            let why = format!("{url} is the replica of {} already; give each database its own", holder.display());
            return Some((holder.to_path_buf(), why));
        }
        let above = self.above(&way);
        let mut below = self.below_way(&way);
        let holder =
            above.or_else(|| below.find_map(|(rest, holder)| is_among_files(&joined(rest)).then_some(holder)))?;
        let why = format!("{url} and the replica of {} lie among each other's files", holder.display());
        Some((holder.to_path_buf(), why))
    }

    /// Whose replica has this place among its files.
    fn above(&self, way: &Way) -> Option<&Arc<Path>> {
        (1..way.len()).filter(|len| way[len - 1] == END).find_map(|len| {
            let holder = self.replicas.get(&way[..len])?;
            is_among_files(&joined(&way[len..])).then_some(holder)
        })
    }

    /// Where other replicas lie below this one, relative to it.
    pub fn below(&self, replica: &Replica) -> Vec<String> {
        self.below_way(&way(&replica.target)).map(|(rest, _)| joined(rest)).collect()
    }

    fn below_way<'a>(&'a self, way: &Way) -> impl Iterator<Item = (&'a [u8], &'a Arc<Path>)> {
        let (start, len) = (way.clone(), way.len());
        let from = self.replicas.range(way.clone()..).take_while(move |(other, _)| other.starts_with(&start));
        from.filter(move |(other, _)| other.len() > len).map(move |(other, holder)| (&other[len..], holder))
    }

    fn insert(&mut self, database: &Database) {
        let [path, notes]: [Arc<Path>; 2] = [&database.path, &database.meta_path].map(|path| path.as_path().into());
        let ways: Box<[Way]> = database.replicas.iter().map(|replica| way(&replica.target)).collect();
        for way in &ways {
            self.replicas.insert(way.clone(), path.clone());
        }
        self.notes.insert(notes.clone(), path.clone());
        self.databases.insert(path, (ways, notes));
    }

    /// The database is gone.
    pub fn release(&mut self, database: &Path) {
        let Some((ways, notes)) = self.databases.remove(database) else { return };
        ways.iter().for_each(|way| drop(self.replicas.remove(way)));
        self.notes.remove(&notes);
    }
}

fn way(target: &Target) -> Way {
    match target {
        Target::File { path } => {
            let names = path.components().map(|component| component.as_os_str().as_bytes());
            ended(std::iter::once(&b"file"[..]).chain(names))
        }
        Target::S3(settings) => {
            let server = settings.endpoint.as_deref().unwrap_or_default().trim_end_matches('/').to_ascii_lowercase();
            let segments = settings.prefix.split('/').filter(|segment| !matches!(*segment, "" | "."));
            let bucket = ["s3", &server, &settings.bucket].into_iter();
            ended(bucket.chain(segments).map(str::as_bytes))
        }
    }
}

fn ended<'a>(names: impl Iterator<Item = &'a [u8]>) -> Way {
    names.flat_map(|name| [name, &[END]]).flatten().copied().collect()
}

fn joined(way: &[u8]) -> String {
    let way = way.strip_suffix(&[END]).unwrap_or(way);
    way.split(|byte| *byte == END).map(String::from_utf8_lossy).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
pub mod testing {
    use super::super::options::{CaptureOptions, Replicas};
    use super::*;

    pub fn database(path: &str, target: Target) -> Database {
        Database {
            path: path.into(),
            meta_path: format!("{path}-notes").into(),
            capture: CaptureOptions::default(),
            restore_if_db_not_exists: false,
            optional: false,
            may_vanish: false,
            file_mode: None,
            file_owner: None,
            replicas: Replicas { first: Replica::new("URL", target), mirrors: Vec::new() },
        }
    }

    pub fn file(path: &str) -> Target {
        Target::File { path: path.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{database, file};
    use super::*;
    use crate::store::s3::Settings;

    fn s3(prefix: &str) -> Target {
        Target::S3(Arc::new(Settings::new("bucket", prefix)))
    }

    #[test]
    fn what_would_collide_is_found_and_told() {
        let places = Places::of(&[database("/a", s3("x/a.db")), database("/b", file("/backup"))]);
        for (path, target, part) in [
            ("/a", s3("y"), "configured already"),
            ("/c", s3("x//a.db/"), "URL is the replica of /a already"),
            ("/c", s3("x/a.db/0000"), "URL and the replica of /a lie among each other's files"),
            ("/c", s3("x/a.db/ltx/c"), "lie among"),
            ("/c", file("/backup/ltx/0"), "replica of /b lie among"),
            ("/c", file("/backup"), "replica of /b already"),
        ] {
            let (_, why) = places.obstacle(&database(path, target.clone())).unwrap_or_else(|| panic!("{target:?}"));
            assert!(why.contains(part), "{target:?}: {why}");
        }
        for target in [s3("x/b.db"), s3("x"), s3("x/a.db/c"), s3(""), file("/backup/c"), file("/"), file("/backup2")] {
            assert_eq!(places.obstacle(&database("/c", target.clone())), None, "{target:?}");
        }
        let mut same_notes = database("/c", s3("y"));
        same_notes.meta_path = "/a-notes".into();
        assert!(places.obstacle(&same_notes).expect("refused").1.contains("notes"));
    }

    #[test]
    fn places_are_given_back_and_those_below_are_known() {
        let mut places = Places::of(&[database("/a", s3("x/a.db")), database("/b", s3("x/b.db"))]);
        let root = Replica::new("URL", s3("x/"));
        assert_eq!(places.below(&root), ["a.db", "b.db"]);
        places.release(Path::new("/a"));
        assert_eq!(places.below(&root), ["b.db"]);
        assert!(!places.knows(Path::new("/a")));
        places.claim(&database("/c", s3("x/a.db"))).expect("free again");
        assert!(places.claim(&database("/d", s3("x/a.db"))).is_err());
    }
}
