//! Nodes that listen to each other: what is confirmed comes from node to node, and any of them may be asked.

use std::net::TcpListener;

use super::*;

const SECRET: &str = "secret: 0123456789abcdef0123456789abcdef";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// It listens at a port, and others reach it where `advertise` makes of that.
fn listening(member: Member, more: &str, advertise: impl FnOnce(&str) -> String) -> (Member, String) {
    let socket = member.rig.path("control.sock").display().to_string();
    let own = format!("127.0.0.1:{}", free_port());
    let url = advertise(&format!("http://{own}"));
    let mut member = member.with(&format!(", listen: \"{own}\", advertise: \"{url}\", {SECRET}{more}"));
    member.rig.settings.push_str(&format!("socket: {{enabled: true, path: {socket}}}\n"));
    (member, socket)
}

fn as_it_is(url: &str) -> String {
    url.to_owned()
}

#[test]
fn a_follower_goes_on_by_what_the_primary_pushes_while_it_cannot_reach_the_bucket() {
    let (a, _) = listening(Member::first(Rig::on_s3(), "a"), "", as_it_is);
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    let proxy = Proxy::start();
    let (mut b, _) = listening(a.next("b"), ", candidate: false", as_it_is);
    b.rig.remote = a.rig.remote.through(proxy.endpoint());
    let mut on_b = b.run(&APP);
    b.follows(&mut on_b);
    on_a.wait_until_says(0, &["node b at", "follows this one"]);
    b.follows(&mut on_b);
    proxy.down();
    for _ in 0..3 {
        a.wait_for_rows(&mut on_a, 20);
        b.follows(&mut on_b);
    }
    proxy.up();
    a.wait_for_rows(&mut on_a, 20);
    b.follows(&mut on_b);
    assert!(!format!("{on_a}{on_b}").contains("0123456789abcdef"), "the secret is nowhere");
    is_over(on_b, &[143]);
    is_over(on_a, &[143]);
    no_reader_saw_a_mix(&[&a, &b]);
    let mut a = a;
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn nothing_is_pushed_before_the_bucket_has_it() {
    let proxy = Proxy::start();
    let (mut a, _) = listening(Member::first(Rig::on_s3(), "a"), "", as_it_is);
    let direct = a.rig.remote.clone();
    a.rig.remote = direct.through(proxy.endpoint());
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    let (mut b, _) = listening(a.next("b"), ", candidate: false", as_it_is);
    b.rig.remote = direct.clone();
    let mut on_b = b.run(&APP);
    on_a.wait_until_says(0, &["node b at", "follows this one"]);
    b.follows(&mut on_b);
    proxy.down();
    // What was on its way has arrived, or not.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let confirmed = b.rows();
    a.wait_for_rows(&mut on_a, 10);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(b.rows(), confirmed, "{on_b}");
    proxy.up();
    a.wait_for_rows(&mut on_a, 10);
    b.follows(&mut on_b);
    is_over(on_b, &[143]);
    is_over(on_a, &[143]);
    a.rig.remote = direct;
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn a_follower_that_is_cut_off_from_the_primary_reads_the_bucket_and_comes_back() {
    let mut between = None;
    let (a, _) = listening(Member::first(Rig::on_s3(), "a"), "", |url| {
        let proxy = Proxy::at("127.0.0.1", url);
        between.insert(proxy).endpoint().to_owned()
    });
    let between = between.expect("it is there");
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    let (b, _) = listening(a.next("b"), "", as_it_is);
    let mut on_b = b.run(&APP);
    on_a.wait_until_says(0, &["node b at", "follows this one"]);
    b.follows(&mut on_b);
    for is_silent in [false, true] {
        let (said_a, said_b) = (on_a.said(), on_b.said());
        match is_silent {
            true => between.fall_silent_after(10),
            false => between.down(),
        }
        a.wait_for_rows(&mut on_a, 20);
        b.follows(&mut on_b);
        on_b.wait_until_says(said_b, &["node a does not push"]);
        a.wait_for_rows(&mut on_a, 20);
        b.follows(&mut on_b);
        between.up();
        on_a.wait_until_says(said_a, &["node b at", "follows this one"]);
        a.wait_for_rows(&mut on_a, 20);
        b.follows(&mut on_b);
    }
    // The other way round, after the primary has moved.
    is_over(on_a, &[143]);
    b.wait_for_rows(&mut on_b, 20);
    let mut on_a = a.run(&APP);
    on_b.wait_until_says(0, &["node a at", "follows this one"]);
    a.follows(&mut on_a);
    is_over(on_a, &[143]);
    is_over(on_b, &[143]);
    no_reader_saw_a_mix(&[&a, &b]);
    let mut a = a;
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn every_node_shows_all_of_them_and_may_be_asked_to_move_the_primary() {
    let (a, at_a) = listening(Member::first(Rig::on_s3(), "a"), "", as_it_is);
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    let (b, at_b) = listening(a.next("b"), "", as_it_is);
    let (c, at_c) = listening(a.next("c"), ", candidate: false", as_it_is);
    let (mut on_b, mut on_c) = (b.run(&APP), c.run(&APP));
    b.follows(&mut on_b);
    c.follows(&mut on_c);
    let ask = |words: &[&str]| a.rig.millstream(words.iter().copied()).finish();
    let shown = |socket: &str| {
        let ended = ask(&["nodes", "-socket", socket]);
        ended.assert_code(0);
        let line = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        ended.stdout.lines().skip(1).map(line).collect::<Vec<_>>()
    };
    for socket in [&at_a, &at_b, &at_c] {
        eventually("all are shown", || shown(socket) == ["a primary", "b follower", "c follower"]);
    }
    let json = ask(&["nodes", "-json", "-socket", &at_c]);
    json.assert_code(0);
    assert!(json.stdout.contains("\"behind_txids\""), "{json}");
    let refused = ask(&["promote", "-node", "c", "-socket", &at_b]);
    refused.assert_code(1).assert_says(&["node c is no candidate"]);
    ask(&["promote", "-node", "d", "-socket", &at_a]).assert_code(1).assert_says(&["no node \"d\" follows", "b, c"]);
    let promoted = ask(&["promote", "-node", "b", "-socket", &at_c]);
    promoted.assert_code(0);
    assert_eq!(promoted.stdout, "role: follower\nprimary: b\n");
    b.wait_for_rows(&mut on_b, 20);
    eventually("it has moved", || shown(&at_a) == ["b primary", "a follower", "c follower"]);
    // From the primary itself.
    ask(&["promote", "-node", "a", "-socket", &at_b]).assert_code(0);
    a.wait_for_rows(&mut on_a, 20);
    for running in [on_c, on_b, on_a] {
        is_over(running, &[143]);
    }
    no_reader_saw_a_mix(&[&a, &b, &c]);
    let mut a = a;
    a.rig.assert_all_rows_are_safe();
}

#[test]
fn nodes_that_do_not_listen_show_what_the_claims_say() {
    let mut a = Member::first(Rig::on_file(), "a");
    let socket = a.rig.path("control.sock").display().to_string();
    a.rig.settings.push_str(&format!("socket: {{enabled: true, path: {socket}}}\n"));
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 5);
    let ended = a.rig.millstream(["nodes", "-socket", &socket]).finish();
    ended.assert_code(0);
    assert!(ended.stdout.contains("a     primary") && ended.stdout.contains("no `cluster.listen`"), "{ended}");
    is_over(on_a, &[143]);
}

#[test]
fn the_copies_of_a_follower_are_read_from_its_start_on_while_the_bucket_is_away() {
    let mut a = Member::first(Rig::on_s3(), "a");
    let mut on_a = a.run(&APP);
    a.wait_for_rows(&mut on_a, 20);
    let proxy = Proxy::start();
    let mut b = a.next("b");
    b.rig.remote = a.rig.remote.through(proxy.endpoint());
    let mut on_b = b.run(&APP);
    b.follows(&mut on_b);
    is_over(on_b, &[143]);
    proxy.down();
    let before = b.noted("refused");
    let mut on_b = b.run(&APP);
    on_b.wait_until_says(0, &["the bucket cannot be reached", "becomes no primary"]);
    on_b.wait_until("its application reads, and cannot write", || b.noted("refused") > before + 5);
    // Told to end, it does so at once.
    is_over(on_b, &[143]);
    let mut on_b = b.run(&APP);
    on_b.wait_until_says(0, &["the bucket cannot be reached"]);
    a.wait_for_rows(&mut on_a, 20);
    proxy.up();
    b.follows(&mut on_b);
    is_over(on_a, &[143]);
    b.wait_for_rows(&mut on_b, 20);
    is_over(on_b, &[143]);
    no_reader_saw_a_mix(&[&a, &b]);
    a.rig.assert_all_rows_are_safe();
}
