//! What was found, as text or as JSON, and the exit code that it makes.

use std::fmt::Display;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::cli::printed;
use crate::config::Target;
use crate::doctor::{Blame, Check, Verdict, worst};
use crate::run::Failure;
use crate::run::exit::{BACKUP, CANNOT_WRITE, CONFIG, DENIED, UNAVAILABLE};

/// What was looked at together.
pub struct Section {
    subject: String,
    checks: Vec<Check>,
}

impl Section {
    pub fn new(subject: &(impl Display + ?Sized), checks: Vec<Check>) -> Section {
        Section { subject: subject.to_string(), checks }
    }

    pub fn with(mut self, check: Check) -> Section {
        self.checks.push(check);
        self
    }
}

/// All of it. Text is written as it comes, JSON at the end.
pub struct Report {
    is_json: bool,
    sections: Vec<Section>,
    /// Where the rights were tried.
    places: Vec<Target>,
}

impl Report {
    pub fn new(is_json: bool) -> Report {
        Report { is_json, sections: Vec::new(), places: Vec::new() }
    }

    /// Whether this place is asked about for the first time.
    pub fn is_new_place(&mut self, place: Target) -> bool {
        let is_new = !self.places.contains(&place);
        if is_new {
            self.places.push(place);
        }
        is_new
    }

    pub fn add(&mut self, section: Section) -> Result<(), Failure> {
        if !self.is_json {
            printed(print(&section, self.sections.is_empty(), &mut io::stdout()))?;
        }
        self.sections.push(section);
        Ok(())
    }

    /// The last line, or everything, and the exit code.
    pub fn end(&self) -> Result<u8, Failure> {
        let all = || self.sections.iter().flat_map(|section| &section.checks);
        let code = worst(all()).map_or(0, code);
        let count = |is: fn(Verdict) -> bool| all().filter(|check| is(check.verdict)).count();
        let problems = count(|verdict| matches!(verdict, Verdict::Problem(_)));
        let warnings = count(|verdict| verdict == Verdict::Warning);
        let out = &mut io::stdout();
        match self.is_json {
            true => printed(writeln!(out, "{:#}", self.as_json(code, problems, warnings)))?,
            false => printed(writeln!(out, "\n{}", in_a_line(problems, warnings)))?,
        };
        Ok(code)
    }

    fn as_json(&self, code: u8, problems: usize, warnings: usize) -> Value {
        let check = |section: &Section, check: &Check| {
            json!({
                "subject": section.subject,
                "check": check.what,
                "verdict": check.verdict.word(),
                "found": check.found,
                "advice": check.advice,
            })
        };
        let checks: Vec<Value> =
            self.sections.iter().flat_map(|section| section.checks.iter().map(move |c| check(section, c))).collect();
        let verdict = match (problems, warnings) {
            (0, 0) => Verdict::Ok.word(),
            (0, _) => Verdict::Warning.word(),
            _ => "problem",
        };
        json!({ "verdict": verdict, "code": code, "problems": problems, "warnings": warnings, "checks": checks })
    }
}

fn code(blame: Blame) -> u8 {
    match blame {
        Blame::Configuration => CONFIG,
        Blame::Denied => DENIED,
        Blame::Unreachable => UNAVAILABLE,
        Blame::Local => CANNOT_WRITE,
        Blame::Backup => BACKUP,
    }
}

fn in_a_line(problems: usize, warnings: usize) -> String {
    let count = |number: usize, what: &str| if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") };
    match (problems, warnings) {
        (0, 0) => "all is well".into(),
        (0, warnings) => format!("{}, and no problem", count(warnings, "warning")),
        (problems, 0) => count(problems, "problem"),
        (problems, warnings) => format!("{} and {}", count(problems, "problem"), count(warnings, "warning")),
    }
}

fn print(section: &Section, is_first: bool, out: &mut dyn Write) -> io::Result<()> {
    if !is_first {
        writeln!(out)?;
    }
    writeln!(out, "{}", section.subject)?;
    for check in &section.checks {
        let word = match check.verdict {
            Verdict::Problem(_) => "PROBLEM",
            verdict => verdict.word(),
        };
        writeln!(out, "  {word:<11}  {:<18}  {}", check.what, one_line(&check.found))?;
        if let Some(advice) = check.advice.as_ref().filter(|advice| !advice.is_empty()) {
            writeln!(out, "  {:<11}  {:<18}  → {advice}", "", "")?;
        }
    }
    Ok(())
}

/// What a server or a path says must not become a line of its own.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_that_of_the_worst_finding() {
        let mut report = Report::new(true);
        let end = |report: &Report| report.end().map_err(|failure| failure.sentence()).expect("printed");
        assert_eq!(end(&report), 0);
        for (check, expected) in [
            (Check::warning("x", "", ""), 0),
            (Check::problem("x", Blame::Unreachable, "", ""), 69),
            (Check::problem("x", Blame::Local, "", ""), 73),
            (Check::problem("x", Blame::Denied, "", ""), 77),
            (Check::problem("x", Blame::Configuration, "", ""), 78),
            (Check::problem("x", Blame::Backup, "", ""), 76),
        ] {
            report.sections.push(Section::new("s", vec![check]));
            assert_eq!(end(&report), expected);
        }
        assert_eq!(report.as_json(76, 5, 1)["checks"].as_array().map(Vec::len), Some(6));
        assert_eq!(in_a_line(5, 1), "5 problems and 1 warning");
    }

    #[test]
    fn a_finding_is_a_line_with_what_to_do_below_it() {
        let mut out = Vec::new();
        let section = Section::new("s3://b/p", vec![Check::problem("list", Blame::Denied, "no\nway", "ask")]);
        print(&section, true, &mut out).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("PROBLEM") && text.contains("no way") && text.contains("→ ask"), "{text}");
    }
}
