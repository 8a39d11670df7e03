//! What is sent when, by the clock.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn send(signals: &[Signal]) -> Vec<Act> {
    signals.iter().map(|signal| Act::Send(*signal)).collect()
}

#[test]
fn the_grace_time_is_split_with_the_syncs_part_first() {
    for (grace_ms, child_ms) in
        [(0, 0), (1_000, 500), (3_000, 1_500), (5_000, 2_500), (8_000, 5_000), (10_000, 7_000), (30_000, 21_000)]
    {
        let grace = Duration::from_millis(grace_ms);
        let (child, sync) = split(grace, SYNC_RESERVE, SYNC_SHARE);
        assert_eq!(child, Duration::from_millis(child_ms), "of {grace:?}");
        assert_eq!(child + sync, grace);
    }
}

#[test]
fn a_longer_grace_time_never_shortens_either_part() {
    let mut before = (Duration::ZERO, Duration::ZERO);
    for grace_ms in 0..40_000 {
        let parts = split(Duration::from_millis(grace_ms), SYNC_RESERVE, SYNC_SHARE);
        assert!(parts.0 >= before.0 && parts.1 >= before.1, "at {grace_ms} ms: {before:?} then {parts:?}");
        before = parts;
    }
}

#[test]
fn a_nonsense_share_is_clamped() {
    assert_eq!(split(10 * SECOND, SECOND, 7.0), (5 * SECOND, 5 * SECOND));
    assert_eq!(split(10 * SECOND, SECOND, -1.0), (9 * SECOND, SECOND));
}

#[test]
fn from_term_to_kill_by_the_deadline() {
    let start = Instant::now();
    let mut stop = Escalation::new(StopPolicy::new(7 * SECOND));
    assert_eq!(stop.next_deadline(), None);
    assert_eq!(stop.on_time(start + 1000 * SECOND), None, "a running child has no deadline");
    assert_eq!(stop.on_signal(start, Signal::TERM), send(&[Signal::TERM, Signal::CONT]));
    assert_eq!(stop.next_deadline(), Some(start + 7 * SECOND));

    let again = start + SECOND;
    assert_eq!(stop.on_signal(again, Signal::INT), send(&[Signal::INT, Signal::CONT]), "the second one counts too");
    assert_eq!(stop.next_deadline(), Some(start + 7 * SECOND), "but does not move the clock");
    assert_eq!(stop.on_request(again), [], "it is being stopped already");

    assert_eq!(stop.on_time(start + 7 * SECOND - Duration::from_nanos(1)), None);
    assert!(!stop.killed());
    assert_eq!(stop.on_time(start + 7 * SECOND), Some(Act::Kill));
    assert_eq!(stop.on_time(start + 7 * SECOND), None, "once");
    assert!(stop.killed());
    assert_eq!(stop.on_time(start + 8 * SECOND), Some(Act::GiveUp));
    assert_eq!(stop.next_deadline(), None);
    assert_eq!((stop.requested_at(), stop.first_signal()), (Some(start), Some(Signal::TERM)));
}

#[test]
fn other_signals_pass_without_a_clock() {
    let now = Instant::now();
    let mut stop = Escalation::new(StopPolicy::new(SECOND));
    for signal in Signal::forwardable().filter(|signal| !signal.asks_to_stop()) {
        assert_eq!(stop.on_signal(now, signal), send(&[signal]));
    }
    assert!(!stop.stopping());
}

#[test]
fn what_was_ignored_at_the_start_is_passed_on_without_a_clock() {
    let policy = StopPolicy {
        stop_signal: Some(Signal::QUIT),
        rewrites: vec![(Signal::HUP, Some(Signal::USR1)), (Signal::QUIT, None)],
        ..StopPolicy::new(SECOND)
    };
    let mut stop = Escalation::new(policy);
    assert_eq!(stop.pass_on(Signal::INT), send(&[Signal::INT]), "the stop signal would be more than was asked for");
    assert_eq!(stop.pass_on(Signal::HUP), send(&[Signal::USR1]));
    assert_eq!(stop.pass_on(Signal::QUIT), []);
    assert_eq!((stop.stopping(), stop.first_signal()), (false, None));
    assert!(stop.explains(Exit::Signal(Signal::INT)));
}

#[test]
fn hup_stops_a_migration_but_not_an_app() {
    let now = Instant::now();
    let mut migration = Escalation::new(StopPolicy { hup_stops: true, ..StopPolicy::new(SECOND) });
    assert_eq!(migration.on_signal(now, Signal::HUP), send(&[Signal::HUP, Signal::CONT]));
    assert_eq!(migration.first_signal(), Some(Signal::HUP));
    let mut app = Escalation::new(StopPolicy::new(SECOND));
    assert_eq!(app.on_signal(now, Signal::HUP), send(&[Signal::HUP]));
    assert_eq!(app.first_signal(), None);
}

#[test]
fn signals_are_rewritten_or_dropped() {
    let now = Instant::now();
    let policy = StopPolicy {
        stop_signal: Some(Signal::QUIT),
        rewrites: vec![(Signal::HUP, Some(Signal::USR1)), (Signal::INT, None)],
        ..StopPolicy::new(SECOND)
    };
    let mut stop = Escalation::new(policy.clone());
    assert_eq!(stop.on_signal(now, Signal::HUP), send(&[Signal::USR1]));
    assert_eq!(stop.on_signal(now, Signal::INT), [], "a dropped signal asks for nothing");
    assert!(!stop.stopping());
    assert_eq!(stop.on_signal(now, Signal::TERM), send(&[Signal::QUIT, Signal::CONT]));
    assert_eq!(stop.first_signal(), Some(Signal::TERM), "the one that was sent, for 128 + n");
    assert_eq!(Escalation::new(policy).on_request(now), send(&[Signal::QUIT, Signal::CONT]));
}

#[test]
fn an_end_that_was_asked_for_is_told_from_a_crash() {
    let now = Instant::now();
    let ends = [
        Exit::Code(0),
        Exit::Code(143),
        Exit::Code(1),
        Exit::Signal(Signal::TERM),
        Exit::Signal(Signal::INT),
        Exit::Signal(Signal::KILL),
        Exit::Unknown,
    ];
    let explained = |stop: &Escalation| ends.map(|exit| stop.explains(exit));
    let mut stop = Escalation::new(StopPolicy::new(SECOND));
    assert_eq!(explained(&stop), [true, false, false, false, false, false, false], "nobody asked");
    stop.on_signal(now, Signal::TERM);
    assert_eq!(explained(&stop), [true, true, false, true, false, false, false], "KILL came from elsewhere");
    stop.on_time(now + SECOND);
    assert_eq!(explained(&stop), [true, true, false, true, false, true, true]);

    let mut requested = Escalation::new(StopPolicy::new(SECOND));
    requested.on_request(now);
    requested.on_time(now + SECOND);
    assert_eq!(explained(&requested), [true, false, false, false, false, false, false], "nobody outside asked");

    let rewritten = StopPolicy { stop_signal: Some(Signal::INT), ..StopPolicy::new(SECOND) };
    let mut stop = Escalation::new(rewritten);
    stop.on_signal(now, Signal::TERM);
    assert!(stop.explains(Exit::Signal(Signal::INT)) && stop.explains(Exit::Code(130)));
    assert!(!stop.explains(Exit::Signal(Signal::TERM)), "the child never got it");
}

#[test]
fn the_stop_signal_waits_for_the_lead_and_the_clock_does_not() {
    let start = Instant::now();
    let policy = StopPolicy { lead: 4 * SECOND, stop_signal: Some(Signal::QUIT), ..StopPolicy::new(7 * SECOND) };
    let led = || {
        let mut stop = Escalation::new(policy.clone());
        assert_eq!(stop.on_lead_over(start), [], "there is none before a stop is asked for");
        assert_eq!(stop.on_signal(start, Signal::HUP), send(&[Signal::HUP]));
        assert_eq!(stop.on_signal(start, Signal::TERM), []);
        assert!(stop.leading() && stop.stopping());
        assert_eq!((stop.next_deadline(), stop.requested_at()), (Some(start + 4 * SECOND), Some(start)));
        assert_eq!(stop.on_signal(start, Signal::USR1), send(&[Signal::USR1]), "others are passed on");
        stop
    };
    let mut early = led();
    assert_eq!(early.on_lead_over(start + SECOND), send(&[Signal::QUIT, Signal::CONT]));
    assert_eq!(early.on_lead_over(start + SECOND), [], "once");
    assert_eq!(early.next_deadline(), Some(start + 7 * SECOND));
    assert!(early.explains(Exit::Signal(Signal::QUIT)));
    let mut impatient = led();
    assert_eq!(impatient.on_signal(start + SECOND, Signal::INT), send(&[Signal::QUIT, Signal::CONT]));
    assert_eq!(impatient.next_deadline(), Some(start + 7 * SECOND));
    let mut requested = Escalation::new(policy);
    assert_eq!(requested.on_request(start), []);
    assert_eq!(requested.on_lead_over(start + 4 * SECOND), send(&[Signal::QUIT, Signal::CONT]));
    assert!(!requested.explains(Exit::Signal(Signal::QUIT)), "no signal has asked for it");
}

#[test]
fn a_request_is_not_a_signal() {
    let now = Instant::now();
    let mut stop = Escalation::new(StopPolicy::new(SECOND));
    assert_eq!(stop.on_request(now), send(&[Signal::TERM, Signal::CONT]));
    assert_eq!((stop.requested_at(), stop.first_signal()), (Some(now), None));
}
