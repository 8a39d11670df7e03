//! The word `Signal`: a number with a name, and what it means to a supervisor.
//!
//! Numbers rather than an enum, because real-time signals are signals too. Knows nothing of
//! handlers or processes.

use std::fmt;
use std::str::FromStr;

use libc::c_int;

/// The highest signal number of the kernel's ABI.
pub const MAX: c_int = 64;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(c_int);

impl Signal {
    pub const HUP: Signal = Signal(libc::SIGHUP);
    pub const INT: Signal = Signal(libc::SIGINT);
    pub const QUIT: Signal = Signal(libc::SIGQUIT);
    pub const KILL: Signal = Signal(libc::SIGKILL);
    #[cfg(test)]
    pub const USR1: Signal = Signal(libc::SIGUSR1);
    #[cfg(test)]
    pub const USR2: Signal = Signal(libc::SIGUSR2);
    pub const TERM: Signal = Signal(libc::SIGTERM);
    pub const CONT: Signal = Signal(libc::SIGCONT);
    pub const STOP: Signal = Signal(libc::SIGSTOP);
    pub const TSTP: Signal = Signal(libc::SIGTSTP);
    pub const TTOU: Signal = Signal(libc::SIGTTOU);

    pub fn from_raw(number: c_int) -> Option<Signal> {
        (1..=MAX).contains(&number).then_some(Signal(number))
    }

    pub fn number(self) -> c_int {
        self.0
    }

    /// The exit code by which shells report a death by this signal.
    pub fn exit_code(self) -> u8 {
        u8::try_from(128 + self.0).unwrap_or(u8::MAX)
    }

    /// Whether this signal asks a process to end in order: the ones that orchestrators and
    /// keyboards send.
    pub fn asks_to_stop(self) -> bool {
        matches!(self, Signal::TERM | Signal::INT | Signal::QUIT)
    }

    /// Whether this signal ends a stage in which no app is running yet. HUP belongs to the app, but
    /// before there is one it means what it means to every other program.
    pub fn cancels_start(self) -> bool {
        self.asks_to_stop() || self == Signal::HUP
    }

    /// Every signal that is passed on: not KILL and STOP, which cannot be caught, not CHLD, which
    /// is about our own children, and not the faults, which the kernel raises for what a process
    /// did itself. TTOU is missing because a supervisor that catches it could not write its log to
    /// a terminal with `tostop` set.
    pub fn forwardable() -> impl Iterator<Item = Signal> {
        const CLASSIC: [c_int; 17] = [
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGQUIT,
            libc::SIGHUP,
            libc::SIGUSR1,
            libc::SIGUSR2,
            libc::SIGALRM,
            libc::SIGCONT,
            libc::SIGWINCH,
            libc::SIGPWR,
            libc::SIGIO,
            libc::SIGURG,
            libc::SIGTSTP,
            libc::SIGTTIN,
            libc::SIGVTALRM,
            libc::SIGPROF,
            libc::SIGSTKFLT,
        ];
        CLASSIC.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX()).map(Signal)
    }
}

const NAMES: [(c_int, &str); 31] = [
    (libc::SIGHUP, "HUP"),
    (libc::SIGINT, "INT"),
    (libc::SIGQUIT, "QUIT"),
    (libc::SIGILL, "ILL"),
    (libc::SIGTRAP, "TRAP"),
    (libc::SIGABRT, "ABRT"),
    (libc::SIGBUS, "BUS"),
    (libc::SIGFPE, "FPE"),
    (libc::SIGKILL, "KILL"),
    (libc::SIGUSR1, "USR1"),
    (libc::SIGSEGV, "SEGV"),
    (libc::SIGUSR2, "USR2"),
    (libc::SIGPIPE, "PIPE"),
    (libc::SIGALRM, "ALRM"),
    (libc::SIGTERM, "TERM"),
    (libc::SIGSTKFLT, "STKFLT"),
    (libc::SIGCHLD, "CHLD"),
    (libc::SIGCONT, "CONT"),
    (libc::SIGSTOP, "STOP"),
    (libc::SIGTSTP, "TSTP"),
    (libc::SIGTTIN, "TTIN"),
    (libc::SIGTTOU, "TTOU"),
    (libc::SIGURG, "URG"),
    (libc::SIGXCPU, "XCPU"),
    (libc::SIGXFSZ, "XFSZ"),
    (libc::SIGVTALRM, "VTALRM"),
    (libc::SIGPROF, "PROF"),
    (libc::SIGWINCH, "WINCH"),
    (libc::SIGIO, "IO"),
    (libc::SIGPWR, "PWR"),
    (libc::SIGSYS, "SYS"),
];

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => write!(f, "SIG{name}"),
            None if self.0 == libc::SIGRTMIN() => f.write_str("SIGRTMIN"),
            None if self.0 > libc::SIGRTMIN() => write!(f, "SIGRTMIN+{}", self.0 - libc::SIGRTMIN()),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a signal; use a name such as SIGTERM, INT or SIGRTMIN+3, or a number from 1 to {MAX}", text = .0)]
pub struct UnknownSignal(pub String);

impl FromStr for Signal {
    type Err = UnknownSignal;

    /// `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `RTMAX-1`.
    fn from_str(text: &str) -> Result<Signal, UnknownSignal> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |rest: &str, sign: char| match rest {
            "" => Some(0),
            _ => rest.strip_prefix(sign).and_then(|n| n.parse::<u8>().ok()).map(c_int::from),
        };
        let number = if let Ok(number) = name.parse::<c_int>() {
            Some(number)
        } else if let Some(rest) = name.strip_prefix("RTMIN") {
            offset(rest, '+').map(|n| libc::SIGRTMIN() + n).filter(|n| *n <= libc::SIGRTMAX())
        } else if let Some(rest) = name.strip_prefix("RTMAX") {
            offset(rest, '-').map(|n| libc::SIGRTMAX() - n).filter(|n| *n >= libc::SIGRTMIN())
        } else {
            let name = if name == "POLL" { "IO" } else { name };
            NAMES.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
        };
        number.and_then(Signal::from_raw).ok_or_else(|| UnknownSignal(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_is_read_back_from_its_name() {
        for number in (1..=MAX).filter(|n| *n < 32 || *n >= libc::SIGRTMIN()) {
            let signal = Signal::from_raw(number).expect("in range");
            assert_eq!(signal.to_string().parse(), Ok(signal));
            assert_eq!(number.to_string().parse(), Ok(signal));
        }
        assert_eq!("term".parse(), Ok(Signal::TERM));
        assert_eq!("RTMAX-1".parse::<Signal>().map(Signal::number), Ok(libc::SIGRTMAX() - 1));
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in ["", "0", "65", "-1", "SIGFOO", "RTMIN+99", "RTMIN-1", "RTMAX+1", "SIG", "TERM,INT"] {
            assert!(text.parse::<Signal>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn nothing_is_forwarded_that_cannot_be_caught_or_is_our_own_fault() {
        let forwarded: Vec<c_int> = Signal::forwardable().map(Signal::number).collect();
        for number in [
            libc::SIGKILL,
            libc::SIGSTOP,
            libc::SIGCHLD,
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGABRT,
            libc::SIGTRAP,
            libc::SIGSYS,
            libc::SIGPIPE,
        ] {
            assert!(!forwarded.contains(&number), "signal {number}");
        }
        assert!(forwarded.contains(&libc::SIGRTMAX()));
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(Signal::TERM.exit_code(), 143);
        assert_eq!(Signal::KILL.exit_code(), 137);
        assert_eq!(Signal::from_raw(64).expect("in range").exit_code(), 192);
    }
}
