//! A published how-to, word for word: Litestream's name replaced by ours in `run.sh`, and nothing else.
//!
//! The script and the configuration name /data, /app and /etc, so it runs in a root directory of its own: a mount namespace
//! with the machine's own top-level directories bound into it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::harness::process::{binary, setting};
use crate::harness::rig::python;
use crate::harness::{Invocation, Rig, oracle};

const RUN_SH: &str = r#"#!/bin/bash
set -e

# Restore the database if it does not already exist.
if [ -f /data/distributed_sql.db ]; then
  echo "Database already exists, skipping restore"
else
  echo "No database found, restoring from replica if exists"
  litestream restore -v -if-replica-exists -o /data/distributed_sql.db "${REPLICA_URL}"
fi

# Run migrations
/app/bin/migrate

# Run litestream with your app as the subprocess.
exec litestream replicate -exec "/app/bin/server"
"#;

const LITESTREAM_YML: &str = "access-key-id: ${LITESTREAM_ACCESS_KEY_ID}
secret-access-key: ${LITESTREAM_SECRET_ACCESS_KEY}

dbs:
  - path: /data/distributed_sql.db
    replicas:
      - url: ${REPLICA_URL}
";

/// Builds the root directory of the container of that story; its disk (`/data`) is empty.
fn container(rig: &Rig, name: &str) -> PathBuf {
    let root = rig.path(name);
    for dir in ["data", "app/bin", "etc", "scripts", "usr-local-bin"] {
        fs::create_dir_all(root.join(dir)).expect("create a directory");
    }
    let python = python().into_string().expect("UTF-8");
    let app =
        format!("{python} {}/tests/it/app.py /data/distributed_sql.db /data/acks {name}", env!("CARGO_MANIFEST_DIR"));
    script(&root.join("app/bin/migrate"), &format!("#!/bin/sh\n{app} create\n"));
    script(
        &root.join("app/bin/server"),
        &format!("#!/bin/sh\nexec {app} open rows:3 touch:/data/ready idle term-row term-exit:143\n"),
    );
    script(&root.join("scripts/run.sh"), &RUN_SH.replace("litestream ", "millstream "));
    fs::write(root.join("etc/litestream.yml"), LITESTREAM_YML).expect("write");
    fs::copy(binary(), root.join("usr-local-bin/millstream")).expect("copy the binary");
    root
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).expect("write");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

/// Starts `CMD ["/scripts/run.sh"]` with the three variables the story sets.
fn start(rig: &Rig, root: &Path) -> Invocation {
    let enter = r#"
        set -e
        for path in /*; do
            name=${path#/}
            case $name in data | app | etc | scripts | usr-local-bin) continue ;; esac
            if [ -L "$path" ]; then cp -P "$path" "$0/$name"; continue; fi
            [ -d "$path" ] || continue
            mkdir -p "$0/$name"
            mount --rbind "$path" "$0/$name"
        done
        for file in ld.so.cache passwd group nsswitch.conf; do
            if [ -e /etc/$file ]; then cp /etc/$file "$0/etc/$file"; fi
        done
        exec chroot "$0" "$@"
    "#;
    let flags = if nix::unistd::geteuid().is_root() { "-m" } else { "-Urm" };
    let shell: [OsString; 4] = ["sh".into(), "-c".into(), enter.into(), root.into()];
    let invocation = Invocation::new("unshare", rig.path("")).args([flags]).args(shell).args(["/scripts/run.sh"]);
    // The bucket's keys come from the story's own variables, not from AWS's.
    invocation
        .env("PATH", "/usr-local-bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("REPLICA_URL", rig.remote.url())
        .env("LITESTREAM_ACCESS_KEY_ID", setting("MILLSTREAM_TEST_S3_ACCESS_KEY"))
        .env("LITESTREAM_SECRET_ACCESS_KEY", setting("MILLSTREAM_TEST_S3_SECRET_KEY"))
}

#[test]
fn run_sh_of_the_how_to_works_with_only_the_name_changed() {
    let mut rig = Rig::on_s3();
    for (deploy, rows) in [("first", 4), ("second", 8), ("third", 12)] {
        // Each deploy is a new container with an empty disk.
        let root = container(&rig, deploy);
        let mut running = start(&rig, &root).spawn();
        running.wait_until("the server runs", || root.join("data/ready").exists());
        running.signal(Signal::SIGTERM);
        let ended = running.wait();
        ended.assert_code(143);
        let restored = rig.restored();
        let db = oracle::open(&restored);
        oracle::assert_intact(&db, &restored);
        let count: i64 = db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("count");
        assert_eq!(count, rows, "{deploy}\n{ended}");
    }
}

#[test]
fn the_same_story_without_run_sh() {
    // What the README offers instead: the file as it is, two keys more, and `millstream run`.
    let mut rig = Rig::on_s3();
    rig.settings = String::new();
    for (deploy, rows) in [("first", 4), ("second", 8)] {
        let root = container(&rig, deploy);
        let text = format!("{LITESTREAM_YML}\nmigrate: /app/bin/migrate\nexec: /app/bin/server\n");
        fs::write(root.join("etc/litestream.yml"), text).expect("write");
        script(&root.join("scripts/run.sh"), "#!/bin/sh\nexec millstream run\n");
        let mut running = start(&rig, &root).spawn();
        running.wait_until("the server runs", || root.join("data/ready").exists());
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(143);
        let restored = rig.restored();
        let db = oracle::open(&restored);
        let count: i64 = db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("count");
        assert_eq!(count, rows, "{deploy}");
    }
}
