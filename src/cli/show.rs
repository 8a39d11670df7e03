//! What every command prints alike: times, sizes, counts, headings.
//!
//! A file or a pipe gets what Litestream writes: times in UTC and sizes in bytes, which programs
//! read. A terminal gets local times with their offset and rounded sizes, unless -utc or -bytes ask
//! for the others.

use std::io::{self, Write};

use anyhow::anyhow;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::args::OutputFlags;
use super::{process, terminal};
pub use crate::figures::{count, rounded, timestamp};
use crate::run::Failure;
use crate::run::exit::INTERNAL;

/// How times and sizes are written.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// `None` is UTC, as Litestream writes it.
    zone: Option<TimeZone>,
    rounds_sizes: bool,
    /// Columns of the terminal, if there is one.
    pub width: Option<usize>,
}

impl Style {
    /// For stdout as it is.
    pub fn of_stdout(flags: &OutputFlags) -> Style {
        let width = terminal::width();
        let is_terminal = width.is_some();
        // A time zone that is not known is no reason to show no times.
        let zone = (is_terminal && !flags.utc).then(|| process::local_zone().ok()).flatten();
        Style { zone, rounds_sizes: is_terminal && !flags.bytes, width }
    }

    pub fn time(&self, unix_ms: i64) -> String {
        match (&self.zone, Timestamp::from_millisecond(unix_ms)) {
            (Some(zone), Ok(time)) => time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            _ => timestamp(unix_ms),
        }
    }

    /// In a table.
    pub fn size(&self, bytes: u64) -> String {
        if self.rounds_sizes { rounded(bytes) } else { bytes.to_string() }
    }

    /// In a sentence.
    pub fn amount(&self, bytes: u64) -> String {
        if self.rounds_sizes { rounded(bytes) } else { count(bytes, "byte") }
    }

    /// A time of RFC 3339 from another process, without its fraction of a second; in the offset
    /// that it has, or on a terminal in ours.
    pub fn time_of(&self, rfc3339: &str) -> String {
        match (&self.zone, rfc3339.parse::<Timestamp>()) {
            (Some(_), Ok(time)) => self.time(time.as_millisecond()),
            _ => whole_seconds(rfc3339),
        }
    }
}

/// The exit code of a command whose work is what it prints. It is no failure if the reader closes
/// the pipe early.
pub fn printed(done: io::Result<()>) -> Result<u8, Failure> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(INTERNAL, error)),
        _ => Ok(0),
    }
}

/// The line above the part of one replica; there is none without a name.
pub fn heading(name: Option<&str>, is_first: bool, out: &mut dyn Write) -> io::Result<()> {
    let Some(name) = name else { return Ok(()) };
    if !is_first {
        writeln!(out)?;
    }
    writeln!(out, "replica {name}")
}

/// Reports the replicas that a command could not look at. The first of them gives the exit code.
pub fn each_said(failures: Vec<(String, Failure)>, several: bool) -> Result<u8, Failure> {
    let mut failures = failures.into_iter().map(|(name, failure)| match several {
        true => Failure { error: anyhow!("the replica {name}: {}", failure.sentence()), ..failure },
        false => failure,
    });
    let Some(first) = failures.next() else { return Ok(0) };
    failures.for_each(|failure| super::stderr::say(&format!("error: {}", failure.sentence())));
    Err(first)
}

/// A time of RFC 3339 without its fraction of a second, in its own offset.
fn whole_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((second, rest)) => format!("{second}{}", rest.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => time.to_owned(),
    }
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A terminal of so many columns, one hour ahead of UTC.
    pub fn on_terminal(width: usize) -> Style {
        let zone = TimeZone::fixed(jiff::tz::Offset::constant(1));
        Style { zone: Some(zone), rounds_sizes: true, width: Some(width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_reads_utc_and_bytes_and_a_person_local_times_and_rounded_sizes() {
        let (plain, terminal) = (Style::default(), testing::on_terminal(80));
        let ms = 1_795_300_223_999;
        assert_eq!((plain.time(ms).as_str(), plain.size(3560).as_str()), ("2026-11-21T22:30:23Z", "3560"));
        assert_eq!((terminal.time(ms).as_str(), terminal.size(3560).as_str()), ("2026-11-21T23:30:23+01:00", "3.6 kB"));
        assert_eq!((plain.amount(1).as_str(), terminal.amount(1).as_str()), ("1 byte", "1 B"));
        let theirs = "2026-04-24T12:00:00.123456789+02:00";
        assert_eq!(plain.time_of(theirs), "2026-04-24T12:00:00+02:00");
        assert_eq!(terminal.time_of(theirs), "2026-04-24T11:00:00+01:00");
    }
}
