//! What every command prints alike.

use std::io::{self, Write};

use anyhow::anyhow;

use crate::run::Failure;
use crate::run::exit::INTERNAL;

/// The exit code of a command whose work is what it prints. A reader who has seen enough is nobody's failure.
pub fn printed(done: io::Result<()>) -> Result<u8, Failure> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(INTERNAL, error)),
        _ => Ok(0),
    }
}

/// What stands above the part of one replica; without a name nothing does.
pub fn heading(name: Option<&str>, is_first: bool, out: &mut dyn Write) -> io::Result<()> {
    let Some(name) = name else { return Ok(()) };
    if !is_first {
        writeln!(out)?;
    }
    writeln!(out, "replica {name}")
}

/// The end of a command that has looked at each replica, where these could not be: each is said, and the first one's code is
/// that of the command.
pub fn each_said(failures: Vec<(String, Failure)>, several: bool) -> Result<u8, Failure> {
    let mut failures = failures.into_iter().map(|(name, failure)| match several {
        true => Failure { error: anyhow!("the replica {name}: {}", failure.sentence()), ..failure },
        false => failure,
    });
    let Some(first) = failures.next() else { return Ok(0) };
    failures.for_each(|failure| super::stderr::say(&format!("Error: {}", failure.sentence())));
    Err(first)
}

/// In whole seconds of UTC, as Litestream shows times.
pub fn timestamp(unix_ms: i64) -> String {
    let second = jiff::Timestamp::from_second(unix_ms.div_euclid(1000));
    second.map_or_else(|_| unix_ms.to_string(), |time| time.to_string())
}
