//! The databases that are registered through the control socket and shall be replicated after the
//! next start, too: key `socket.registrations`, a file that we write.
//!
//! It holds a list like `dbs:`, as JSON, which is YAML: a human may read it, and move an entry to
//! the configuration. Every command that reads the configuration reads it as well.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fsx::{self, Context};

/// As a configuration file has it, since every command reads both. No key is written to it.
const MODE: u32 = 0o644;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationsFile(PathBuf);

#[derive(Default, Serialize, Deserialize)]
struct Content {
    dbs: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    replica: ReplicaUrl,
}

#[derive(Serialize, Deserialize)]
struct ReplicaUrl {
    url: String,
}

impl RegistrationsFile {
    pub fn at(path: PathBuf) -> RegistrationsFile {
        RegistrationsFile(path)
    }

    /// Why a URL with a key in it is not noted here.
    pub fn holds_no_keys(&self) -> String {
        format!(
            "the replica URL holds a key, which would be written to {}; put the key into the configuration file or the \
             environment, where registered databases get it from",
            self.0.display()
        )
    }

    /// From the next start on this database is replicated to this URL.
    pub fn add(&self, database: &Path, replica_url: &str) -> Result<(), String> {
        self.change(|dbs| {
            dbs.retain(|entry| entry.path != database);
            dbs.push(Entry { path: database.into(), replica: ReplicaUrl { url: replica_url.into() } });
            true
        })
    }

    pub fn remove(&self, database: &Path) -> Result<(), String> {
        self.change(|dbs| {
            let before = dbs.len();
            dbs.retain(|entry| entry.path != database);
            dbs.len() < before
        })
    }

    /// Each database with the URL of its replica.
    pub(super) fn listed(&self) -> Result<Vec<(PathBuf, String)>, String> {
        Ok(self.read()?.dbs.into_iter().map(|Entry { path, replica }| (path, replica.url)).collect())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn read(&self) -> Result<Content, String> {
        match fsx::metadata_if_exists(&self.0) {
            Ok(None) => return Ok(Content::default()),
            Ok(Some(_)) => {}
            Err(error) => return Err(format!("socket.registrations: {error}")),
        }
        let bytes = fsx::read(&self.0).map_err(|error| format!("socket.registrations: {error}"))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let file = self.0.display();
            format!("socket.registrations: {file} is not a list of databases ({error}); correct it, or remove the file")
        })
    }

    /// `change` says whether anything is different.
    fn change(&self, change: impl FnOnce(&mut Vec<Entry>) -> bool) -> Result<(), String> {
        let mut content = self.read()?;
        match change(&mut content.dbs) {
            true => self.write(&content).map_err(|error| format!("cannot write {}: {error}", self.0.display())),
            false => Ok(()),
        }
    }

    /// Whoever reads sees the old list or the new one, after a power loss too.
    fn write(&self, content: &Content) -> fsx::Result<()> {
        // A path that is not UTF-8 cannot be written.
        let text = serde_json::to_string_pretty(content).map_err(io::Error::from).on("write", &self.0)? + "\n";
        let temporary = fsx::with_suffix(&self.0, ".new");
        fsx::remove_file_if_exists(&temporary)?;
        let mut file = fsx::create_new(&temporary, MODE)?;
        file.write_all(text.as_bytes()).on("write", &temporary)?;
        fsx::sync_file(&file, &temporary)?;
        fsx::rename(&temporary, &self.0)?;
        fsx::sync_dir(fsx::parent(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    use super::super::{Options, Sources};
    use super::*;

    /// The databases that a configuration has with this file beside it.
    fn loaded(dir: &Path) -> Result<Vec<String>, String> {
        let config = dir.join("litestream.yml");
        let text = format!(
            "socket: {{enabled: true, path: {0}/s, registrations: {0}/registered.json}}\nregion: r\n\
             dbs: [{{path: {0}/a.db, replica: {{url: 's3://b/a'}}}}]\n",
            dir.display()
        );
        std::fs::write(&config, text).expect("write");
        let env = |_: &str| None;
        let sources = Sources { config_path: Some(config), ..Sources::new(&env, dir.into()) };
        let loaded = Options::load(&sources).map_err(|error| error.to_string())?;
        let shown = |database: &super::super::Database| {
            format!("{} {}", database.path.strip_prefix(dir).expect("here").display(), database.replicas.first.url)
        };
        Ok(loaded.options.databases.iter().map(shown).collect())
    }

    #[test]
    fn what_was_registered_is_configured_from_then_on() {
        let dir = tempfile::tempdir().expect("tempdir");
        let dir = dir.path();
        let file = RegistrationsFile::at(dir.join("registered.json"));
        assert_eq!(loaded(dir).expect("no file"), ["a.db s3://b/a"]);
        file.remove(&dir.join("b.db")).expect("it is not there anyway");
        assert!(!dir.join("registered.json").exists());
        file.add(&dir.join("b.db"), "s3://b/b").expect("noted");
        file.add(&dir.join("c.db"), "s3://b/c").expect("noted");
        file.add(&dir.join("a.db"), "s3://b/other").expect("noted");
        assert_eq!(loaded(dir).expect("valid"), ["a.db s3://b/a", "b.db s3://b/b", "c.db s3://b/c"]);
        file.add(&dir.join("b.db"), "s3://b/elsewhere").expect("noted");
        file.remove(&dir.join("c.db")).expect("noted");
        assert_eq!(loaded(dir).expect("valid"), ["a.db s3://b/a", "b.db s3://b/elsewhere"]);
        let mode = std::fs::metadata(dir.join("registered.json")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777 & !0o644, 0);
        // An entry may be moved to the configuration as it is.
        let text = std::fs::read_to_string(dir.join("registered.json")).expect("read");
        super::super::yaml::parse("f", &text).expect("YAML of the configuration");
    }

    #[test]
    fn what_cannot_be_used_is_said_by_the_name_of_the_file() {
        let dir = tempfile::tempdir().expect("tempdir");
        let dir = dir.path();
        for (text, part) in [
            ("", "is not a list of databases"),
            ("{\"dbs\": 1}", "is not a list of databases"),
            ("{\"dbs\": [{\"path\": \"/x/b.db\", \"replica\": {\"url\": \"s3://b/a\"}}]}", "have the same replica"),
            ("{\"dbs\": [{\"path\": \"/x/b.db\", \"replica\": {\"url\": \"ftp://b/a\"}}]}", "/x/b.db: replica URL"),
        ] {
            std::fs::write(dir.join("registered.json"), text).expect("write");
            let problem = loaded(dir).expect_err(text);
            assert!(problem.contains(part) && problem.contains("registered.json"), "{problem}");
        }
        let file = RegistrationsFile::at(dir.join("missing/registered.json"));
        assert!(file.add(Path::new("/x/b.db"), "s3://b/b").expect_err("no directory").contains("cannot write"));
        std::fs::remove_file(dir.join("registered.json")).expect("remove");
        let file = RegistrationsFile::at(dir.join("registered.json"));
        let strange = Path::new(std::ffi::OsStr::from_bytes(b"/x/\xff.db"));
        assert!(file.add(strange, "s3://b/b").expect_err("not UTF-8").contains("cannot write"));
        assert!(!dir.join("registered.json").exists());
    }
}
