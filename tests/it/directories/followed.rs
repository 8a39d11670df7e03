//! A copy of each of many databases.

use super::*;

/// Waits until the copy has so many rows.
fn wait_until_copied(running: &mut Running, copy: &Path, wanted: u32) {
    running.wait_until(&format!("{} has {wanted} rows", copy.display()), || {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let count = |db: Connection| db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, u32>(0));
        Connection::open_with_flags(copy, flags).and_then(count).is_ok_and(|rows| rows == wanted)
    });
}

#[test]
fn every_database_below_a_url_is_followed_also_one_that_comes_later() {
    let mut rig = Rig::on_s3();
    let config = config(&rig, &["recursive: true", "watch: true"]);
    let first = database(&rig.path("data/a.db"), 2);
    let second = database(&rig.path("data/sub/b.db"), 3);
    let mut replicating = with_config(&rig, &["replicate"], &config).spawn();
    wait_until_replicated(&mut rig, &mut replicating, "a.db", 2);
    wait_until_replicated(&mut rig, &mut replicating, "sub/b.db", 3);
    // One has no room for its copy: the others go on.
    let copies = rig.path("copies");
    let third = database(&rig.path("data/c.db"), 1);
    wait_until_replicated(&mut rig, &mut replicating, "c.db", 1);
    drop(database(&copies.join("c.db"), 5));

    let (dir, url) = (copies.display().to_string(), rig.remote.url());
    let mut following = rig.millstream(["follow", "-interval", "50ms", "-dir", &dir, &url]).spawn();
    wait_until_copied(&mut following, &copies.join("a.db"), 2);
    wait_until_copied(&mut following, &copies.join("sub/b.db"), 3);
    write(&first, 4);
    write(&second, 1);
    let later = database(&rig.path("data/later.db"), 7);
    wait_until_copied(&mut following, &copies.join("a.db"), 6);
    wait_until_copied(&mut following, &copies.join("sub/b.db"), 4);
    wait_until_copied(&mut following, &copies.join("later.db"), 7);
    following.signal(Signal::SIGTERM);
    let ended = following.wait();
    ended.assert_code(73).assert_says(&["copies/c.db", "not followed", "is no copy of a replica"]);
    ended.assert_says(&["1 of 4 databases could not be followed"]);
    assert_eq!(rows(&copies.join("c.db")), 5, "the other database is left as it is");
    drop((first, second, third, later));
    terminate(replicating);

    // The same from the configuration, after the disk with the databases is lost.
    fs::remove_dir_all(rig.path("data")).expect("remove");
    fs::remove_file(copies.join("c.db")).expect("remove");
    let mut following = with_config(&rig, &["follow", "-interval", "50ms", "-dir", &dir], &config).spawn();
    wait_until_copied(&mut following, &copies.join("c.db"), 1);
    wait_until_copied(&mut following, &copies.join("sub/b.db"), 4);
    let ended = terminate(following);
    assert!(!ended.stderr.contains("ERROR"), "{ended}");
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let rig = Rig::on_file();
    let dir = rig.path("copies").display().to_string();
    let ended = rig.millstream(["follow", "-dir", &dir, &rig.remote.url()]).finish();
    ended.assert_code(76).assert_says(&["there is no backup of any database"]);
    let ended = rig.millstream(["follow", "-dir", &dir, "/data/app.db"]).finish();
    ended.assert_code(64).assert_says(&["with -dir it is a replica URL that says what to follow"]);
    let two = rig.path("two.yml");
    let entry = |place: &str| format!("  - path: /srv/{place}/x.db\n    replica: {{path: {dir}/replica/{place}}}\n");
    fs::write(&two, format!("dbs:\n{}{}", entry("one"), entry("two"))).expect("write");
    let ended = with_config(&rig, &["follow", "-dir", &dir], &two).finish();
    ended.assert_code(78).assert_says(&["/srv/one/x.db", "/srv/two/x.db", "would have the same copy"]);
}
