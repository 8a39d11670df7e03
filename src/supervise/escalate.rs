//! The decision table of a stop: when a signal is sent, and when SIGKILL. Pure; the clock is an
//! argument.
//!
//! ```text
//!   Running ──stop signal or request──▶ Stopping ──deadline──▶ Killed ──patience──▶ given up
//!      │  every signal is passed on        │  so are these        │
//!      └──▶ Leading ──its work is done, or its time, or a second signal──▶ Stopping
//! ```
//!
//! Where there is a lead, the stop signal waits for it, and the clock runs already.
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
    /// The part of it in which the child may finish what it has before it is told to stop.
    pub lead: Duration,
    /// HUP also asks to stop: right for migrations, wrong for apps, which reload on it.
    pub hup_stops: bool,
    /// What the child gets instead of TERM and INT, and when it is stopped on request.
    pub stop_signal: Option<Signal>,
    /// What the child gets instead of a signal; `None` drops it.
    pub rewrites: Vec<(Signal, Option<Signal>)>,
}

impl StopPolicy {
    pub fn new(grace: Duration) -> StopPolicy {
        let (lead, rewrites) = (Duration::ZERO, Vec::new());
        StopPolicy { scope: Scope::Group, grace, lead, hup_stops: false, stop_signal: None, rewrites }
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
    /// `signal` is to be sent at the end of it.
    Leading {
        until: Instant,
        deadline: Instant,
        signal: Signal,
    },
    Stopping {
        deadline: Instant,
    },
    Killed {
        patience_ends: Instant,
    },
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
        if !self.policy.stops(signal) {
            return self.send(sent);
        }
        self.first_signal.get_or_insert(signal);
        self.stop_with(now, sent)
    }

    /// Begins the lead, if there is one; a second wish to stop ends it.
    fn stop_with(&mut self, now: Instant, signal: Signal) -> Vec<Act> {
        if self.state == State::Running {
            self.requested_at = Some(now);
            let deadline = now + self.policy.grace;
            if !self.policy.lead.is_zero() {
                self.state = State::Leading { until: now + self.policy.lead, deadline, signal };
                return Vec::new();
            }
            self.state = State::Stopping { deadline };
        }
        if let State::Leading { deadline, .. } = self.state {
            self.state = State::Stopping { deadline };
        }
        // Only what was asked for from outside explains an end by a signal.
        let mut acts = if self.first_signal.is_some() { self.send(signal) } else { vec![Act::Send(signal)] };
        acts.push(Act::Send(Signal::CONT));
        acts
    }

    /// The child has finished what it had, or the time for that is over.
    pub fn on_lead_over(&mut self, now: Instant) -> Vec<Act> {
        match self.state {
            State::Leading { signal, .. } => self.stop_with(now, signal),
            _ => Vec::new(),
        }
    }

    /// Whether the stop signal still waits.
    pub fn leading(&self) -> bool {
        matches!(self.state, State::Leading { .. })
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
        self.stop_with(now, self.policy.stop_signal.unwrap_or(Signal::TERM))
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
            State::Leading { until, .. } => Some(until),
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
}

#[cfg(test)]
mod tests;
