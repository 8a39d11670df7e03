//! Responses that wait for the bucket.

use super::*;
use crate::harness::Proxy;

/// The bucket hangs: a response that waits for it is not sent, one that does not is. What was acknowledged outlives the disk.
#[test]
fn with_ack_uploaded_what_was_answered_is_in_the_bucket() {
    let settings =
        "proxy: {listen: \"127.0.0.1:0\", target: \"TARGET\", ack-uploaded: [/rows], ack-timeout: 60s}\n".to_owned();
    let mut web = Web::new(Rig::on_s3(), "a", &settings);
    let direct = web.rig.remote.clone();
    let weather = Proxy::start();
    web.rig.remote = direct.through(weather.endpoint());
    let mut running = web.spawn(0);
    let address = listens_at(&mut running);
    assert_eq!(answered(&address, "POST", "/rows"), "1");
    let (status, reply) = ask(&address, "POST", "/rows").expect("an answer");
    assert!(status == 200 && reply.contains("millstream-ack: uploaded\r\n"), "{reply}");
    weather.fall_silent_after(0);
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let address = address.clone();
            std::thread::spawn(move || ask(&address, "POST", "/rows"))
        })
        .collect();
    // It commits, and is not acknowledged by the bucket.
    assert_eq!(answered(&address, "POST", "/slow/0").parse::<usize>().map(|row| row > 2), Ok(true));
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()), "none of them is answered");
    weather.up();
    let rows = waiting.into_iter().map(|waiting| waiting.join().expect("no panic").expect("an answer"));
    let rows: Vec<(u16, String)> = rows.collect();
    assert!(rows.iter().all(|(status, _)| *status == 200), "{rows:?}");
    running.kill_everything();
    web.rig.lose_the_disk();
    web.rig.remote = direct;
    let restored = web.rig.restored();
    assert!(rows_in(&restored) >= 6, "{} rows", rows_in(&restored));
}

#[test]
fn with_ack_uploaded_a_bucket_that_is_away_is_said_and_the_row_is_kept() {
    let settings = "proxy: {listen: \"127.0.0.1:0\", target: \"TARGET\", ack: uploaded, ack-timeout: 1s}\n";
    let mut web = Web::new(Rig::on_s3(), "a", settings);
    let direct = web.rig.remote.clone();
    let weather = Proxy::start();
    web.rig.remote = direct.through(weather.endpoint());
    let mut running = web.spawn(0);
    let address = listens_at(&mut running);
    assert_eq!(answered(&address, "POST", "/rows"), "1");
    weather.fall_silent_after(0);
    let (status, reply) = ask(&address, "POST", "/rows").expect("an answer");
    assert!(matches!(status, 503 | 504) && reply.contains("millstream-ack: local\r\n"), "{reply}");
    assert_eq!(answered(&address, "GET", "/rows"), "2", "reads go on, and it is committed here");
    weather.up();
    ends(running);
    web.rig.remote = direct;
    let restored = web.rig.restored();
    assert_eq!(rows_in(&restored), 2);
}
