//! A few lives of a backup in half a minute: kills, compaction, snapshots and retention every second, and restores all the time.
//!
//! `scripts/soak` is the long version. Every restore is a commit of the acknowledged history, sound, and byte for byte what the
//! real Litestream restores for the same question; every TXID that is listed can be restored. `MILLSTREAM_TEST_SEED` replays.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::crash::Schedule;
use crate::harness::remote::reachable;
use crate::harness::{Finished, Invocation, Remote, Rig};

/// How long the writer, and who ships what it writes, go on.
const LIVES: u32 = 9;

const SETTINGS: &str = "levels:\n  - interval: 1s\n  - interval: 3s\nsnapshot:\n  interval: 5s\n  retention: 20s\n\
                        l0-retention: 2s\nl0-retention-check-interval: 1s\n";

struct Soak {
    rig: Rig,
    schedule: Schedule,
    /// What each TXID was restored to: rows, and the file's bytes as a hash.
    known: BTreeMap<u64, (usize, u64)>,
    restores: usize,
    refused: usize,
}

impl Soak {
    fn writer(&self) -> Invocation {
        // A small database whose pages are written again and again, in WALs that the application itself checkpoints.
        let steps = ["create", "big:3:40000", "delete", "vacuum", "big:2:40000", "forever:15"];
        self.rig.bare("a", &steps)
    }

    fn replicate(&self) -> Invocation {
        self.rig.millstream([OsString::from("replicate"), "-config".into(), self.rig.config().into()])
    }

    /// A place of its own for one moment of the replica: nothing is deleted there between two questions.
    fn frozen(&mut self) -> Remote {
        let dir = self.rig.next_output().with_extension("replica");
        let copy = Remote::file(&dir);
        for (name, (bytes, time)) in self.rig.remote.moment() {
            copy.put_at(&name, &bytes, time);
        }
        copy
    }

    /// `restore` of the same by both programs, judged and compared. Returns the number of rows.
    fn both(&mut self, remote: &Remote, question: &[String], txid: u64) -> usize {
        let [ours, theirs] = [self.rig.next_output(), self.rig.next_output()];
        restore(&self.rig, false, remote, question, &ours).assert_code(0);
        restore(&self.rig, true, remote, question, &theirs).assert_code(0);
        let bytes = std::fs::read(&ours).expect("read");
        assert!(bytes == std::fs::read(&theirs).expect("read"), "Litestream restores other bytes for {question:?}");
        let rows = self.rig.oracle.check(&ours);
        let seen = (rows, fingerprint(&bytes));
        assert_eq!(*self.known.entry(txid).or_insert(seen), seen, "TXID {txid:x} had another content before");
        let monotone = self.known.values().map(|(rows, _)| *rows).collect::<Vec<_>>().is_sorted();
        assert!(monotone, "a later TXID has fewer rows: {:?}", self.known);
        [ours, theirs].iter().for_each(|path| std::fs::remove_file(path).expect("remove"));
        self.restores += 2;
        rows
    }

    /// The first commits after the image that the history began with are in level 0 no longer.
    fn taken_by_retention(&self) -> bool {
        !self.rig.remote.objects().into_keys().any(|name| name.starts_with("ltx/0/0000000000000002"))
    }

    fn probe(&mut self) {
        let copy = self.frozen();
        let ends = reachable(&copy);
        let Some(&last) = ends.last() else { return };
        assert_eq!(copy.level0().last(), Some(&last), "the newest upload is out of reach of {ends:?}");
        self.both(&copy, &[], last);
        let chosen = ends[self.schedule.below(ends.len() as u64) as usize];
        self.both(&copy, &["-txid".into(), format!("{chosen:016x}")], chosen);
        let Remote::File(dir) = copy else { unreachable!("it was copied to a directory") };
        std::fs::remove_dir_all(dir).expect("remove");

        // And live, beside compaction and retention: refused only if it is not listed any more.
        let ends = reachable(&self.rig.remote);
        let chosen = ends[self.schedule.below(ends.len() as u64) as usize];
        let output = self.rig.next_output();
        let question = ["-txid".into(), format!("{chosen:016x}")];
        let ended = restore(&self.rig, false, &self.rig.remote, &question, &output);
        if ended.code() == Some(0) {
            self.rig.oracle.check(&output);
            std::fs::remove_file(&output).expect("remove");
            self.restores += 1;
        } else {
            assert!(!reachable(&self.rig.remote).contains(&chosen), "TXID {chosen:x} is listed and refused: {ended}");
            self.refused += 1;
        }
    }
}

fn restore(rig: &Rig, theirs: bool, remote: &Remote, question: &[String], output: &PathBuf) -> Finished {
    let mut args: Vec<OsString> = vec!["restore".into()];
    args.extend(question.iter().map(OsString::from));
    args.extend(["-o".into(), output.into(), remote.url().into()]);
    if theirs { rig.litestream(args).finish() } else { rig.millstream(args).finish() }
}

/// FNV-1a: two contents of one TXID must not be equal by accident, and that is all.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn a_life_with_kills_can_be_restored_at_every_point_by_both() {
    let mut rig = Rig::on_s3();
    rig.settings = SETTINGS.into();
    let mut soak = Soak { rig, schedule: Schedule::from_env(), known: BTreeMap::new(), restores: 0, refused: 0 };
    let mut writer = soak.writer().spawn();
    let acks = soak.rig.path("acks");
    writer.wait_until("the application writes", || acks.exists());
    for _ in 0..LIVES {
        let mut replicate = soak.replicate().spawn();
        let dies = Instant::now() + Duration::from_millis(300 + soak.schedule.below(4000));
        while Instant::now() < dies {
            soak.probe();
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(replicate.is_running(), "{replicate}");
        replicate.kill_everything();
        soak.probe();
        std::thread::sleep(Duration::from_millis(soak.schedule.below(800)));
    }
    let mut replicate = soak.replicate().spawn();
    let said = replicate.said();
    replicate.wait_until_says(said, &["replicating to"]);
    // What a deletion rests on is looked into by the process that deletes, some time before: a life may be too short for that.
    replicate.wait_until("retention takes the first changes", || soak.taken_by_retention());
    writer.signal(Signal::SIGTERM);
    writer.wait();
    replicate.wait_until("it is armed", || soak.rig.path("data/.app.db-millstream").exists());
    std::thread::sleep(Duration::from_secs(1));
    replicate.signal(Signal::SIGTERM);
    replicate.wait().assert_code(0);
    let copy = soak.frozen();
    let ends = reachable(&copy);
    for &txid in &ends {
        soak.both(&copy, &["-txid".into(), format!("{txid:016x}")], txid);
    }
    let rows = soak.both(&copy, &[], *ends.last().expect("something was shipped"));
    assert!(rows >= soak.rig.oracle.acknowledged(), "{rows} rows are in the replica");
    let names = copy.objects().into_keys().collect::<Vec<_>>();
    let has = |level: &str| names.iter().any(|name| name.starts_with(&format!("ltx/{level}/")));
    assert!(has("1") && has("9"), "this was no life: {names:?}");
    assert!(soak.taken_by_retention(), "what was deleted is there again: {names:?}");
    println!(
        "{rows} rows, {} points, {} restores, {} overtaken by retention",
        soak.known.len(),
        soak.restores,
        soak.refused
    );
}
