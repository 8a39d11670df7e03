//! One database among many that cannot be restored or replicated: what becomes of the others, and
//! of the application.

use std::path::PathBuf;

use super::Job;
use super::exit::Failure;
use crate::config::OnDatabaseFailure;
use crate::figures;

/// The databases that could not be made ready so far.
pub struct LeftOut {
    /// The others are replicated all the same, and what was to be started is.
    pub goes_on: bool,
    starts_something: bool,
    pub failed: Vec<(PathBuf, Failure)>,
}

impl LeftOut {
    /// By the configuration. Where that says nothing, nothing is started without one of its
    /// databases; but where nothing would be started, the others must not suffer.
    pub fn of(job: &Job) -> LeftOut {
        let starts_something = job.commands.starts_something();
        let goes_on = match job.options.on_database_failure {
            Some(policy) => policy == OnDatabaseFailure::Continue,
            None => !starts_something,
        };
        LeftOut { goes_on, starts_something, failed: Vec::new() }
    }

    /// Takes in failures, and says what becomes of the others; an error is the end. `left` of the
    /// databases are in order, or more may come, if `may_come`.
    pub fn take(&mut self, failed: Vec<(PathBuf, Failure)>, left: usize, may_come: bool) -> Result<(), Failure> {
        if !self.goes_on || left == 0 && !may_come {
            let more = failed.len().saturating_sub(1);
            return match failed.into_iter().next() {
                Some((path, failure)) => Err(self.verdict(path, failure, more, left)),
                None => Ok(()),
            };
        }
        let start = if self.starts_something { ", and the application is started without it" } else { "" };
        for (path, failure) in &failed {
            tracing::error!(
                db = %path.display(),
                "{}; this database is left out until the next start; the others ({left}) are replicated{start}",
                failure.sentence()
            );
        }
        self.failed.extend(failed);
        Ok(())
    }

    fn verdict(&self, path: PathBuf, failure: Failure, more: usize, left: usize) -> Failure {
        if more == 0 && left == 0 {
            return failure;
        }
        let (shown, sentence) = (path.display().to_string(), failure.sentence());
        let which = if sentence.contains(&shown) { String::new() } else { format!("{shown}: ") };
        let others = match more {
            0 => String::new(),
            more => format!(" (and {} cannot be made ready)", figures::count(more, "more database")),
        };
        let becomes = match (self.goes_on, left) {
            (true, _) | (false, 0) => String::new(),
            (false, left) => format!(
                "; nothing is started, although there is no problem with {}: with `on-database-failure: continue` the rest is \
                 replicated without it",
                figures::count(left, "other database")
            ),
        };
        Failure { code: failure.code, error: anyhow::anyhow!("{which}{sentence}{others}{becomes}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(goes_on: bool) -> LeftOut {
        LeftOut { goes_on, starts_something: true, failed: Vec::new() }
    }

    fn failed(names: &[&str]) -> Vec<(PathBuf, Failure)> {
        let codes = [76, 73, 77];
        names
            .iter()
            .zip(codes)
            .map(|(name, code)| (PathBuf::from(name), Failure::told(code, "it is damaged")))
            .collect()
    }

    #[test]
    fn by_default_nothing_is_started_and_the_first_failure_is_the_answer() {
        let failure = left_out(false).take(failed(&["/a"]), 2, true).expect_err("the end");
        assert_eq!(failure.code, 76);
        let told = failure.sentence();
        assert!(
            told.starts_with(
                "/a: it is damaged; nothing is started, although there is no problem with 2 other databases"
            ) && told.contains("continue")
        );
        let failure = left_out(false).take(failed(&["/a", "/b"]), 1, false).expect_err("the end");
        assert!(failure.sentence().contains("(and 1 more database cannot"), "{}", failure.sentence());
        assert_eq!(left_out(false).take(failed(&["/a"]), 0, false).expect_err("the end").sentence(), "it is damaged");
        left_out(false).take(Vec::new(), 0, false).expect("nothing failed");
    }

    #[test]
    fn the_others_live_if_that_is_asked_for_and_there_are_any() {
        let mut some = left_out(true);
        some.take(failed(&["/a", "/b"]), 1, false).expect("one is left");
        some.take(failed(&["/c"]), 0, true).expect("more may come");
        assert_eq!(some.failed.len(), 3);
        assert_eq!(left_out(true).take(failed(&["/a"]), 0, false).expect_err("none is left").code, 76);
    }
}
