//! The policies of `examples/guide/permissions.md`, each enforced by the server: what a role needs is permitted, and what it must not do is
//! refused and said.

use std::ffi::OsString;

use crate::harness::remote::{BUCKET, reachable};
use crate::harness::{Invocation, Remote, Rig};

/// The replica lies where the policies of the guide permit it.
fn rig() -> Rig {
    let mut rig = Rig::on_s3();
    let Remote::S3 { endpoint, prefix } = &rig.remote else { panic!("not on S3") };
    rig.remote = Remote::S3 { endpoint: endpoint.clone(), prefix: format!("app/{prefix}") };
    rig.settings = "grace: 8s\nlevels: [{interval: 1s}]\nsnapshot: {interval: 1s, retention: 1s}\nl0-retention: 1s\n\
                    l0-retention-check-interval: 1s\n"
        .into();
    rig
}

fn by(role: &str, invocation: Invocation) -> Invocation {
    invocation.env("AWS_ACCESS_KEY_ID", role).env("AWS_SECRET_ACCESS_KEY", format!("{role}-secret"))
}

fn command(rig: &Rig, role: &str, args: &[&str]) -> Invocation {
    by(role, rig.millstream(args.iter().map(OsString::from)))
}

fn restores(rig: &mut Rig, role: &str) -> usize {
    let output = rig.next_output();
    let restore = ["restore", "-o", output.to_str().expect("text"), &rig.remote.url()];
    command(rig, role, &restore).finish().assert_code(0);
    rig.oracle.check(&output)
}

#[test]
fn who_may_replicate_and_restore_can_do_all_of_it() {
    let mut rig = rig();
    let config = rig.config();
    let mut run = by("replicate", rig.supervise(rig.app(&["create", "forever:20"]))).spawn();
    let first = "0000/0000000000000002-0000000000000002.ltx";
    run.wait_until("it is there", || rig.remote.objects().contains_key(first));
    run.wait_until("it was deleted", || !rig.remote.objects().contains_key(first));
    run.signal(nix::sys::signal::Signal::SIGTERM);
    run.wait().assert_code(143);
    assert_eq!(restores(&mut rig, "replicate"), rig.oracle.acknowledged());
    command(&rig, "replicate", &["doctor", "-config", config.to_str().expect("text")]).finish().assert_code(0);
    let elsewhere = format!("s3://{BUCKET}/other");
    let elsewhere = rig.remote.url().replace(rig.remote.url().split('?').next().expect("a URL"), &elsewhere);
    let ended = command(&rig, "replicate", &["points", &elsewhere]).finish();
    assert!(ended.code() == Some(77) && ended.stderr.contains("AccessDenied"), "{ended}");
}

#[test]
fn who_may_only_restore_reads_everything_and_writes_nothing() {
    let mut rig = rig();
    rig.supervise(rig.app(&["create", "rows:9"])).finish().assert_code(0);
    let (before, url) = (rig.remote.objects(), rig.remote.url());
    assert_eq!(restores(&mut rig, "restore"), 9);
    for args in [&["points", &url][..], &["ltx", &url], &["verify", &url]] {
        command(&rig, "restore", args).finish().assert_code(0);
    }
    let ended = by("restore", rig.supervise(rig.app(&["rows:1"]))).finish();
    assert!(ended.code() == Some(74) && ended.stderr.contains("AccessDenied"), "{ended}");
    assert_eq!(rig.remote.objects(), before);
}

#[test]
fn who_may_only_append_deletes_nothing_and_is_told() {
    let mut rig = rig();
    let config = rig.config();
    let mut run = by("append", rig.supervise(rig.app(&["create", "forever:20"]))).spawn();
    run.wait_until_says(0, &["cannot be deleted and will stay", "AccessDenied"]);
    run.signal(nix::sys::signal::Signal::SIGTERM);
    run.wait().assert_code(143);
    assert_eq!(restores(&mut rig, "append"), rig.oracle.acknowledged());
    assert_eq!(rig.remote.level0().first(), Some(&1));
    assert_eq!(reachable(&rig.remote).last(), rig.remote.level0().last());
    let ended = command(&rig, "append", &["doctor", "-config", config.to_str().expect("text")]).finish();
    assert!(ended.code() != Some(0) && ended.stdout.contains("s3:DeleteObject"), "{ended}");
}
