//! One container is redeployed: the application is handed over, nothing that was acknowledged is lost, and no two take turns.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::harness::rig::python;
use crate::harness::{Invocation, Rig, Running, eventually};
use crate::health::{ADDR, page, served_at};

mod away;

const HANDOVER: &str = "grace: 20s\nhandover: {wait: 6s, look: 500ms}\n";
const STARTED: [&str; 1] = ["started the application"];

/// One of several nodes that share a replica, and a list of what was acknowledged.
struct Node {
    rig: Rig,
    acks: PathBuf,
    life: &'static str,
}

impl Node {
    fn first(mut rig: Rig) -> Node {
        rig.settings = HANDOVER.into();
        let acks = rig.path("acks");
        Node { rig, acks, life: "a" }
    }

    /// The next container, with an empty volume.
    fn next(&self, life: &'static str) -> Node {
        let mut rig = Rig::on_file();
        rig.remote = self.rig.remote.clone();
        rig.settings = HANDOVER.into();
        Node { rig, acks: self.acks.clone(), life }
    }

    /// With a list of its own.
    fn apart(mut self) -> Node {
        self.acks = self.rig.path("acks");
        self
    }

    fn app(&self, steps: &[&str]) -> Vec<OsString> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/app.py");
        let mut argv = vec![python(), script.into(), self.rig.db().into(), (&self.acks).into(), self.life.into()];
        argv.extend(steps.iter().map(OsString::from));
        argv
    }

    fn run(&self, steps: &[&str]) -> Invocation {
        let run = ["run".into(), "-config".into(), self.rig.config().into(), "--".into()];
        self.rig.millstream::<OsString>(run).args(self.app(steps))
    }

    fn run_bare(&self, steps: &[&str]) {
        let mut argv = self.app(steps).into_iter();
        Invocation::new(argv.next().expect("a program"), self.rig.path("data")).args(argv).finish().assert_code(0);
    }

    /// So many rows of this life are acknowledged.
    fn acknowledged(&self) -> usize {
        let text = fs::read_to_string(&self.acks).unwrap_or_default();
        text.lines().filter(|line| line.split(' ').next() == Some(self.life)).count()
    }

    fn wait_for_rows(&self, running: &mut Running, more: usize) {
        let before = self.acknowledged();
        running.wait_until("rows are acknowledged", || self.acknowledged() >= before + more);
    }

    fn claims(&self) -> usize {
        let objects = self.rig.remote.objects();
        objects.keys().filter(|name| name.starts_with("claims/") && name.ends_with(".json")).count()
    }

    /// Waits until everything that was acknowledged here is in the replica, as far as a restore shows it.
    fn rows_restored(&mut self) -> usize {
        let restored = self.rig.restored();
        let db = rusqlite::Connection::open(restored).expect("open");
        db.query_row("SELECT count(*) FROM t WHERE life = ?1", [self.life], |row| row.get::<_, i64>(0)).expect("count")
            as usize
    }
}

fn is_over(mut running: Running, codes: &[i32]) {
    running.signal_if_running(Signal::SIGTERM);
    let ended = running.wait();
    assert!(
        ended.code().is_some_and(|code| codes.contains(&code)),
        "{:?} and not one of {codes:?}\n{ended}",
        ended.code()
    );
}

fn handed_over(rig: Rig) {
    let mut a = Node::first(rig);
    let mut old = a.run(&["create", "forever:5"]).spawn();
    a.wait_for_rows(&mut old, 20);
    let next = [a.next("b"), a.next("c")];
    for b in &next {
        let mut new = b.run(&["open", "forever:5"]).spawn();
        new.wait_until_says(0, &["holds the claim", "waiting"]);
        old.wait_until_says(0, &["every commit is in the replica", "stands by"]);
        b.wait_for_rows(&mut new, 20);
        is_over(std::mem::replace(&mut old, new), &[143]);
    }
    is_over(old, &[143]);
    let rows = a.rig.assert_all_rows_are_safe();
    assert!(rows >= 60, "{rows}");
}

#[test]
fn the_next_container_goes_on_with_every_row_on_s3() {
    handed_over(Rig::on_s3());
}

#[test]
fn the_next_container_goes_on_with_every_row_in_a_directory() {
    handed_over(Rig::on_file());
}

#[test]
fn a_holder_that_was_killed_is_not_waited_for_for_ever() {
    let a = Node::first(Rig::on_s3());
    let mut old = a.run(&["create", "rows:20", "pause:1500", "rows:1", "idle"]).spawn();
    a.wait_for_rows(&mut old, 21);
    eventually("they are in the replica", || a.rig.remote.level0().len() >= 2);
    old.kill_everything();
    let b = a.next("b");
    let ended = b.run(&["open", "rows:5"]).finish();
    ended.assert_code(0).assert_says(&["taken for dead"]);
    let mut a = a;
    a.rig.oracle.acknowledged();
    let restored = a.rig.restored();
    assert!(a.rig.oracle.check(&restored) >= 20);
}

#[test]
fn two_containers_on_one_volume_hand_it_over() {
    let mut a = Node::first(Rig::on_s3());
    a.rig.settings = HANDOVER.replace("wait", "instance: a, wait");
    let mut old = a.run(&["create", "forever:5"]).spawn();
    a.wait_for_rows(&mut old, 20);
    a.rig.settings = HANDOVER.replace("wait", "instance: b, wait");
    a.life = "b";
    let mut new = a.run(&["open", "forever:5"]).spawn();
    old.wait_until_says(0, &["every commit is in the replica", "stands by"]);
    a.wait_for_rows(&mut new, 20);
    is_over(old, &[143]);
    is_over(new, &[143]);
    a.rig.assert_all_rows_are_safe();
}

/// As with a fixed host name: the same instance, twice on one volume. The lock tells them apart.
#[test]
fn the_same_instance_twice_on_one_volume_waits_for_the_lock() {
    let mut a = Node::first(Rig::on_s3());
    let mut old = a.run(&["create", "forever:5"]).spawn();
    a.wait_for_rows(&mut old, 20);
    a.life = "b";
    let mut new = a.run(&["open", "forever:5"]).spawn();
    old.wait_until_says(0, &["stands by"]);
    a.wait_for_rows(&mut new, 20);
    is_over(old, &[143]);
    is_over(new, &[143]);
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn the_old_one_comes_back_when_the_application_of_the_new_one_does_not_start() {
    let mut a = Node::first(Rig::on_s3());
    let mut old = a.run(&["create", "forever:20"]).spawn();
    a.wait_for_rows(&mut old, 20);
    for (life, steps) in [("b", &["exit:1"][..]), ("c", &["open", "rows:3", "exit:1"])] {
        let said = old.said();
        a.next(life).run(steps).finish().assert_code(1);
        old.wait_until_says(said, &["claiming", "again"]);
        old.wait_until_says(said, &STARTED);
        a.wait_for_rows(&mut old, 20);
    }
    is_over(old, &[143]);
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn who_was_superseded_stands_by_however_often_it_is_restarted() {
    let mut a = Node::first(Rig::on_s3());
    let mut old = a.run(&["create", "forever:20"]).spawn();
    a.wait_for_rows(&mut old, 20);
    let b = a.next("b");
    let mut new = b.run(&["open", "forever:20"]).spawn();
    b.wait_for_rows(&mut new, 5);
    for _ in 0..3 {
        old.wait_until_says(0, &["stand"]);
        old.kill_everything();
        // The restart policy.
        old = a.run(&["open", "forever:20"]).spawn();
        old.wait_until_says(0, &["standing by", "another instance has made a later claim"]);
        b.wait_for_rows(&mut new, 20);
    }
    assert_eq!(a.claims(), 2, "it is not claimed again");
    assert_eq!(new.to_string().matches(STARTED[0]).count(), 1, "{new}");
    assert!(!old.to_string().contains(STARTED[0]), "{old}");
    // When the new one is told to end, the old one goes on.
    is_over(new, &[143]);
    a.wait_for_rows(&mut old, 20);
    is_over(old, &[143]);
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn a_restarted_container_goes_on_at_once() {
    let mut a = Node::first(Rig::on_s3());
    let mut old = a.run(&["create", "forever:20"]).spawn();
    a.wait_for_rows(&mut old, 20);
    for _ in 0..2 {
        old.kill_everything();
        old = a.run(&["open", "forever:20"]).spawn();
        a.wait_for_rows(&mut old, 20);
        assert!(!old.to_string().contains("waiting until"), "{old}");
    }
    is_over(old, &[143]);
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn who_is_told_to_end_while_it_waits_gives_its_place_back() {
    let mut a = Node::first(Rig::on_s3());
    let mut old = a.run(&["create", "forever:20", "term-pause:3000"]).spawn();
    a.wait_for_rows(&mut old, 20);
    let said = old.said();
    let b = a.next("b");
    let mut new = b.run(&["open", "forever:20"]).spawn();
    old.wait_until_says(said, &["has made a later claim"]);
    new.wait_until_says(0, &["holds the claim", "waiting"]);
    is_over(new, &[143]);
    old.wait_until_says(said, &STARTED);
    a.wait_for_rows(&mut old, 20);
    is_over(old, &[143]);
    a.rig.assert_all_rows_are_safe();
}

/// `replicate` without an application, and several databases: all of them move together.
#[test]
fn a_process_without_an_application_hands_over_all_of_its_databases() {
    let mut a = Node::first(Rig::on_s3());
    a.run_bare(&["create", "rows:10"]);
    let second = a.rig.path("data/second.db");
    fs::copy(a.rig.db(), &second).expect("copy");
    let config = a.rig.config();
    let url = a.rig.remote.url().replacen('?', "-second?", 1);
    let mut text = fs::read_to_string(&config).expect("read");
    text.push_str(&format!("  - path: {}\n    replica:\n      url: \"{url}\"\n", second.display()));
    let replicate = |instance: &str| {
        fs::write(&config, text.replace("{wait", &format!("{{instance: {instance}, wait"))).expect("write");
        a.rig.millstream::<OsString>(["replicate".into(), "-config".into(), config.clone().into()]).spawn()
    };
    let mut old = replicate("a");
    old.wait_until_says(0, &["first upload of this run", "TXID", "-second"]);
    let mut new = replicate("b");
    old.wait_until_says(0, &["every commit is in the replica", "stands by"]);
    new.wait_until_says(0, &["first upload of this run", "-second"]);
    is_over(old, &[0]);
    is_over(new, &[0]);
    a.rig.oracle.acknowledged();
    a.rig.assert_all_rows_are_safe();
    // Two processes, and each has sealed both.
    assert_eq!((a.claims(), a.rig.remote.level0().len()), (2, 2));
}

#[test]
fn who_waits_is_alive_and_not_ready() {
    let a = Node::first(Rig::on_s3());
    let mut old = a.run(&["create", "idle"]).spawn();
    old.wait_until_says(0, &STARTED);
    old.signal(Signal::SIGSTOP);
    let mut b = a.next("b");
    let socket = b.rig.path("control.sock").display().to_string();
    let control = format!("socket: {{enabled: true, path: {socket}}}\n");
    b.rig.settings = format!("{}{control}{ADDR}", HANDOVER.replace("6s", "30s"));
    let mut new = b.run(&["open", "idle"]).spawn();
    let address = served_at(&mut new);
    new.wait_until_says(0, &["holds the claim", "waiting"]);
    assert_eq!(page(&address, "/livez").0, 200);
    let (status, text) = page(&address, "/readyz");
    assert!(status == 503 && text.contains("waiting for another instance"), "{status} {text}");
    let ask = |command: &str| b.rig.millstream([command, "-socket", &socket]).finish();
    ask("list").assert_code(0);
    old.signal(Signal::SIGCONT);
    new.wait_until_says(0, &STARTED);
    new.wait_until("it is ready", || page(&address, "/readyz").0 == 200);
    assert!(ask("list").stdout.contains("app.db"));
    is_over(old, &[143]);
    is_over(new, &[143]);
}

#[test]
fn without_it_nothing_is_claimed() {
    let mut a = Node::first(Rig::on_s3());
    a.rig.settings = "grace: 20s\nhandover: off\n".into();
    a.run(&["create", "rows:10"]).finish().assert_code(0);
    assert!(!a.rig.remote.objects().keys().any(|name| name.starts_with("claims/")));
    assert_eq!(a.rig.remote.level0().len(), a.rig.remote.level0().last().map_or(0, |last| *last as usize));
}
