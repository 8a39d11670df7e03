//! The decision table of a stop: when a signal is sent, and when SIGKILL. Pure; the clock is an
//! argument.
//!
//! ```text
//!   Running ──stop signal or request──▶ Stopping ──deadline──▶ Killed ──patience──▶ given up
//!      │  every signal is passed on        │  so are these        │
//! ```
//!
//! Escalation goes by time, not by count: an impatient second TERM reaches the child, but neither
//! shortens nor restarts the clock. A stop signal is followed by CONT, or a stopped child would
//! never see it.

use std::time::Duration;

use tokio::time::Instant;

use super::exit::Exit;
use super::signal::Signal;

/// After SIGKILL a process is gone at once, unless the kernel holds it (dead NFS) or it belongs to
/// another user. The time that is left then belongs to the final sync.
const KILL_PATIENCE: Duration = Duration::from_secs(1);

/// The least time kept for the final sync, and its share of a longer grace time.
pub const SYNC_RESERVE: Duration = Duration::from_secs(3);
pub const SYNC_SHARE: f64 = 0.3;

/// Splits one grace budget into the child's part and the final sync's: the larger of `reserve` and
/// `share` is kept for the sync, but never more than half, so that a short budget still lets the
/// child finish its requests.
pub fn split(grace: Duration, reserve: Duration, share: f64) -> (Duration, Duration) {
    let wanted = reserve.max(grace.mul_f64(share.clamp(0.0, 1.0)));
    let sync = wanted.min(grace / 2);
    (grace - sync, sync)
}

/// Who gets a signal that is passed on. SIGKILL and CONT are always for the whole group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All processes in the command's group, as if typed at a terminal: a shell in between cannot
    /// swallow it.
    Group,
    /// The command alone, as if it had been executed directly: it tells its own helpers what they
    /// need to know.
    Command,
}

/// How a child is asked to stop.
#[derive(Clone, Debug)]
pub struct StopPolicy {
    pub scope: Scope,
    /// From the first stop signal to SIGKILL.
    pub grace: Duration,
    /// HUP also asks to stop: right for migrations, wrong for apps, which reload on it.
    pub hup_stops: bool,
    /// What the child gets instead of TERM and INT, and when it is stopped on request.
    pub stop_signal: Option<Signal>,
    /// What the child gets instead of a signal; `None` drops it.
    pub rewrites: Vec<(Signal, Option<Signal>)>,
}

impl StopPolicy {
    pub fn new(grace: Duration) -> StopPolicy {
        StopPolicy { scope: Scope::Group, grace, hup_stops: false, stop_signal: None, rewrites: Vec::new() }
    }

    fn stops(&self, signal: Signal) -> bool {
        signal.asks_to_stop() || (self.hup_stops && signal == Signal::HUP)
    }

    fn rewrite(&self, signal: Signal) -> Option<Signal> {
        if let Some((_, to)) = self.rewrites.iter().find(|(from, _)| *from == signal) {
            return *to;
        }
        match self.stop_signal {
            Some(stop) if matches!(signal, Signal::TERM | Signal::INT) => Some(stop),
            _ => Some(signal),
        }
    }
}

/// What to do to the child, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Send(Signal),
    Kill,
    /// It outlived SIGKILL; stop waiting for it.
    GiveUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Stopping { deadline: Instant },
    Killed { patience_ends: Instant },
    GivenUp,
}

#[derive(Debug)]
pub struct Escalation {
    policy: StopPolicy,
    state: State,
    requested_at: Option<Instant>,
    first_signal: Option<Signal>,
    killed: bool,
    /// Signals that were sent to us and forwarded to the child.
    passed_on: Vec<Signal>,
}

impl Escalation {
    pub fn new(policy: StopPolicy) -> Escalation {
        let (state, passed_on) = (State::Running, Vec::new());
        Escalation { policy, state, requested_at: None, first_signal: None, killed: false, passed_on }
    }

    /// A signal arrived for the child.
    pub fn on_signal(&mut self, now: Instant, signal: Signal) -> Vec<Act> {
        let Some(sent) = self.policy.rewrite(signal) else {
            return Vec::new();
        };
        let mut acts = self.send(sent);
        if self.policy.stops(signal) {
            self.first_signal.get_or_insert(signal);
            self.start_clock(now);
            acts.push(Act::Send(Signal::CONT));
        }
        acts
    }

    /// A signal arrived that was ignored when this process was started. It is forwarded, and has no
    /// other effect.
    pub fn pass_on(&mut self, signal: Signal) -> Vec<Act> {
        let rewritten = self.policy.rewrites.iter().find(|(from, _)| *from == signal).map(|(_, to)| *to);
        rewritten.unwrap_or(Some(signal)).map_or_else(Vec::new, |sent| self.send(sent))
    }

    fn send(&mut self, sent: Signal) -> Vec<Act> {
        if !self.passed_on.contains(&sent) {
            self.passed_on.push(sent);
        }
        vec![Act::Send(sent)]
    }

    /// Another part of this process asks for the stop of the child.
    pub fn on_request(&mut self, now: Instant) -> Vec<Act> {
        if self.stopping() {
            return Vec::new();
        }
        self.start_clock(now);
        vec![Act::Send(self.policy.stop_signal.unwrap_or(Signal::TERM)), Act::Send(Signal::CONT)]
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Instant) -> Option<Act> {
        match self.state {
            State::Stopping { deadline } if now >= deadline => {
                self.state = State::Killed { patience_ends: now + KILL_PATIENCE };
                self.killed = true;
                Some(Act::Kill)
            }
            State::Killed { patience_ends } if now >= patience_ends => {
                self.state = State::GivenUp;
                Some(Act::GiveUp)
            }
            _ => None,
        }
    }

    /// When `on_time` has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Stopping { deadline } => Some(deadline),
            State::Killed { patience_ends } => Some(patience_ends),
            State::Running | State::GivenUp => None,
        }
    }

    pub fn stopping(&self) -> bool {
        self.state != State::Running
    }

    pub fn requested_at(&self) -> Option<Instant> {
        self.requested_at
    }

    /// The first signal that asked for the stop.
    pub fn first_signal(&self) -> Option<Signal> {
        self.first_signal
    }

    pub fn killed(&self) -> bool {
        self.killed
    }

    /// Whether this end is a success, or the stop that was asked for from outside: by a signal that
    /// was forwarded (some programs answer it with the exit code by which shells report it), or by
    /// our SIGKILL at the deadline of such a stop. Any other end is a failure of the child.
    pub fn explains(&self, exit: Exit) -> bool {
        let killed_by_us = self.killed && self.first_signal.is_some();
        match exit {
            Exit::Code(code) => code == 0 || self.passed_on.iter().any(|signal| signal.exit_code() == code),
            Exit::Signal(Signal::KILL) | Exit::Unknown => killed_by_us,
            Exit::Signal(signal) => self.passed_on.contains(&signal),
        }
    }

    fn start_clock(&mut self, now: Instant) {
        if self.state == State::Running {
            self.state = State::Stopping { deadline: now + self.policy.grace };
            self.requested_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn a_request_is_not_a_signal() {
        let now = Instant::now();
        let mut stop = Escalation::new(StopPolicy::new(SECOND));
        assert_eq!(stop.on_request(now), send(&[Signal::TERM, Signal::CONT]));
        assert_eq!((stop.requested_at(), stop.first_signal()), (Some(now), None));
    }
}
