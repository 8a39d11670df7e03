//! Who owns the files: root, the application, other users.

use super::*;

/// As another user. Only root can.
fn as_user(invocation: Invocation) -> Invocation {
    let ids = [format!("--reuid={UID}"), format!("--regid={UID}"), "--clear-groups".into()];
    invocation.under("setpriv", ids)
}

/// The rig's own directory, for everybody to walk through.
fn opened(rig: &Rig) {
    assert!(geteuid().is_root(), "a test with several users has to be run as root");
    fs::set_permissions(rig.path(""), Permissions::from_mode(0o755)).expect("chmod");
}

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (found.uid(), found.gid())
}

/// The database and everything beside and below it.
fn all(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in names(dir) {
        let path = dir.join(name);
        found.push(path.clone());
        if path.is_dir() {
            found.extend(all(&path));
        }
    }
    found
}

#[test]
fn a_replicator_that_may_not_write_does_not_touch_the_application() {
    let rig = Rig::on_file();
    opened(&rig);
    fs::set_permissions(rig.path("data"), Permissions::from_mode(0o777)).expect("chmod");
    sql(&rig.db(), "PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
    // What could be read, and written to by its group; what cannot be read; what only its directory forbids.
    for (mode, dir_mode) in [(0o640, 0o777), (0o644, 0o777), (0o600, 0o777), (0o660, 0o777), (0o666, 0o755)] {
        fs::set_permissions(rig.db(), Permissions::from_mode(mode)).expect("chmod");
        fs::set_permissions(rig.path("data"), Permissions::from_mode(dir_mode)).expect("chmod");
        let before = names(&rig.path("data"));
        let url = rig.remote.url();
        let db = rig.db();
        let argv = ["replicate".as_ref(), db.as_os_str(), url.as_ref()];
        as_user(words(&rig, &argv)).finish().assert_code(73).assert_says(&["app.db"]);
        assert_eq!(names(&rig.path("data")), before, "mode {mode:o}");
        sql(&rig.db(), "INSERT INTO t VALUES (1)");
    }
}

#[test]
fn a_database_on_a_read_only_mount_is_refused() {
    let rig = Rig::on_file();
    assert!(geteuid().is_root(), "root can mount");
    sql(&rig.db(), "PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
    let data = rig.path("data");
    let mount = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" && exec \"$@\"";
    let argv = ["-m".into(), "sh".into(), "-c".into(), mount.into(), data.into_os_string()];
    rig.supervise(["true"]).under("unshare", argv).finish().assert_code(73).assert_says(&["app.db", "read-only"]);
    assert_eq!(names(&rig.path("data")), ["app.db"]);
}

#[test]
fn what_root_restores_is_replicated_by_another_user() {
    let mut rig = replicated();
    opened(&rig);
    chown_all(&rig.path("replica"));
    // By `owner`, into a directory that is made for it; by hand afterwards, in a directory of the user's.
    for by_key in [true, false] {
        fs::remove_dir_all(rig.path("data")).expect("remove");
        if !by_key {
            fs::create_dir(rig.path("data")).expect("mkdir");
            chown(rig.path("data"), Some(UID), Some(UID)).expect("chown");
        }
        let config = rig.config();
        if by_key {
            let text = fs::read_to_string(&config).expect("read");
            fs::write(&config, format!("{text}    owner: {UID}:{UID}\n")).expect("write");
        }
        let db = rig.db();
        let argv = ["restore".as_ref(), "-config".as_ref(), config.as_os_str(), db.as_ref()];
        words(&rig, &argv).finish().assert_code(0);
        if !by_key {
            chown(&db, Some(UID), Some(UID)).expect("chown");
        }
        for path in all(&rig.path("data")) {
            assert_eq!(owner(&path), (UID, UID), "{}", path.display());
        }
        assert_eq!(owner(&rig.path("data")), (UID, UID));
        let ended = as_user(rig.supervise(["true"])).finish();
        ended.assert_code(0);
        assert!(!ended.stderr.contains("whole database"), "{ended}");
        chown_all(&rig.path("replica"));
    }
    rig.restored();
}

fn chown_all(dir: &Path) {
    chown(dir, Some(UID), Some(UID)).expect("chown");
    all(dir).iter().for_each(|path| chown(path, Some(UID), Some(UID)).expect("chown"));
}

#[test]
fn what_is_shared_through_a_group_stays_shared() {
    let rig = Rig::on_file();
    opened(&rig);
    let (owner_id, group) = (UID + 1, UID + 2);
    sql(&rig.db(), "PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
    fs::set_permissions(rig.db(), Permissions::from_mode(0o660)).expect("chmod");
    fs::set_permissions(rig.path("data"), Permissions::from_mode(0o770)).expect("chmod");
    for path in [rig.db(), rig.path("data")] {
        chown(path, Some(owner_id), Some(group)).expect("chown");
    }
    let ready = rig.path("acks");
    fs::create_dir(&ready).expect("mkdir");
    fs::create_dir(rig.path("replica")).expect("mkdir");
    chown_all(&ready);
    chown_all(&rig.path("replica"));
    let script = format!("touch {}; sleep 600 & wait", ready.join("ready").display());
    let ids = [format!("--reuid={UID}"), format!("--regid={UID}"), format!("--groups={group}")];
    let mut running = rig.supervise(["sh", "-c", &script]).under("setpriv", ids).spawn();
    running.wait_until("the application runs", || ready.join("ready").exists());
    for name in ["app.db-wal", "app.db-shm", ".app.db-millstream", ".app.db-millstream/lock"] {
        let path = rig.path("data").join(name);
        assert_eq!(owner(&path), (UID, group), "{name}");
        assert_eq!(fs::metadata(&path).expect("stat").mode() & 0o660, 0o660, "{name}");
    }
    running.signal(Signal::SIGTERM);
    running.wait();
}

#[test]
fn what_root_makes_beside_a_database_belongs_to_its_owner() {
    let rig = Rig::on_file();
    opened(&rig);
    sql(&rig.db(), "PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
    fs::set_permissions(rig.db(), Permissions::from_mode(0o640)).expect("chmod");
    chown_all(&rig.path("data"));
    let ready = rig.path("ready");
    let mut running = rig.supervise(["sh", "-c", &format!("touch {}; sleep 600 & wait", ready.display())]).spawn();
    running.wait_until("the application runs", || ready.exists());
    sql(&rig.db(), "INSERT INTO t VALUES (1)");
    running.wait_until("its commit is in the replica", || rig.remote.level0().len() > 1);
    running.signal(Signal::SIGTERM);
    running.wait();
    for path in all(&rig.path("data")) {
        assert_eq!(owner(&path), (UID, UID), "{}", path.display());
        let mode = fs::metadata(&path).expect("stat").mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o750 } else { 0o640 }, "{}", path.display());
    }
    // A restore over it changes neither owner nor mode.
    let before = (owner(&rig.db()), fs::metadata(rig.db()).expect("stat").mode());
    restore(&rig, &["-force"], &rig.db()).assert_code(0);
    assert_eq!((owner(&rig.db()), fs::metadata(rig.db()).expect("stat").mode()), before);
}
