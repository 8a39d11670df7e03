//! The page `/metrics`: facts in, text out. Pure.
//!
//! Litestream's names have its meanings and labels; names that Litestream lacks begin with
//! `millstream_`. All names are defined here; a test compares them with those in
//! `scripts/monitoring/`.

use std::collections::BTreeMap;

use super::facts::{DatabaseFacts, Facts, Phase, ProofFacts, ReplicaFacts, State};
use super::health::readiness;
use super::proxied::proxied;
use crate::exposition::{Exposition, Family, Kind};
use crate::status::Tallied;
use crate::store::{DURATION_BUCKETS, price};
use Kind::{Counter, Gauge, Histogram};

/// The label of the database, which nearly every family has.
type Labels<'a> = [(&'a str, &'a str); 1];

pub fn render(facts: &Facts) -> String {
    let mut page = Exposition::default();
    databases_as_litestream(&mut page, &facts.databases);
    retention_as_litestream(&mut page, &facts.databases);
    operations(&mut page, facts);
    safety(&mut page, &facts.databases);
    states(&mut page, &facts.databases);
    restores(&mut page, &facts.databases);
    upkeep(&mut page, &facts.databases);
    program(&mut page, facts);
    if let Some(counts) = &facts.proxied {
        proxied(&mut page, counts);
    }
    process(&mut page, facts);
    page.finish()
}

fn each(family: &mut Family<'_>, databases: &[DatabaseFacts], value: impl Fn(&DatabaseFacts) -> Option<u64>) {
    for database in databases {
        if let Some(value) = value(database) {
            family.number(&of(database), value);
        }
    }
}

fn of(database: &DatabaseFacts) -> Labels<'_> {
    [("db", &database.path)]
}

fn databases_as_litestream(page: &mut Exposition, all: &[DatabaseFacts]) {
    let gauge = |page: &mut Exposition, name, help, value: fn(&DatabaseFacts) -> Option<u64>| {
        each(&mut page.family(name, Gauge, help), all, value);
    };
    gauge(page, "litestream_db_size", "Size of the database file in bytes.", |db| db.size);
    gauge(page, "litestream_wal_size", "Size of the WAL file in bytes.", |db| db.wal_size);
    gauge(page, "litestream_txid", "Newest transaction ID that is captured.", |db| {
        db.replicas.first().and_then(|first| first.captured)
    });
    gauge(page, "litestream_disk_full", "1 if the local disk was full when commits were to be kept there.", |db| {
        Some(u64::from(db.disk_full))
    });
    let counter = |page: &mut Exposition, name, help, value: fn(&DatabaseFacts) -> u64| {
        each(&mut page.family(name, Counter, help), all, |db| Some(value(db)));
    };
    counter(page, "litestream_total_wal_bytes", "WAL bytes that were captured.", |db| db.wal_bytes);
    counter(page, "litestream_sync_count", "Looks at the WAL that captured what was new.", |db| db.syncs.count);
    counter(page, "litestream_sync_error_count", "Looks at the WAL that failed.", |db| db.syncs.errors);
    let mut seconds = page.family("litestream_sync_seconds", Counter, "Time that looks at the WAL took.");
    all.iter().for_each(|db| seconds.sample(&of(db), db.syncs.took.as_secs_f64()));
    // Our resets of the WAL are made of passive checkpoints.
    let mode = |db| [of(db)[0], ("mode", "PASSIVE")];
    let mut count =
        page.family("litestream_checkpoint_count", Counter, "Times that the WAL was checkpointed and reset.");
    all.iter().for_each(|db| count.number(&mode(db), db.checkpoints.count));
    let mut errors = page.family("litestream_checkpoint_error_count", Counter, "Resets of the WAL that failed.");
    all.iter().for_each(|db| errors.number(&mode(db), db.checkpoints.errors));
    let mut seconds = page.family("litestream_checkpoint_seconds", Counter, "Time that resets of the WAL took.");
    all.iter().for_each(|db| seconds.sample(&mode(db), db.checkpoints.took.as_secs_f64()));
    counter(
        page,
        "litestream_compaction_verify_error_count",
        "Compacted files that were not in the bucket as they had been written.",
        |db| db.replicas.iter().map(|replica| replica.unproved).sum(),
    );
}

/// By file name of the database, as in Litestream; databases of the same name are summed.
fn retention_as_litestream(page: &mut Exposition, all: &[DatabaseFacts]) {
    let help = "Files of level 0 at the last enforcement of retention.";
    let mut files = page.family("litestream_l0_retention_files_total", Gauge, help);
    let mut by_name: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for database in all {
        let sums = by_name.entry(database.path.rsplit('/').next().unwrap_or_default()).or_default();
        sums.iter_mut().zip(database.level_0).for_each(|(sum, more)| *sum += more);
    }
    for (name, sums) in by_name {
        for (status, sum) in ["eligible", "not_compacted", "too_recent"].into_iter().zip(sums) {
            files.number(&[("db", name), ("status", status)], sum);
        }
    }
}

fn operations(page: &mut Exposition, facts: &Facts) {
    let all = &facts.operations;
    let mut total = page.family("litestream_replica_operation_total", Counter, "Operations on replicas.");
    for done in all {
        total.number(&[("replica_type", done.kind), ("operation", done.operation.name())], done.count);
    }
    let mut bytes =
        page.family("litestream_replica_operation_bytes", Counter, "Bytes that operations on replicas moved.");
    for done in all.iter().filter(|done| done.operation.moves_bytes()) {
        bytes.number(&[("replica_type", done.kind), ("operation", done.operation.name())], done.bytes);
    }
    let name = "litestream_replica_operation_errors_total";
    let mut errors = page.family(name, Counter, "Operations on replicas that failed, by what the store said.");
    for done in all {
        for (code, count) in &done.errors {
            let labels = [("replica_type", done.kind), ("operation", done.operation.name()), ("code", *code)];
            errors.number(&labels, *count);
        }
    }
    let name = "litestream_replica_operation_duration_seconds";
    let mut durations = page.family(name, Histogram, "How long operations on replicas took.");
    for done in all {
        let labels = [("replica_type", done.kind), ("operation", done.operation.name())];
        for (bound, count) in DURATION_BUCKETS.iter().zip(done.buckets) {
            let labels = [labels[0], labels[1], ("le", &bound.to_string())];
            durations.suffixed("_bucket", &labels, count as f64);
        }
        durations.suffixed("_bucket", &[labels[0], labels[1], ("le", "+Inf")], done.count as f64);
        durations.suffixed("_sum", &labels, done.seconds);
        durations.suffixed("_count", &labels, done.count as f64);
    }
    let help = "HTTP requests to the store, retries and the parts of uploads included: what is paid for.";
    let mut requests = page.family("millstream_store_requests_total", Counter, help);
    for asked in &facts.requests {
        requests.number(&[("store", &asked.store), ("request", asked.request)], asked.count);
    }
    let help =
        "US dollars for a month of requests as those since the start, at S3's list prices; storage is not in it.";
    let mut month = page.family("millstream_store_requests_month_dollars", Gauge, help);
    for (store, dollars) in month_of_requests(facts) {
        month.sample(&[("store", store)], dollars);
    }
}

/// The first hour counts as a whole one: a start asks for more than what comes after it.
pub fn month_of_requests(facts: &Facts) -> BTreeMap<&str, f64> {
    let hours = (facts.up.as_secs_f64() / 3600.0).max(1.0);
    let mut stores = BTreeMap::new();
    for asked in &facts.requests {
        let dollars = price::of_requests(asked.request, asked.count as f64 / hours * price::HOURS);
        *stores.entry(asked.store.as_str()).or_insert(0.0) += dollars;
    }
    stores
}

/// A gauge that is 1 in one state: name, help, condition.
type StateFamily = (&'static str, &'static str, fn(&State) -> bool);
/// A counter of a replica.
type Tallies = fn(&ReplicaFacts) -> &Tallied;

/// A family with a sample for each replica that has one.
fn replicas(
    page: &mut Exposition,
    (name, kind, help): (&'static str, Kind, &'static str),
    all: &[DatabaseFacts],
    sample: impl Fn(&mut Family<'_>, &[(&str, &str)], &ReplicaFacts),
) {
    let mut family = page.family(name, kind, help);
    for database in all {
        for replica in &database.replicas {
            sample(&mut family, &[of(database)[0], ("replica", &replica.name)], replica);
        }
    }
}

fn safety(page: &mut Exposition, all: &[DatabaseFacts]) {
    let age =
        ("millstream_unshipped_seconds", Gauge, "Age of the oldest commit that the replica does not have; 0: none.");
    replicas(page, age, all, |family, labels, replica| {
        family.sample(labels, replica.unshipped_for.unwrap_or_default().as_secs_f64());
    });
    let help = "Age of the oldest commit that no replica has; 0: none.";
    let mut lag = page.family("millstream_lag_seconds", Gauge, help);
    all.iter().for_each(|db| lag.sample(&of(db), db.lag().as_secs_f64()));
    let txid = ("millstream_uploaded_txid", Gauge, "Newest transaction ID that the replica is known to have.");
    replicas(page, txid, all, |family, labels, replica| {
        replica.uploaded.into_iter().for_each(|txid| family.number(labels, txid));
    });
    let at = (
        "millstream_uploaded_timestamp_seconds",
        Gauge,
        "When the replica has confirmed its newest transaction, Unix time.",
    );
    replicas(page, at, all, |family, labels, replica| {
        replica.uploaded_at_ms.into_iter().for_each(|ms| family.milliseconds(labels, ms));
    });
    let outage = ("millstream_outage_seconds", Gauge, "For how long the replica has not taken uploads; 0: it does.");
    replicas(page, outage, all, |family, labels, replica| {
        family.sample(labels, replica.outage_for.unwrap_or_default().as_secs_f64());
    });
    let proof = |replica: &ReplicaFacts, value: fn(&ProofFacts) -> Option<u64>| replica.proof.as_ref().and_then(value);
    let txid =
        ("millstream_proven_txid", Gauge, "Newest transaction ID up to which the replica was proven to restore.");
    replicas(page, txid, all, |family, labels, replica| {
        proof(replica, |proof| proof.txid).into_iter().for_each(|txid| family.number(labels, txid));
    });
    let at = ("millstream_proven_timestamp_seconds", Gauge, "When the replica was last proven to restore, Unix time.");
    replicas(page, at, all, |family, labels, replica| {
        let at_ms = replica.proof.as_ref().and_then(|proof| proof.at_ms);
        at_ms.into_iter().for_each(|ms| family.milliseconds(labels, ms));
    });
    let failed = ("millstream_proof_failed", Gauge, "1 if the newest proof of the replica has found damage.");
    replicas(page, failed, all, |family, labels, replica| {
        let failed = proof(replica, |proof| Some(u64::from(proof.failed.is_some())));
        failed.into_iter().for_each(|failed| family.number(labels, failed));
    });
    each(
        &mut page.family("millstream_spilled_bytes", Gauge, "Captured commits that wait in local files, in bytes."),
        all,
        |db| Some(db.spilled_bytes),
    );
}

fn states(page: &mut Exposition, all: &[DatabaseFacts]) {
    let families: [StateFamily; 4] = [
        ("millstream_replicating", "1 if every commit of the database is captured.", |s| *s == State::Replicating),
        ("millstream_standby", "1 if another process replicates the database.", |s| *s == State::Standby),
        ("millstream_fenced", "1 if another writer owns the history of the database.", |s| *s == State::Fenced),
        ("millstream_halted", "1 if the replication of the database has ended by itself.", |s| {
            matches!(s, State::Halted(_) | State::Exclusive(_))
        }),
    ];
    for (name, help, holds) in families {
        each(&mut page.family(name, Gauge, help), all, |db| Some(u64::from(holds(&db.state))));
    }
}

fn restores(page: &mut Exposition, all: &[DatabaseFacts]) {
    let made = || all.iter().filter_map(|db| Some((db, db.restored?)));
    let help = "How long the restore took that this program has made before it began to replicate.";
    let mut seconds = page.family("millstream_restore_seconds", Gauge, help);
    made().for_each(|(db, made)| seconds.sample(&of(db), made.took.as_secs_f64()));
    let help = "Size of the database file that was restored then.";
    let mut bytes = page.family("millstream_restored_bytes", Gauge, help);
    made().for_each(|(db, made)| bytes.number(&of(db), made.bytes));
}

fn upkeep(page: &mut Exposition, all: &[DatabaseFacts]) {
    let kinds: [(&str, Tallies); 2] =
        [("compaction", |replica| &replica.compactions), ("snapshot", |replica| &replica.snapshots)];
    let mut tally = |family: (&'static str, Kind, &'static str), value: fn(&Tallied) -> f64| {
        replicas(page, family, all, |family, labels, replica| {
            for (kind, tallied) in kinds {
                family.sample(&[labels[0], labels[1], ("kind", kind)], value(tallied(replica)));
            }
        });
    };
    let count = ("millstream_compactions_total", Counter, "Compacted files and snapshots that were written.");
    tally(count, |tallied| tallied.count as f64);
    let errors = ("millstream_compaction_errors_total", Counter, "Compactions and snapshots that failed.");
    tally(errors, |tallied| tallied.errors as f64);
    let seconds = ("millstream_compaction_seconds_total", Counter, "Time that compactions and snapshots took.");
    tally(seconds, |tallied| tallied.took.as_secs_f64());
    let refused = ("millstream_undeletable_objects", Gauge, "Expired objects that could not be deleted.");
    replicas(page, refused, all, |family, labels, replica| family.sample(labels, replica.refused_objects as f64));
}

fn program(page: &mut Exposition, facts: &Facts) {
    let mut info = page.family("millstream_build_info", Gauge, "Always 1; the label tells the version.");
    info.number(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let mut ready = page.family("millstream_ready", Gauge, "1 if /readyz says so.");
    ready.number(&[], u64::from(readiness(facts).is_ready));
    let mut phase = page.family("millstream_phase", Gauge, "1 for what the program is at.");
    for (name, which) in [
        ("waiting", Phase::Waiting),
        ("restoring", Phase::Restoring),
        ("arming", Phase::Arming),
        ("migrating", Phase::Migrating),
        ("running", Phase::Running),
        ("draining", Phase::Draining),
        ("standing_by", Phase::StandingBy),
        ("stopping", Phase::Stopping),
    ] {
        phase.number(&[("phase", name)], u64::from(facts.phase == which));
    }
    if let Some(max_lag) = facts.max_lag {
        let mut family = page.family("millstream_max_lag_seconds", Gauge, "The lag from which on /readyz fails.");
        family.sample(&[], max_lag.as_secs_f64());
    }
}

/// Standard names of Prometheus exporters.
fn process(page: &mut Exposition, facts: &Facts) {
    let process = &facts.process;
    if let Some(cpu) = process.cpu {
        let help = "User and system CPU time in seconds.";
        page.family("process_cpu_seconds_total", Counter, help).sample(&[], cpu.as_secs_f64());
    }
    for (name, help, value) in [
        ("process_open_fds", "Open file descriptors.", process.open_files),
        ("process_max_fds", "The limit of open file descriptors.", process.max_files),
        ("process_resident_memory_bytes", "Resident memory in bytes.", process.resident_bytes),
        ("process_virtual_memory_bytes", "Virtual memory in bytes.", process.virtual_bytes),
    ] {
        if let Some(value) = value {
            page.family(name, Gauge, help).number(&[], value);
        }
    }
    if let Some(ms) = process.started_at_ms {
        page.family("process_start_time_seconds", Gauge, "When the process started, Unix time.").milliseconds(&[], ms);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::facts::testing;
    use super::*;

    #[test]
    fn the_page_is_as_it_was_agreed() {
        let page = render(&testing::facts()).replace(env!("CARGO_PKG_VERSION"), "VERSION");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/testdata/metrics.txt");
        if std::env::var_os("MILLSTREAM_TEST_BLESS").is_some() {
            std::fs::write(&golden, &page).expect("write the page");
        }
        let expected = std::fs::read_to_string(&golden).expect("read the page; MILLSTREAM_TEST_BLESS=1 writes it");
        assert!(page == expected, "the page has changed; look at it, then MILLSTREAM_TEST_BLESS=1:\n{page}");
    }

    /// Every name that begins with one of ours, as a query, a rule or a page spells it.
    fn names(text: &str) -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let ours = |word: &&str| ["litestream_", "millstream_", "process_"].iter().any(|start| word.starts_with(start));
        words.filter(ours).map(str::to_owned).collect()
    }

    #[test]
    fn dashboard_and_alerts_name_nothing_that_is_not_there() {
        let rendered = names(&render(&testing::facts()));
        for file in ["grafana.json", "alerts.yml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/monitoring").join(file);
            let named = names(&std::fs::read_to_string(&path).expect("read"));
            assert!(named.len() >= 5, "{file} names only {named:?}");
            let unknown: Vec<&String> = named.difference(&rendered).collect();
            assert!(unknown.is_empty(), "{file} names what is not rendered: {unknown:?}");
        }
        assert!(!rendered.contains("millstream_unheard_of"), "this check can fail");
    }

    #[test]
    fn no_sample_is_there_twice() {
        let mut facts = testing::facts();
        // Same names in other directories, as tenants have them.
        let twins = ["/a/app.db", "/b/app.db"].map(testing::database);
        facts.databases.extend(twins);
        let page = render(&facts);
        let keys: Vec<&str> = page.lines().filter_map(|line| line.rsplit_once(' ').map(|(key, _)| key)).collect();
        let keys: Vec<&str> = keys.into_iter().filter(|key| !key.starts_with('#')).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "{page}");
    }

    #[test]
    fn an_empty_process_has_a_page_too() {
        let page = render(&Facts::default());
        assert!(page.contains("millstream_ready 0\n") && page.contains("millstream_phase{phase=\"restoring\"} 1\n"));
        assert!(!page.contains("litestream_db_size"), "a family without samples is left out: {page}");
    }
}
