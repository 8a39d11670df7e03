//! This machine's clock against the store's.

use std::time::Duration;

use super::check::{Blame, Check};

const WHAT: &str = "clock";
/// A `Date` has whole seconds, and an answer takes its time.
const NOTHING_MS: u64 = 5_000;
/// S3 takes signatures that are no older and no younger than this.
const SIGNATURE_MS: u64 = 15 * 60 * 1000;

/// `ahead_ms`: by how much the store's clock is ahead of ours.
pub fn judge(ahead_ms: Option<i64>) -> Check {
    let Some(ahead_ms) = ahead_ms else {
        return Check::not_checked(WHAT, "the store has not said what time it is there");
    };
    let apart = Duration::from_secs(ahead_ms.unsigned_abs() / 1000);
    let direction = if ahead_ms > 0 { "behind" } else { "ahead of" };
    let found = format!("this machine's clock is {apart:?} {direction} the store's");
    match ahead_ms.unsigned_abs() {
        apart if apart <= NOTHING_MS => Check::ok(WHAT, "agrees with the store's to a few seconds"),
        apart if apart < SIGNATURE_MS => Check::warning(
            WHAT,
            found,
            "set the clock (NTP, chrony): moments of a restore are those of this clock, and are off by as much",
        ),
        _ => Check::problem(
            WHAT,
            Blame::Configuration,
            found,
            "set the clock (NTP, chrony): S3 refuses requests that are signed more than 15 minutes off, and moments of a restore \
             are those of this clock",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn a_skew_is_measured_and_judged_in_both_directions() {
        let two_hours = 7_200_000;
        for (ahead_ms, verdict, says) in [
            (None, Verdict::NotChecked, "has not said"),
            (Some(-1_900), Verdict::Ok, "agrees"),
            (Some(60_000), Verdict::Warning, "60s behind"),
            (Some(-60_500), Verdict::Warning, "60s ahead of"),
            (Some(two_hours), Verdict::Problem(Blame::Configuration), "7200s behind"),
            (Some(-two_hours), Verdict::Problem(Blame::Configuration), "7200s ahead of"),
            (Some(i64::MIN), Verdict::Problem(Blame::Configuration), "ahead of"),
        ] {
            let check = judge(ahead_ms);
            assert_eq!(check.verdict, verdict, "{ahead_ms:?}");
            assert!(check.found.contains(says), "{check:?}");
        }
    }
}
