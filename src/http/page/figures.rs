//! Durations, times, sizes and amounts of money as people read them. Pure.

use std::time::Duration;

use jiff::Timestamp;

pub use crate::figures::{count, rounded as size, timestamp};

/// At most two units, each of them whole: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |high: u64, unit: &str, low: u64, lower: &str| match low {
        0 => format!("{high} {unit}"),
        low => format!("{high} {unit} {low} {lower}"),
    };
    match seconds {
        0 if duration.is_zero() => "0 s".into(),
        // Rounded up, so that what is not nothing is not shown as nothing.
        0..10 => format!("{:.1} s", (duration.as_millis().div_ceil(100) as f64) / 10.0),
        10..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

pub fn milliseconds(ms: i64) -> String {
    duration(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// In UTC, because a server's zone is not that of who reads.
pub fn time(unix_ms: i64) -> String {
    let second = Timestamp::from_second(unix_ms.div_euclid(1000));
    second.map_or_else(|_| unix_ms.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// US dollars; what is not nothing is not shown as nothing.
pub fn dollars(amount: f64) -> String {
    if amount > 0.0 && amount < 0.01 { "less than $0.01".into() } else { format!("${amount:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_never_less_than_the_truth() {
        let shown = |ms| duration(Duration::from_millis(ms));
        assert_eq!(
            [0, 1, 400, 401, 9_999, 10_000, 59_999, 60_000, 200_000, 7_500_000, 273_600_000].map(shown),
            ["0 s", "0.1 s", "0.4 s", "0.5 s", "10.0 s", "10 s", "59 s", "1 min", "3 min 20 s", "2 h 5 min", "3 d 4 h"]
        );
        assert_eq!(time(1_795_300_223_999), "2026-11-21 22:30:23 UTC");
        assert_eq!(timestamp(1_795_300_223_999), "2026-11-21T22:30:23Z");
        assert_eq!([0, 999, 4152, 12_345_678].map(size), ["0 B", "999 B", "4.2 kB", "12 MB"]);
        assert_eq!([0.0, 0.004, 1.234].map(dollars), ["$0.00", "less than $0.01", "$1.23"]);
        assert_eq!([0, 1, 2].map(|n| count(n, "file")), ["0 files", "1 file", "2 files"]);
    }
}
