//! A proxy on each node of a cluster: a client may come to any of them.

use super::deploys::SECRET;
use super::*;

fn node(rig: Rig, name: &'static str) -> (Web, String) {
    let own = format!("127.0.0.1:{}", free_port());
    let settings = format!(
        "cluster: {{node: {name}, ttl: 3s}}\n\
         proxy: {{listen: \"{own}\", target: \"TARGET\", advertise: \"http://{own}\", {SECRET}}}\n"
    );
    (Web::new(rig, name, &settings), own)
}

#[test]
fn writes_reach_the_primary_from_every_node_whichever_it_is() {
    let (mut a, at_a) = node(Rig::on_s3(), "a");
    let mut on_a = a.spawn(0);
    listens_at(&mut on_a);
    assert_eq!(answered(&at_a, "POST", "/rows"), "1", "it was held until this node was the primary");
    let mut rig = Rig::on_file();
    rig.remote = a.rig.remote.clone();
    let (b, at_b) = node(rig, "b");
    let mut on_b = b.spawn(0);
    listens_at(&mut on_b);
    // Until its application is there, the other one answers.
    eventually("a read is answered where it comes to", || answered(&at_b, "GET", "/name") == "b");
    assert_eq!(answered(&at_b, "GET", "/rows"), "1");
    assert_eq!(answered(&at_b, "POST", "/rows"), "2");
    assert_eq!(answered(&at_a, "GET", "/rows"), "2", "it was the primary that wrote");
    eventually("the row is here", || answered(&at_b, "GET", "/rows") == "2");
    a_client_sees_what_it_has_written(&at_b);
    ends(on_a);
    assert_eq!(answered(&at_b, "POST", "/rows"), "5", "this node is the primary now");
    ends(on_b);
    let restored = a.rig.restored();
    assert_eq!(rows_in(&restored), 5);
}

/// By the cookie, or the header, that came with the answer to its write.
fn a_client_sees_what_it_has_written(address: &str) {
    for (rows, name) in [("3", "set-cookie"), ("4", "millstream-position")] {
        let (status, reply) = ask(address, "POST", "/rows").expect("an answer");
        assert_eq!((status, body(&reply)), (200, rows), "{reply}");
        let value = header(&reply, name).unwrap_or_else(|| panic!("no {name}: {reply}"));
        let sent = match name {
            "set-cookie" => format!("Cookie: {}", value.split(';').next().expect("a pair")),
            _ => format!("{name}: {value}"),
        };
        let (status, reply) = ask_with(address, "GET", "/rows", &sent).expect("an answer");
        assert_eq!((status, body(&reply)), (200, rows), "{sent}: {reply}");
    }
}

fn header<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    let head = reply.split_once("\r\n\r\n").map_or(reply, |(head, _)| head);
    let pairs = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    pairs.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
