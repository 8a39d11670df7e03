//! One test's world: a directory, a database path, a replica, the application, and the ways to start and to check.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::litestream::{self, with_keys};
use super::oracle::Oracle;
use super::process::{Finished, Invocation, PATIENCE, binary};
use super::remote::Remote;

pub struct Rig {
    dir: TempDir,
    pub remote: Remote,
    pub oracle: Oracle,
    /// Further lines of litestream.yml, at the top level.
    pub settings: String,
    /// An application that never creates its database is none that failed: most of ours have nothing to do with one.
    pub optional: bool,
    /// Of the real Litestream that is called.
    pub version: &'static str,
    restores: usize,
}

impl Rig {
    /// The replica is a directory.
    pub fn on_file() -> Rig {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let remote = Remote::file(dir.path().join("replica"));
        Rig::new(dir, remote)
    }

    /// The replica is on the S3 server.
    pub fn on_s3() -> Rig {
        Rig::new(tempfile::tempdir().expect("a temporary directory"), Remote::s3())
    }

    fn new(dir: TempDir, remote: Remote) -> Rig {
        fs::create_dir(dir.path().join("data")).expect("create a directory");
        let oracle = Oracle::new(dir.path().join("acks"));
        let settings = "grace: 20s\n".into();
        Rig { dir, remote, oracle, settings, optional: true, version: litestream::NEWEST, restores: 0 }
    }

    /// The same with this version of the real Litestream.
    pub fn with(mut self, version: &'static str) -> Rig {
        self.version = version;
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The database, alone in a directory of its own.
    pub fn db(&self) -> PathBuf {
        self.path("data/app.db")
    }

    /// As when the container's disk is gone.
    pub fn lose_the_disk(&self) {
        fs::remove_dir_all(self.path("data")).expect("remove the data");
        fs::create_dir(self.path("data")).expect("create a directory");
    }

    /// What lies in the database's directory, without the database, its WAL and shm, and our own state.
    pub fn leftovers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("data")).expect("list the data");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let expected = ["app.db", "app.db-wal", "app.db-shm", ".app.db-millstream"];
        names.filter(|name| !expected.contains(&name.as_str())).collect()
    }

    /// The application as an argv. `life` tells one writer's rows from another's.
    pub fn app_of(&self, life: &str, steps: &[&str]) -> Vec<OsString> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/app.py");
        let mut argv = vec![python(), script.into(), self.db().into(), self.path("acks").into(), life.into()];
        argv.extend(steps.iter().map(OsString::from));
        argv
    }

    pub fn app(&self, steps: &[&str]) -> Vec<OsString> {
        self.app_of("a", steps)
    }

    /// The application without anybody around it.
    pub fn bare(&self, life: &str, steps: &[&str]) -> Invocation {
        let mut argv = self.app_of(life, steps).into_iter();
        Invocation::new(argv.next().expect("not empty"), self.dir.path()).args(argv)
    }

    pub fn run_bare(&self, steps: &[&str]) {
        self.bare("a", steps).finish().assert_code(0);
    }

    /// Our binary with the keys of the test's server.
    pub fn millstream<S: Into<OsString>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        with_keys(Invocation::new(binary(), self.dir.path())).args(args)
    }

    /// The real Litestream with the same keys.
    pub fn litestream<S: Into<OsString>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        litestream::litestream(self.version, self.dir.path()).args(args)
    }

    /// Writes litestream.yml for the database and the replica.
    pub fn config(&self) -> PathBuf {
        let path = self.path("litestream.yml");
        let (db, url) = (self.db(), self.remote.url());
        let (settings, optional) = (&self.settings, if self.optional { "\n    optional: true" } else { "" });
        let text =
            format!("{settings}dbs:\n  - path: {}{optional}\n    replica:\n      url: \"{url}\"\n", db.display());
        fs::write(&path, text).expect("write the configuration");
        path
    }

    /// The application under supervision, by the face that is being tested.
    pub fn supervise<S: Into<OsString>>(&self, argv: impl IntoIterator<Item = S>) -> Invocation {
        let argv = argv.into_iter().map(Into::into);
        if std::env::var_os("MILLSTREAM_TEST_FACE").is_some_and(|face| face == "replicate") {
            return self.replicate_exec(&shell(argv));
        }
        self.millstream([OsString::from("run"), "-config".into(), self.config().into(), "--".into()]).args(argv)
    }

    /// `replicate -exec`, as Litestream's users start it.
    pub fn replicate_exec(&self, command: &str) -> Invocation {
        self.millstream([
            OsString::from("replicate"),
            "-config".into(),
            self.config().into(),
            "-exec".into(),
            command.into(),
        ])
    }

    /// Restores by the real Litestream, from the replica alone: a reader that shares nothing with the writer.
    #[track_caller]
    pub fn restored_by_litestream(&mut self) -> PathBuf {
        let output = self.next_output();
        self.restore_by_litestream(&output).assert_code(0);
        output
    }

    /// The real `litestream restore -o OUTPUT URL`.
    pub fn restore_by_litestream(&self, output: &Path) -> Finished {
        self.litestream([OsString::from("restore"), "-o".into(), output.into(), self.remote.url().into()]).finish()
    }

    /// Restores by our binary, from the replica alone.
    #[track_caller]
    pub fn restored(&mut self) -> PathBuf {
        let output = self.next_output();
        self.restore(&output).assert_code(0);
        output
    }

    /// `restore -o OUTPUT URL`.
    pub fn restore(&self, output: &Path) -> Finished {
        self.millstream([OsString::from("restore"), "-o".into(), output.into(), self.remote.url().into()]).finish()
    }

    /// A path nothing has been restored to.
    pub fn next_output(&mut self) -> PathBuf {
        self.restores += 1;
        self.path(&format!("restored-{}.db", self.restores))
    }

    /// Everything acknowledged is in the replica, as the real Litestream reads it. Returns the number of rows.
    #[track_caller]
    pub fn assert_all_rows_are_safe(&mut self) -> usize {
        let restored = self.restored_by_litestream();
        self.oracle.check_complete(&restored)
    }

    pub fn says(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_default()
    }
}

/// The interpreter itself, not a shim in front of it: a test's process tree must be the one it means.
pub fn python() -> OsString {
    static PYTHON: OnceLock<OsString> = OnceLock::new();
    let find = || {
        let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        let output = output.expect("python3 is missing: apt-get install python3");
        String::from_utf8(output.stdout).expect("a path").trim().into()
    };
    PYTHON.get_or_init(find).clone()
}

/// An argv as the one text that `-exec` and `-migrate` take.
pub fn shell<S: Into<OsString>>(argv: impl IntoIterator<Item = S>) -> String {
    let words: Vec<String> = argv.into_iter().map(|word| word.into().into_string().expect("UTF-8")).collect();
    shell_words::join(words)
}

/// Waits until the condition holds; patience ending is a failure.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
