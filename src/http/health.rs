//! Health. Pure: facts in, a verdict and its text out.
//!
//! There are three questions. `/livez`: does the process answer? Here it always does. `/readyz`:
//! may the application be used? It may while commits reach a replica in time. [`is_safe`], the
//! strictest: is every commit in every replica, and is none of them known to be damaged? Only then
//! a heartbeat is sent.

use crate::figures;
use std::time::Duration;

use super::facts::{DatabaseFacts, Facts, Phase, ReplicaFacts, State};

/// This many databases are named; the others are counted.
const NAMED_MAX: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    pub is_ready: bool,
    /// The text: the verdict first, then a line for each database with a problem or a remark.
    pub text: String,
}

pub fn readiness(facts: &Facts) -> Readiness {
    let wait = phase(facts.phase);
    // That nothing is replicated here is no news then.
    let databases = if facts.phase == Phase::StandingBy { &[][..] } else { &facts.databases };
    let judged: Vec<(&DatabaseFacts, Judgement)> =
        databases.iter().map(|database| (database, judge(database, facts.max_lag))).collect();
    let is_ready = wait.is_none() && !judged.iter().any(|(_, judgement)| matches!(judgement, Judgement::Bad(_)));
    let mut text = if is_ready { "ready\n".to_owned() } else { "not ready\n".to_owned() };
    if let Some(wait) = wait {
        text.push_str(wait);
        text.push('\n');
    }
    // Problems come before remarks.
    let bad = judged.iter().filter_map(|(db, j)| if let Judgement::Bad(why) = j { Some((db, why)) } else { None });
    let noted = judged.iter().filter_map(|(db, j)| if let Judgement::Noted(why) = j { Some((db, why)) } else { None });
    let worth: Vec<_> = bad.chain(noted).collect();
    for (database, why) in worth.iter().take(NAMED_MAX) {
        text.push_str(&format!("{}: {why}\n", one_line(&database.path)));
    }
    if worth.len() > NAMED_MAX {
        text.push_str(&format!("and {}\n", figures::count(worth.len() - NAMED_MAX, "more database")));
    }
    match (databases.len(), databases.len() - worth.len()) {
        (0, _) | (_, 0) => {}
        (1, _) => text.push_str(&format!("{}: ok\n", one_line(&databases[0].path))),
        (all, fine) => text.push_str(&format!("{fine} of {all} databases: ok\n")),
    }
    Readiness { is_ready, text }
}

fn phase(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Waiting => Some(
            "the application is not started yet: waiting for another instance to stop its own, and to release its claim",
        ),
        Phase::Draining => Some("the application is stopped: another instance takes over"),
        Phase::StandingBy => {
            Some("the application does not run: another instance has taken over, and this one stands by")
        }
        Phase::Restoring => Some("the application is not started yet: databases are restored, or checked"),
        Phase::Arming => Some("the application is not started yet: replication begins"),
        Phase::Migrating => Some("the application is not started yet: the migration runs"),
        Phase::Running => None,
        Phase::Stopping => Some("the program is ending"),
    }
}

enum Judgement {
    Fine,
    /// A remark that does not make the application unready.
    Noted(String),
    Bad(String),
}

fn judge(database: &DatabaseFacts, max_lag: Option<Duration>) -> Judgement {
    match &database.state {
        State::Fenced => Judgement::Bad("another writer owns the history: nothing is replicated any more".into()),
        State::Halted(why) => Judgement::Bad(format!("replication has ended: {}", one_line(why))),
        State::Exclusive(why) => Judgement::Bad(format!("not replicated: {}", one_line(why))),
        // It was stopped by a command, so it is not news.
        State::Stopped => Judgement::Noted("not replicated: it was stopped by a command".into()),
        State::Standby => Judgement::Noted("another process replicates it".into()),
        State::Waiting => Judgement::Noted("there is no database yet".into()),
        State::Starting | State::Replicating => of_replicas(database, max_lag),
    }
}

fn of_replicas(database: &DatabaseFacts, max_lag: Option<Duration>) -> Judgement {
    let lag = database.lag();
    if let Some(max_lag) = max_lag.filter(|max_lag| lag > *max_lag) {
        let is_named = database.replicas.len() > 1;
        let which = if is_named { "in no replica" } else { "not in the replica" };
        return Judgement::Bad(format!(
            "the oldest commit that is {which} is {} s old (max-lag is {} s)",
            lag.as_secs(),
            max_lag.as_secs()
        ));
    }
    let mut notes = Vec::new();
    for replica in &database.replicas {
        if let Some(outage) = replica.outage_for {
            notes.push(format!("the replica {} has not taken uploads for {} s", replica.name, outage.as_secs()));
        }
        if let Some(why) = replica.proof.as_ref().and_then(|proof| proof.failed.as_ref()) {
            notes.push(format!("the replica {} is damaged: {}", replica.name, one_line(why)));
        }
    }
    if notes.is_empty() { Judgement::Fine } else { Judgement::Noted(notes.join("; ")) }
}

/// Whether every commit that is older than `limit` is in every replica, and none is known to be
/// damaged.
pub fn is_safe(facts: &Facts, limit: Duration) -> bool {
    let is_whole = |replica: &ReplicaFacts| {
        replica.uploaded.is_some()
            && replica.unshipped_for.is_none_or(|age| age <= limit)
            && replica.proof.as_ref().is_none_or(|proof| proof.failed.is_none())
    };
    let is_safe = |database: &DatabaseFacts| match database.state {
        State::Replicating => database.replicas.iter().all(is_whole),
        State::Waiting => database.optional,
        _ => false,
    };
    facts.phase == Phase::Running && !facts.databases.is_empty() && facts.databases.iter().all(is_safe)
}

/// The status line for the service manager.
pub fn in_a_line(facts: &Facts) -> String {
    let Readiness { is_ready, text } = readiness(facts);
    let worth: Vec<&str> = text.lines().skip(1).filter(|line| !line.ends_with(": ok")).take(3).collect();
    match (facts.databases.len(), worth.is_empty()) {
        (_, false) => format!("{}: {}", if is_ready { "running" } else { "NOT READY" }, worth.join("; ")),
        (1, true) => "running, 1 database is replicated".into(),
        (number, true) => format!("running, {number} databases are replicated"),
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::facts::testing::{database, replica};
    use super::super::facts::{ProofFacts, ReplicaFacts};
    use super::*;

    fn facts(databases: Vec<DatabaseFacts>) -> Facts {
        Facts { phase: Phase::Running, max_lag: Some(Duration::from_secs(300)), databases, ..Facts::default() }
    }

    fn behind(name: &str, seconds: u64) -> ReplicaFacts {
        ReplicaFacts { unshipped_for: Some(Duration::from_secs(seconds)), ..replica(name) }
    }

    fn with(replicas: Vec<ReplicaFacts>) -> DatabaseFacts {
        DatabaseFacts { replicas, ..database("/a.db") }
    }

    fn in_state(state: State) -> DatabaseFacts {
        DatabaseFacts { state, ..database("/a.db") }
    }

    #[test]
    fn readiness_by_state_and_lag() {
        let halted = || State::Halted("the disk\nis gone".into());
        for (database, is_ready, says) in [
            (with(vec![replica("s3")]), true, "ready\n/a.db: ok\n"),
            (with(vec![behind("s3", 300)]), true, "ready\n/a.db: ok\n"),
            (
                with(vec![behind("s3", 301)]),
                false,
                "not ready\n/a.db: the oldest commit that is not in the replica is 301 s old (max-lag is 300 s)\n",
            ),
            (with(vec![behind("s3", 900), replica("nas")]), true, "ready\n/a.db: ok\n"),
            (
                with(vec![behind("s3", 900), behind("nas", 400)]),
                false,
                "not ready\n/a.db: the oldest commit that is in no replica is 400 s old (max-lag is 300 s)\n",
            ),
            (in_state(halted()), false, "not ready\n/a.db: replication has ended: the disk is gone\n"),
            (
                in_state(State::Fenced),
                false,
                "not ready\n/a.db: another writer owns the history: nothing is replicated any more\n",
            ),
            (in_state(State::Standby), true, "ready\n/a.db: another process replicates it\n"),
            (in_state(State::Waiting), true, "ready\n/a.db: there is no database yet\n"),
            (in_state(State::Stopped), true, "ready\n/a.db: not replicated: it was stopped by a command\n"),
        ] {
            let readiness = readiness(&facts(vec![database]));
            assert_eq!((readiness.is_ready, readiness.text.as_str()), (is_ready, says));
        }
    }

    #[test]
    fn nothing_is_ready_before_the_application_may_start_or_after_its_end() {
        for phase in [
            Phase::Waiting,
            Phase::Restoring,
            Phase::Arming,
            Phase::Migrating,
            Phase::Draining,
            Phase::StandingBy,
            Phase::Stopping,
        ] {
            let readiness = readiness(&Facts { phase, ..facts(vec![database("/a.db")]) });
            assert!(
                !readiness.is_ready && readiness.text.starts_with("not ready\nthe "),
                "{phase:?}: {}",
                readiness.text
            );
        }
        let off = Facts { max_lag: None, ..facts(vec![with(vec![behind("s3", 1 << 30)])]) };
        assert!(readiness(&off).is_ready, "max-lag: 0 turns it off");
    }

    #[test]
    fn many_databases_are_a_short_page_and_what_is_wrong_comes_first() {
        let mut many: Vec<DatabaseFacts> = (0..1000).map(|_| in_state(State::Standby)).collect();
        many.extend((0..500).map(|n| database(&format!("/{n}.db"))));
        many.push(in_state(State::Fenced));
        let text = readiness(&facts(many)).text;
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("another writer") && lines.len() == 1 + NAMED_MAX + 2, "{text}");
        assert_eq!(lines[lines.len() - 2..], ["and 981 more databases", "500 of 1501 databases: ok"]);
    }

    #[test]
    fn safe_is_every_commit_in_every_replica() {
        let limit = Duration::from_secs(60);
        let damaged = ProofFacts { failed: Some("a gap".into()), ..ProofFacts::default() };
        for (database, safe) in [
            (with(vec![replica("s3"), behind("nas", 60)]), true),
            (with(vec![replica("s3"), behind("nas", 61)]), false),
            (with(vec![ReplicaFacts { uploaded: None, ..replica("s3") }]), false),
            (with(vec![ReplicaFacts { proof: Some(damaged), ..replica("s3") }]), false),
            (in_state(State::Standby), false),
            (in_state(State::Stopped), false),
            (in_state(State::Starting), false),
            (in_state(State::Waiting), false),
            (DatabaseFacts { optional: true, ..in_state(State::Waiting) }, true),
        ] {
            assert_eq!(is_safe(&facts(vec![database.clone()]), limit), safe, "{database:?}");
            let with_another = facts(vec![super::super::facts::testing::database("/b.db"), database]);
            assert_eq!(is_safe(&with_another, limit), safe, "one is enough to keep it back");
        }
        assert!(!is_safe(&facts(vec![]), limit), "nothing is replicated");
        assert!(!is_safe(&Facts { phase: Phase::Arming, ..facts(vec![database("/a.db")]) }, limit));
    }

    #[test]
    fn the_service_manager_gets_one_line() {
        assert_eq!(in_a_line(&facts(vec![database("/a.db")])), "running, 1 database is replicated");
        assert_eq!(
            in_a_line(&facts(vec![database("/a.db"), database("/b.db")])),
            "running, 2 databases are replicated"
        );
        let said = in_a_line(&facts(vec![in_state(State::Fenced), database("/b.db")]));
        assert!(said.starts_with("NOT READY: /a.db: another writer") && !said.contains('\n'), "{said}");
    }
}
