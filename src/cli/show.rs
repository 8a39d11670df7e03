//! What every command prints alike.

use std::io;

use crate::run::Failure;
use crate::run::exit::INTERNAL;

/// The exit code of a command whose work is what it prints. A reader who has seen enough is nobody's failure.
pub fn printed(done: io::Result<()>) -> Result<u8, Failure> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(INTERNAL, error)),
        _ => Ok(0),
    }
}

/// In whole seconds of UTC, as Litestream shows times.
pub fn timestamp(unix_ms: i64) -> String {
    let second = jiff::Timestamp::from_second(unix_ms.div_euclid(1000));
    second.map_or_else(|_| unix_ms.to_string(), |time| time.to_string())
}
