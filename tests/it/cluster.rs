//! Several nodes on one bucket: one writes, the others read, and whichever it is changes.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::harness::rig::python;
use crate::harness::{Proxy, Remote, Rig, Running, eventually};

mod partitions;
mod pushed;

const TTL: &str = "3s";

/// One node of a cluster: a volume of its own, and the bucket and the list of what was acknowledged of all.
struct Member {
    rig: Rig,
    acks: PathBuf,
    life: &'static str,
}

impl Member {
    fn first(rig: Rig, life: &'static str) -> Member {
        let acks = rig.path("acks");
        Member { rig, acks, life }.with("")
    }

    fn next(&self, life: &'static str) -> Member {
        let mut rig = Rig::on_file();
        rig.remote = self.rig.remote.clone();
        Member { rig, acks: self.acks.clone(), life }.with("")
    }

    /// With further keys of `cluster`.
    fn with(mut self, keys: &str) -> Member {
        let life = self.life;
        self.rig.settings = format!("grace: 20s\ncluster: {{node: {life}, ttl: {TTL}{keys}}}\n");
        self
    }

    fn run(&self, steps: &[&str]) -> Running {
        let run = ["run".into(), "-config".into(), self.rig.config().into(), "--".into()];
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/app.py");
        let mut argv: Vec<OsString> =
            vec![python(), script.into(), self.rig.db().into(), (&self.acks).into(), self.life.into()];
        argv.extend(steps.iter().map(OsString::from));
        self.rig.millstream::<OsString>(run).args(argv).spawn()
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

    /// How many rows a reader sees here.
    fn rows(&self) -> i64 {
        let open = rusqlite::Connection::open_with_flags(
            self.rig.db(),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX,
        );
        open.and_then(|db| db.query_row("SELECT count(*) FROM t", [], |row| row.get(0))).unwrap_or(0)
    }

    fn noted(&self, what: &str) -> usize {
        let path = format!("{}.{}.{what}", self.acks.display(), self.life);
        fs::read_to_string(path).unwrap_or_default().lines().count()
    }

    /// Waits until this node reads what was acknowledged until now, and its application is refused.
    fn follows(&self, running: &mut Running) {
        let acknowledged = fs::read_to_string(&self.acks).unwrap_or_default().lines().count() as i64;
        running.wait_until("the copy is there", || self.rows() >= acknowledged);
        let refused = self.noted("refused");
        running.wait_until("its application cannot write", || self.noted("refused") > refused + 2);
    }
}

const APP: [&str; 1] = ["member:20"];

fn is_over(mut running: Running, codes: &[i32]) {
    running.signal_if_running(Signal::SIGTERM);
    let ended = running.wait();
    assert!(
        ended.code().is_some_and(|code| codes.contains(&code)),
        "{:?} and not one of {codes:?}\n{ended}",
        ended.code()
    );
}

fn no_reader_saw_a_mix(members: &[&Member]) {
    for member in members {
        assert_eq!(member.noted("mixed"), 0, "{}", member.life);
    }
}

fn handed_over(rig: Rig) {
    let mut a = Member::first(rig, "a");
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    let (b, c) = (a.next("b"), a.next("c").with(", candidate: false"));
    let (mut on_b, mut on_c) = (b.run(&APP), c.run(&APP));
    b.follows(&mut on_b);
    c.follows(&mut on_c);
    // Told to end: the candidate goes on, with every row.
    is_over(on_a, &[143]);
    b.wait_for_rows(&mut on_b, 20);
    c.follows(&mut on_c);
    let mut on_a = a.run(&APP);
    a.follows(&mut on_a);
    assert_eq!(on_b.to_string().matches("started the application").count(), 1, "it goes on meanwhile: {on_b}");
    is_over(on_c, &[143]);
    is_over(on_b, &[143]);
    a.wait_for_rows(&mut on_a, 20);
    is_over(on_a, &[143]);
    no_reader_saw_a_mix(&[&a, &b, &c]);
    let rows = a.rig.assert_all_rows_are_safe();
    assert!(rows >= 60, "{rows}");
}

#[test]
fn a_primary_that_is_told_to_end_hands_over_and_loses_nothing_on_s3() {
    handed_over(Rig::on_s3());
}

#[test]
fn a_primary_that_is_told_to_end_hands_over_and_loses_nothing_in_a_directory() {
    handed_over(Rig::on_file());
}

#[test]
fn a_follower_takes_over_from_a_primary_that_was_killed_which_comes_back_as_a_follower() {
    let proxy = Proxy::start();
    let mut a = Member::first(Rig::on_s3(), "a");
    let direct = a.rig.remote.clone();
    a.rig.remote = direct.through(proxy.endpoint());
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    let mut b = a.next("b");
    b.rig.remote = direct.clone();
    let mut on_b = b.run(&APP);
    b.follows(&mut on_b);
    // What it commits from now on is in no replica.
    proxy.down();
    a.wait_for_rows(&mut on_a, 10);
    on_a.kill_everything();
    let confirmed = b.rows();
    on_b.wait_until_says(0, &["shows no life"]);
    b.wait_for_rows(&mut on_b, 20);
    assert!(b.rows() >= confirmed + 20);
    proxy.up();
    let mut on_a = a.run(&APP);
    on_a.wait_until_says(0, &["is kept as", "orphaned"]);
    on_a.wait_until("the copy is there", || a.rows() > confirmed + 20);
    let kept = fs::read_dir(a.rig.path("data")).expect("list").filter_map(Result::ok);
    let kept = kept.filter(|entry| entry.file_name().to_string_lossy().contains(".orphaned-")).count();
    assert_eq!(kept, 1, "what was not confirmed is kept");
    b.wait_for_rows(&mut on_b, 10);
    is_over(on_a, &[143]);
    is_over(on_b, &[143]);
    no_reader_saw_a_mix(&[&a, &b]);
}

/// Its supervisor does not run, and its application goes on: what that commits is in no history.
#[test]
fn a_primary_that_was_stopped_for_a_while_finds_that_others_went_on_and_follows() {
    let a = Member::first(Rig::on_s3(), "a");
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    let mut b = a.next("b");
    b.acks = b.rig.path("acks");
    let mut on_b = b.run(&APP);
    on_b.wait_until("the copy is there", || b.rows() >= 20);
    on_a.signal(Signal::SIGSTOP);
    on_b.wait_until_says(0, &["shows no life"]);
    b.wait_for_rows(&mut on_b, 20);
    on_a.signal(Signal::SIGCONT);
    on_a.wait_until_says(0, &["has made a later claim"]);
    let refused = a.noted("refused");
    on_a.wait_until("its application cannot write", || a.noted("refused") > refused + 5);
    let there = b.rows();
    on_a.wait_until("it follows", || a.rows() >= there);
    b.wait_for_rows(&mut on_b, 20);
    eventually("its commits are kept", || b.rig.remote.objects().keys().any(|name| name.starts_with("orphaned/")));
    is_over(on_a, &[74]);
    is_over(on_b, &[143]);
    no_reader_saw_a_mix(&[&b]);
}

#[test]
fn a_primary_that_is_cut_off_from_the_bucket_lets_nothing_be_written_before_others_go_on() {
    let proxy = Proxy::start();
    let mut a = Member::first(Rig::on_s3(), "a");
    let direct = a.rig.remote.clone();
    a.rig.remote = direct.through(proxy.endpoint());
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    proxy.down();
    on_a.wait_until_says(0, &["could not be renewed", "cannot write"]);
    let refused = a.noted("refused");
    on_a.wait_until("its application cannot write", || a.noted("refused") > refused + 2);
    // No other node went on.
    proxy.up();
    on_a.wait_until_says(0, &["is renewed", "can write again"]);
    a.wait_for_rows(&mut on_a, 20);
    let mut b = a.next("b");
    b.rig.remote = direct.clone();
    let mut on_b = b.run(&APP);
    b.follows(&mut on_b);
    proxy.down();
    b.wait_for_rows(&mut on_b, 20);
    let before = a.acknowledged();
    proxy.up();
    on_a.wait_until_says(0, &["has made a later claim"]);
    let there = b.rows();
    on_a.wait_until("it follows", || a.rows() >= there);
    assert_eq!(a.acknowledged(), before, "since another node went on nothing was written there");
    is_over(on_a, &[143, 74]);
    is_over(on_b, &[143]);
    no_reader_saw_a_mix(&[&b]);
}

#[test]
fn a_restarted_primary_goes_on_with_what_it_had_not_uploaded() {
    let proxy = Proxy::start();
    let mut a = Member::first(Rig::on_s3(), "a");
    let direct = a.rig.remote.clone();
    a.rig.remote = direct.through(proxy.endpoint());
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    proxy.down();
    a.wait_for_rows(&mut on_a, 5);
    on_a.kill_everything();
    proxy.up();
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    is_over(on_a, &[143]);
    a.rig.remote = direct;
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn migrations_run_on_the_primary_before_its_application_writes() {
    let mut a = Member::first(Rig::on_file(), "a");
    let migrated = a.rig.path("migrated");
    let migrate = format!("migrate: sh -c 'printenv MILLSTREAM_ROLE >> {}'\n", migrated.display());
    a.rig.settings.push_str(&migrate);
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    let mut b = a.next("b");
    b.rig.settings.push_str(&migrate);
    let mut on_b = b.run(&APP);
    b.follows(&mut on_b);
    assert_eq!(fs::read_to_string(&migrated).expect("text"), "primary\n", "not on a follower");
    is_over(on_a, &[143]);
    b.wait_for_rows(&mut on_b, 20);
    assert_eq!(fs::read_to_string(&migrated).expect("text"), "primary\nprimary\n");
    is_over(on_b, &[143]);
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn commands_run_on_the_nodes_that_they_are_for() {
    let mut a = Member::first(Rig::on_file(), "a");
    let ran = a.rig.path("ran");
    let note = |what: &str| format!("sh -c 'echo {what} `printenv MILLSTREAM_ROLE` >> {}'", ran.display());
    let lines = || fs::read_to_string(&ran).unwrap_or_default();
    let commands = |name: &str| {
        format!(
            "migrate:\n- {{cmd: \"{}\", if-candidate: true}}\n- {{cmd: \"{}\", if: follower}}\nexec:\n- {{cmd: \"{}\", if: candidate}}\n- {{cmd: \"{}\", if: follower}}\n",
            note(&format!("{name} up")),
            note(&format!("{name} look")),
            note(&format!("{name} warm")),
            "sleep 1000",
        )
    };
    a.rig.settings.push_str(&commands("a"));
    // The flag takes the place of the whole list, which is tried by the next node.
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    assert_eq!(lines(), "a up primary\n");
    let mut b = a.next("b");
    b.rig.settings.push_str(&commands("b"));
    let run: [OsString; 3] = ["run".into(), "-config".into(), b.rig.config().into()];
    let mut on_b = b.rig.millstream::<OsString>(run).spawn();
    on_b.wait_until("the follower's commands have run", || lines().ends_with("b warm follower\n"));
    assert_eq!(lines(), "a up primary\nb look follower\nb warm follower\n");
    // Its application is for followers only.
    is_over(on_a, &[143]);
    on_b.wait_until("the new primary's commands have run", || lines().ends_with("b warm primary\n"));
    assert!(lines().ends_with("b warm follower\nb up primary\nb warm primary\n"), "{}", lines());
    is_over(on_b, &[0]);
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn a_command_is_told_of_each_role() {
    let mut a = Member::first(Rig::on_file(), "a");
    let told = a.rig.path("told");
    let command = format!("sh -c 'printenv MILLSTREAM_ROLE MILLSTREAM_PRIMARY | xargs >> {}'", told.display());
    a = a.with(&format!(", on-role-change: \"{command}\""));
    let said = || fs::read_to_string(&told).unwrap_or_default();
    let mut on_a = a.run(&APP);
    on_a.wait_until("it is told", || said() == "primary a\n");
    a.wait_for_rows(&mut on_a, 20);
    let b = a.next("b").with(", on-role-change: /no/such/program");
    let mut on_b = b.run(&APP);
    on_b.wait_until_says(0, &["cluster.on-role-change", "/no/such/program"]);
    b.follows(&mut on_b);
    is_over(on_a, &[143]);
    b.wait_for_rows(&mut on_b, 20);
    let mut on_a = a.run(&APP);
    on_a.wait_until("it is told", || said() == "primary a\nfollower b\n");
    is_over(on_b, &[143]);
    on_a.wait_until("it is told", || said() == "primary a\nfollower b\nprimary a\n");
    a.wait_for_rows(&mut on_a, 20);
    is_over(on_a, &[143]);
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn the_primary_moves_when_a_person_says_so() {
    let socket = |member: &mut Member| {
        let path = member.rig.path("control.sock").display().to_string();
        member.rig.settings.push_str(&format!("socket: {{enabled: true, path: {path}}}\n"));
        path
    };
    let mut a = Member::first(Rig::on_s3(), "a");
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    let mut b = a.next("b");
    let on_socket_b = socket(&mut b);
    let mut on_b = b.run(&APP);
    b.follows(&mut on_b);
    let ask = |words: &[&str]| a.rig.millstream(words.iter().copied()).finish();
    ask(&["demote", "-socket", &on_socket_b]).assert_code(1).assert_says(&["is not the primary"]);
    let promoted = ask(&["promote", "-socket", &on_socket_b]);
    promoted.assert_code(0);
    assert_eq!(promoted.stdout, "role: primary\nprimary: b\n");
    b.wait_for_rows(&mut on_b, 20);
    a.follows(&mut on_a);
    let demoted = ask(&["demote", "-json", "-socket", &on_socket_b]);
    demoted.assert_code(0);
    assert!(demoted.stdout.contains("\"primary\": \"a\""), "{demoted}");
    a.wait_for_rows(&mut on_a, 20);
    b.follows(&mut on_b);
    is_over(on_b, &[143]);
    is_over(on_a, &[143]);
    no_reader_saw_a_mix(&[&a, &b]);
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn what_a_cluster_cannot_be_is_refused_by_its_name() {
    let a = Member::first(Rig::on_file(), "a");
    for (settings, says) in [
        ("cluster: {listen: ':4000'}\n", "`cluster.advertise` is missing"),
        ("cluster: {listen: ':4000', advertise: 'http://a:4000'}\n", "`cluster.secret`, which is missing"),
        ("cluster: {claims: 's3://b/p'}\n", "not supported yet"),
        ("cluster: {on-role-change: 'a && b'}\n", "cluster.on-role-change"),
        ("cluster: {}\nhandover: on\n", "takes the place of `handover`"),
        ("cluster: {ttl: 1s}\n", "cluster.ttl"),
    ] {
        let mut rig = Rig::on_file();
        rig.remote = Remote::clone(&a.rig.remote);
        rig.settings = settings.into();
        let run = ["run".into(), "-config".into(), rig.config().into(), "--".into(), "true".into()];
        rig.millstream::<OsString>(run).finish().assert_code(78).assert_says(&[says]);
    }
    eventually("nothing was touched", || a.rig.remote.objects().is_empty());
}
