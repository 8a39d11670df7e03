//! Histories of any shape: what comes out is exact, or nothing does.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Write { commit: u32, seed: u32 },
    Compact { level: u8, len: u64 },
    Snapshot,
    Retain { keep: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u32..60, any::<u32>()).prop_map(|(commit, seed)| Step::Write { commit, seed }),
        2 => (1u8..4, 1u64..6).prop_map(|(level, len)| Step::Compact { level, len }),
        1 => Just(Step::Snapshot),
        1 => (1u64..5).prop_map(|keep| Step::Retain { keep }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever was written, compacted and retained: the newest state is restored, and every
    /// transaction either exactly or not.
    #[test]
    fn any_history_is_restored_exactly(steps in prop::collection::vec(any_step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let mut history = History::new(512);
            history.write(5, []).await;
            let mut compacted = 0;
            for step in steps {
                let newest = history.txid();
                match step {
                    Step::Write { commit, seed } => history.write(commit, (1..60).filter(|n| seed >> (n % 32) & 1 == 1)).await,
                    Step::Compact { level, len } if compacted + len <= newest => {
                        history.compact(level, compacted + 1, compacted + len).await;
                        compacted += len;
                    }
                    Step::Snapshot if !history.store.names().contains(&history.name(9, 1, newest)) => {
                        history.compact(9, 1, newest).await;
                    }
                    Step::Retain { keep } => {
                        for n in 1..=compacted.min(newest - keep.min(newest)) {
                            history.store.remove(&history.name(0, n, n));
                        }
                    }
                    _ => {}
                }
            }
            assert_restores(&history, Target::Latest, history.txid()).await;
            for wanted in 1..=history.txid() {
                let place = Place::new().target(Target::Txid(txid(wanted)));
                match place.restore(&history.remote).await {
                    Ok(_) => assert!(place.database() == history.databases[wanted as usize - 1]),
                    Err(RestoreError::NotReached { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
}
