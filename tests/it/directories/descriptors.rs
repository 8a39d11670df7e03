//! More databases than this process may have files open.

use super::*;

#[test]
fn a_limit_of_open_files_that_is_too_low_is_told_with_what_is_needed() {
    let rig = Rig::on_file();
    let config = config(&rig, &["watch: true"]);
    for number in 0..8 {
        drop(database(&rig.path("data").join(format!("{number}.db")), 1));
    }
    let limited = ["-c", "ulimit -n 100; exec \"$@\"", "sh"];
    let entry = |number: u32| {
        let (path, url) = (rig.path("data").join(format!("{number}.db")), rig.path(&format!("listed/{number}")));
        format!("  - path: {}\n    replica: {{path: {}}}\n", path.display(), url.display())
    };
    let listed = rig.path("listed.yml");
    fs::write(&listed, format!("dbs:\n{}", (0..8).map(entry).collect::<String>())).expect("write");
    for config in [config, listed] {
        let finished = with_config(&rig, &["replicate", "-once"], &config).under("sh", limited).finish();
        finished.assert_says(&["8 databases need about", "this process may have 100", "ulimit -n"]);
    }
}

/// Opening all of them takes about 200 files; at rest they need one each.
#[test]
fn databases_that_may_not_all_be_open_at_once_wait_for_those_at_rest() {
    let mut rig = Rig::on_file();
    let config = config(&rig, &["monitor-interval: 100ms"]);
    let names: Vec<String> = (0..20).map(|number| format!("{number}.db")).collect();
    for name in &names {
        drop(database(&rig.path("data").join(name), 3));
    }
    let limited = ["-c", "ulimit -n 90; exec \"$@\"", "sh"];
    let mut running = with_config(&rig, &["replicate"], &config).under("sh", limited).spawn();
    running.wait_until_says(0, &["too many open files", "trying again as soon as others have closed theirs"]);
    for name in &names {
        wait_until_replicated(&mut rig, &mut running, name, 3);
    }
    terminate(running);
}
