//! One thing that was looked at, and what is to be said about it.

/// Who or what has to change. It decides about the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The configuration, or this machine's settings.
    Configuration,
    /// The store denies something.
    Denied,
    /// The store is out of reach.
    Unreachable,
    /// A file or a disk of this machine.
    Local,
    /// What is in the replica.
    Backup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// It works, and can be better or may turn out badly.
    Warning,
    /// Something that is needed does not work.
    Problem(Blame),
    /// It could not be looked at, or there was no reason to.
    NotChecked,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem(_) => "problem",
            Verdict::NotChecked => "not checked",
        }
    }
}

/// A verdict on one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The thing, in a word or two.
    pub what: &'static str,
    pub verdict: Verdict,
    /// What was measured, or why nothing could be.
    pub found: String,
    /// What to do.
    pub advice: Option<String>,
}

impl Check {
    pub fn ok(what: &'static str, found: impl Into<String>) -> Check {
        Check { what, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    pub fn not_checked(what: &'static str, why: impl Into<String>) -> Check {
        Check { verdict: Verdict::NotChecked, ..Check::ok(what, why) }
    }

    pub fn warning(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { verdict: Verdict::Warning, advice: Some(advice.into()), ..Check::ok(what, found) }
    }

    pub fn problem(what: &'static str, blame: Blame, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { verdict: Verdict::Problem(blame), advice: Some(advice.into()), ..Check::ok(what, found) }
    }
}

/// The worst of all problems: a damaged backup, then what only a person can repair, then what may
/// pass by itself.
pub fn worst<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Option<Blame> {
    let rank = |blame: &Blame| match blame {
        Blame::Backup => 4,
        Blame::Configuration => 3,
        Blame::Denied => 2,
        Blame::Local => 1,
        Blame::Unreachable => 0,
    };
    let blame = |check: &Check| match check.verdict {
        Verdict::Problem(blame) => Some(blame),
        Verdict::Ok | Verdict::Warning | Verdict::NotChecked => None,
    };
    checks.into_iter().filter_map(blame).max_by_key(rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_and_warnings_do_not() {
        let of = |blames: &[Blame]| -> Option<Blame> {
            let checks: Vec<Check> = blames.iter().map(|blame| Check::problem("x", *blame, "", "")).collect();
            worst(checks.iter().chain([
                &Check::warning("y", "", ""),
                &Check::ok("z", ""),
                &Check::not_checked("w", ""),
            ]))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[Blame::Unreachable, Blame::Local]), Some(Blame::Local));
        assert_eq!(of(&[Blame::Denied, Blame::Backup, Blame::Configuration]), Some(Blame::Backup));
        assert_eq!(of(&[Blame::Configuration, Blame::Denied]), Some(Blame::Configuration));
    }
}
