//! The counter of a cluster of Erlang nodes: writes go by RPC to the node whose `.primary` is missing, and every node shows the sum.

use std::collections::BTreeSet;

use super::*;
use crate::harness::Invocation;

/// So often each node counts before the primary moves, and again after it.
const COUNT: u64 = 4;

fn application(member: &Member, shared: &Path) -> Vec<OsString> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/litefs");
    let name = format!("{}@127.0.0.1", member.name);
    let words = ["elixir", "--name", &name, "--cookie", "counter", "--erl", "-start_epmd false"].map(OsString::from);
    let script = [here.join("counter.exs").into(), member.rig.db().into(), shared.into(), member.name.into()];
    let rest = [python(), here.join("count.py").into(), COUNT.to_string().into()];
    words.into_iter().chain(script).chain(rest).collect()
}

#[test]
fn every_node_shows_the_same_number_and_none_is_lost() {
    let a = Member::first("a");
    let shared = a.rig.path("shared");
    fs::create_dir(&shared).expect("create");
    // Erlang nodes find each other through this one, which would stay behind as a daemon.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let port = free.to_string();
    let mut finder = Invocation::new("epmd", &shared).args(["-address", "127.0.0.1", "-port", &port]).spawn();
    finder.wait_until("it listens", || TcpStream::connect(("127.0.0.1", free)).is_ok());
    // Nodes listen on this machine alone.
    let own = "-kernel inet_dist_use_interface {127,0,0,1}";
    let env = [("ERL_EPMD_PORT", port), ("ERL_FLAGS", own.into()), ("LANG", "C.UTF-8".into())];
    let run = |member: &Member| member.run(application(member, &shared), &env);
    let mut on_a = run(&a);
    on_a.wait_until("the first node is the primary", || a.is_primary() && a.position() > 0);
    let (b, c) = (a.next("b"), a.next("c"));
    let (mut on_b, on_c) = (run(&b), run(&c));
    for phase in 1..=2 {
        if phase == 2 {
            assert_eq!(b.ask("POST", "/promote").0, 200);
        }
        fs::write(shared.join(format!("phase-{phase}")), "").expect("write");
        let is_done = |name| shared.join(format!("done-{phase}-{name}")).exists();
        on_b.wait_until("every node shows the sum", || ["a", "b", "c"].iter().all(is_done));
    }
    assert!(b.is_primary() && !a.is_primary() && !c.is_primary());
    let said = |name: &str| fs::read_to_string(shared.join(name)).unwrap_or_default();
    let numbers: Vec<u64> = said("counted").lines().filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect();
    assert_eq!(numbers.len() as u64, 6 * COUNT, "{numbers:?}");
    assert_eq!(numbers.into_iter().collect::<BTreeSet<u64>>(), (1..=6 * COUNT).collect(), "each number was given once");
    // What the library cannot know: its primary's position had not moved yet when it looked.
    println!("own writes that were not seen at once: {} of {}", said("late").lines().count(), 6 * COUNT);
    assert_eq!(said("several"), "", "there was one primary at a time");
    ends(on_c);
    ends(on_a);
    ends(on_b);
}
