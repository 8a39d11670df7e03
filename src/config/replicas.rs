//! The replicas of one database, under 0.5's name or 0.3's: each with its name and everything that
//! it takes from around it.

use std::collections::BTreeMap;

use super::options::{Lifecycle, Replica, Replicas};
use super::paths::PathContext;
use super::section::Section;
use super::{lifecycle, proof, replica};

/// What a replica inherits from around its section.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    pub root: &'a Section,
    pub lifecycle: &'a Lifecycle,
    pub context: PathContext<'a>,
}

/// The replicas that the section of a database describes.
pub fn of_database(
    db: &Section,
    around: &Surroundings<'_>,
    place: &str,
    warnings: &mut Vec<String>,
) -> Result<Replicas, String> {
    let mut replicas = Vec::new();
    for (section, replica_place) in sections(db, place)? {
        let mut own_warnings = Vec::new();
        let replica = replica::from_section(section, around.root, around.context, &mut own_warnings)
            .map_err(|why| format!("{replica_place}: {why}"))?;
        warnings.extend(own_warnings.into_iter().map(|warning| format!("{replica_place}: {warning}")));
        let snapshot = lifecycle::snapshot_policy(db, section, around.lifecycle, place, &replica_place)?;
        let verify = proof::of_replica(section, db, around.root, around.context, place)?;
        replicas.push((Replica { snapshot, verify, ..replica }, section.text("name").is_some()));
    }
    together(replicas).map_err(|why| format!("{place}{why}"))
}

/// The replicas of a command line, by their URLs.
pub fn of_urls(replicas: Vec<Replica>) -> Result<Replicas, String> {
    together(replicas.into_iter().map(|replica| (replica, false)).collect())
        .map_err(|why| why.trim_start_matches(": ").to_owned())
}

fn sections<'a>(db: &'a Section, place: &str) -> Result<Vec<(&'a Section, String)>, String> {
    match (db.section("replica"), db.sections("replicas").unwrap_or_default()) {
        (Some(_), [_, ..]) => Err(format!("{place}: `replica` and `replicas` exclude each other; remove one")),
        (Some(replica), []) => Ok(vec![(replica, format!("{place}.replica"))]),
        (None, []) => Err(format!("{place}: no replica; add `replica:` with `url: s3://BUCKET/PATH` below it")),
        (None, several) => {
            let place = |(index, section)| (section, format!("{place}.replicas[{index}]"));
            Ok(several.iter().enumerate().map(place).collect())
        }
    }
}

/// A replica without a name gets that of its kind, the second one with a number. The error text
/// follows the place of the database.
fn together(replicas: Vec<(Replica, bool)>) -> Result<Replicas, String> {
    let mut unnamed: BTreeMap<&str, usize> = BTreeMap::new();
    let numbered = |(replica, has_name): (Replica, bool)| {
        let kind = replica.kind();
        let number = unnamed.entry(kind).or_default();
        *number += usize::from(!has_name);
        match has_name || *number == 1 {
            true => replica,
            false => Replica { name: format!("{kind}-{number}"), ..replica },
        }
    };
    let mut named = replicas.into_iter().map(numbered);
    let Some(first) = named.next() else { return Err(": no replica".into()) };
    let mut mirrors: Vec<Replica> = named.collect();
    // It has the room of all of them, and there may be ten thousand databases without a mirror.
    mirrors.shrink_to_fit();
    let all = Replicas { first, mirrors };
    let mut names: Vec<&str> = all.iter().map(|replica| replica.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!(": two replicas have the name {:?}; set `name:` of one of them to another", twice[0]));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::options::{Options, SnapshotPolicy};
    use super::super::{resolve, yaml};
    use super::*;

    fn read(replicas: &str) -> Result<Options, String> {
        let text = format!("snapshot: {{interval: 2h}}\ndbs:\n  - path: /a\n{replicas}");
        let root = yaml::parse("f", &text)?.root;
        let context = PathContext { cwd: Path::new("/srv"), env: &|_: &str| None };
        resolve::options(&root, context, &mut Vec::new())
    }

    fn accept(replicas: &str) -> Replicas {
        let mut options = read(replicas).unwrap_or_else(|problem| panic!("{replicas}: {problem}"));
        options.databases.remove(0).replicas
    }

    fn problem(replicas: &str) -> String {
        read(replicas).err().unwrap_or_else(|| panic!("{replicas} was accepted"))
    }

    fn names(replicas: &str) -> Vec<String> {
        accept(&format!("    replicas: {replicas}\n")).iter().map(|replica| replica.name.clone()).collect()
    }

    #[test]
    fn one_or_several_and_never_none() {
        assert!(problem("").contains("no replica"));
        assert!(problem("    replicas: []\n").contains("no replica"));
        let both = "    replica: {path: /b}\n    replicas: [{path: /c}]\n";
        assert!(problem(both).contains("exclude each other"));
        assert!(!accept("    replica: {path: /b}\n    replicas: []\n").are_several());
        assert!(problem("    replicas: [{url: ''}]\n").starts_with("dbs[0].replicas[0]: the url is empty"));
        let wrong = problem("    replicas: [{path: /b}, {type: s3, path: p}]\n");
        assert!(wrong.starts_with("dbs[0].replicas[1]: it says neither"), "{wrong}");
        let all = accept("    replicas: [{path: /b}, {url: 's3://b/p'}]\n");
        assert_eq!((all.first.url.as_str(), all.mirrors[0].url.as_str()), ("/b", "s3://b/p"));
    }

    #[test]
    fn a_replica_has_a_name_of_its_own_or_that_of_its_kind() {
        assert_eq!(names("[{path: /b}]"), ["file"]);
        assert_eq!(names("[{path: /b}, {url: 's3://b/p'}]"), ["file", "s3"]);
        assert_eq!(
            names("[{path: /b}, {path: /c}, {url: 's3://b/p'}, {path: /d}]"),
            ["file", "file-2", "s3", "file-3"]
        );
        assert_eq!(names("[{path: /b, name: near}, {path: /c}, {path: /d}]"), ["near", "file", "file-2"]);
        assert_eq!(names("[{path: /b, name: ''}, {path: /c, name: s3}]"), ["file", "s3"]);
        for twice in [
            "[{path: /b, name: x}, {path: /c, name: x}]",
            "[{path: /b}, {path: /c, name: file}]",
            "[{path: /b}, {path: /c, name: file-2}, {path: /d}]",
        ] {
            let told = problem(&format!("    replicas: {twice}\n"));
            assert!(
                told.starts_with("dbs[0]: two replicas have the name \"") && told.contains("set `name:`"),
                "{told}"
            );
        }
        assert!(problem("    replicas: [{path: /b, name: \"a\\nb\"}]\n").contains("`name` contains a line break"));
    }

    #[test]
    fn each_has_a_pace_a_retention_and_a_proof_of_its_own() {
        let all = accept(
            "    snapshot: {retention: 48h}\n    replicas:\n      - {path: /b, sync-interval: 0, validation-interval: 3h}\n      \
             - {path: /c, sync-interval: 10s, retention: 72h, snapshot-interval: 1h, retention-check-interval: 2h}\n",
        );
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let paces: Vec<Duration> = all.iter().map(|replica| replica.sync_interval).collect();
        assert_eq!(paces, [Duration::ZERO, Duration::from_secs(10)]);
        let policies: Vec<SnapshotPolicy> = all.iter().map(|replica| replica.snapshot).collect();
        let first = SnapshotPolicy { interval: hours(2), retention: hours(48), check_interval: hours(1) };
        let second = SnapshotPolicy { interval: hours(1), retention: hours(72), check_interval: hours(2) };
        assert_eq!(policies, [first, second]);
        assert_eq!(all.first.verify.as_ref().map(|verify| verify.interval), Some(hours(3)));
        assert_eq!(all.mirrors[0].verify, None);
        let both = accept("    verify: {interval: 5h}\n    replicas: [{path: /b}, {path: /c}]\n");
        assert!(both.iter().all(|replica| replica.verify.as_ref().is_some_and(|verify| verify.interval == hours(5))));
    }

    #[test]
    fn a_name_that_is_not_there_is_told_with_those_that_are() {
        let one = accept("    replica: {path: /b}\n");
        assert_eq!(one.named("file").expect("its kind").url, "/b");
        assert_eq!(one.named("s3").expect_err("no"), "there is no replica \"s3\"; the only one is \"file\"");
        let two = accept("    replicas: [{path: /b, name: near}, {path: /c, name: far}]\n");
        assert_eq!(two.named("far").expect("there").url, "/c");
        assert_eq!(two.named("file").expect_err("no"), "there is no replica \"file\"; there are near, far");
    }
}
