//! Drives one command to its end: passes signals on, keeps the deadline of a stop, follows job
//! control.

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::child::{Child, ChildEvent};
use super::escalate::{Act, Escalation, Scope, StopPolicy};
use super::exit::Exit;
use super::signal::Signal;
use super::signals::Signals;
use crate::clock::MACHINE;

/// How a command ended, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub exit: Exit,
    /// When it was first asked to stop, by a signal or by `stop`.
    pub stop_requested_at: Option<Instant>,
    /// The first signal that asked for it. The stages after this command must not start then.
    pub first_signal: Option<Signal>,
    /// It had to be killed at its deadline.
    pub killed: bool,
    /// It is a success, or the stop that a signal asked for, and not a failure of the command.
    pub as_asked: bool,
}

/// What a command may finish before it is told to stop (`StopPolicy::lead`).
#[derive(Debug, Default)]
pub struct Lead {
    /// The stop was asked for.
    pub begun: CancellationToken,
    /// By a signal.
    pub told: CancellationToken,
    /// Everything is finished.
    pub over: CancellationToken,
}

enum Event {
    LeadOver,
    Child(ChildEvent),
    Signal(Signal),
    Stop,
    Deadline,
}

/// Waits for the command, forwarding every signal. A stop signal or `stop` starts the clock of
/// `policy`, with its lead first.
///
/// Only the command itself is waited for; see [`Child::end_group`]. A signal that arrives when the
/// command has ended stays in `signals` for the next stage.
pub async fn supervise(
    child: &mut Child,
    signals: &mut Signals,
    policy: StopPolicy,
    stop: &CancellationToken,
    lead: &Lead,
) -> Ended {
    let scope = policy.scope;
    let mut escalation = Escalation::new(policy);
    let exit = loop {
        let deadline = escalation.next_deadline();
        let event = tokio::select! {
            biased;
            event = child.event() => Event::Child(event),
            () = lead.over.cancelled(), if escalation.leading() => Event::LeadOver,
            signal = signals.recv() => Event::Signal(signal),
            () = stop.cancelled(), if !escalation.stopping() => Event::Stop,
            () = sleep_until(deadline.unwrap_or_else(|| MACHINE.instant())), if deadline.is_some() => Event::Deadline,
        };
        let now = MACHINE.instant();
        let acts = match event {
            Event::Child(ChildEvent::Ended(exit)) => break exit,
            Event::Child(ChildEvent::Stopped(by)) => {
                tracing::debug!(pid = child.pid(), "{} was stopped by {by}", child.program());
                child.follow_stop(by);
                continue;
            }
            Event::Child(ChildEvent::Continued) => continue,
            Event::Signal(signal) => {
                log_signal(child, signal);
                if Signals::heeds(signal) { escalation.on_signal(now, signal) } else { escalation.pass_on(signal) }
            }
            Event::Stop => escalation.on_request(now),
            Event::LeadOver => escalation.on_lead_over(now),
            Event::Deadline if escalation.leading() => escalation.on_lead_over(now),
            Event::Deadline => escalation.on_time(now).into_iter().collect(),
        };
        if escalation.leading() {
            if escalation.first_signal().is_some() {
                lead.told.cancel();
            }
            lead.begun.cancel();
        }
        if act(child, scope, acts).await {
            break Exit::Unknown;
        }
    };
    tracing::debug!(pid = child.pid(), "{} {exit}", child.program());
    Ended {
        exit,
        stop_requested_at: escalation.requested_at(),
        first_signal: escalation.first_signal(),
        killed: escalation.killed(),
        as_asked: escalation.explains(exit),
    }
}

/// Returns whether to stop waiting.
async fn act(child: &Child, scope: Scope, acts: Vec<Act>) -> bool {
    for act in acts {
        match act {
            Act::Send(Signal::CONT) => child.signal(Signal::CONT).await,
            Act::Send(signal) => child.signal_to(scope, signal).await,
            Act::Kill => {
                tracing::warn!(pid = child.pid(), "{} did not stop in time, killing it", child.program());
                child.signal(Signal::KILL).await;
            }
            Act::GiveUp => {
                tracing::error!(pid = child.pid(), "{} survived SIGKILL, going on without it", child.program());
                return true;
            }
        }
    }
    false
}

/// A stop is logged; a change of the window size is not.
fn log_signal(child: &Child, signal: Signal) {
    if signal.asks_to_stop() {
        tracing::info!(pid = child.pid(), "{signal}: forwarding it to {}", child.program());
    } else {
        tracing::debug!(pid = child.pid(), "{signal}: forwarding it to {}", child.program());
    }
}
