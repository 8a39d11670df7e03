//! Single values as people write them: durations, sizes, booleans, file modes, log levels.
//!
//! Pure. What Litestream's own readers take (Go durations, go-humanize sizes, YAML 1.1 booleans) is
//! taken here with the same meaning; what they read as nonsense (a bare `10` is ten nanoseconds
//! there) is an error that says what to write.

use std::time::Duration;

use super::options::{LogFormat, LogLevel};

const NANOS_PER_SEC: u128 = 1_000_000_000;

/// Go's units, and days and weeks.
const UNITS: [(&str, u128); 10] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", NANOS_PER_SEC),
    ("m", 60 * NANOS_PER_SEC),
    ("h", 3600 * NANOS_PER_SEC),
    ("d", 24 * 3600 * NANOS_PER_SEC),
    ("w", 7 * 24 * 3600 * NANOS_PER_SEC),
];

/// Reads `1h30m`, `.5s`, `500ms`, `0`, `2d`. The error completes the sentence "… is not a duration:
/// ".
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if unsigned.starts_with('-') {
        return Err(format!("{text:?} is negative"));
    }
    if unsigned.is_empty() {
        return Err("it is empty; write for example 10s, 5m or 1h30m".into());
    }
    if unsigned.bytes().all(|b| b == b'0') {
        return Ok(Duration::ZERO);
    }
    let mut nanos: u128 = 0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split_while(after, |c| !c.is_ascii_digit() && c != '.');
        if unit.is_empty() {
            return Err(format!("{text:?} has no unit; write for example {number}s"));
        }
        let Some(&(_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("{unit:?} is not a unit of time; use ms, s, m, h, d or w"));
        };
        let amount = scaled(number, scale).ok_or_else(|| format!("{text:?} cannot be read"))?;
        nanos = nanos.checked_add(amount).filter(|n| *n <= MAX_NANOS).ok_or_else(|| format!("{text:?} is too long"))?;
        rest = after;
    }
    let secs = u64::try_from(nanos / NANOS_PER_SEC).map_err(|_| format!("{text:?} is too long"))?;
    let subsec = u32::try_from(nanos % NANOS_PER_SEC).map_err(|_| format!("{text:?} is too long"))?;
    Ok(Duration::new(secs, subsec))
}

/// Go's limit, about 292 years; it also keeps sums of durations far from overflow.
const MAX_NANOS: u128 = i64::MAX as u128;

/// Reads `1048576`, `5MB` (10⁶), `5MiB` (2²⁰), `1.5 GB`, as go-humanize does.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = split_while(text, |c| c.is_ascii_digit() || c == '.' || c == ',');
    let scale: u128 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return Err(format!("{text:?} is not a size; write for example 5MiB")),
    };
    let number = number.replace(',', "");
    let bytes = scaled(&number, scale).ok_or_else(|| format!("{text:?} is not a size; write for example 5MiB"))?;
    u64::try_from(bytes).ok().filter(|b| i64::try_from(*b).is_ok()).ok_or_else(|| format!("{text:?} is too large"))
}

/// The booleans of YAML 1.1, which Litestream's parser takes.
pub fn parse_yaml_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Ok(true),
        "false" | "no" | "off" | "n" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// The booleans of URL queries and Go flags.
pub fn parse_go_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "t" | "yes" => Ok(true),
        "false" | "0" | "f" | "no" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

pub fn parse_count(text: &str) -> Result<u64, String> {
    text.trim().replace('_', "").parse().map_err(|_| format!("{text:?} is not a whole number, zero or more"))
}

/// Reads permission bits in octal: `0640`, `640`, `0o640`.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && !digits.starts_with('+'))
        .ok_or_else(|| format!("{text:?} is not a file mode; write it in octal, for example \"0640\""))
}

/// Reads the name of an environment variable.
pub fn parse_variable(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains(['=', '\0']) {
        true => Err(format!("{text:?} is not the name of an environment variable")),
        false => Ok(text.to_owned()),
    }
}

impl LogLevel {
    pub fn parse(text: &str) -> Result<LogLevel, String> {
        match text.to_ascii_lowercase().as_str() {
            "trace" => Ok(LogLevel::Trace),
            "debug" => Ok(LogLevel::Debug),
            "info" => Ok(LogLevel::Info),
            "warn" | "warning" => Ok(LogLevel::Warn),
            "error" => Ok(LogLevel::Error),
            _ => Err(format!("{text:?} is not a log level; use trace, debug, info, warn or error")),
        }
    }
}

impl LogFormat {
    pub fn parse(text: &str) -> Result<LogFormat, String> {
        match text.to_ascii_lowercase().as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            "pretty" | "tint" => Ok(LogFormat::Pretty),
            _ => Err(format!("{text:?} is not a log format; use text, json or pretty")),
        }
    }
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

/// `number × scale` of a decimal number, cut off below one; `None` when it is not a number or
/// overflows.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(scale)?;
    let mut place = scale;
    for digit in fraction.chars() {
        place /= 10;
        total = total.checked_add(u128::from(digit.to_digit(10)?).checked_mul(place)?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos_and_days_and_weeks() {
        let cases = [
            ("1h30m", 5_400_000),
            (".5s", 500),
            ("+1s", 1_000),
            ("500ms", 500),
            ("0", 0),
            ("0s", 0),
            ("1.5h", 5_400_000),
            ("720h0m0s", 2_592_000_000),
            ("1d", 86_400_000),
            ("2w", 1_209_600_000),
            (" 10s ", 10_000),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse_duration("100µs"), Ok(Duration::from_micros(100)));
        assert_eq!(parse_duration("100us"), Ok(Duration::from_micros(100)));
        assert_eq!(parse_duration("1.5ns"), Ok(Duration::from_nanos(1)), "cut off, as Go does");
    }

    #[test]
    fn bad_durations_say_what_to_write() {
        let says = |text: &str, part: &str| {
            let error = parse_duration(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        };
        says("10", "write for example 10s");
        says("1h30", "no unit");
        says("-1h", "negative");
        says("", "empty");
        says("1M", "not a unit");
        says("5 minutes", "not a unit");
        says("1.2.3s", "cannot be read");
        says(".s", "cannot be read");
        says("s", "cannot be read");
        says("9999999999h", "too long");
        says("99999999999999999999999999999999999999999999h", "cannot be read");
    }

    #[test]
    fn sizes_are_decimal_or_binary_by_their_unit() {
        let cases =
            [("5242880", 5_242_880), ("5MB", 5_000_000), ("5MiB", 5 << 20), ("5 mib", 5 << 20), ("1.5K", 1_500)];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MB", "5X", "-5", "1e6", "99999999999TiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn booleans_counts_and_modes() {
        assert_eq!(parse_yaml_bool("Yes"), Ok(true));
        assert_eq!(parse_yaml_bool("off"), Ok(false));
        assert!(parse_yaml_bool("1").is_err());
        assert_eq!(parse_go_bool("1"), Ok(true));
        assert!(parse_go_bool("maybe").is_err());
        assert_eq!(parse_count("1_000"), Ok(1000));
        assert!(parse_count("-1").is_err());
        assert_eq!(parse_variable("AWS_SECRET_ACCESS_KEY").as_deref(), Ok("AWS_SECRET_ACCESS_KEY"));
        assert!(parse_variable("").is_err() && parse_variable("SECRET=x").is_err());
        assert_eq!(parse_mode("0640"), Ok(0o640));
        assert_eq!(parse_mode("0o600"), Ok(0o600));
        assert!(parse_mode("0649").is_err() && parse_mode("7777").is_err() && parse_mode("").is_err());
    }
}
