//! Commits that waited for their upload while another node went on.

use super::*;

/// The object with which another branch of this history went on, for the place where what waits for its upload lies.
fn leave_a_spilled_file(rig: &Rig) -> PathBuf {
    let mut branch = Rig::on_file();
    copy_dir(&rig.path("replica"), &branch.path("replica"));
    branch.remote = Remote::file(branch.path("replica"));
    a_life_elsewhere(&branch, 1);
    let txid = *rig.remote.level0().last().expect("objects") + 1;
    let bytes = branch.remote.objects().remove(&branch.remote.level0_name(txid)).expect("its next object");
    let name = format!("{txid:016x}-{txid:016x}.ltx");
    fs::create_dir_all(meta(rig).join("spill")).expect("create a directory");
    let path = meta(rig).join("spill").join(name);
    fs::write(&path, bytes).expect("write");
    path
}

fn assert_kept_aside(rig: &Rig, spilled: &Path) {
    assert!(!spilled.exists(), "it would be met again");
    let name = spilled.file_name().expect("a name").to_string_lossy().into_owned();
    let kept = fs::read_dir(meta(rig).join("orphaned"))
        .expect("kept")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    assert_eq!(kept.filter(|kept| kept.ends_with(&name)).count(), 1);
}

#[test]
fn commits_that_waited_for_their_upload_and_were_overtaken_stop_no_start_for_ever() {
    for has_note in [true, false] {
        let a = replicated();
        killed(&a);
        let spilled = leave_a_spilled_file(&a);
        // What was captured is in the database, too.
        sql_killed(&a.db(), "UPDATE t SET life = 'x' WHERE seq = 4");
        if !has_note {
            fs::remove_file(note(&a)).expect("remove");
        }
        let mut b = another_node(&a);
        a_life_elsewhere(&b, 2);
        // Without a note nobody knows at first that there is something to wait for.
        let ran = comes_back(&a);
        assert!(!ran || !has_note);
        assert_kept_aside(&a, &spilled);
        assert!(!comes_back(&a), "the file is gone, what it said is not");
        let restored = b.restored();
        oracle::assert_same_pages(&b.db(), &restored);
        // As the message says.
        remove_wal_and_shm(&a);
        fs::remove_file(a.db()).expect("remove");
        a.supervise(a.app(&["open"])).finish().assert_code(0);
        oracle::assert_same_pages(&a.db(), &restored);
    }
}

#[test]
fn commits_that_waited_and_were_overtaken_by_litestream_are_in_the_database() {
    let mut rig = replicated();
    let spilled = leave_a_spilled_file(&rig);
    litestreams_turn(&rig);
    let ended = ship(&rig);
    ended.assert_code(0).assert_says(&["from another writer", "kept aside"]);
    assert!(!ended.stderr.contains("whole database"), "{ended}");
    assert_kept_aside(&rig, &spilled);
    let restored = rig.restored();
    oracle::assert_same_pages(&rig.db(), &restored);
}

#[test]
fn files_that_do_not_continue_the_history_are_kept_aside() {
    let mut rig = replicated();
    let spilled = leave_a_spilled_file(&rig);
    let last = *rig.remote.level0().last().expect("objects");
    let Remote::File(replica) = &rig.remote else { panic!("not a directory") };
    fs::remove_file(replica.join(rig.remote.level0_name(last))).expect("remove");
    ship(&rig).assert_code(0).assert_says(&["do not continue the history", "kept aside"]);
    assert_kept_aside(&rig, &spilled);
    let restored = rig.restored();
    oracle::assert_same_pages(&rig.db(), &restored);
}
