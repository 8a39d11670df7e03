//! Somebody else answers, or a store that is less than S3: nothing counts as safe that is not, and no message blames another.

use std::fs;

use nix::sys::signal::Signal;

use crate::harness::gateway::{Gateway, Mood};
use crate::harness::remote::BUCKET;
use crate::harness::{Remote, Rig};

/// A rig whose replica is reached through the gateway, and the way around it.
fn behind(gateway: &Gateway) -> (Rig, Remote) {
    let mut rig = Rig::on_s3();
    let direct = rig.remote.clone();
    rig.remote = direct.through(gateway.endpoint());
    (rig, direct)
}

fn file(step: &str, rig: &Rig, name: &str) -> String {
    format!("{step}:{}", rig.path(name).display())
}

/// Rows of before, of while somebody else answers, and no more.
fn rows_that_somebody_else_took_are_not_safe(mood: Mood) {
    let gateway = Gateway::start(Mood::Fair);
    let (mut rig, direct) = behind(&gateway);
    rig.settings = "grace: 4s\n".into();
    let steps = [
        "create",
        "rows:3",
        &file("touch", &rig, "before"),
        &file("until-file", &rig, "go"),
        "rows:30",
        "idle",
        "term-exit:0",
    ];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    running
        .wait_until("the first rows are in the bucket", || !direct.level0().is_empty() && rig.path("before").exists());
    let said = running.said();
    gateway.turn(mood);
    fs::write(rig.path("go"), "").expect("write");
    running.wait_until("somebody else answered", || gateway.kept() > 2);
    running.wait_until_says(said, &[BUCKET, "the answer", "not S3's"]);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(74);
    rig.remote = direct;
    let restored = rig.restored();
    assert!(rig.oracle.check(&restored) < rig.oracle.acknowledged(), "nothing was taken by anybody else");
}

#[test]
fn rows_that_a_portal_took_are_not_safe() {
    rows_that_somebody_else_took_are_not_safe(Mood::Portal);
}

#[test]
fn rows_that_were_confirmed_without_proof_are_not_safe() {
    rows_that_somebody_else_took_are_not_safe(Mood::Sink);
}

#[test]
fn a_portal_that_goes_away_leaves_no_hole() {
    for mood in [Mood::Portal, Mood::Sink] {
        let gateway = Gateway::start(Mood::Fair);
        let (mut rig, direct) = behind(&gateway);
        let steps = ["create", "rows:3", &file("touch", &rig, "before"), "forever:20"];
        let mut running = rig.supervise(rig.app(&steps)).spawn();
        running.wait_until("rows are in the bucket", || !direct.level0().is_empty() && rig.path("before").exists());
        for _ in 0..2 {
            let kept = gateway.kept();
            gateway.turn(mood);
            running.wait_until("somebody else answered", || gateway.kept() > kept + 1);
            let there = direct.level0().len();
            gateway.turn(Mood::Fair);
            running.wait_until("the bucket caught up", || direct.level0().len() > there);
        }
        running.signal(Signal::SIGTERM);
        running.wait().assert_code(143);
        rig.remote = direct;
        let level0 = rig.remote.level0();
        assert!(level0.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{mood:?}: a hole in {level0:?}");
        rig.assert_all_rows_are_safe();
    }
}

#[test]
fn a_restore_behind_a_portal_blames_the_portal() {
    let gateway = Gateway::start(Mood::Fair);
    let (mut rig, direct) = behind(&gateway);
    rig.supervise(rig.app(&["create", "rows:3"])).finish().assert_code(0);
    gateway.turn(Mood::Portal);
    let output = rig.next_output();
    rig.restore(&output).assert_code(69).assert_says(&["the answer is not S3's", "portal"]);
    assert!(!output.exists());
    rig.lose_the_disk();
    rig.supervise(["true"]).finish().assert_code(69).assert_says(&["the answer is not S3's"]);
    rig.remote = direct;
    rig.assert_all_rows_are_safe();
}

#[test]
fn a_store_that_refuses_conditions_is_used_with_a_warning() {
    let gateway = Gateway::start(Mood::NoConditions);
    let (mut rig, direct) = behind(&gateway);
    let ended = rig.supervise(rig.app(&["create", "rows:20", "pause:300", "rows:20"])).finish();
    ended.assert_code(0).assert_says(&["WARN", BUCKET, "refuses If-None-Match", "two writers"]);
    assert!(gateway.kept() > 0);
    assert_eq!(ended.stderr.matches("refuses If-None-Match").count(), 1, "{ended}");
    rig.remote = direct;
    rig.assert_all_rows_are_safe();
}

#[test]
fn a_store_that_ignores_ranges_is_restored_from() {
    let gateway = Gateway::start(Mood::Fair);
    let (mut rig, direct) = behind(&gateway);
    rig.supervise(rig.app(&["create", "rows:40", "big:20:30000", "rows:5"])).finish().assert_code(0);
    gateway.turn(Mood::NoRanges);
    let restored = rig.restored();
    assert!(gateway.kept() > 0, "no range was asked for");
    assert_eq!(rig.oracle.check_complete(&restored), rig.oracle.acknowledged());
    // And writing goes on where the disk is lost.
    rig.lose_the_disk();
    rig.supervise(rig.app_of("b", &["open", "rows:5"])).finish().assert_code(0).assert_says(&["range"]);
    rig.remote = direct;
    rig.assert_all_rows_are_safe();
}
