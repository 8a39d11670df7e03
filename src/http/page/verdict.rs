//! The sentence at the top of the page, which is the truth about everything. Pure.

use super::super::facts::{Facts, Phase};
use super::document::Level;
use super::figures::count;
use super::judge::Judged;

/// How well everything is, and the sentence. `judged` are the databases of the facts, in their
/// order.
pub fn verdict(facts: &Facts, judged: &[Judged]) -> (Level, String) {
    let all = judged.len();
    let bad: Vec<usize> = (0..all).filter(|at| judged[*at].level == Level::Problem).collect();
    let about = match (all, bad.as_slice()) {
        (0, _) => (Level::Note, "No database is replicated.".into()),
        (1, []) => (judged[0].level, format!("1 database: {}", lower(&judged[0].sentence))),
        (_, []) => well(judged),
        (1, _) => (Level::Problem, format!("The database is not safe: {}", lower(&judged[0].sentence))),
        (_, [one]) => {
            let (path, sentence) = (&facts.databases[*one].path, lower(&judged[*one].sentence));
            (Level::Problem, format!("1 of {all} databases is not safe: {path}: {sentence}"))
        }
        (_, several) if several.len() == all => {
            (Level::Problem, format!("None of the {all} databases is safe: {}", reasons(judged, several)))
        }
        (_, several) => {
            let number = several.len();
            (Level::Problem, format!("{number} of {all} databases are not safe: {}", reasons(judged, several)))
        }
    };
    match (facts.phase, about) {
        (Phase::Running, about) => about,
        (Phase::StandingBy, _) => (Level::Note, "Standing by: another instance has taken over.".into()),
        (Phase::Draining, (level, sentence)) => {
            (level.min(Level::Note), format!("Another instance takes over: the application is stopped. {sentence}"))
        }
        (Phase::Stopping, (level, sentence)) => (level.min(Level::Note), format!("The program is ending. {sentence}")),
        (_, (Level::Problem, sentence)) => (Level::Problem, format!("The application is not started yet. {sentence}")),
        (Phase::Waiting, _) => starting("another instance is to release its claim first"),
        (Phase::Restoring, _) => starting("databases are restored, or checked"),
        (Phase::Arming, _) => starting("replication begins"),
        (Phase::Migrating, (_, sentence)) => {
            (Level::Note, format!("The application is not started yet: the migration runs. {sentence}"))
        }
    }
}

fn starting(what: &str) -> (Level, String) {
    (Level::Note, format!("The application is not started yet: {what}."))
}

/// Several databases, and none of them is a problem.
fn well(judged: &[Judged]) -> (Level, String) {
    let all = judged.len();
    let level = judged.iter().map(|judged| judged.level).min().unwrap_or_default();
    let of = |state: &str| judged.iter().filter(|judged| judged.state == state).count();
    let (standby, waiting, starting) = (of("standby"), of("waiting"), of("starting"));
    let under_way = judged.iter().filter(|judged| judged.is_under_way).count();
    let replicated = all - standby - waiting - starting;
    let in_time = |verb: &str| match under_way {
        0 => format!("every commit {verb} in a replica"),
        number => format!("every commit {verb} in a replica, or on its way there ({} now)", count(number, "database")),
    };
    let mut parts = Vec::new();
    match replicated {
        0 => {}
        _ if replicated == all => parts.push(in_time("is")),
        number => parts.push(format!("of {number} {}", in_time("is"))),
    }
    for (number, what) in
        [(standby, "replicated by another process"), (waiting, "not there yet"), (starting, "being opened")]
    {
        if number > 0 {
            parts.push(format!("{number} {} {what}", if number == 1 { "is" } else { "are" }));
        }
    }
    let remarks = judged.iter().filter(|judged| !judged.problems.is_empty()).count();
    if remarks > 0 {
        parts.push(format!("{remarks} {} attention", if remarks == 1 { "needs" } else { "need" }));
    }
    (level, format!("{}: {}.", count(all, "database"), parts.join("; ")))
}

/// How many are what: `2 fenced, 1 outage`.
fn reasons(judged: &[Judged], bad: &[usize]) -> String {
    let mut states: Vec<(&str, usize)> = Vec::new();
    for at in bad {
        let state = judged[*at].state;
        match states.iter_mut().find(|(known, _)| *known == state) {
            Some((_, number)) => *number += 1,
            None => states.push((state, 1)),
        }
    }
    let word = |state: &str| match state {
        "fenced" => "fenced by another writer",
        "ended" => "whose replication has ended",
        "locked" => "that the application has locked",
        "stopped" => "stopped by a command",
        "outage" => "whose replica takes no uploads",
        _ => "behind or damaged",
    };
    let parts: Vec<String> = states.iter().map(|(state, number)| format!("{number} {}", word(state))).collect();
    format!("{}.", parts.join(", "))
}

/// A sentence after a colon.
fn lower(sentence: &str) -> String {
    let sentence = sentence.strip_prefix("Not safe: ").unwrap_or(sentence);
    let mut chars = sentence.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::facts::testing::{database, replica};
    use super::super::super::facts::{DatabaseFacts, ReplicaFacts, State};
    use super::super::judge::judge;
    use super::*;

    fn said(phase: Phase, databases: Vec<DatabaseFacts>) -> (Level, String) {
        let facts = Facts { phase, databases, ..Facts::default() };
        let judged: Vec<Judged> = facts.databases.iter().map(|database| judge(database, None)).collect();
        verdict(&facts, &judged)
    }

    fn in_state(path: &str, state: State) -> DatabaseFacts {
        DatabaseFacts { state, ..database(path) }
    }

    #[test]
    fn the_sentence_is_the_truth_in_every_state() {
        let fine = || database("/a.db");
        let fenced = || in_state("/f.db", State::Fenced);
        let busy = ReplicaFacts { unshipped_for: Some(Duration::from_millis(400)), ..replica("s3") };
        let busy = || DatabaseFacts { replicas: vec![busy.clone()], ..database("/b.db") };
        let running = |databases| said(Phase::Running, databases).1;
        for (databases, sentence) in [
            (vec![], "No database is replicated."),
            (vec![fine()], "1 database: every commit is in the replica."),
            (vec![fine(), fine(), fine()], "3 databases: every commit is in a replica."),
            (
                vec![fenced()],
                "The database is not safe: not replicated any more: another writer owns the history in the replica.",
            ),
            (
                vec![fine(), fenced(), fine()],
                "1 of 3 databases is not safe: /f.db: not replicated any more: another writer owns the history in the replica.",
            ),
            (
                vec![fine(), fenced(), in_state("/x.db", State::Stopped), fenced()],
                "3 of 4 databases are not safe: 2 fenced by another writer, 1 stopped by a command.",
            ),
            (vec![fenced(), fenced()], "None of the 2 databases is safe: 2 fenced by another writer."),
            (vec![fine(), busy()], "2 databases: every commit is in a replica, or on its way there (1 database now)."),
            (
                vec![busy()],
                "1 database: the newest commits are on their way to the replica, the oldest of them for 0.4 s.",
            ),
            (
                vec![fine(), in_state("/s.db", State::Standby), in_state("/w.db", State::Waiting)],
                "3 databases: of 1 every commit is in a replica; 1 is replicated by another process; 1 is not there yet.",
            ),
        ] {
            assert_eq!(running(databases), sentence);
        }
    }

    #[test]
    fn the_phase_is_said_and_hides_no_problem() {
        let fine = || vec![database("/a.db"), database("/b.db")];
        for (phase, part) in [
            (Phase::Restoring, "restored, or checked."),
            (Phase::Arming, "replication begins."),
            (Phase::Migrating, "the migration runs. 2 databases"),
            (Phase::Stopping, "The program is ending. 2 databases"),
        ] {
            let (level, sentence) = said(phase, fine());
            assert!(level == Level::Note && sentence.contains(part), "{sentence}");
            let (level, sentence) = said(phase, vec![in_state("/f.db", State::Fenced)]);
            assert!(level == Level::Problem && sentence.contains("is not safe"), "{sentence}");
        }
    }
}
