//! A database that is added while the program runs: its path and the URL of its replica, and
//! everything else as the file presets it for all databases.

use std::path::PathBuf;

use super::options::{CaptureOptions, Database, Options, Replica, Replicas};
use super::paths::default_meta_path;
use super::section::{Section, Value};
use super::sources::Sources;
use super::{collisions, placement, proof, replica, unset, url};

/// A database that may be replicated, and warnings about it.
#[derive(Debug)]
pub struct Added {
    pub database: Database,
    pub warnings: Vec<String>,
}

impl Options {
    /// The database at this absolute path with one replica. `present` are the databases that it
    /// must not collide with. The error is a sentence that holds no secret.
    pub fn added(
        &self,
        path: PathBuf,
        replica_url: &str,
        present: &[Database],
        sources: &Sources<'_>,
    ) -> Result<Added, String> {
        if path.file_name().is_none() {
            return Err(format!("{} is not a file", path.display()));
        }
        if let Some(variable) = unset::unreplaced(&url::redact(replica_url)) {
            return Err(format!("{variable} in the replica URL was not replaced by a value"));
        }
        let mut warnings = Vec::new();
        let own = Section { entries: vec![("url", Value::Text(replica_url.to_owned()))] };
        let replica = replica::from_section(&own, self.presets.section(), sources.context(), &mut warnings)
            .map_err(|why| format!("replica URL: {why}"))?;
        let (nothing, root) = (Section { entries: Vec::new() }, self.presets.section());
        let verify = proof::of_replica(&own, &nothing, root, sources.context(), "")?;
        let first = Replica { snapshot: self.lifecycle.snapshot, verify, ..replica };
        let database = Database {
            meta_path: default_meta_path(&path),
            path,
            capture: CaptureOptions::default(),
            restore_if_db_not_exists: false,
            optional: false,
            may_vanish: false,
            file_mode: None,
            file_owner: None,
            replicas: Replicas { first, mirrors: Vec::new() },
        };
        let mut all = present.to_vec();
        all.push(database.clone());
        let numbered: Vec<(usize, Database)> = all.iter().cloned().enumerate().collect();
        collisions::refuse(&numbered).map_err(|why| match why.split_once(&format!("dbs[{}] ", present.len())) {
            Some((_, what)) => format!("this database and another one {what}"),
            None => why,
        })?;
        // Warnings about the other databases have been logged before.
        let of_others = placement::check(present).unwrap_or_default();
        let near = placement::check(&all)?.into_iter().filter(|warning| !of_others.contains(warning));
        warnings.extend(near);
        Ok(Added { database, warnings })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::paths::PathContext;
    use super::super::target::Target;
    use super::super::{resolve, yaml};
    use super::*;

    const FILE: &str = "sync-interval: 7s\nregion: nowhere\naccess-key-id: KEYID\nsecret-access-key: SECRET\n\
                        snapshot: {retention: 72h}\nverify: {interval: 9h}\ndbs: [{path: /data/a.db, replica: {url: 's3://b/a'}}]\n";

    fn options(text: &str) -> Options {
        let root = yaml::parse("f", text).expect("valid").root;
        let context = PathContext { cwd: Path::new("/srv"), env: &|_: &str| None };
        resolve::options(&root, context, &mut Vec::new()).expect("valid")
    }

    fn added(options: &Options, path: &str, url: &str) -> Result<Added, String> {
        let env = |_: &str| None;
        options.added(path.into(), url, &options.databases, &Sources::new(&env, "/srv".into()))
    }

    #[test]
    fn it_takes_over_what_the_file_presets() {
        let added = added(&options(FILE), "/data/b.db", "s3://b/b").expect("valid").database;
        let replica = &added.replicas.first;
        assert_eq!(added.meta_path, Path::new("/data/.b.db-millstream"));
        assert_eq!(replica.sync_interval, Duration::from_secs(7));
        assert_eq!(replica.snapshot.retention, Duration::from_secs(72 * 3600));
        assert_eq!(replica.verify.as_ref().map(|verify| verify.interval), Some(Duration::from_secs(9 * 3600)));
        let Target::S3(settings) = &replica.target else { panic!("{replica:?}") };
        assert_eq!(settings.region.as_deref(), Some("nowhere"));
        assert_eq!(settings.credentials.as_ref().map(|keys| keys.access_key_id.as_str()), Some("KEYID"));
    }

    #[test]
    fn what_would_destroy_another_is_refused_without_a_secret() {
        let options = options(FILE);
        for (path, url, part) in [
            ("/data/b.db", "s3://b/a", "this database and another one have the same replica"),
            ("/data/b.db", "s3://b/a/ltx", "is among the files"),
            ("/data/a.db", "s3://b/b", "name the same database"),
            ("/data/b.db", "file:///data", "contains the database"),
            ("/data/b.db", "s3://KEY:SECRET@", "replica URL"),
            ("/data/b.db", "s3://b/$(POD)", "$(POD)"),
            ("/data/b.db", "", "replica URL"),
            ("/", "s3://b/b", "not a file"),
        ] {
            let problem = added(&options, path, url).expect_err(url);
            assert!(problem.contains(part) && !problem.contains("SECRET"), "{url}: {problem}");
        }
    }
}
