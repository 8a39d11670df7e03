use std::time::Duration;

use super::super::{
    Answer, AtArming, BatchKind, Config, Core, Event, Examined, Lane, LocalDone, LocalOrder, RemoteDone, RemoteOrder,
    Seen, StartDone, Trouble, Waiting,
};
use super::*;

/// A core that has found its place, at TXID 5, and its database in the same state. Nothing is
/// ordered that is not looked at.
struct Rig {
    core: Core,
    start: Instant,
    now_ms: u64,
    lane: Lane,
}

fn txid(number: u64) -> Txid {
    Txid::new(number).expect("not zero")
}

fn in_memory(number: u64) -> Queue {
    Queue { files: None, batch: Some(Waiting { txid: txid(number), kind: BatchKind::Delta, in_memory: true }) }
}

impl Rig {
    fn new() -> Rig {
        let mut rig = Rig::unlocated(false);
        let (end, is_known) = (Some(txid(5)), true);
        let seen = Seen { end, synced_to: None, is_known, is_reset: false, is_new: false, at: Duration::ZERO };
        rig.tell(Event::Remote(RemoteDone::Looked(Ok(seen))));
        rig
    }

    /// The bucket is being looked at.
    fn unlocated(once: bool) -> Rig {
        let config = Config {
            monitor_interval: Duration::from_secs(1),
            checkpoint_interval: Duration::from_secs(60),
            min_checkpoint_page_count: 1000,
            truncate_page_n: 1000,
            // Nothing but a sync makes an upload within a test.
            sync_interval: Duration::from_secs(1000),
            max_sync_wal_bytes: 1 << 20,
            final_retry_interval: Duration::from_millis(500),
            proof_lasts: Duration::MAX,
            once,
            mirror_interval: None,
            close_after: None,
            may_vanish: false,
            seal: None,
        };
        let start = Instant::now();
        let now = Now { instant: start, boot: Duration::ZERO };
        let lane = Lane { woken_reliably: true, ..Lane::default() };
        let known = AtArming { is_started: false, was_cut_off: false, is_known: true };
        let core = Core::new(config, 1, lane, known, now);
        let mut rig = Rig { core, start, now_ms: 0, lane };
        rig.tell(Event::Timer);
        rig
    }

    fn located(mut self) -> Rig {
        // The read transaction followed the writer meanwhile.
        self.tell_local(LocalDone::Followed(Ok(0)));
        self.tell_local(LocalDone::Start(Ok(StartDone::Told(Answer::Continues(Ok(()))))));
        self.tell_local(LocalDone::Start(Ok(StartDone::Done)));
        self.tell_local(LocalDone::Glanced(Ok(false)));
        self
    }

    fn tell(&mut self, event: Event) -> Vec<Effect> {
        let passed = Duration::from_millis(self.now_ms);
        self.core.on_event(event, Now { instant: self.start + passed, boot: passed })
    }

    fn tell_local(&mut self, done: LocalDone) -> Vec<Effect> {
        self.tell(Event::Local(done, self.lane))
    }

    fn ask(&mut self, id: u64) -> Vec<Effect> {
        let by = self.start + Duration::from_millis(self.now_ms + 10_000);
        self.tell(Event::Sync(SyncId(id), by))
    }

    /// A commit that begins the pace: the next upload would wait.
    fn upload(&mut self, number: u64) {
        self.tell(Event::Woke);
        self.tell_local(LocalDone::Glanced(Ok(true)));
        self.lane.queue = in_memory(number);
        self.tell_local(LocalDone::Captured(Ok(true)));
        self.sent(number);
        self.tell_local(LocalDone::Glanced(Ok(false)));
    }

    fn sent(&mut self, number: u64) -> Vec<Effect> {
        let mut effects = self.tell(Event::Remote(RemoteDone::Sent(Ok(txid(number)))));
        self.lane.queue = Queue::default();
        effects.extend(self.tell_local(LocalDone::Dropped(Ok(()))));
        effects
    }
}

fn answers(effects: &[Effect]) -> Vec<(u64, Result<Option<u64>, SyncError>)> {
    let answer = |effect: &Effect| match effect {
        Effect::Synced(id, answer) => Some((id.0, answer.clone().map(|txid| txid.map(Txid::get)))),
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}

fn captures(effects: &[Effect]) -> bool {
    effects.contains(&Effect::Local(LocalOrder::Capture))
}

#[test]
fn with_nothing_to_send_it_is_answered_by_a_capture_that_finds_nothing() {
    let mut rig = Rig::new().located();
    assert!(captures(&rig.ask(1)));
    let effects = rig.tell_local(LocalDone::Captured(Ok(false)));
    assert_eq!(answers(&effects), [(1, Ok(Some(5)))]);
}

#[test]
fn it_does_not_wait_for_the_pace_and_is_answered_when_confirmed() {
    let mut rig = Rig::new().located();
    for number in 6..400 {
        rig.upload(number);
    }
    rig.tell(Event::Woke);
    assert!(!captures(&rig.tell_local(LocalDone::Glanced(Ok(true)))), "the pace holds it back");
    assert!(captures(&rig.ask(1)), "at once");
    rig.lane.queue = in_memory(400);
    let effects = rig.tell_local(LocalDone::Captured(Ok(true)));
    assert!(effects.contains(&Effect::Remote(RemoteOrder::SendBatch(txid(400)))));
    assert_eq!(answers(&effects), [], "captured is not confirmed");
    assert_eq!(answers(&rig.sent(400)), [(1, Ok(Some(400)))]);
}

#[test]
fn a_capture_that_had_begun_before_does_not_count() {
    let mut rig = Rig::new().located();
    rig.ask(1);
    rig.ask(2);
    rig.lane.queue = in_memory(6);
    let effects = rig.tell_local(LocalDone::Captured(Ok(true)));
    assert_eq!(answers(&effects), []);
    let effects = rig.sent(6);
    assert_eq!(answers(&effects), [(1, Ok(Some(6)))], "the second may have committed after the capture began");
    assert!(captures(&effects), "so there is another");
    assert_eq!(answers(&rig.tell_local(LocalDone::Captured(Ok(false)))), [(2, Ok(Some(6)))]);
}

#[test]
fn local_files_leave_without_pace_and_merged_ones_are_followed_by_another_capture() {
    let mut rig = Rig::new().located();
    for number in 6..400 {
        rig.upload(number);
    }
    rig.ask(1);
    rig.lane.queue = in_memory(402);
    rig.tell_local(LocalDone::Captured(Ok(true)));
    rig.tell(Event::Remote(RemoteDone::Sent(Err(Trouble::passing("503")))));
    // Spilled with what came before it, and merged.
    rig.lane.queue = Queue { files: Some((txid(400), txid(400))), batch: None };
    rig.tell(Event::Woke);
    rig.tell_local(LocalDone::Followed(Ok(0)));
    rig.now_ms += 5000;
    let effects = rig.tell(Event::Timer);
    assert!(effects.contains(&Effect::Remote(RemoteOrder::SendFile(txid(400)))), "{effects:?}");
    let effects = rig.sent(400);
    assert_eq!((answers(&effects), captures(&effects)), (vec![], true));
    assert_eq!(answers(&rig.tell_local(LocalDone::Captured(Ok(false)))), [(1, Ok(Some(400)))]);
}

#[test]
fn a_failed_capture_is_made_again() {
    let mut rig = Rig::new().located();
    rig.ask(1);
    let effects = rig.tell_local(LocalDone::Captured(Err(Trouble::passing("busy"))));
    assert_eq!(answers(&effects), []);
    rig.tell_local(LocalDone::Followed(Ok(0)));
    rig.now_ms += 5000;
    assert!(captures(&rig.tell(Event::Timer)), "without anything that wakes it");
    assert_eq!(answers(&rig.tell_local(LocalDone::Captured(Ok(false)))), [(1, Ok(Some(5)))]);
}

#[test]
fn deadlines_pass_with_what_was_in_the_way() {
    let mut rig = Rig::new();
    assert_eq!(answers(&rig.ask(1)), [], "before the place in the history is known");
    let mut rig = rig.located();
    rig.ask(2);
    rig.lane.queue = in_memory(6);
    rig.tell_local(LocalDone::Captured(Ok(true)));
    rig.tell(Event::Remote(RemoteDone::Sent(Err(Trouble::passing("the store is down")))));
    rig.now_ms = 10_000;
    let effects = rig.tell(Event::Timer);
    let timed_out = Err(SyncError::TimedOut { why: Some("the store is down".into()) });
    assert_eq!(answers(&effects), [(1, timed_out.clone()), (2, timed_out)]);
}

#[test]
fn a_fence_and_the_end_are_said_by_name() {
    let mut rig = Rig::new().located();
    rig.ask(1);
    rig.lane.queue = in_memory(6);
    rig.tell_local(LocalDone::Captured(Ok(true)));
    let foreign = Trouble::Foreign("TXID 6 is another writer's".into());
    let effects = rig.tell(Event::Remote(RemoteDone::Sent(Err(foreign))));
    let fenced = Err(SyncError::Fenced("TXID 6 is another writer's".into()));
    assert_eq!(answers(&effects), [(1, fenced.clone())]);
    assert_eq!(answers(&rig.ask(2)), [(2, fenced)], "also who asks later");

    let mut rig = Rig::new().located();
    rig.ask(3);
    let effects = rig.tell_local(LocalDone::Captured(Err(Trouble::Halt("the database is gone".into()))));
    assert_eq!(answers(&effects), [(3, Err(SyncError::Ended("the database is gone".into())))]);
}

#[test]
fn who_asks_while_it_ends_is_answered_before_the_end() {
    let mut rig = Rig::new().located();
    let by = rig.start + Duration::from_secs(30);
    assert!(captures(&rig.tell(Event::Finish(by))));
    rig.ask(1);
    assert!(captures(&rig.tell_local(LocalDone::Captured(Ok(false)))), "it may have committed since");
    assert_eq!(rig.core.outcome(), None);
    let effects = rig.tell_local(LocalDone::Captured(Ok(false)));
    assert_eq!(answers(&effects), [(1, Ok(Some(5)))]);
    assert!(rig.core.outcome().is_some());
}

/// A program wrote to the file past SQLite: before it is examined, nothing is called safe.
#[test]
fn nothing_is_answered_and_nothing_ends_while_the_file_is_not_examined() {
    let examine = Effect::Local(LocalOrder::Examine);
    for is_ending in [false, true] {
        let mut rig = Rig::new().located();
        assert!(captures(&rig.ask(1)));
        if is_ending {
            let deadline = rig.start + Duration::from_secs(60);
            rig.tell(Event::Finish(deadline));
        }
        rig.lane.is_overwritten = true;
        let mut effects = rig.tell_local(LocalDone::Captured(Ok(false)));
        for _ in 0..2 {
            rig.now_ms += 400;
            effects.extend(rig.tell(Event::Timer));
            assert!(!effects.contains(&examine), "whoever writes may not have come to an end");
            if captures(&effects) {
                effects.extend(rig.tell_local(LocalDone::Captured(Ok(false))));
            }
            rig.now_ms += 200;
            effects.extend(rig.tell(Event::Timer));
            assert!(effects.contains(&examine), "{effects:?}");
            effects.extend(rig.tell_local(LocalDone::Examined(Ok(Examined::NotYet))));
            assert!(answers(&effects).is_empty() && rig.core.outcome().is_none(), "{effects:?}");
            effects.clear();
        }
        rig.now_ms += 1000;
        assert!(rig.tell(Event::Timer).contains(&examine));
        rig.lane.is_overwritten = false;
        assert!(captures(&rig.tell_local(LocalDone::Examined(Ok(Examined::Ready)))));
        let effects = rig.tell_local(LocalDone::Captured(Ok(false)));
        assert_eq!(answers(&effects), [(1, Ok(Some(5)))]);
        assert_eq!(rig.core.outcome().is_some(), is_ending);
    }
}

/// A cron job must not wait for a replica for ever; replication beside an application does.
#[test]
fn shipping_once_ends_when_the_replica_stays_away() {
    for once in [true, false] {
        let mut rig = Rig::unlocated(once);
        let mut fails = |second: u64| {
            rig.now_ms = second * 1000;
            let away = || Trouble::Passing { why: "no answer".into(), refused: false };
            rig.tell(Event::Remote(RemoteDone::Looked(Err(away()))));
            rig.core.outcome().is_some()
        };
        assert!(!fails(0) && !fails(29));
        assert_eq!(fails(30), once);
    }
}
