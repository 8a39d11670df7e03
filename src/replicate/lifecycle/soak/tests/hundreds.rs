//! Hundreds of histories, each from its seed.
//!
//! Time is paused: where nothing can be done without waiting, the next moment comes at once. While
//! a thread works (SQLite, files), time passes as it does elsewhere, because what the thread waits
//! for may be a request that takes its time.

use super::*;

/// One history of the real driver: commits, faults and restarts follow from the seed, how
/// threads take turns does not.
async fn history(seed: u64) {
    let mut soak = Soak::new(Dice::of(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1)));
    let _ticking = Ticking::start();
    soak.settings.clock = Clock::simulated(seed, 1_795_000_000_000);
    soak.store.inner.keep_time_by(soak.settings.clock);
    soak.calm = 1 + soak.dice(4);
    if soak.dice(3) == 0 {
        soak.settings.lifecycle = None;
    }
    soak.start();
    for _ in 0..5 {
        soak.round().await;
    }
    soak.store.inner.heal();
    soak.ends_whole().await;
}

/// Time does not stand still while threads work. Until it is dropped.
struct Ticking(Arc<AtomicBool>);

impl Ticking {
    fn start() -> Ticking {
        const TICK: Duration = Duration::from_millis(1);
        let (is_over, tick) = (Arc::new(AtomicBool::new(false)), Arc::new(tokio::sync::Notify::new()));
        let (until, ticks) = (is_over.clone(), tick.clone());
        std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                ticks.notify_one();
            }
        });
        tokio::spawn(async move {
            loop {
                tick.notified().await;
                tokio::time::advance(TICK).await;
            }
        });
        Ticking(is_over)
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
#[should_panic(expected = "the newest transaction")]
async fn a_history_that_has_lost_its_end_is_not_whole() {
    let mut soak = Soak::new(Dice::of(1));
    soak.settings.lifecycle = None;
    soak.start();
    while soak.newest().await < Txid::new(2) {
        soak.write(100);
        tokio::time::sleep(ms(20)).await;
    }
    soak.ends().await;
    let newest = soak.newest().await.expect("shipped");
    assert!(soak.store.inner.remove(&format!("0000/{newest}-{newest}.ltx")));
    soak.assert_whole().await;
}

#[test]
fn hundreds_of_histories_of_the_real_driver_end_whole() {
    let seeds = seeds(200);
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let failed: Mutex<Vec<u64>> = Mutex::default();
    let run = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds.end {
            return;
        }
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        let history = std::panic::AssertUnwindSafe(|| runtime.block_on(history(seed)));
        if std::panic::catch_unwind(history).is_err() {
            failed.lock().expect("no panic").push(seed);
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(run))));
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "seeds {failed:?}; scripts/simulate driver SEED runs one again");
}
