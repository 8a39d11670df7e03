//! What is asked for, event by event.

use super::*;
use crate::db::{AtPath, Surroundings};
use crate::sqlite::{Holder, Journal, Locked};

struct Rig {
    opening: Opening,
    start: Instant,
    now_ms: u64,
}

impl Rig {
    fn new(config: Config) -> Rig {
        let start = Instant::now();
        Rig { opening: Opening::new(config, at(start, 0)), start, now_ms: 0 }
    }

    fn usual() -> Rig {
        Rig::new(config(false, false))
    }

    /// What is asked for, in short.
    fn tell(&mut self, event: Event<()>) -> Vec<String> {
        let effects = self.opening.on_event(event, at(self.start, self.now_ms));
        effects.iter().map(|effect| format!("{effect:?}")).collect()
    }

    fn done(&mut self, done: Done<()>) -> Vec<String> {
        self.tell(Event::Done(done))
    }

    /// Until the timer is due.
    fn timer(&mut self) -> Vec<String> {
        let wake_at = self.opening.wake_at().expect("something is waited for");
        self.now_ms = u64::try_from((wake_at - self.start).as_millis()).expect("small");
        self.tell(Event::Timer)
    }

    fn finish(&mut self) -> Vec<String> {
        self.tell(Event::Finish(self.start + Duration::from_secs(100)))
    }

    /// The lock is ours, and the note is read.
    fn locked() -> Rig {
        let mut rig = Rig::usual();
        rig.tell(Event::Woke);
        rig.done(Done::File(Ok(true)));
        assert_eq!(rig.done(Done::Lock(Ok(true))), ["LookAtBucket", "Do(ReadNote)"]);
        rig
    }

    fn opening() -> Rig {
        let mut rig = Rig::locked();
        assert_eq!(rig.done(Done::Note(false)), ["Do(Open { in_turn: true, forget_note: true })"]);
        rig
    }
}

fn config(optional: bool, once: bool) -> Config {
    Config { optional, once, monitor_interval: Duration::from_secs(1) }
}

fn at(start: Instant, ms: u64) -> Now {
    let passed = Duration::from_millis(ms);
    Now { instant: start + passed, boot: passed }
}

fn alone(name: &str) -> Locked {
    let (name, journal) = (name.to_owned(), Journal::Missing);
    Locked::Exclusively(Holder { name, is_wal: true, journal, size_and_time: (0, 0, 0) })
}

fn nothing() -> Surroundings {
    Surroundings { at_path: AtPath::Nothing, neighbours: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn a_database_is_armed_before_the_application_may_start() {
    let mut rig = Rig::usual();
    assert_eq!(rig.tell(Event::Woke), ["Do(LookAtFile)"]);
    assert_eq!(rig.done(Done::File(Ok(true))), ["Do(TakeLock)"]);
    assert_eq!(rig.done(Done::Lock(Ok(true))), ["LookAtBucket", "Do(ReadNote)"]);
    assert_eq!(rig.done(Done::Note(false)), ["Do(Open { in_turn: true, forget_note: true })"]);
    let ended = rig.done(Done::Opened(Opened::Armed(())));
    assert_eq!(ended, ["End(Armed(Armed { database: (), is_new: false, is_started: false }))"]);
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_database_the_application_creates_it() {
    let mut rig = Rig::usual();
    rig.tell(Event::Woke);
    assert_eq!(rig.done(Done::File(Ok(false))), ["Say(NoDatabaseYet)", "Ready(NoDatabaseYet)"]);
    assert_eq!(rig.tell(Event::Woke), ["Do(LookAtFile)"]);
    assert_eq!(rig.tell(Event::Woke), [""; 0], "it is being looked at");
    assert_eq!(rig.done(Done::File(Ok(false))), ["Do(LookAtFile)"], "what happened meanwhile");
    assert_eq!(rig.done(Done::File(Ok(true))), ["Do(TakeLock)"]);
    rig.done(Done::Lock(Ok(true)));
    rig.done(Done::Note(false));
    let ended = rig.done(Done::Opened(Opened::Armed(())));
    assert_eq!(ended, ["End(Armed(Armed { database: (), is_new: true, is_started: true }))"]);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_stays_away_is_warned_of_and_looked_for_once_more_at_the_end() {
    let mut rig = Rig::usual();
    rig.tell(Event::Woke);
    rig.done(Done::File(Ok(false)));
    let mut warned_after = None;
    while warned_after.is_none() {
        rig.timer();
        let asked = rig.done(Done::File(Ok(false)));
        warned_after = (asked == ["Do(LookAround)"]).then_some(rig.now_ms);
    }
    assert_eq!(warned_after, Some(10_000));
    let said = rig.done(Done::LookedAround(nothing()));
    assert!(said[0].starts_with("Say(StillMissing") && said[1] == "Do(LookAtFile)", "{said:?}");
    assert_eq!(rig.finish(), [""; 0], "it is being looked at");
    assert_eq!(rig.done(Done::File(Ok(false))), ["Do(LookAtFile)"]);
    assert_eq!(rig.done(Done::File(Ok(false))), ["Do(LookAround)"]);
    assert!(rig.done(Done::LookedAround(nothing()))[0].starts_with("End(NeverAppeared"));

    let mut rig = Rig::new(config(true, true));
    rig.tell(Event::Woke);
    assert_eq!(rig.done(Done::File(Ok(false))), ["End(NoDatabase)"], "for once there is nothing to wait for");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_looked_at_is_said_once() {
    let mut rig = Rig::usual();
    rig.tell(Event::Woke);
    assert_eq!(rig.done(Done::File(Err("denied".into())))[0], r#"Say(CannotLook("denied"))"#);
    rig.timer();
    assert_eq!(rig.done(Done::File(Err("denied".into()))), [""; 0]);
    rig.timer();
    assert_eq!(rig.done(Done::File(Err("gone".into()))), [r#"Say(CannotLook("gone"))"#]);
}

#[tokio::test(start_paused = true)]
async fn a_standby_runs_its_application_and_takes_over() {
    let mut rig = Rig::usual();
    rig.tell(Event::Woke);
    rig.done(Done::File(Ok(true)));
    assert_eq!(rig.done(Done::Lock(Ok(false))), ["Say(Standby)", "Ready(Standby)"]);
    assert_eq!(rig.timer(), ["Do(TakeLock)"]);
    assert_eq!(rig.done(Done::Lock(Ok(false))), [""; 0], "it was said");
    rig.timer();
    assert_eq!(rig.done(Done::Lock(Ok(true))), ["Say(TakingOver)", "LookAtBucket", "Do(ReadNote)"]);

    let mut rig = Rig::usual();
    rig.tell(Event::Woke);
    rig.done(Done::File(Ok(true)));
    rig.finish();
    assert_eq!(*rig.done(Done::Lock(Ok(false))).last().expect("an order"), "Do(TakeLock)", "asked before the end");
    assert_eq!(rig.done(Done::Lock(Ok(false))), ["End(Standby)"]);
}

#[tokio::test(start_paused = true)]
async fn the_application_comes_first_until_it_has_the_database_or_does_not_want_it() {
    for (locked, looks) in [(alone("app"), 1), (Locked::No, 121)] {
        let mut rig = Rig::locked();
        assert_eq!(rig.done(Done::Note(true)), ["Ready(AfterApplication)", "Do(LookAtLocks)"]);
        let mut looked = 1;
        while rig.done(Done::Locks(Ok(locked.clone()))).is_empty() {
            assert_eq!(rig.timer(), ["Do(LookAtLocks)"]);
            looked += 1;
        }
        assert_eq!(looked, looks, "{locked:?}");
    }
    let mut rig = Rig::locked();
    rig.done(Done::Note(true));
    rig.done(Done::Locks(Ok(Locked::No)));
    assert_eq!(rig.finish(), ["Do(Open { in_turn: false, forget_note: true })"]);
}

#[tokio::test(start_paused = true)]
async fn a_program_that_keeps_the_database_to_itself_is_named_once_the_application_may_run() {
    let busy = || Done::Opened(Opened::Busy("locked".into()));
    let mut rig = Rig::locked();
    rig.done(Done::Note(true));
    rig.done(Done::Locks(Ok(alone("app"))));
    let mut asked = Vec::new();
    while asked != ["Do(NoteExclusive)"] {
        assert!(rig.now_ms < 20_000, "nobody is named");
        assert_eq!(rig.done(busy()), ["Do(LookAtLocks)"]);
        asked = rig.done(Done::Locks(Ok(alone("app"))));
        if asked != ["Do(NoteExclusive)"] {
            rig.timer();
        }
    }
    assert!(rig.done(Done::Noted)[0].starts_with("Exclusive(Holder { name: \"app\""));
    assert_eq!(rig.timer(), ["Do(Open { in_turn: true, forget_note: false })"], "the note stays");

    // Before the application may run it is none of its programs.
    let mut rig = Rig::opening();
    for _ in 0..100 {
        rig.done(busy());
        assert_ne!(rig.done(Done::Locks(Ok(alone("a")))), ["Do(NoteExclusive)"]);
        rig.timer();
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_database_is_tried_until_the_deadline() {
    let busy = || Done::Opened(Opened::Busy("locked".into()));
    let mut rig = Rig::opening();
    assert_eq!(rig.finish(), ["Hurry"]);
    assert_eq!(rig.done(busy()), ["Do(LookAtLocks)"]);
    let tried = rig.done(Done::Locks(Ok(Locked::No)));
    assert_eq!(tried, [r#"Say(Busy("locked"))"#, "Do(Open { in_turn: false, forget_note: true })"], "at once");
    while rig.done(busy()) == ["Do(LookAtLocks)"] {
        assert_eq!(rig.done(Done::Locks(Ok(Locked::No))).len(), usize::from(rig.now_ms == 60_000));
        assert_eq!(rig.timer(), ["Do(Open { in_turn: false, forget_note: true })"]);
    }
    assert_eq!(rig.now_ms, 100_000);
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_database_is_waited_for_but_not_at_the_end() {
    let part = |len| Done::Opened(Opened::Part { why: "malformed".into(), seen: Some(Extent { len, modified: None }) });
    let mut rig = Rig::opening();
    assert_eq!(rig.done(part(1)), [r#"Say(Arriving("malformed"))"#]);
    for len in 2..40 {
        rig.timer();
        assert_eq!(rig.done(part(len)), [""; 0]);
    }
    let stands_since = rig.now_ms;
    loop {
        rig.timer();
        let asked = rig.done(part(39));
        if !asked.is_empty() {
            assert_eq!((asked, rig.now_ms), (vec![r#"End(Failed("malformed"))"#.into()], stands_since + 5000));
            break;
        }
    }
    let mut rig = Rig::opening();
    rig.done(part(1));
    assert_eq!(rig.finish(), ["Do(Open { in_turn: false, forget_note: true })"]);
    assert_eq!(rig.done(part(2)), [r#"End(Failed("malformed"))"#]);
}

#[tokio::test(start_paused = true)]
async fn whatever_cannot_be_tried_for_want_of_a_descriptor_is_asked_for_again() {
    let short = || Done::OutOfFiles("too many open files".into());
    let mut rig = Rig::usual();
    rig.tell(Event::Woke);
    assert_eq!(rig.done(short()), [r#"Say(OutOfFiles("too many open files"))"#]);
    assert_eq!(rig.tell(Event::Woke), [""; 0], "not at once");
    for _ in 0..20 {
        assert_eq!(rig.timer(), ["Do(LookAtFile)"]);
        assert_eq!(rig.done(short()), [""; 0], "it was said");
    }
    assert_eq!((rig.timer(), rig.now_ms), (vec!["Do(LookAtFile)".into()], 21 * 500));
    assert_eq!(rig.done(Done::File(Ok(true))), ["Do(TakeLock)"]);
    rig.done(short());
    assert_eq!(rig.timer(), ["Do(TakeLock)"]);
    rig.done(Done::Lock(Ok(true)));
    rig.done(Done::Note(false));
    rig.done(short());
    assert_eq!(rig.timer(), ["Do(Open { in_turn: true, forget_note: true })"]);
    rig.done(short());
    assert_eq!(rig.finish(), ["Hurry"]);
    assert_eq!(rig.timer(), ["Do(Open { in_turn: false, forget_note: true })"], "there is no time for a turn");
    rig.done(Done::Opened(Opened::Busy("locked".into())));
    rig.done(short());
    assert_eq!(rig.timer(), ["Do(LookAtLocks)"]);
    rig.now_ms = 100_000;
    assert_eq!(rig.done(short()), [r#"End(Failed("too many open files"))"#]);
}
