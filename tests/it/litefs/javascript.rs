//! The real litefs-js on three nodes.

use super::*;
use crate::harness::Invocation;

/// What `judge.mjs` says of the node in this directory, for a client with this cookie.
fn judged(member: &Member, cookie: &str) -> String {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/npm/node_modules");
    assert!(modules.join("litefs-js").is_dir(), "litefs-js is missing: run the tests with scripts/test");
    // A module is looked for from where the script lies.
    let script = member.rig.path("judge.mjs");
    fs::write(&script, include_str!("judge.mjs")).expect("write");
    let beside = member.rig.path("node_modules");
    if !beside.exists() {
        std::os::unix::fs::symlink(modules, beside).expect("link");
    }
    let judge = Invocation::new("node", member.rig.path("")).args([script.into_os_string(), cookie.into()]);
    let judge = judge.env("LITEFS_DIR", member.rig.path("data")).env("DATABASE_FILENAME", "app.db");
    let judged = judge.finish();
    judged.assert_code(0);
    judged.stdout.trim().to_owned()
}

#[test]
fn writes_are_sent_to_the_primary_and_a_client_reads_what_it_has_written() {
    let ([a, b, c], [on_a, mut on_b, mut on_c]) = three();
    let on_primary = judged(&a, "");
    assert!(on_primary.starts_with("primary write=200 replay=none cookie=txnum="), "{on_primary}");
    let written: u64 = on_primary.rsplit('=').next().and_then(|number| number.parse().ok()).expect("a number");
    assert!(written > 0 && written <= a.position());
    for (follower, running) in [(&b, &mut on_b), (&c, &mut on_c)] {
        running.wait_until("its copy shows the write", || follower.position() >= written);
        let said = judged(follower, &format!("txnum={written}"));
        assert_eq!(said, "replica write=409 replay=instance=a read=here");
        let ahead = judged(follower, &format!("txnum={}", written + 1_000_000));
        assert_eq!(ahead, "replica write=409 replay=instance=a read=instance=a", "it is not here yet");
    }
    assert_eq!(b.ask("POST", "/promote").0, 200, "{on_a}\n{on_b}");
    on_b.wait_until("it is the primary", || b.is_primary());
    c.follows(&mut on_c, "b");
    eventually("the former primary sends writes on", || {
        judged(&a, "").starts_with("replica write=409 replay=instance=b")
    });
    assert!(judged(&b, "").starts_with("primary write=200"));
    ends(on_c);
    ends(on_a);
    ends(on_b);
}
