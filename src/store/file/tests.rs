use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use futures_util::TryStreamExt;

use super::entry::{TEMP_PREFIX, TEMP_SUFFIX};
use super::*;
use crate::clock::MACHINE;
use crate::fsx::FsError;

fn key(name: &str) -> Key {
    Key::new(name).expect("a valid key")
}

fn files_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("list");
    let mut names: Vec<String> = entries.map(|e| e.expect("entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn files_are_private_dated_and_alone_in_their_directory() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = FileStore::new(dir.path().join("replica"));
    for create in [true, false] {
        let put = Put { create, modified_ms: Some(1_500_000_000_250), ..Put::create("x") };
        store.put(&key("ltx/0/a.ltx"), put).await.expect("put");
    }
    let level = dir.path().join("replica/ltx/0");
    assert_eq!(files_in(&level), ["a.ltx"], "no temporary file is left");
    let file = fs::metadata(level.join("a.ltx")).expect("stat");
    assert_eq!((file.mode() & 0o777, file.nlink()), (0o600, 1));
    assert_eq!(fs::metadata(&level).expect("stat").mode() & 0o777, 0o700);
    assert_eq!(store.list("").await.expect("list")[0].modified_ms, 1_500_000_000_250);
}

#[tokio::test]
async fn no_backup_is_never_confused_with_cannot_tell() {
    let dir = tempfile::tempdir().expect("tempdir");
    let missing = FileStore::new(dir.path().join("missing"));
    assert_eq!(missing.list("").await.expect("an empty store"), []);

    fs::write(dir.path().join("file"), "x").expect("write");
    let not_a_dir = FileStore::new(dir.path().join("file"));
    assert!(matches!(not_a_dir.list("").await, Err(StoreError::Permanent { .. })));
    let below = FileStore::new(dir.path().join("file/replica"));
    assert!(matches!(below.list("").await, Err(StoreError::Permanent { .. })));
    symlink("loop", dir.path().join("loop")).expect("symlink");
    let looping = FileStore::new(dir.path().join("loop"));
    assert!(matches!(looping.list("").await, Err(StoreError::Permanent { .. })));
}

/// The root of a volume holds `lost+found`, and whatever else people put there.
#[tokio::test]
async fn only_what_is_ours_is_walked_and_the_rest_is_glanced_at() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = FileStore::new(dir.path().to_owned());
    let own = ["ltx/".to_owned(), "0000/".to_owned()];
    let names = async || -> Result<Vec<String>> {
        Ok(store.list_own(&own).await?.into_iter().map(|listed| listed.name).collect())
    };
    for path in ["lost+found/x", ".app.db-litestream/ltx/0/a.ltx", "app/ltx/0/a.ltx", "app.db", "0000"] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("mkdir");
        fs::write(path, "x").expect("write");
    }
    symlink("..", dir.path().join("app/up")).expect("symlink");
    let locked = dir.path().join("lost+found");
    let set_mode = |mode| fs::set_permissions(&locked, fs::Permissions::from_mode(mode)).expect("chmod");
    set_mode(0o000);
    let is_root = fs::read_dir(&locked).is_ok();
    let mut strangers = names().await.expect("what cannot be read is not ours");
    strangers.retain(|name| !is_root || name != "lost+found/x");
    assert_eq!(strangers, ["0000", "app.db", "app/ltx/0/a.ltx"], "hidden directories and links are passed over");

    fs::create_dir_all(dir.path().join("ltx/0")).expect("mkdir");
    fs::write(dir.path().join("ltx/0/b.ltx"), "x").expect("write");
    let beside = ["0000", "app.db", "ltx/0/b.ltx"];
    assert_eq!(names().await.expect("list"), beside, "once there is a replica only its own directories are walked");
    set_mode(0o700);
    if !is_root {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o300)).expect("chmod");
        assert_eq!(names().await.expect("what lies beside a replica is no part of it"), ["ltx/0/b.ltx"]);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
        fs::set_permissions(dir.path().join("ltx"), fs::Permissions::from_mode(0o000)).expect("chmod");
        let error = names().await.expect_err("what is ours must be read");
        assert!(matches!(error, StoreError::Denied { .. }), "{error}");
        fs::set_permissions(dir.path().join("ltx"), fs::Permissions::from_mode(0o700)).expect("chmod");
    }
}

#[tokio::test]
async fn symlinks_are_read_through_but_never_written_through() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    fs::create_dir_all(root.join("real")).expect("mkdir");
    fs::create_dir(&outside).expect("mkdir");
    fs::write(outside.join("b"), "outside").expect("write");
    symlink(&outside, root.join("out")).expect("symlink");
    symlink(root.join("real"), root.join("in")).expect("symlink");
    symlink(&root, root.join("real/cycle")).expect("symlink");
    let store = FileStore::new(root.clone());

    for name in ["out/x", "out/new/x"] {
        let error = store.put(&key(name), Put::create("x")).await.expect_err("leads out");
        assert!(matches!(error, StoreError::Permanent { .. }), "{error}");
    }
    assert_eq!(files_in(&outside), ["b"]);
    store.put(&key("in/x"), Put::create("x")).await.expect("stays inside");
    let names: Vec<String> = store.list("").await.expect("list").into_iter().map(|l| l.name).collect();
    assert_eq!(names, ["in/x", "out/b", "real/x"], "cycles end");
}

#[tokio::test]
async fn temporary_files_are_hidden_reserved_and_swept_when_stale() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = FileStore::new(dir.path().to_owned());
    let temp = ".millstream-0123456789abcdef.tmp";
    fs::write(dir.path().join(temp), "x").expect("write");
    assert_eq!(store.list("").await.expect("list"), []);
    assert!(matches!(store.put(&key(temp), Put::create("x")).await, Err(StoreError::Permanent { .. })));

    store.delete(&[key("a")]).await.expect("delete");
    assert_eq!(files_in(dir.path()), [temp], "it may belong to a living writer");
    walk::sweep(dir.path(), MACHINE.unix_ms() / 1000 + 25 * 3600);
    assert_eq!(files_in(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_directory_in_the_way_is_no_winner_of_a_race() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = FileStore::new(dir.path().to_owned());
    store.put(&key("a/b"), Put::create("x")).await.expect("put");
    for create in [true, false] {
        let error = store.put(&key("a"), Put { create, ..Put::create("x") }).await.expect_err("a directory");
        assert!(matches!(error, StoreError::Permanent { .. }), "{error:?}");
    }
    let error = store.put(&key("a/b/c"), Put::create("x")).await.expect_err("below a file");
    assert!(matches!(error, StoreError::Permanent { .. }), "{error:?}");
    assert_eq!(files_in(dir.path()), ["a"]);
}

/// Hard links and RENAME_NOREPLACE, one of them, none, nor times or the fsync of a directory.
#[test]
fn a_weak_file_system_keeps_the_promise_all_the_same() {
    use fsx::weak::{Ability::*, testing::weaken};
    let lacks: [&[(fsx::weak::Ability, i32)]; 4] = [
        &[],
        &[(Link, libc::EPERM)],
        &[(Link, libc::EOPNOTSUPP), (RenameNew, libc::EINVAL)],
        &[(Link, libc::EACCES), (RenameNew, libc::ENOSYS), (Times, libc::EPERM), (SyncDir, libc::EINVAL)],
    ];
    for lacking in lacks {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().to_owned();
        let target = || Target { root: root.clone(), dir: root.clone(), path: root.join("a.ltx") };
        let put = |content: &str| {
            let _weak = weaken(lacking);
            let mut temp = Temp::create(&target()).expect("temp");
            temp.write(content.as_bytes()).expect("write");
            temp.publish(&target(), true, Some(1_500_000_000_000))
        };
        put("first").unwrap_or_else(|error| panic!("{lacking:?}: {error}"));
        let error = put("second").expect_err("taken");
        assert!(matches!(error, StoreError::AlreadyExists { .. }), "{lacking:?}: {error}");
        assert_eq!(fs::read(root.join("a.ltx")).expect("read"), b"first");
        assert_eq!(files_in(&root), ["a.ltx"], "{lacking:?}");
    }
}

#[test]
fn a_lock_file_keeps_others_out_until_it_is_old() {
    use fsx::weak::{Ability::*, testing::weaken};
    let dir = tempfile::tempdir().expect("tempdir");
    let target = || Target { root: dir.path().to_owned(), dir: dir.path().to_owned(), path: dir.path().join("a.ltx") };
    let lock = dir.path().join(format!("{TEMP_PREFIX}{:016x}{TEMP_SUFFIX}", fsx::hash(b"a.ltx")));
    fs::write(&lock, "").expect("write");
    let _weak = weaken(&[(Link, libc::EPERM), (RenameNew, libc::EINVAL)]);
    let error = Temp::create(&target()).expect("temp").publish(&target(), true, None).expect_err("locked");
    assert!(matches!(error, StoreError::Transient { .. }), "{error}");
    assert!(lock.exists(), "it is young");
    fs::write(dir.path().join("a.ltx"), "another's").expect("write");
    let error = Temp::create(&target()).expect("temp").publish(&target(), true, None).expect_err("taken");
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error}");
}

#[test]
fn errors_say_what_comes_next() {
    let map =
        |errno| failure(FsError { verb: "write", path: "/b/a".into(), source: io::Error::from_raw_os_error(errno) });
    for errno in [libc::EACCES, libc::EPERM] {
        assert!(matches!(map(errno), StoreError::Denied { .. }));
    }
    for errno in [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::ENOTDIR] {
        assert!(matches!(map(errno), StoreError::Permanent { .. }));
    }
    for errno in [libc::EIO, libc::EMFILE, libc::ESTALE, libc::ETIMEDOUT] {
        assert!(matches!(map(errno), StoreError::Transient { .. }));
    }
    assert!(map(libc::ENOSPC).to_string().starts_with("write /b/a: "));
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = FileStore::new(dir.path().to_owned());
    store.put(&key("a"), Put::create(vec![7; 3 << 20])).await.expect("put");
    let chunks = store.get(&key("a"), Range::WHOLE).await.expect("get");
    File::options().write(true).open(dir.path().join("a")).expect("open").set_len(1 << 20).expect("truncate");
    let read: Result<Vec<Bytes>> = chunks.try_collect().await;
    assert!(matches!(read, Err(StoreError::Transient { .. })), "{read:?}");
}
