//! The command that restores a chosen moment, ready to be copied. Pure.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::document::{PointsEntry, RangeEntry};
use super::figures::time;

/// Where the command finds the replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The configuration file of the process; `None`: it has none, and the command names the URL.
    pub config: Option<&'a str>,
    pub database: &'a str,
    pub address: &'a str,
}

/// The file that is read if no other is named.
const USUAL_CONFIG: &str = "/etc/litestream.yml";

/// The command, for a moment or the newest state. It restores beside the database and never over
/// it.
pub fn command(place: &Place<'_>, at: Option<Timestamp>) -> String {
    let mut words: Vec<String> = vec!["millstream".into(), "restore".into()];
    if let Some(config) = place.config.filter(|config| *config != USUAL_CONFIG) {
        words.extend(["-config".into(), config.into()]);
    }
    if let Some(at) = at {
        words.extend(["-timestamp".into(), at.to_string()]);
    }
    words.extend(["-o".into(), format!("{}.restored", place.database)]);
    words.push(if place.config.is_some() { place.database.into() } else { place.address.into() });
    words.iter().map(|word| shell_words::quote(word).into_owned()).collect::<Vec<_>>().join(" ")
}

/// Reads what a browser's field for a date and a time sends, which is UTC here, or RFC 3339.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp);
    }
    let civil: Result<DateTime, _> = text.trim_end_matches(" UTC").replacen(' ', "T", 1).parse();
    let at = civil.ok().and_then(|civil| civil.to_zoned(TimeZone::UTC).ok()).map(|zoned| zoned.timestamp());
    at.ok_or_else(|| format!("\"{text}\" is not a moment. Write for example 2026-01-31 14:00:00, in UTC."))
}

/// What is known about this moment: a remark, if the command will not bring back exactly that.
pub fn remark(at: Timestamp, points: Option<&PointsEntry>, now_ms: i64) -> Option<String> {
    let ms = at.as_millisecond();
    if ms > now_ms {
        return Some("This moment lies in the future: the newest state is restored.".into());
    }
    let ranges = points.map(|points| points.ranges.as_slice()).unwrap_or_default();
    let oldest = ranges.iter().map(|range| range.from_ms).min()?;
    if ms < oldest && points.is_some_and(|points| points.more_ranges == 0) {
        return Some(format!(
            "Nothing can be brought back from that time: the oldest state is that of {}.",
            time(oldest)
        ));
    }
    let within = |range: &&RangeEntry| range.from_ms <= ms && ms <= range.to_ms;
    match ranges.iter().find(within) {
        Some(range) if range.is_every_commit => None,
        Some(range) => {
            Some(format!("What is there from that time: {}. The last state before it is restored.", range.density))
        }
        None => {
            let before = ranges.iter().map(|range| range.to_ms).filter(|to| *to <= ms).max()?;
            Some(format!("The last state before that moment is restored, which is that of {}.", time(before)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("RFC 3339")
    }

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        let place = Place { config: Some("/etc/app.yml"), database: "/data/it's app.db", address: "s3://b/p" };
        let shown = command(&place, Some(at("2026-01-31T14:00:00Z")));
        assert_eq!(
            shell_words::split(&shown).expect("words"),
            [
                "millstream",
                "restore",
                "-config",
                "/etc/app.yml",
                "-timestamp",
                "2026-01-31T14:00:00Z",
                "-o",
                "/data/it's app.db.restored",
                "/data/it's app.db",
            ]
        );
        let usual = Place { config: Some(USUAL_CONFIG), database: "/data/app.db", ..place.clone() };
        assert_eq!(command(&usual, None), "millstream restore -o /data/app.db.restored /data/app.db");
        let none = Place { config: None, database: "/data/app.db", ..place };
        assert_eq!(command(&none, None), "millstream restore -o /data/app.db.restored s3://b/p");
    }

    #[test]
    fn a_browser_and_a_person_may_write_a_moment() {
        let noon = at("2026-01-31T12:00:00Z");
        for text in [
            "2026-01-31T12:00",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00",
            "2026-01-31T13:00:00+01:00",
            "2026-01-31 12:00:00 UTC",
        ] {
            assert_eq!(moment(text), Ok(noon), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01T00:00", "<script>"] {
            assert!(moment(text).expect_err(text).contains("is not a moment"));
        }
    }

    #[test]
    fn it_is_said_what_a_moment_brings_back() {
        let range = |from: &str, to: &str, density: &str| RangeEntry {
            from_ms: at(from).as_millisecond(),
            to_ms: at(to).as_millisecond(),
            density: density.into(),
            is_every_commit: density == "every commit",
            ..RangeEntry::default()
        };
        let ranges = vec![
            range("2026-01-31T10:00:00Z", "2026-01-31T11:00:00Z", "about every 30 s"),
            range("2026-01-31T11:30:00Z", "2026-01-31T12:00:00Z", "every commit"),
        ];
        let points = PointsEntry { ranges, ..PointsEntry::default() };
        let now_ms = at("2026-01-31T13:00:00Z").as_millisecond();
        let of = |text: &str| remark(at(text), Some(&points), now_ms).unwrap_or_default();
        assert!(of("2026-01-31T09:00:00Z").contains("the oldest state is that of 2026-01-31 10:00:00 UTC"));
        assert!(of("2026-01-31T10:30:00Z").contains("about every 30 s"));
        assert!(of("2026-01-31T11:15:00Z").ends_with("that of 2026-01-31 11:00:00 UTC."));
        assert_eq!(of("2026-01-31T11:45:00Z"), "");
        assert!(of("2026-01-31T12:30:00Z").ends_with("12:00:00 UTC."));
        assert!(of("2026-01-31T14:00:00Z").contains("future"));
        assert_eq!(remark(at("2026-01-31T09:00:00Z"), None, now_ms), None, "nothing is known");
    }
}
