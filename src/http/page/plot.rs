//! The geometry of the two plots. Pure.
//!
//! Both stretch to the width of the page, so there is no text in them; it stands beside them.

use std::fmt::Write;
use std::time::Duration;

use super::document::RangeEntry;
use super::figures::duration;
use super::lags::{INTERVAL, INTERVALS};

pub const WIDTH: f64 = 600.0;
pub const HEIGHT: f64 = 72.0;
/// What is not nothing can be seen.
const LEAST: f64 = 1.5;
const LEAST_RANGE: f64 = 3.0;

/// The lag of the last hour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LagPlot {
    /// The path of the area.
    pub area: String,
    /// Where the history begins: what is left of it is not known.
    pub begins: f64,
    /// The value at the top.
    pub top: String,
    /// For those who do not see it.
    pub label: String,
}

/// `longest_ms` are the values of the intervals, the newest last.
pub fn lag_plot(longest_ms: &[u32]) -> LagPlot {
    let longest_ms = &longest_ms[longest_ms.len().saturating_sub(INTERVALS)..];
    let step = WIDTH / INTERVALS as f64;
    let begins = WIDTH - longest_ms.len() as f64 * step;
    let longest = longest_ms.iter().copied().max().unwrap_or(0);
    let top_ms = scale(longest);
    let mut area = format!("M{begins} {HEIGHT}");
    for (at, ms) in longest_ms.iter().enumerate() {
        let height = match ms {
            0 => 0.0,
            ms => (f64::from(*ms) / top_ms * HEIGHT).clamp(LEAST, HEIGHT),
        };
        let (y, x) = (HEIGHT - height, begins + (at + 1) as f64 * step);
        let _ = write!(area, "V{}H{}", tenth(y), tenth(x));
    }
    let _ = write!(area, "V{HEIGHT}Z");
    LagPlot {
        area,
        begins: tenth(begins),
        top: duration(Duration::from_secs_f64(top_ms / 1000.0)),
        label: label(longest_ms),
    }
}

fn label(longest_ms: &[u32]) -> String {
    let longest = longest_ms.iter().copied().max().unwrap_or(0);
    let of = duration(Duration::from_secs(INTERVAL.as_secs() * longest_ms.len() as u64));
    if longest == 0 {
        return format!("Lag over the last {of}: none was seen.");
    }
    let at = longest_ms.iter().rposition(|ms| *ms == longest).unwrap_or(0);
    let ago = INTERVAL * (longest_ms.len() - 1 - at) as u32;
    let when = if ago.is_zero() { "now".to_owned() } else { format!("{} ago", duration(ago)) };
    format!("Lag over the last {of}: at most {}, {when}.", duration(Duration::from_millis(longest.into())))
}

/// The top of the plot in milliseconds: 1, 2 or 5 of a power of ten, and not less than a second, so
/// that what is quick looks small.
fn scale(longest_ms: u32) -> f64 {
    let longest = f64::from(longest_ms.max(1000));
    let mut unit = 1000.0;
    loop {
        for times in [1.0, 2.0, 5.0] {
            if longest <= times * unit {
                return times * unit;
            }
        }
        unit *= 10.0;
    }
}

/// One range of moments as a bar: where it begins, and how wide it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    pub x: f64,
    pub width: f64,
}

/// A bar for each range, between the oldest and the newest moment.
pub fn timeline(ranges: &[RangeEntry]) -> Vec<Bar> {
    let oldest = ranges.iter().map(|range| range.from_ms).min().unwrap_or(0);
    let newest = ranges.iter().map(|range| range.to_ms).max().unwrap_or(0);
    let span = newest.saturating_sub(oldest).max(1) as f64;
    let x = |ms: i64| ms.saturating_sub(oldest) as f64 / span * WIDTH;
    let bar = |range: &RangeEntry| {
        let width = (x(range.to_ms) - x(range.from_ms)).max(LEAST_RANGE);
        Bar { x: tenth(x(range.from_ms).min(WIDTH - width)), width: tenth(width) }
    };
    ranges.iter().map(bar).collect()
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_ends_at_the_right_and_its_highest_value_fits() {
        let plot = lag_plot(&[0, 500, 4000]);
        assert_eq!(plot.area, "M585 72V72H590V64.8H595V14.4H600V72Z");
        assert_eq!((plot.begins, plot.top.as_str()), (585.0, "5.0 s"));
        assert_eq!(plot.label, "Lag over the last 1 min 30 s: at most 4.0 s, now.");
        assert_eq!(lag_plot(&[7_000, 0]).label, "Lag over the last 1 min: at most 7.0 s, 30 s ago.");
        let hour = lag_plot(&[0; 200]);
        assert_eq!((hour.begins, hour.area.matches('H').count()), (0.0, 120));
        assert_eq!(hour.label, "Lag over the last 1 h: none was seen.");
        assert!(lag_plot(&[1]).area.contains("V70.5"), "a millisecond can be seen");
        assert_eq!(lag_plot(&[]).area, "M600 72V72Z");
        for longest in [0, 999, 1000, 1001, 59_000, 3_600_000, u32::MAX] {
            assert!(scale(longest) >= f64::from(longest), "{longest}");
        }
    }

    #[test]
    fn ranges_lie_where_their_time_is() {
        let range = |from_ms, to_ms| RangeEntry { from_ms, to_ms, ..RangeEntry::default() };
        let bars = timeline(&[range(0, 500), range(500, 990), range(1000, 1000)]);
        assert_eq!(bars[0], Bar { x: 0.0, width: 300.0 });
        assert_eq!(bars[2], Bar { x: 597.0, width: 3.0 }, "a moment is at the end, and can be seen");
        assert_eq!(timeline(&[range(5, 5)]), [Bar { x: 0.0, width: 3.0 }]);
        assert!(timeline(&[]).is_empty());
        let odd = timeline(&[range(i64::MIN, 0), range(0, i64::MAX)]);
        assert!(odd.iter().all(|bar| bar.x.is_finite() && bar.width >= LEAST_RANGE), "{odd:?}");
    }
}
