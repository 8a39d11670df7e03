//! How well a database is, in plain words, and what to do about it. Pure.

use crate::figures;
use std::time::Duration;

use super::super::facts::{DatabaseFacts, ReplicaFacts, State};
use super::document::{Level, Problem};
use super::figures::duration;

/// What is said of one database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    pub level: Level,
    /// In one word.
    pub state: &'static str,
    pub sentence: String,
    pub problems: Vec<Problem>,
    /// Commits are on their way to the replica, and there is nothing wrong with that.
    pub is_under_way: bool,
}

/// Without `max-lag` a commit may be as old as this before it is a problem.
const LAG: Duration = Duration::from_secs(300);

pub fn judge(database: &DatabaseFacts, max_lag: Option<Duration>) -> Judged {
    let path = &database.path;
    let bad = |state, sentence: String, what_to_do: String| {
        let problems = vec![Problem { what: sentence.clone(), what_to_do }];
        Judged { level: Level::Problem, state, sentence, problems, is_under_way: false }
    };
    let noted = |state, sentence: &str| Judged {
        level: Level::Note,
        state,
        sentence: sentence.into(),
        problems: Vec::new(),
        is_under_way: false,
    };
    match &database.state {
        State::Fenced => bad(
            "fenced",
            "Not replicated any more: another writer owns the history in the replica.".into(),
            "Find the other program that writes to this replica, and decide which of the two goes on. When this one is \
             started again, the history in the replica counts; what this one has committed after that is kept under \
             orphaned/."
                .into(),
        ),
        State::Halted(why) => bad(
            "ended",
            format!("Replication has ended: {}.", clause(why)),
            format!(
                "Mend it, then run `millstream start {path}` or restart this program. What is committed until then is on \
                 this disk only."
            ),
        ),
        State::Exclusive(why) => bad(
            "locked",
            format!("Not replicated: {}.", clause(why)),
            "Let the application open the database with PRAGMA locking_mode=NORMAL. What is committed until then is on \
             this disk only."
                .into(),
        ),
        State::Stopped => bad(
            "stopped",
            "Not replicated: it was stopped by a command.".into(),
            format!("Run `millstream start {path}` to replicate it again. What is committed until then is on this disk only."),
        ),
        State::Standby => noted("standby", "Another process replicates it; this one takes over when that one ends."),
        State::Waiting => noted("waiting", "There is no database yet, or the application has to open it first."),
        State::Starting => noted("starting", "It is being opened."),
        State::Replicating => of_replicas(database, max_lag),
    }
}

fn of_replicas(database: &DatabaseFacts, max_lag: Option<Duration>) -> Judged {
    let mut problems = Vec::new();
    let (lag, limit) = (database.lag(), max_lag.unwrap_or(LAG));
    let replicas = &database.replicas;
    let is_away = replicas.iter().all(|replica| replica.outage_for.is_some());
    let is_empty = replicas.iter().all(|replica| replica.uploaded.is_none());
    replicas.iter().for_each(|replica| problems.extend(of_replica(replica, database)));
    if lag > limit && !is_away {
        problems.push(Problem {
            what: format!(
                "The oldest commit that is in no replica is {} old; {} are allowed.",
                duration(lag),
                duration(limit)
            ),
            what_to_do:
                "See the log for what keeps the uploads from getting through: a slow line, or requests that fail."
                    .into(),
        });
    }
    if database.disk_full {
        problems.push(Problem {
            what: "The local disk was full when captured commits were to be kept there.".into(),
            what_to_do: "Make room on it: until then the WAL grows while the replica is away.".into(),
        });
    }
    let is_damaged = |replica: &ReplicaFacts| replica.proof.as_ref().is_some_and(|proof| proof.failed.is_some());
    let all_damaged = !replicas.is_empty() && replicas.iter().all(is_damaged);
    let sentence = sentence(database, is_away, is_empty, all_damaged);
    let is_bad = (is_away && (is_empty || !lag.is_zero())) || lag > limit || all_damaged;
    let behind = replicas.iter().any(|replica| replica.unshipped_for.is_some());
    let level = match (is_bad, problems.is_empty()) {
        (true, _) => Level::Problem,
        (false, true) if !is_empty => Level::Safe,
        (false, _) => Level::Note,
    };
    let is_under_way = level != Level::Problem && behind && !lag.is_zero();
    Judged { level, state: if is_away { "outage" } else { "replicating" }, sentence, problems, is_under_way }
}

fn sentence(database: &DatabaseFacts, is_away: bool, is_empty: bool, all_damaged: bool) -> String {
    let lag = database.lag();
    let several = database.replicas.len() > 1;
    let behind: Vec<&ReplicaFacts> =
        database.replicas.iter().filter(|replica| replica.unshipped_for.is_some_and(|age| !age.is_zero())).collect();
    let replica = if several { "any replica" } else { "the replica" };
    match (is_empty, is_away) {
        (true, true) => return format!("Nothing is in {replica} yet, and it does not take uploads."),
        (true, false) => return format!("Nothing is in {replica} yet."),
        (false, true) if !lag.is_zero() => {
            return format!("Not safe: the commits of the last {} are on this disk only.", duration(lag));
        }
        _ if all_damaged => return "Not safe: the replica is damaged.".into(),
        _ => {}
    }
    if !lag.is_zero() {
        return format!("The newest commits are on their way to {replica}, the oldest of them for {}.", duration(lag));
    }
    match (several, behind.first()) {
        (false, _) => "Every commit is in the replica.".into(),
        (true, None) => "Every commit is in every replica.".into(),
        (true, Some(one)) => format!(
            "Every commit is in a replica; {} lacks those of the last {}.",
            one.name,
            duration(one.unshipped_for.unwrap_or_default())
        ),
    }
}

fn of_replica(replica: &ReplicaFacts, database: &DatabaseFacts) -> Vec<Problem> {
    let (name, path) = (&replica.name, &database.path);
    let mut problems = Vec::new();
    let mut problem = |what: String, what_to_do: String| problems.push(Problem { what, what_to_do });
    if let Some(outage) = replica.outage_for {
        problem(
            format!("The replica {name} has not taken uploads for {}.", duration(outage)),
            format!(
                "Check that {} can be reached, and {}; `millstream doctor` tries both. Commits are kept on this disk \
                 meanwhile, and uploaded as soon as it is back.",
                replica.address,
                if replica.address.starts_with("file:") { "written to" } else { "that the keys may write there" }
            ),
        );
    }
    if let Some(why) = replica.proof.as_ref().and_then(|proof| proof.failed.as_ref()) {
        problem(
            format!("The replica {name} is damaged: {}.", clause(why)),
            format!("Run `millstream verify {path}`: it shows which part of the history restores, and which does not."),
        );
    }
    if replica.refused_objects > 0 {
        problem(
            format!(
                "{} in the replica {name} cannot be deleted.",
                figures::count(replica.refused_objects, "expired object")
            ),
            "Give the keys the right to delete, or leave deletion to the bucket with `retention: {enabled: false}`."
                .into(),
        );
    }
    if replica.unproved > 0 {
        problem(
            format!("{} compacted files in the replica {name} were not what had been written.", replica.unproved),
            format!(
                "The originals stay. See the log, and run `millstream verify {path}`: the store does not keep what it confirms."
            ),
        );
    }
    problems
}

/// The text of an error as part of a sentence.
fn clause(text: &str) -> &str {
    text.trim().trim_end_matches('.')
}

/// What one replica has, for its row in the table.
pub fn of_one(replica: &ReplicaFacts, state: &State) -> String {
    let damaged = replica.proof.as_ref().is_some_and(|proof| proof.failed.is_some());
    let behind = replica.unshipped_for.filter(|age| !age.is_zero());
    match (replica.outage_for, replica.uploaded, behind) {
        (Some(outage), ..) => format!("has taken no uploads for {}", duration(outage)),
        _ if damaged => "damaged".into(),
        (None, None, _) => "empty".into(),
        (None, Some(_), Some(age)) => format!("{} behind", duration(age)),
        (None, Some(_), None) if *state != State::Replicating => "gets nothing now".into(),
        (None, Some(_), None) => "has every commit".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::facts::ProofFacts;
    use super::super::super::facts::testing::{database, replica};
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn judged(state: State) -> Judged {
        judge(&DatabaseFacts { state, ..database("/data/app.db") }, Some(MINUTE * 5))
    }

    fn with(replicas: Vec<ReplicaFacts>) -> Judged {
        judge(&DatabaseFacts { replicas, ..database("/data/app.db") }, Some(MINUTE * 5))
    }

    #[test]
    fn what_is_not_replicated_is_a_problem_with_a_way_out() {
        for (state, word, part) in [
            (State::Fenced, "fenced", "another writer owns the history"),
            (State::Halted("the file is gone.".into()), "ended", "Replication has ended: the file is gone."),
            (State::Exclusive("the application has it alone".into()), "locked", "has it alone."),
            (State::Stopped, "stopped", "stopped by a command"),
        ] {
            let judged = judged(state);
            assert_eq!((judged.level, judged.state), (Level::Problem, word));
            assert!(judged.sentence.contains(part) && !judged.sentence.contains(".."), "{judged:?}");
            assert!(judged.problems.iter().all(|problem| problem.what_to_do.len() > 20), "{judged:?}");
        }
        for state in [State::Standby, State::Waiting, State::Starting] {
            assert_eq!(judged(state).level, Level::Note);
        }
    }

    #[test]
    fn the_sentence_follows_what_the_replicas_have() {
        let fine = with(vec![replica("s3")]);
        assert_eq!((fine.level, fine.sentence.as_str()), (Level::Safe, "Every commit is in the replica."));
        let behind = |name, age, outage| ReplicaFacts { unshipped_for: age, outage_for: outage, ..replica(name) };
        let busy = with(vec![behind("s3", Some(MINUTE / 100), None)]);
        assert!(busy.level == Level::Safe && busy.is_under_way && busy.sentence.contains("on their way"), "{busy:?}");
        let slow = with(vec![behind("s3", Some(MINUTE * 6), None)]);
        assert!(
            slow.level == Level::Problem && slow.problems[0].what.contains("6 min old; 5 min are allowed"),
            "{slow:?}"
        );
        let down = with(vec![behind("s3", Some(MINUTE), Some(MINUTE))]);
        assert!(down.level == Level::Problem && down.state == "outage", "{down:?}");
        assert_eq!(down.sentence, "Not safe: the commits of the last 1 min are on this disk only.");
        let quiet = with(vec![behind("s3", None, Some(MINUTE))]);
        assert_eq!((quiet.level, quiet.sentence.as_str()), (Level::Note, "Every commit is in the replica."));
        let empty = with(vec![ReplicaFacts { uploaded: None, outage_for: Some(MINUTE), ..replica("s3") }]);
        assert!(empty.level == Level::Problem && empty.sentence.starts_with("Nothing is in the replica yet, and"));
        let one = with(vec![behind("s3", Some(MINUTE), Some(MINUTE)), replica("nas")]);
        assert_eq!(one.level, Level::Note);
        assert_eq!(one.sentence, "Every commit is in a replica; s3 lacks those of the last 1 min.");
        let proof = |failed: Option<&str>| Some(ProofFacts { failed: failed.map(Into::into), ..ProofFacts::default() });
        let damaged = with(vec![ReplicaFacts { proof: proof(Some("a gap")), ..replica("s3") }]);
        assert!(
            damaged.level == Level::Problem && damaged.problems[0].what.ends_with("is damaged: a gap."),
            "{damaged:?}"
        );
        let refused = with(vec![ReplicaFacts { refused_objects: 3, ..replica("s3") }]);
        assert_eq!((refused.level, refused.problems.len()), (Level::Note, 1));
    }

    #[test]
    fn each_replica_has_its_own_words() {
        let of = |replica: &ReplicaFacts| of_one(replica, &State::Replicating);
        assert_eq!(of_one(&replica("s3"), &State::Fenced), "gets nothing now");
        assert_eq!(of(&replica("s3")), "has every commit");
        assert_eq!(of(&ReplicaFacts { outage_for: Some(MINUTE), ..replica("s3") }), "has taken no uploads for 1 min");
        assert_eq!(of(&ReplicaFacts { unshipped_for: Some(MINUTE), ..replica("s3") }), "1 min behind");
        assert_eq!(of(&ReplicaFacts { uploaded: None, ..replica("s3") }), "empty");
    }
}
