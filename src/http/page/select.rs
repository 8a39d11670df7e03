//! Which databases are shown, in which order. Pure.

use super::super::facts::{DatabaseFacts, Facts};
use super::document::Level;
use super::judge::{Judged, judge};
use super::query::Asked;
use super::verdict::verdict;

/// Databases on one page.
pub const PER_PAGE: usize = 200;
/// If no more than these are found, each is shown with everything that is known of it.
pub const WHOLE_MAX: usize = 6;

/// The part of the databases that was asked for.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    pub level: Level,
    pub sentence: String,
    /// Those that are shown, the worst first.
    pub databases: Vec<(DatabaseFacts, Judged)>,
    pub all: usize,
    pub found: usize,
    pub page: usize,
    pub pages: usize,
    /// Each is shown with everything that is known of it.
    pub is_whole: bool,
}

/// Takes the databases out of the facts.
pub fn select(facts: &mut Facts, asked: &Asked) -> Selected {
    let judged: Vec<Judged> = facts.databases.iter().map(|database| judge(database, facts.max_lag)).collect();
    let (level, sentence) = verdict(facts, &judged);
    let all = judged.len();
    let wanted = |database: &DatabaseFacts| match (&asked.database, &asked.search) {
        (Some(path), _) => database.path == *path,
        (None, Some(part)) => database.path.to_lowercase().contains(&part.to_lowercase()),
        (None, None) => true,
    };
    let each = std::mem::take(&mut facts.databases).into_iter().zip(judged);
    let mut databases: Vec<(DatabaseFacts, Judged)> = each.filter(|(database, _)| wanted(database)).collect();
    // Those that are furthest behind come first among equals.
    databases.sort_by(|(a, judged_a), (b, judged_b)| {
        let key = |judged: &Judged, database: &DatabaseFacts| {
            let lag = if judged.level == Level::Safe { Default::default() } else { database.lag() };
            (judged.level, std::cmp::Reverse(lag))
        };
        key(judged_a, a).cmp(&key(judged_b, b)).then_with(|| a.path.cmp(&b.path))
    });
    let found = databases.len();
    let pages = found.div_ceil(PER_PAGE).max(1);
    let page = asked.page.clamp(1, pages);
    let shown = databases.into_iter().skip((page - 1) * PER_PAGE).take(PER_PAGE).collect();
    Selected { level, sentence, databases: shown, all, found, page, pages, is_whole: found <= WHOLE_MAX }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::facts::testing::{database, replica};
    use super::super::super::facts::{Phase, ReplicaFacts, State};
    use super::*;

    fn paths(selected: &Selected) -> Vec<&str> {
        selected.databases.iter().map(|(database, _)| database.path.as_str()).collect()
    }

    fn facts(databases: Vec<DatabaseFacts>) -> Facts {
        Facts { phase: Phase::Running, databases, ..Facts::default() }
    }

    #[test]
    fn problems_come_first_and_the_oldest_of_them_before_others() {
        let away = |seconds| {
            let age = Some(Duration::from_secs(seconds));
            vec![ReplicaFacts { unshipped_for: age, outage_for: age, ..replica("s3") }]
        };
        let mut facts = facts(vec![
            database("/b.db"),
            DatabaseFacts { state: State::Standby, ..database("/standby.db") },
            DatabaseFacts { replicas: away(5), ..database("/five.db") },
            database("/a.db"),
            DatabaseFacts { replicas: away(500), ..database("/fivehundred.db") },
        ]);
        let selected = select(&mut facts, &Asked::parse(""));
        assert_eq!(paths(&selected), ["/fivehundred.db", "/five.db", "/standby.db", "/a.db", "/b.db"]);
        assert!(selected.is_whole && selected.level == Level::Problem);
    }

    #[test]
    fn many_are_shown_page_by_page_and_found_by_a_part_of_their_path() {
        let many = || facts((0..1001).map(|n| database(&format!("/tenants/{n:04}/App.db"))).collect());
        let selected = select(&mut many(), &Asked::parse(""));
        assert_eq!(
            (selected.databases.len(), selected.found, selected.pages, selected.is_whole),
            (200, 1001, 6, false)
        );
        let last = select(&mut many(), &Asked::parse("page=99"));
        assert_eq!((last.page, paths(&last)), (6, vec!["/tenants/1000/App.db"]));
        let found = select(&mut many(), &Asked::parse("q=0007/app"));
        assert_eq!(paths(&found), ["/tenants/0007/App.db"]);
        assert_eq!((found.all, found.sentence.as_str()), (1001, "1001 databases: every commit is in a replica."));
        let one = select(&mut many(), &Asked::parse("db=/tenants/0008/App.db&q=x"));
        assert_eq!(paths(&one), ["/tenants/0008/App.db"]);
        assert!(select(&mut many(), &Asked::parse("db=/tenants")).databases.is_empty());
    }
}
