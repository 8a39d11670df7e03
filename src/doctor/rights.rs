//! What the tries in the bucket mean. Pure.

use super::check::{Blame, Check};
use crate::store::{Lacks, StoreError};

/// How one try ended.
#[derive(Debug, Default)]
pub enum Step<T> {
    /// One before it has failed, or there was an interruption.
    #[default]
    NotTried,
    Failed(StoreError),
    Done(T),
}

impl<T> Step<T> {
    pub(super) fn map<U>(self, of: impl FnOnce(T) -> U) -> Step<U> {
        match self {
            Step::NotTried => Step::NotTried,
            Step::Failed(error) => Step::Failed(error),
            Step::Done(done) => Step::Done(of(done)),
        }
    }
}

/// Several create one object at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Race {
    pub rivals: usize,
    pub winners: usize,
    pub refused: usize,
    /// The store was asked to come back, or has not answered.
    pub unanswered: usize,
}

/// What a listing shows of what was written before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appeared {
    pub written: usize,
    pub missing: usize,
    pub in_order: bool,
}

#[derive(Debug, Default)]
pub struct Removal {
    pub refused: Vec<StoreError>,
    /// It was said to be deleted, or not, and is still there.
    pub stays: bool,
}

/// Everything that was tried.
#[derive(Debug, Default)]
pub struct Tried {
    pub list: Step<()>,
    pub create: Step<()>,
    /// Whether a second create of the same name was refused.
    pub second: Step<bool>,
    pub race: Step<Race>,
    pub head: Step<()>,
    /// Whether the bytes were the right ones.
    pub range: Step<bool>,
    pub appeared: Step<Appeared>,
    pub parts: Step<()>,
    /// How many uploads that were given up are still open.
    pub aborted: Step<usize>,
    pub removed: Step<Removal>,
    pub lacks: Lacks,
    /// By how much the store's clock is ahead of ours, by the time that it gave the first object a
    /// moment before.
    pub ahead_ms: Option<i64>,
    /// What could not be removed.
    pub left: Option<String>,
    pub interrupted: bool,
}

const ONE_WRITER: &str = "make sure that only one writer ever uses this path (one instance, no overlap in deploys), or use a store that \
                          honours If-None-Match: *";

/// `deletes`: whether retention removes files.
pub fn judge(tried: &Tried, deletes: bool) -> Vec<Check> {
    vec![
        step("list", &tried.list, "the right s3:ListBucket", |()| Check::ok("list", "permitted")),
        step("create", &tried.create, "the right s3:PutObject", |()| Check::ok("create", "permitted")),
        step("create-if-absent", &tried.second, "the right s3:PutObject", |refused| condition(*refused, tried.lacks)),
        step("eight at once", &tried.race, "the right s3:PutObject", raced),
        step("head", &tried.head, "the right s3:GetObject", |()| Check::ok("head", "permitted")),
        step("read ranges", &tried.range, "the right s3:GetObject", |right| range(*right, tried.lacks)),
        step("list after writing", &tried.appeared, "the right s3:ListBucket", appeared),
        step("upload in parts", &tried.parts, "the right s3:PutObject", |()| {
            Check::ok("upload in parts", "two parts became one object")
        }),
        aborted(&tried.aborted),
        removed(tried, deletes),
    ]
}

/// A try that has failed is a problem of whoever the error says.
fn step<T>(what: &'static str, tried: &Step<T>, right: &str, done: impl FnOnce(&T) -> Check) -> Check {
    match tried {
        Step::Done(value) => done(value),
        Step::NotTried => Check::not_checked(what, "what comes before it has failed"),
        Step::Failed(error) => {
            let (blame, advice) = match error {
                StoreError::Denied { .. } => {
                    (Blame::Denied, format!("check the keys, and give them {right} on this bucket and path"))
                }
                StoreError::Transient { .. } => (
                    Blame::Unreachable,
                    "check the endpoint, the network and the store's own state, and try again".into(),
                ),
                StoreError::Permanent { .. } | StoreError::NotFound { .. } | StoreError::AlreadyExists { .. } => {
                    (Blame::Configuration, "correct the replica's settings, or the bucket's, as the answer says".into())
                }
            };
            Check::problem(what, blame, error.to_string(), advice)
        }
    }
}

fn condition(refused: bool, lacks: Lacks) -> Check {
    const WHAT: &str = "create-if-absent";
    match refused {
        _ if lacks.conditions => Check::warning(
            WHAT,
            "the store refuses If-None-Match: it is looked before each write instead, and two writers could overwrite each other",
            ONE_WRITER,
        ),
        true => Check::ok(WHAT, "honoured: the second create of a name was refused"),
        false => Check::warning(
            WHAT,
            "ignored: the second create of a name has replaced the first, so two writers could overwrite each other",
            ONE_WRITER,
        ),
    }
}

fn raced(race: &Race) -> Check {
    const WHAT: &str = "eight at once";
    let Race { rivals, winners, refused, unanswered } = race;
    match winners {
        1 => Check::ok(WHAT, format!("exactly one of {rivals} has created the object")),
        0 => Check::warning(
            WHAT,
            format!(
                "none of {rivals} was told that it has created the object ({refused} refused, {unanswered} not answered)"
            ),
            "try again; if it stays so, the store settles no race, and one writer at a time must be seen to",
        ),
        winners => Check::warning(
            WHAT,
            format!("{winners} of {rivals} were told that they have created the object"),
            ONE_WRITER,
        ),
    }
}

fn range(right: bool, lacks: Lacks) -> Check {
    const WHAT: &str = "read ranges";
    match right {
        false => Check::problem(
            WHAT,
            Blame::Configuration,
            "the bytes that came are not those that were asked for",
            "look for a proxy or a cache between here and the store; nothing that is read through it can be relied on",
        ),
        true if lacks.ranges => Check::warning(
            WHAT,
            "the store answers with more than the range that was asked for: restores read much more than they need",
            "look for a proxy or a cache in between that drops the header Range",
        ),
        true => Check::ok(WHAT, "permitted, and right"),
    }
}

fn appeared(appeared: &Appeared) -> Check {
    const WHAT: &str = "list after writing";
    let Appeared { written, missing, in_order } = *appeared;
    match (missing, in_order) {
        (0, true) => Check::ok(WHAT, format!("all of {written} objects, in order")),
        (0, false) => Check::problem(
            WHAT,
            Blame::Configuration,
            "a listing is not in the order of the names",
            "use a store whose ListObjectsV2 lists in order, as S3's does: millstream relies on it to find the newest file",
        ),
        (missing, _) => Check::problem(
            WHAT,
            Blame::Configuration,
            format!("{missing} of {written} objects that were written a moment before are not listed"),
            "use a store whose listings show what was written before them, as S3's do, or remove the cache in front of it",
        ),
    }
}

fn aborted(tried: &Step<usize>) -> Check {
    const WHAT: &str = "abort uploads";
    let advice = "give the keys the rights s3:AbortMultipartUpload and s3:ListBucketMultipartUploads, or give the bucket a lifecycle \
                  rule AbortIncompleteMultipartUpload: parts that stay are paid for, and no listing shows them";
    match tried {
        Step::Done(0) => Check::ok(WHAT, "an upload that was given up has left nothing"),
        Step::Done(open) => Check::warning(WHAT, format!("{open} uploads that were given up are still open"), advice),
        Step::NotTried => Check::not_checked(WHAT, "what comes before it has failed"),
        Step::Failed(error) => Check::warning(WHAT, error.to_string(), advice),
    }
}

fn removed(tried: &Tried, deletes: bool) -> Check {
    const WHAT: &str = "delete";
    let left = tried.left.as_ref().map(|left| format!("; {left} stays there")).unwrap_or_default();
    let (blame, found) = match &tried.removed {
        Step::NotTried => return Check::not_checked(WHAT, "nothing could be created that would have to go"),
        Step::Done(removal) => match removal.refused.first() {
            None if !removal.stays => return Check::ok(WHAT, "permitted, and what was made here is gone"),
            None => (Blame::Configuration, format!("what was deleted is still there{left}")),
            Some(error) => (blame_of(error), format!("{error}{left}")),
        },
        Step::Failed(error) => (blame_of(error), format!("{error}{left}")),
    };
    match deletes {
        true => Check::problem(
            WHAT,
            blame,
            found,
            "give the keys the right s3:DeleteObject on this bucket and path: retention cannot remove what has expired, and the replica \
             grows for ever (or set `retention: {enabled: false}` and let a lifecycle rule do it)",
        ),
        false => Check::warning(
            WHAT,
            found,
            "nothing, as long as retention is off: a lifecycle rule of the bucket has to remove what has expired",
        ),
    }
}

fn blame_of(error: &StoreError) -> Blame {
    match error {
        StoreError::Denied { .. } => Blame::Denied,
        StoreError::Transient { .. } => Blame::Unreachable,
        StoreError::Permanent { .. } | StoreError::NotFound { .. } | StoreError::AlreadyExists { .. } => {
            Blame::Configuration
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    fn denied() -> StoreError {
        StoreError::Denied { detail: "AccessDenied".into() }
    }

    fn of(tried: &Tried, deletes: bool, what: &str) -> Check {
        judge(tried, deletes).into_iter().find(|check| check.what == what).expect("a check")
    }

    #[test]
    fn nothing_tried_is_nothing_said() {
        let all = judge(&Tried::default(), true);
        assert!(all.iter().all(|check| check.verdict == Verdict::NotChecked), "{all:?}");
    }

    #[test]
    fn a_delete_that_is_denied_matters_only_where_something_is_to_be_deleted() {
        let removed = || Step::Done(Removal { refused: vec![denied()], stays: true });
        let tried = Tried { removed: removed(), left: Some("probes/0…".into()), ..Tried::default() };
        let check = of(&tried, true, "delete");
        assert_eq!(check.verdict, Verdict::Problem(Blame::Denied));
        assert!(
            check.found.contains("probes/0…") && check.advice.is_some_and(|advice| advice.contains("s3:DeleteObject"))
        );
        assert_eq!(of(&tried, false, "delete").verdict, Verdict::Warning);
        let tried = Tried { removed: Step::Done(Removal { refused: Vec::new(), stays: true }), ..Tried::default() };
        assert_eq!(of(&tried, true, "delete").verdict, Verdict::Problem(Blame::Configuration));
    }

    #[test]
    fn a_race_has_one_winner() {
        let race = |winners, unanswered| Tried {
            race: Step::Done(Race { rivals: 8, winners, refused: 8 - winners - unanswered, unanswered }),
            ..Tried::default()
        };
        assert_eq!(of(&race(1, 2), true, "eight at once").verdict, Verdict::Ok);
        assert_eq!(of(&race(2, 0), true, "eight at once").verdict, Verdict::Warning);
        assert_eq!(of(&race(0, 8), true, "eight at once").verdict, Verdict::Warning);
    }

    #[test]
    fn what_a_store_lacks_is_said_although_it_is_made_up_for() {
        let lacks = Lacks { conditions: true, ranges: true, batch_deletes: false };
        let tried = Tried { second: Step::Done(true), range: Step::Done(true), lacks, ..Tried::default() };
        for what in ["create-if-absent", "read ranges"] {
            assert_eq!(of(&tried, true, what).verdict, Verdict::Warning, "{what}");
        }
        let tried = Tried { second: Step::Done(true), range: Step::Done(false), ..Tried::default() };
        assert_eq!(of(&tried, true, "create-if-absent").verdict, Verdict::Ok);
        assert_eq!(of(&tried, true, "read ranges").verdict, Verdict::Problem(Blame::Configuration));
    }
}
