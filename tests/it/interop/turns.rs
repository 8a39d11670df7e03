//! Litestream and millstream take turns on one replica.

use super::*;

/// The level-0 objects above `before`: how many, and their bytes.
fn uploaded_since(rig: &Rig, before: u64) -> (usize, usize) {
    let objects = rig.remote.objects();
    let sizes = rig.remote.level0().into_iter().filter(|txid| *txid > before);
    let sizes: Vec<usize> =
        sizes.filter_map(|txid| objects.get(&rig.remote.level0_name(txid)).map(|bytes| bytes.len())).collect();
    (sizes.len(), sizes.iter().sum())
}

/// Both programs restore this TXID to the same bytes; returns the number of rows.
fn both_restore(rig: &mut Rig, txid: u64) -> usize {
    let question = ["restore".into(), "-txid".into(), format!("{txid:016x}"), "-o".into()];
    let outputs = [rig.next_output(), rig.next_output()];
    for (by_us, output) in [true, false].into_iter().zip(&outputs) {
        let args = question.iter().map(OsString::from).chain([output.into(), rig.remote.url().into()]);
        let restore = if by_us { rig.millstream(args) } else { rig.litestream(args) };
        restore.finish().assert_code(0);
    }
    let [ours, theirs] = outputs.map(|path| (std::fs::read(&path).expect("read"), path));
    assert!(ours.0 == theirs.0, "TXID {txid:x} is not the same for both");
    rig.oracle.check(&ours.1)
}

/// The replicator changes under an application that never stops: us, Litestream, us, Litestream, us. What each turn of ours
/// uploaded is printed, with the reason if it was the whole database.
///
/// The application writes too little for a checkpoint of its own. If it lets the WAL start over while nobody replicates, Litestream
/// 0.5.17 takes the first frames of the new generation for the continuation of the newest level-0 object and never ships what
/// was committed between: its restores are torn from then on, whoever wrote that object.
fn they_take_turns_under_a_running_application(mut rig: Rig) {
    let mut app = rig.bare("a", &["create", "big:2:50000", "forever:100"]).spawn();
    app.wait_until("the application writes", || rig.path("acks").exists());
    let mut ends: Vec<(u64, usize)> = Vec::new();
    for turn in 0..5 {
        let by_us = turn % 2 == 0;
        let before = rig.remote.level0().last().copied().unwrap_or(0);
        let args: [OsString; 3] = ["replicate".into(), "-config".into(), rig.config().into()];
        let mut running = if by_us { rig.millstream(args).spawn() } else { rig.litestream(args).spawn() };
        running.wait_until("it ships", || rig.remote.level0().last() >= Some(&(before + 3)));
        let acknowledged = rig.oracle.acknowledged();
        running.signal(Signal::SIGTERM);
        let ended = running.wait();
        ended.assert_code(0);
        let end = *rig.remote.level0().last().expect("shipped");
        let rows = both_restore(&mut rig, end);
        assert!(!by_us || rows >= acknowledged, "turn {turn}: {rows} of {acknowledged} rows");
        assert!(ends.last().is_none_or(|(_, earlier)| rows >= *earlier), "turn {turn} lost rows");
        if by_us {
            let (count, bytes) = uploaded_since(&rig, before);
            let whole = ended.stderr.lines().find(|line| line.contains("whole database")).unwrap_or("no image");
            println!("turn {turn}: {bytes} bytes in {count} level-0 objects; {whole}");
        }
        ends.push((end, rows));
    }
    app.signal(Signal::SIGTERM);
    app.wait();
    for (txid, rows) in ends {
        assert_eq!(both_restore(&mut rig, txid), rows, "the turn that ended with TXID {txid:x}");
    }
    let args: [OsString; 4] = ["replicate".into(), "-once".into(), "-config".into(), rig.config().into()];
    rig.millstream(args).finish().assert_code(0);
    let theirs = rig.restored_by_litestream();
    rig.oracle.check_complete(&theirs);
    oracle::assert_same_pages(&rig.db(), &theirs);
}

#[test]
fn they_take_turns_under_a_running_application_on_s3() {
    let mut rig = Rig::on_s3();
    rig.settings = String::new();
    they_take_turns_under_a_running_application(rig);
}

#[test]
fn they_take_turns_under_a_running_application_in_a_directory() {
    let mut rig = Rig::on_file();
    rig.settings = String::new();
    they_take_turns_under_a_running_application(rig);
}
