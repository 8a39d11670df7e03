//! What we write is read by every Litestream 0.5, and what they write by us. Up to 0.5.15 their pages are LZ4 frames and nothing
//! else is read; from 0.5.16 on they are LZ4 blocks and both are read.

use std::ffi::OsString;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::litestream::VERSIONS;
use crate::harness::remote::reachable;
use crate::harness::{Rig, oracle};
use crate::interop::{SHORT_LEVELS, by_us, is_in_frames, levels, they_take_turns, we_restore_what_litestream_wrote};

/// Level-0 files, compacted ones, snapshots: every transaction at which a restore can end, by every version.
fn every_litestream_restores_what_we_wrote(mut rig: Rig) {
    rig.settings = SHORT_LEVELS.into();
    by_us(&mut rig, &["create", "rows:20", "pause:500", "big:30:20000", "pause:500", "delete", "rows:20"]);
    let mut running = rig.supervise(rig.app(&["open", "vacuum", "rows:4", "big:5:100000", "forever:50"])).spawn();
    let wanted = [0, 1, 2, 9];
    running.wait_until("every level has files", || {
        let found = levels(&rig.remote);
        wanted.iter().all(|level| found.contains_key(level)) && found[&1] > 1 && found[&9] > 1
    });
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
    for (name, bytes) in rig.remote.objects() {
        assert!(is_in_frames(&bytes), "{name}");
    }
    let txids = reachable(&rig.remote);
    for txid in &txids {
        let question = ["restore".into(), "-txid".into(), format!("{txid:016x}"), "-o".into()];
        let ask = |output: &Path| {
            question.iter().map(OsString::from).chain([output.into(), rig.remote.url().into()]).collect::<Vec<_>>()
        };
        let ours = rig.path(&format!("ours-{txid}.db"));
        rig.millstream(ask(&ours)).finish().assert_code(0);
        let ours = std::fs::read(ours).expect("read");
        for version in VERSIONS {
            rig.version = version;
            let theirs = rig.path(&format!("{version}-{txid}.db"));
            rig.litestream(ask(&theirs)).finish().assert_code(0);
            assert!(std::fs::read(theirs).expect("read") == ours, "TXID {txid:x} is another by {version}");
        }
    }
    for version in VERSIONS {
        rig.version = version;
        let restored = rig.restored_by_litestream();
        assert!(rig.oracle.check_complete(&restored) >= 44, "{version}");
        oracle::assert_same_pages(&rig.db(), &restored);
    }
}

#[test]
fn every_litestream_restores_what_we_wrote_to_a_directory() {
    every_litestream_restores_what_we_wrote(Rig::on_file());
}

#[test]
fn every_litestream_restores_what_we_wrote_to_s3() {
    every_litestream_restores_what_we_wrote(Rig::on_s3());
}

#[test]
fn we_restore_what_litestream_0_5_9_wrote() {
    we_restore_what_litestream_wrote(Rig::on_s3().with("0.5.9"));
}

#[test]
fn we_restore_what_litestream_0_5_12_wrote() {
    we_restore_what_litestream_wrote(Rig::on_file().with("0.5.12"));
}

#[test]
fn we_restore_what_litestream_0_5_15_wrote() {
    we_restore_what_litestream_wrote(Rig::on_file().with("0.5.15"));
}

#[test]
fn litestream_0_5_9_and_we_take_turns_on_one_path_on_s3() {
    they_take_turns(Rig::on_s3().with("0.5.9"), false);
}

#[test]
fn litestream_0_5_12_and_we_take_turns_on_one_path_across_lost_disks() {
    they_take_turns(Rig::on_file().with("0.5.12"), true);
}

#[test]
fn litestream_0_5_15_and_we_take_turns_on_one_path_across_lost_disks() {
    they_take_turns(Rig::on_s3().with("0.5.15"), true);
}
