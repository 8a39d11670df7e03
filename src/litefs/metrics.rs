//! `/metrics` under LiteFS's names, those that mean something here. Our own are served at `addr`.

use tokio::time::Instant;

use super::view::{Shared, View};
use crate::exposition::{Exposition, Kind};
use crate::ltx::Txid;

pub fn render(databases: &[Shared], view: &View, subscribers: usize, now: Instant) -> String {
    let mut page = Exposition::default();
    let mut txids = page.family("litefs_db_txid", Kind::Gauge, "Current transaction ID.");
    for (database, txid) in databases.iter().zip(&view.txids) {
        txids.number(&[("db", &database.name)], txid.map_or(0, Txid::get));
    }
    let mut number = |name, help, value: usize| {
        page.family(name, Kind::Gauge, help).number(&[], u64::try_from(value).unwrap_or(u64::MAX));
    };
    number("litefs_db_count", "Number of managed databases.", databases.len());
    number("litefs_is_primary", "Primary status of the node.", usize::from(view.is_primary()));
    number("litefs_subscriber_count", "Number of connected subscribers", subscribers);
    if let Some(lag_ms) = view.lag_ms(now) {
        let help = "Lag behind the primary node, in seconds";
        page.family("litefs_lag_seconds", Kind::Gauge, help).milliseconds(&[], lag_ms);
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::view::testing::{at, txid};
    use super::*;

    #[test]
    fn what_is_known_is_told() {
        let databases = ["a.db", "b\".db"].map(|name| Shared::new(&Path::new("/data").join(name), None));
        let mut view =
            View { primary: at("web-2"), txids: vec![Some(txid(7)), None], current_at: Some(Instant::now()) };
        let now = view.current_at.expect("known") + Duration::from_millis(1500);
        let page = render(&databases, &view, 2, now);
        for line in [
            "litefs_db_txid{db=\"a.db\"} 7",
            "litefs_db_txid{db=\"b\\\".db\"} 0",
            "litefs_db_count 2",
            "litefs_is_primary 0",
            "litefs_subscriber_count 2",
            "litefs_lag_seconds 1.500",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}: {page}");
        }
        view.current_at = None;
        assert!(!render(&databases, &view, 0, now).contains("lag_seconds"), "it is not known");
    }
}
