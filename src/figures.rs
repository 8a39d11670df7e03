//! Times, sizes and counts as they are shown to people. Pure.

use jiff::Timestamp;

/// RFC 3339 in whole seconds of UTC, as Litestream shows times.
pub fn timestamp(unix_ms: i64) -> String {
    let second = Timestamp::from_second(unix_ms.div_euclid(1000));
    second.map_or_else(|_| unix_ms.to_string(), |time| time.to_string())
}

/// A number with its noun: `1 file`, `2 files`.
pub fn count(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// In powers of a thousand, as Litestream shows sizes.
pub fn rounded(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ if value < 9.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_litestreams() {
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (4152, "4.2 kB"),
            (9949, "9.9 kB"),
            (9960, "10 kB"),
            (32_992, "33 kB"),
            (4_152_992, "4.2 MB"),
        ] {
            assert_eq!(rounded(bytes), shown, "{bytes}");
        }
    }

    #[test]
    fn numbers_agree_with_their_nouns() {
        assert_eq!([0_u32, 1, 2].map(|n| count(n, "file")), ["0 files", "1 file", "2 files"]);
    }
}
