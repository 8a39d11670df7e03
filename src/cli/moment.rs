//! A point in time as people say it: `-timestamp "10m ago"`.
//!
//! ```text
//! 2026-11-20T14:00:00Z · 2026-11-20T15:00:00.5+01:00          RFC 3339, as in Litestream
//! 2026-11-20 14:00 · today 9:30 · yesterday 14:00:05 · last monday 9:00
//!                              in the local time zone: that of TZ, else the system's, else UTC
//! now · 10m ago · 2 hours ago · 1h30m ago · 3 days ago · -5m
//! ```
//!
//! Pure: reading needs no clock, and [`Moment::resolve`] is given the time. What could mean two
//! things is refused.

use jiff::civil::{DateTime, Time, Weekday};
use jiff::{Span, Timestamp, Zoned};

const EXAMPLES: &str =
    "write for example 2000-01-01T00:00:00Z, \"2000-01-01 14:00\", \"yesterday 14:00\" or \"10m ago\"";

/// A point in time. Some kinds are relative to the current time.
#[derive(Clone, Debug)]
pub enum Moment {
    At(Timestamp),
    /// In the local time zone.
    Local(DateTime),
    Ago(Span),
    /// This many days before today, at this time.
    Day {
        ago: i64,
        time: Time,
    },
    /// The last such day before today, at this time.
    Last {
        weekday: Weekday,
        time: Time,
    },
}

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

impl Moment {
    pub fn parse(text: &str) -> Result<Moment, String> {
        let text = text.trim();
        if let Ok(timestamp) = text.parse::<Timestamp>() {
            return Ok(Moment::At(timestamp));
        }
        let words = text.to_ascii_lowercase();
        if words == "now" {
            return Ok(Moment::Ago(Span::new()));
        }
        if let Some(amount) = words.strip_suffix("ago") {
            return amounts(amount).map(Moment::Ago);
        }
        if let Some(amount) = words.strip_prefix('-') {
            return amounts(amount).map(Moment::Ago);
        }
        for (day, ago) in [("today", 0), ("yesterday", 1)] {
            if let Some(time) = words.strip_prefix(day) {
                return Ok(Moment::Day { ago, time: time_on(day, time)? });
            }
        }
        if let Some(rest) = words.strip_prefix("last ") {
            let rest = rest.trim_start();
            let day = WEEKDAYS.iter().find_map(|(name, day)| Some((*name, *day, rest.strip_prefix(name)?)));
            let (name, weekday, time) = day.ok_or_else(|| format!("{rest:?} does not begin with a day; {EXAMPLES}"))?;
            return Ok(Moment::Last { weekday, time: time_on(&format!("last {name}"), time)? });
        }
        let (date, time) = words.split_once([' ', 't']).ok_or_else(|| format!("it is not a moment; {EXAMPLES}"))?;
        match (date.parse::<jiff::civil::Date>(), clock_time(time.trim_start())) {
            (Ok(date), Some(time)) => Ok(Moment::Local(date.to_datetime(time))),
            _ => Err(format!("it is not a moment; {EXAMPLES}")),
        }
    }

    /// The time stamp, relative to `now` and in its time zone.
    pub fn resolve(&self, now: &Zoned) -> Result<Timestamp, String> {
        let out_of_range = |_| String::from("it is outside of the years that can be counted");
        let local = |time: DateTime| now.time_zone().to_timestamp(time).map_err(out_of_range);
        match self {
            Moment::At(timestamp) => Ok(*timestamp),
            Moment::Local(time) => local(*time),
            Moment::Ago(span) => now.checked_sub(*span).map(|then| then.timestamp()).map_err(out_of_range),
            Moment::Day { ago, time } => {
                let day = now.date().checked_sub(Span::new().days(*ago)).map_err(out_of_range)?;
                local(day.to_datetime(*time))
            }
            Moment::Last { weekday, time } => {
                let day = now.date().nth_weekday(-1, *weekday).map_err(out_of_range)?;
                local(day.to_datetime(*time))
            }
        }
    }
}

/// The time that follows a day.
fn time_on(day: &str, rest: &str) -> Result<Time, String> {
    let rest = rest.trim_start();
    if rest.is_empty() {
        return Err(format!("{day} at what time? Write for example \"{day} 14:00\""));
    }
    clock_time(rest).ok_or_else(|| format!("{rest:?} is not a time of day; {EXAMPLES}"))
}

/// `14:00`, `9:00` or `14:00:05.5`.
fn clock_time(text: &str) -> Option<Time> {
    let padded = if text.find(':') == Some(1) { format!("0{text}") } else { text.to_owned() };
    let has_hours = padded.find(':') == Some(2) && padded.len() >= 5;
    let well_formed = has_hours && !padded.contains(char::is_alphabetic);
    if well_formed { padded.parse().ok() } else { None }
}

/// `10m`, `2 hours`, `1h30m`, `1 day 2 hours`.
fn amounts(text: &str) -> Result<Span, String> {
    let mut span = Span::new();
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(format!("how long ago? {EXAMPLES}"));
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: i64 =
            rest[..digits].parse().map_err(|_| format!("{rest:?} does not begin with a number; {EXAMPLES}"))?;
        let unit = rest[digits..].trim_start();
        let letters = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
        let too_long = |_| format!("{number} {} is too long ago", &unit[..letters]);
        span = match &unit[..letters] {
            "s" | "sec" | "secs" | "second" | "seconds" => span.try_seconds(span.get_seconds().saturating_add(number)),
            "m" | "min" | "mins" | "minute" | "minutes" => span.try_minutes(span.get_minutes().saturating_add(number)),
            "h" | "hour" | "hours" => span.try_hours(i64::from(span.get_hours()).saturating_add(number)),
            "d" | "day" | "days" => span.try_days(i64::from(span.get_days()).saturating_add(number)),
            "w" | "week" | "weeks" => span.try_weeks(i64::from(span.get_weeks()).saturating_add(number)),
            other => return Err(format!("{other:?} is not a unit: write s, m, h, d or w; {EXAMPLES}")),
        }
        .map_err(too_long)?;
        rest = unit[letters..].trim_start();
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use jiff::tz::{Offset, TimeZone};

    use super::*;

    /// Said on a Saturday at 15:30 by a clock that is one hour ahead of UTC.
    fn said(text: &str) -> Result<String, String> {
        let zone = TimeZone::fixed(Offset::constant(1));
        let now = "2026-11-21T14:30:00.25Z".parse::<Timestamp>().expect("valid").to_zoned(zone);
        Moment::parse(text)?.resolve(&now).map(|timestamp| timestamp.to_string())
    }

    #[test]
    fn moments_are_understood() {
        for (text, wanted) in [
            ("2000-01-01T00:00:00Z", "2000-01-01T00:00:00Z"),
            ("2000-01-01T00:00:00.5+01:00", "1999-12-31T23:00:00.5Z"),
            ("2026-11-20 14:00", "2026-11-20T13:00:00Z"),
            ("2026-11-20T14:00:30", "2026-11-20T13:00:30Z"),
            ("2026-11-20  14:00:30.25", "2026-11-20T13:00:30.25Z"),
            ("now", "2026-11-21T14:30:00.25Z"),
            (" 10m ago ", "2026-11-21T14:20:00.25Z"),
            ("10 minutes ago", "2026-11-21T14:20:00.25Z"),
            ("2 hours ago", "2026-11-21T12:30:00.25Z"),
            ("1h30m ago", "2026-11-21T13:00:00.25Z"),
            ("1 day 2 hours ago", "2026-11-20T12:30:00.25Z"),
            ("45s ago", "2026-11-21T14:29:15.25Z"),
            ("2w ago", "2026-11-07T14:30:00.25Z"),
            ("Yesterday 14:00", "2026-11-20T13:00:00Z"),
            ("yesterday 00:00:01", "2026-11-19T23:00:01Z"),
            ("today 09:30", "2026-11-21T08:30:00Z"),
            ("today 9:30", "2026-11-21T08:30:00Z"),
            ("-5m", "2026-11-21T14:25:00.25Z"),
            ("-1h30m", "2026-11-21T13:00:00.25Z"),
            ("last monday 9:00", "2026-11-16T08:00:00Z"),
            ("Last Saturday 16:00", "2026-11-14T15:00:00Z"),
            ("last friday 23:59", "2026-11-20T22:59:00Z"),
        ] {
            assert_eq!(said(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for (text, why) in [
            ("", "not a moment"),
            ("14:00", "not a moment"),
            ("2026-11-20", "not a moment"),
            ("2026-11-31 14:00", "not a moment"),
            ("2026-11-20 25:00", "not a moment"),
            ("yesterday", "at what time"),
            ("today 9", "not a time of day"),
            ("tomorrow 14:00", "not a moment"),
            ("ago", "how long ago"),
            ("10 ago", "not a unit"),
            ("ten minutes ago", "does not begin with a number"),
            ("3 months ago", "not a unit"),
            ("-", "how long ago"),
            ("last week", "does not begin with a day"),
            ("last monday", "at what time"),
            ("99999999999999999999s ago", "does not begin with a number"),
            ("999999999999999999 days ago", "too long ago"),
            ("-5m ago", "does not begin with a number"),
        ] {
            let error = said(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(said("15000 years ago").is_err());
        assert!(said("7000000 days ago").is_err());
    }

    #[test]
    fn days_are_those_of_the_calendar_where_clocks_change() {
        let Ok(zone) = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3") else { panic!("a POSIX zone") };
        let now = "2026-10-25T11:00:00Z".parse::<Timestamp>().expect("valid").to_zoned(zone);
        let said = |text: &str| Moment::parse(text).and_then(|moment| moment.resolve(&now)).map(|t| t.to_string());
        assert_eq!(said("1 day ago").as_deref(), Ok("2026-10-24T10:00:00Z"), "at the same time of day");
        assert_eq!(said("24h ago").as_deref(), Ok("2026-10-24T11:00:00Z"));
        assert_eq!(said("yesterday 12:00").as_deref(), Ok("2026-10-24T10:00:00Z"));
    }
}
