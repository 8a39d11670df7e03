//! One database among many cannot be restored, or is damaged: what becomes of the others.

use super::*;

/// Makes every file of a replica unusable.
pub fn damage(remote: &Remote, relative: &str) {
    let replica = below(remote, relative);
    let names: Vec<String> = replica.objects().into_keys().collect();
    assert!(!names.is_empty());
    names.iter().for_each(|name| replica.put(name, &[7; 500]));
}

#[test]
fn one_damaged_backup_among_three_stops_the_start_or_is_left_out() {
    let mut rig = Rig::on_file();
    let lines = ["recursive: true", "watch: true", "restore-if-db-not-exists: true"];
    three(&rig, &config(&rig, &lines));
    damage(&rig.remote, "b.db");
    rig.lose_the_disk();
    let data = rig.path("data");
    let run = |rig: &Rig| with_config(rig, &["run", "--", "touch", "started"], &config(rig, &lines)).finish();

    let stopped = run(&rig);
    stopped.assert_code(76).assert_says(&["b.db", "nothing is started", "on-database-failure: continue"]);
    assert!(!rig.path("started").exists());
    let dir = data.display().to_string();
    let restored = with_config(&rig, &["restore", "-dir", &dir, "-if-db-not-exists"], &config(&rig, &lines)).finish();
    restored.assert_code(76).assert_says(&["b.db", "not restored", "damaged"]);
    assert_eq!((rows(&data.join("a.db")), rows(&data.join("sub/c.db"))), (1, 3));

    let before = rig.settings.clone();
    rig.settings += "on-database-failure: continue\n";
    let went_on = run(&rig);
    went_on.assert_code(74).assert_says(&["b.db", "left out", "the application is started without it"]);
    assert!(rig.path("started").exists() && !data.join("b.db").exists());

    // Without an application there is nothing to be kept from starting: the others live.
    rig.settings = before + &format!("socket:\n  enabled: true\n  path: {}\n", rig.path("s").display());
    let mut running = with_config(&rig, &["replicate"], &config(&rig, &lines)).spawn();
    let a = Connection::open(data.join("a.db")).expect("open");
    write(&a, 4);
    wait_until_replicated(&mut rig, &mut running, "a.db", 5);
    // What is created now in the place of the damaged one does not become its newest state.
    let before = below(&rig.remote, "b.db").objects();
    drop(database(&data.join("b.db"), 1));
    drop(database(&data.join("e.db"), 1));
    wait_until_replicated(&mut rig, &mut running, "e.db", 1);
    assert_eq!(below(&rig.remote, "b.db").objects(), before);
    let listed = rig.millstream(["list", "-socket", rig.path("s").to_str().expect("text")]).finish();
    assert!(listed.stdout.contains("b.db [failed]"), "{listed}");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(74).assert_says(&["b.db", "left out"]);
}

#[test]
fn a_file_that_is_damaged_stops_the_application_but_not_the_others() {
    let mut rig = Rig::on_file();
    let config = config(&rig, &[]);
    drop(database(&rig.path("data/a.db"), 2));
    let damaged = [&b"SQLite format 3\0"[..], &[0xee; 4080]].concat();
    fs::write(rig.path("data/broken.db"), damaged).expect("write");
    let stopped = with_config(&rig, &["run", "--", "touch", "started"], &config).finish();
    stopped.assert_code(73).assert_says(&["broken.db", "header is damaged", "nothing is started"]);
    assert!(!rig.path("started").exists());
    let mut running = with_config(&rig, &["replicate"], &config).spawn();
    wait_until_replicated(&mut rig, &mut running, "a.db", 2);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(74).assert_says(&["broken.db was left out"]);
}
