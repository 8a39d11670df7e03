//! Facts become the document of `/status.json`. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::facts::{DatabaseFacts, Facts, ReplicaFacts, State};
use super::super::metrics::month_of_requests;
use super::document::{DatabaseEntry, Document, ProofEntry, ReplicaEntry, StoreEntry};
use super::figures::{count, duration, size, time, timestamp};
use super::judge::{Judged, of_one};
use super::plot::lag_plot;
use super::recorder::Recorded;
use super::select::Selected;
use crate::fsx;
use crate::ltx::Txid;

/// `each` are the databases of `selected`, measured, in their order.
pub fn document(facts: &Facts, selected: Selected, each: Vec<(DatabaseFacts, Recorded)>) -> Document {
    let Selected { level, sentence, databases, all, found, page, pages, is_whole } = selected;
    let judged = databases.into_iter().map(|(_, judged)| judged);
    let databases: Vec<DatabaseEntry> = each
        .into_iter()
        .zip(judged)
        .map(|((database, recorded), judged)| entry(&database, judged, recorded, is_whole))
        .collect();
    let stores = stores(facts);
    let mut shown = BTreeMap::from([
        ("sentence".to_owned(), sentence.clone()),
        ("at".to_owned(), time(facts.now_ms)),
        ("up".to_owned(), duration(facts.up)),
    ]);
    for (at, store) in stores.iter().enumerate() {
        shown.insert(format!("store{at}"), super::figures::dollars(store.month_dollars));
        shown.insert(format!("requests{at}"), count(usize::try_from(store.requests).unwrap_or(usize::MAX), "request"));
    }
    let mut document = Document {
        sentence,
        level,
        at: timestamp(facts.now_ms),
        version: env!("CARGO_PKG_VERSION").into(),
        up_seconds: facts.up.as_secs(),
        all,
        found,
        page,
        pages,
        databases,
        stores,
        structure: String::new(),
        shown,
    };
    document.structure = structure(&document);
    document
}

fn stores(facts: &Facts) -> Vec<StoreEntry> {
    let requests =
        |store: &str| facts.requests.iter().filter(|asked| asked.store == store).map(|asked| asked.count).sum();
    let month = month_of_requests(facts);
    let entry = |(store, month_dollars): (&str, f64)| StoreEntry {
        store: store.into(),
        requests: requests(store),
        month_dollars,
    };
    month.into_iter().map(entry).collect()
}

fn entry(database: &DatabaseFacts, judged: Judged, recorded: Recorded, is_whole: bool) -> DatabaseEntry {
    let Judged { level, state, sentence, problems, .. } = judged;
    let longest = recorded.lag_ms.iter().copied().max().unwrap_or(0);
    // What is looked at now may be more than what was noted last.
    let longest = Duration::from_millis(longest.into()).max(database.lag());
    let newest = database.replicas.iter().filter_map(|replica| replica.captured.max(replica.uploaded)).max();
    let mut entry = DatabaseEntry {
        id: database.id,
        path: database.path.clone(),
        level,
        state: state.into(),
        sentence,
        problems,
        lag_seconds: database.known_lag().map(|lag| lag.as_secs_f64()),
        longest_lag_seconds: longest.as_secs_f64(),
        txid: newest.and_then(hex),
        size: database.size,
        wal_size: database.wal_size,
        spilled_bytes: database.spilled_bytes,
        replicas: database.replicas.iter().map(|of| replica(of, &database.state)).collect(),
        lag_ms: if is_whole { recorded.lag_ms } else { Vec::new() },
        points: recorded.points.filter(|_| is_whole),
        shown: BTreeMap::new(),
    };
    entry.shown = shown(&entry, database, longest, recorded.is_listing);
    entry
}

fn replica(replica: &ReplicaFacts, state: &State) -> ReplicaEntry {
    ReplicaEntry {
        name: replica.name.clone(),
        address: replica.address.clone(),
        sentence: of_one(replica, state),
        txid: replica.uploaded.and_then(hex),
        uploaded_at: replica.uploaded_at_ms.map(timestamp),
        lag_seconds: replica.unshipped_for.unwrap_or_default().as_secs_f64(),
        outage_seconds: replica.outage_for.map(|outage| outage.as_secs_f64()),
        proof: replica.proof.as_ref().map(|proof| ProofEntry {
            txid: proof.txid.and_then(hex),
            at: proof.at_ms.map(timestamp),
            failed: proof.failed.clone(),
        }),
    }
}

/// As in the names of objects.
fn hex(txid: u64) -> Option<String> {
    Txid::new(txid).map(|txid| txid.to_string())
}

/// The texts of one database by the name of their place.
fn shown(
    entry: &DatabaseEntry,
    database: &DatabaseFacts,
    longest: Duration,
    is_listing: bool,
) -> BTreeMap<String, String> {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "not known".to_owned(), size);
    let uploaded = database.replicas.iter().filter_map(|replica| replica.uploaded_at_ms).max();
    let mut shown = BTreeMap::from([
        ("sentence".to_owned(), entry.sentence.clone()),
        ("lag".to_owned(), database.known_lag().map_or_else(|| "not known".into(), duration)),
        ("longest".to_owned(), duration(longest)),
        ("txid".to_owned(), entry.txid.clone().unwrap_or_else(|| "none yet".into())),
        ("uploaded".to_owned(), uploaded.map_or_else(|| "never since the start".into(), time)),
        ("size".to_owned(), bytes(entry.size)),
        ("wal".to_owned(), bytes(entry.wal_size)),
        ("spill".to_owned(), size(entry.spilled_bytes)),
    ]);
    for (at, (entry, replica)) in entry.replicas.iter().zip(&database.replicas).enumerate() {
        let mut put = |name: &str, text: String| shown.insert(format!("r{at}-{name}"), text);
        put("state", entry.sentence.clone());
        put("txid", entry.txid.clone().unwrap_or_else(|| "none".into()));
        put("at", replica.uploaded_at_ms.map_or_else(|| "never since the start".into(), time));
        put("proof", proof(replica));
    }
    for (at, problem) in entry.problems.iter().enumerate() {
        shown.insert(format!("p{at}"), problem.what.clone());
    }
    if !entry.lag_ms.is_empty() {
        let plot = lag_plot(&entry.lag_ms);
        shown.extend([
            ("plot-area".to_owned(), plot.area),
            ("plot-begins".to_owned(), plot.begins.to_string()),
            ("plot-top".to_owned(), plot.top),
            ("plot-label".to_owned(), plot.label),
        ]);
    }
    if is_listing {
        shown.insert("listing".into(), "The replica is being listed.".into());
    }
    shown
}

fn proof(replica: &ReplicaFacts) -> String {
    let Some(proof) = &replica.proof else { return "not proved in the background".into() };
    let proven = match (proof.at_ms, proof.txid.and_then(hex)) {
        (Some(at_ms), Some(txid)) => format!("{} up to {txid}", time(at_ms)),
        _ => "not yet".into(),
    };
    if proof.failed.is_some() { format!("{proven}; damage was found since then") } else { proven }
}

/// Two documents with the same structure differ in texts and plots only.
fn structure(document: &Document) -> String {
    let mut text = format!("{}/{}/{:?};", document.page, document.pages, document.level);
    for database in &document.databases {
        let DatabaseEntry { id, level, problems, replicas, points, shown, .. } = database;
        let listed_at = points.as_ref().map(|points| points.listed_at.as_str());
        let is_listing = shown.contains_key("listing");
        text.push_str(&format!("{id} {level:?} {} {listed_at:?} {is_listing}", replicas.len()));
        problems.iter().for_each(|problem| text.push_str(&problem.what_to_do));
    }
    document.stores.iter().for_each(|store| text.push_str(&store.store));
    format!("{:016x}-{}", fsx::hash(text.as_bytes()), document.databases.len())
}
