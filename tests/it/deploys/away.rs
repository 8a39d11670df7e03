//! A holder that is paused, cut off or killed, and a bucket that is away.

use std::fs;

use nix::sys::signal::Signal;

use super::{HANDOVER, Node, STARTED, is_over};
use crate::harness::gateway::{Gateway, Mood};
use crate::harness::{Proxy, Rig, eventually};

/// The supervisor is stopped, and its application goes on: what it commits meanwhile is in no history.
fn paused(rig: Rig) {
    let a = Node::first(rig);
    let mut old = a.run(&["create", "forever:20"]).spawn();
    a.wait_for_rows(&mut old, 20);
    old.signal(Signal::SIGSTOP);
    let mut b = a.next("b").apart();
    let mut new = b.run(&["open", "forever:20"]).spawn();
    new.wait_until_says(0, &["taken for dead"]);
    b.wait_for_rows(&mut new, 20);
    old.signal(Signal::SIGCONT);
    old.wait_until_says(0, &["stands by"]);
    b.wait_for_rows(&mut new, 20);
    is_over(old, &[74]);
    let acknowledged = b.acknowledged();
    is_over(new, &[143]);
    assert!(b.rows_restored() >= acknowledged);
    assert!(b.rig.remote.objects().keys().any(|name| name.starts_with("orphaned/")), "its commits are kept");
}

#[test]
fn a_paused_holder_finds_that_others_went_on_and_keeps_what_it_could_not_upload() {
    paused(Rig::on_s3());
}

#[test]
fn a_paused_holder_finds_that_others_went_on_in_a_directory() {
    paused(Rig::on_file());
}

#[test]
fn a_holder_that_was_cut_off_from_the_bucket_makes_room_when_it_is_back() {
    let proxy = Proxy::start();
    let mut a = Node::first(Rig::on_s3());
    let direct = a.rig.remote.clone();
    a.rig.remote = direct.through(proxy.endpoint());
    let mut old = a.run(&["create", "forever:20"]).spawn();
    a.wait_for_rows(&mut old, 20);
    proxy.down();
    let mut b = a.next("b").apart();
    b.rig.remote = direct;
    let mut new = b.run(&["open", "forever:20"]).spawn();
    new.wait_until_says(0, &["taken for dead"]);
    b.wait_for_rows(&mut new, 20);
    proxy.up();
    old.wait_until_says(0, &["NOT in the replica", "stands by"]);
    b.wait_for_rows(&mut new, 20);
    is_over(old, &[74]);
    let acknowledged = b.acknowledged();
    is_over(new, &[143]);
    assert!(b.rows_restored() >= acknowledged);
}

#[test]
fn with_a_bucket_that_is_away_the_application_starts_and_is_claimed_later() {
    let proxy = Proxy::start();
    let mut a = Node::first(Rig::on_s3());
    let direct = a.rig.remote.clone();
    a.run(&["create", "rows:10"]).finish().assert_code(0);
    proxy.down();
    a.rig.remote = direct.through(proxy.endpoint());
    let mut old = a.run(&["open", "forever:20"]).spawn();
    old.wait_until_says(0, &["is started with", "nothing is uploaded"]);
    a.wait_for_rows(&mut old, 20);
    assert_eq!(a.claims(), 1);
    proxy.up();
    eventually("it is claimed", || a.claims() == 2);
    a.wait_for_rows(&mut old, 20);
    assert_eq!(old.to_string().matches(STARTED[0]).count(), 1, "{old}");
    is_over(old, &[143]);
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn an_application_without_a_claim_is_stopped_when_another_holder_is_seen() {
    let proxy = Proxy::start();
    let mut a = Node::first(Rig::on_s3());
    let direct = a.rig.remote.clone();
    a.run(&["create", "rows:10"]).finish().assert_code(0);
    let mut b = a.next("b").apart();
    let mut new = b.run(&["open", "forever:20"]).spawn();
    b.wait_for_rows(&mut new, 20);
    proxy.down();
    a.rig.remote = direct.through(proxy.endpoint());
    let mut old = a.run(&["open", "forever:20"]).spawn();
    a.wait_for_rows(&mut old, 20);
    proxy.up();
    old.wait_until_says(0, &["is stopped", "in no history"]);
    // It was told to end before, and is started again: so it takes over, with the newest state.
    new.wait_until_says(0, &["stands by"]);
    let acknowledged = b.acknowledged();
    old.wait_until_says(0, &["is kept as", "orphaned"]);
    a.wait_for_rows(&mut old, 20);
    is_over(new, &[143]);
    is_over(old, &[143, 74]);
    assert_eq!(b.rows_restored(), acknowledged);
}

/// It was killed while it held the claim and others waited: it is not taken for dead, and its last commits are not lost.
#[test]
fn a_holder_that_is_killed_while_others_wait_still_uploads_what_it_has() {
    let proxy = Proxy::start();
    let mut a = Node::first(Rig::on_s3());
    let direct = a.rig.remote.clone();
    a.rig.remote = direct.through(proxy.endpoint());
    a.rig.settings = HANDOVER.replace("6s", "40s");
    let more = a.rig.path("more");
    let until_more = format!("until-file:{}", more.display());
    let mut old = a.run(&["create", "rows:20", &until_more, "forever:5"]).spawn();
    a.wait_for_rows(&mut old, 20);
    eventually("they are in the replica", || !direct.level0().is_empty());
    proxy.down();
    fs::write(&more, "").expect("write");
    a.wait_for_rows(&mut old, 20);
    let mut b = a.next("b");
    b.rig.remote = direct.clone();
    b.rig.settings = HANDOVER.replace("6s", "40s");
    let mut new = b.run(&["open", "forever:5"]).spawn();
    new.wait_until_says(0, &["holds the claim", "waiting"]);
    old.kill_everything();
    proxy.up();
    let mut old = a.run(&["open", "forever:5"]).spawn();
    old.wait_until_says(0, &["every commit is in the replica", "stands by"]);
    assert!(!old.to_string().contains(STARTED[0]), "{old}");
    b.wait_for_rows(&mut new, 20);
    assert!(!new.to_string().contains("taken for dead"), "{new}");
    is_over(old, &[143]);
    is_over(new, &[143]);
    a.rig.remote = direct;
    a.rig.assert_all_rows_are_safe();
}

/// At the start it is a mistake that a person has to mend; later it is an outage, and the application goes on.
#[test]
fn keys_that_may_not_read_or_create_claims_end_the_start_and_nothing_that_runs() {
    let gateway = Gateway::start(Mood::NoClaims);
    let mut a = Node::first(Rig::on_s3());
    let direct = a.rig.remote.clone();
    a.rig.remote = direct.through(gateway.endpoint());
    for (mood, says) in [(Mood::NoClaims, "list and read"), (Mood::NoNewClaims, "create")] {
        gateway.turn(mood);
        let ended = a.run(&["create", "rows:10"]).finish();
        ended.assert_code(77).assert_says(&[says, "claims/*", "s3:", "handover: off"]);
        assert!(!ended.stderr.contains(STARTED[0]) && !a.rig.db().exists(), "{ended}");
    }
    gateway.turn(Mood::Fair);
    let mut old = a.run(&["create", "forever:20"]).spawn();
    a.wait_for_rows(&mut old, 20);
    gateway.turn(Mood::NoClaims);
    old.wait_until_says(0, &["cannot read or write the claims", "claims/*"]);
    a.wait_for_rows(&mut old, 20);
    gateway.turn(Mood::Fair);
    old.wait_until_says(0, &["can be read and written again"]);
    is_over(old, &[143]);
    a.rig.remote = direct;
    a.rig.assert_all_rows_are_safe();
}
