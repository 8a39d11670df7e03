//! Litestream's turn in between.

use super::*;

#[test]
fn litestreams_turn_in_between_costs_no_image() {
    let mut rig = replicated();
    for turn in 0..2 {
        let config: OsString = rig.config().into();
        let mut litestream = rig.litestream(["replicate".into(), "-config".into(), config]).spawn();
        let wanted = rig.remote.level0().last().copied();
        rig.run_bare(&["open", "rows:3"]);
        litestream.wait_until("Litestream has shipped", || rig.remote.level0().last().copied() > wanted);
        std::thread::sleep(Duration::from_millis(1500));
        litestream.signal(Signal::SIGTERM);
        litestream.wait().assert_code(0);
        let ended = ship(&rig);
        ended.assert_code(0);
        assert!(!ended.stderr.contains("whole database"), "turn {turn}\n{ended}");
        println!("{ended}");
        let restored = rig.restored();
        oracle::assert_same_pages(&rig.db(), &restored);
        let rows = rig.assert_all_rows_are_safe();
        rig.supervise(rig.app(&["open", "rows:1"])).finish().assert_code(0);
        assert_eq!(rig.assert_all_rows_are_safe(), rows + 1);
    }
}
