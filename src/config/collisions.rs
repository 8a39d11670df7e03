//! Databases and replicas that would destroy each other: no two share a file, our state, or a place
//! in a bucket.

use super::options::{Database, Directory, Replica};
use super::places::Places;
use crate::remote::is_among_files;

/// Refuses the first two that collide; each has the index of its entry.
pub fn refuse(databases: &[(usize, Database)]) -> Result<(), String> {
    match Places::are_apart(databases.iter().map(|(_, database)| database)) {
        true => Ok(()),
        false => compare_each(databases),
    }
}

fn compare_each(databases: &[(usize, Database)]) -> Result<(), String> {
    for (at, (b, later)) in databases.iter().enumerate() {
        for (a, earlier) in &databases[..at] {
            let shared = if earlier.path == later.path {
                "name the same database; list the replicas of one database under one `replicas`"
            } else if earlier.meta_path == later.meta_path {
                "have the same `meta-path`"
            } else if earlier.replicas.iter().any(|a| later.replicas.iter().any(|b| is_same(a, b))) {
                "have the same replica; give each database a path of its own"
            } else {
                continue;
            };
            return Err(format!("dbs[{a}] and dbs[{b}] {shared}"));
        }
    }
    refuse_within(databases.iter().map(|(_, database)| database))
}

/// Directories whose databases would destroy each other, or those of other entries.
pub fn refuse_directories(databases: &[(usize, Database)], directories: &[(usize, Directory)]) -> Result<(), String> {
    for (at, (b, later)) in directories.iter().enumerate() {
        for replica in later.replicas().iter() {
            // Databases of one directory have different names, whichever entry finds them.
            let other = directories[..at].iter().find(|(_, earlier)| {
                earlier.root() != later.root() && earlier.replicas().iter().any(|other| is_same(other, replica))
            });
            if let Some((a, _)) = other {
                let what = "have the same replica for different directories; give each directory a path of its own";
                return Err(format!("dbs[{a}] and dbs[{b}] {what}"));
            }
            for (a, database) in databases {
                let is_in_the_way = |other: &Replica| {
                    let among = other.target.path_below(&replica.target).is_some_and(|below| is_among_files(&below));
                    among || is_same(other, replica)
                };
                if database.replicas.iter().any(is_in_the_way) {
                    let what = "the replica of the one is where those of the databases of the other lie";
                    return Err(format!("dbs[{a}] and dbs[{b}]: {what}; give each a path of its own"));
                }
            }
        }
        refuse_within(std::iter::once(&later.model))?;
    }
    Ok(())
}

fn is_same(a: &Replica, b: &Replica) -> bool {
    a.target.is_same_place(&b.target)
}

/// A second copy in the same place is none, and one among the files of another replica would hide
/// those.
fn refuse_within<'a>(databases: impl Iterator<Item = &'a Database> + Clone) -> Result<(), String> {
    let every = || databases.clone().flat_map(|database| database.replicas.iter().map(move |r| (database, r)));
    for (at, (database, replica)) in every().enumerate() {
        for (other_at, (other_database, other)) in every().enumerate() {
            let (path, other_path) = (database.path.display(), other_database.path.display());
            let (name, other_name) = (&replica.name, &other.name);
            if at < other_at && is_same(replica, other) {
                return Err(format!(
                    "the replicas {name} and {other_name} of {path} are the same place; give each a place of its own"
                ));
            }
            if replica.target.path_below(&other.target).is_some_and(|below| is_among_files(&below)) {
                return Err(format!(
                    "the replica {other_name} of {other_path} is among the files of the replica {name} of {path}; \
                     give it a place of its own"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::options::Options;
    use super::super::paths::PathContext;
    use super::super::places::testing::{database, file};
    use super::super::{resolve, yaml};
    use super::*;
    use crate::clock::Dice;

    fn read(text: &str) -> Result<Options, String> {
        let root = yaml::parse("f", text)?.root;
        let context = PathContext { cwd: Path::new("/srv"), env: &|_: &str| None };
        resolve::options(&root, context, &mut Vec::new())
    }

    fn two(a: &str, b: &str) -> String {
        format!("dbs:\n  - {a}\n  - {b}\n")
    }

    fn problem(text: &str) -> String {
        read(text).err().unwrap_or_else(|| panic!("{text} was accepted"))
    }

    #[test]
    fn databases_that_would_destroy_each_other_are_refused() {
        let same = two("{path: /a, replica: {path: /b}}", "{path: /x/../a, replica: {path: /c}}");
        assert!(problem(&same).starts_with("dbs[0] and dbs[1] name the same database; list the replicas"));
        let replica = two("{path: /a, replica: {url: 's3://b/p'}}", "{path: /c, replica: {url: 's3://b/p/'}}");
        assert!(problem(&replica).contains("same replica"));
        let meta =
            two("{path: /a, meta-path: /m, replica: {path: /b}}", "{path: /c, meta-path: /m, replica: {path: /d}}");
        assert!(problem(&meta).contains("same `meta-path`"));
        read(&two("{path: /a, replica: {url: 's3://b/p'}}", "{path: /c, replica: {url: 's3://b/q'}}")).expect("valid");
    }

    /// What is found without comparing each with each is what a comparison finds, and more at most.
    #[test]
    fn a_look_at_all_of_them_overlooks_nothing() {
        let names = ["/a", "/b", "/b/ltx", "/b/ltx/0", "/b/second", "/c/0001", "/c", "/d"];
        let (mut refused, mut apart) = (0, 0);
        for seed in 0..500 {
            let mut dice = Dice::of(seed);
            let mut pick = || names[usize::try_from(dice.roll(names.len() as u64)).expect("few")];
            let mut one = |at: usize| {
                let mut database = database(&format!("/{at}.db"), file(pick()));
                database.replicas.mirrors.extend((at == 0).then(|| Replica::new("URL", file(pick()))));
                (at, database)
            };
            let databases = [0, 1, 2].map(&mut one);
            let is_apart = Places::are_apart(databases.iter().map(|(_, database)| database));
            let told = compare_each(&databases);
            assert!(told.is_ok() || !is_apart, "{seed}: {told:?}");
            (refused, apart) = (refused + usize::from(told.is_err()), apart + usize::from(is_apart));
        }
        assert!(refused > 50 && apart > 50, "{refused} {apart}");
    }

    /// Comparing each with each would take minutes.
    #[test]
    fn ten_thousand_are_looked_at_in_a_moment() {
        let one = |at: usize| (at, database(&format!("/data/{at}.db"), file(&format!("/backup/{at}"))));
        let databases: Vec<_> = (0..10_000).map(one).collect();
        refuse(&databases).expect("valid");
    }

    #[test]
    fn the_mirrors_of_two_databases_collide_too() {
        let mirrors =
            two("{path: /a, replicas: [{path: /b}, {path: /c}]}", "{path: /d, replicas: [{path: /e}, {path: /c}]}");
        assert!(problem(&mirrors).contains("dbs[0] and dbs[1] have the same replica"));
        let first_of_one = two("{path: /a, replicas: [{path: /b}, {path: /c}]}", "{path: /d, replica: {path: /b}}");
        assert!(problem(&first_of_one).contains("dbs[0] and dbs[1] have the same replica"));
    }

    #[test]
    fn a_copy_in_the_same_place_is_refused() {
        for replicas in [
            "[{path: /b}, {path: /b}]",
            "[{path: /b}, {path: /x}, {url: 'file:///b/'}]",
            "[{url: 's3://b/p'}, {url: 's3://b/p/'}]",
            "[{url: 's3://b/p', endpoint: 'https://h'}, {url: 's3://b/p', endpoint: 'https://H/'}]",
        ] {
            let told = problem(&format!("dbs: [{{path: /a, replicas: {replicas}}}]"));
            assert!(told.contains("of /a are the same place"), "{replicas}: {told}");
        }
        let elsewhere = "[{url: 's3://b/p', endpoint: 'https://h'}, {url: 's3://b/p'}, {url: 's3://c/p'}, {path: /p}]";
        read(&format!("dbs: [{{path: /a, replicas: {elsewhere}}}]")).expect("four places");
    }

    #[test]
    fn below_another_replica_is_a_place_unless_its_files_are_there() {
        let below = |dir: &str| format!("dbs: [{{path: /a, replicas: [{{path: /b/{dir}}}, {{path: /b}}]}}]");
        read(&below("second")).expect("told apart by its path");
        read(&below("ltxs")).expect("no directory of a replica");
        for dir in ["ltx", "ltx/0", "0000", "0009/x", "generations", "claims/x"] {
            let told = problem(&below(dir));
            assert!(told.contains("the replica file of /a is among the files of the replica file-2 of /a"), "{told}");
        }
        let told =
            problem(&two("{path: /a, replica: {url: 's3://b/x'}}", "{path: /c, replica: {url: 's3://b/x/ltx'}}"));
        assert!(told.contains("the replica s3 of /c is among the files of the replica s3 of /a"), "{told}");
    }
}
