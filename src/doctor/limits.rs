//! The limit of open files against what so many databases need.

use super::check::{Blame, Check};

const WHAT: &str = "open files";
/// The runtime, the signals and the watch.
const FIRST: u64 = 12;
/// Connections to a database that is written to, its WAL and what is beside it.
const PER_DATABASE: u64 = 9;
/// Connections to the stores, pages that are asked for, restores that run side by side.
const SPARE: u64 = 64;

/// What is needed while every one of them is written to.
fn needed(databases: usize) -> u64 {
    FIRST + PER_DATABASE * databases as u64
}

/// `limits` are the soft and the hard one.
pub fn judge(databases: usize, limits: Option<(u64, u64)>) -> Check {
    let Some((soft, hard)) = limits else { return Check::not_checked(WHAT, "the limit could not be read") };
    let (need, wanted) = (needed(databases), needed(databases) + SPARE);
    let of = if databases == 1 { "1 database needs".into() } else { format!("{databases} databases need") };
    let found = format!("{of} about {need} at a time; the limit is {soft} (soft), {hard} (hard)");
    let advice = format!(
        "raise the hard limit to {wanted} or more (ulimit -Hn, docker run --ulimit nofile=…, systemd's LimitNOFILE); the soft one is \
         raised by millstream itself"
    );
    match hard {
        _ if hard < need => Check::problem(WHAT, Blame::Configuration, found, advice),
        _ if hard < wanted => Check::warning(WHAT, found, advice),
        _ => Check::ok(WHAT, found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn the_hard_limit_decides() {
        for (databases, limits, verdict) in [
            (1, Some((1024, 1_048_576)), Verdict::Ok),
            (1, Some((64, 64)), Verdict::Warning),
            (10, Some((64, 64)), Verdict::Problem(Blame::Configuration)),
            (10, Some((64, 4096)), Verdict::Ok),
            (1000, Some((1024, 4096)), Verdict::Problem(Blame::Configuration)),
            (1000, Some((1024, 524_288)), Verdict::Ok),
            (1, None, Verdict::NotChecked),
        ] {
            assert_eq!(judge(databases, limits).verdict, verdict, "{databases} {limits:?}");
        }
    }
}
