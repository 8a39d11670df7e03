//! How a process ended, and its exit code.
//!
//! Invariant: only an exit with code 0 maps to 0; what is unknown is a failure.

use std::fmt;

use super::signal::Signal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(u8),
    Signal(Signal),
    /// The kernel could not say, or the process survived SIGKILL (stuck in the kernel, or of
    /// another user).
    Unknown,
}

impl Exit {
    /// The code a shell would report: the process's own, 128 + signal, or 255.
    pub fn code(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => signal.exit_code(),
            Exit::Unknown => u8::MAX,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exited with code {code}"),
            Exit::Signal(signal) => write!(f, "was killed by {signal}"),
            Exit::Unknown => f.write_str("ended in an unknown way"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_maps_to_zero() {
        for code in 0..=u8::MAX {
            assert_eq!(Exit::Code(code).code(), code);
        }
        assert_eq!(Exit::Signal(Signal::TERM).code(), 143);
        assert_eq!(Exit::Unknown.code(), 255);
    }
}
