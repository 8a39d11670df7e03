//! The words of `/status.json`: exact values for programs, and beside them the texts that the page
//! shows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How well something is; the worst comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Commits may be lost, or nothing is replicated.
    Problem,
    /// It is good to know.
    Note,
    #[default]
    Safe,
}

impl Level {
    /// As it is shown.
    pub const fn word(self) -> &'static str {
        match self {
            Level::Problem => "not safe",
            Level::Note => "note",
            Level::Safe => "safe",
        }
    }

    /// As the style sheet calls it.
    pub const fn class(self) -> &'static str {
        match self {
            Level::Problem => "problem",
            Level::Note => "note",
            Level::Safe => "safe",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The truth about everything in one sentence.
    pub sentence: String,
    pub level: Level,
    /// When this was so, RFC 3339.
    pub at: String,
    pub version: String,
    pub up_seconds: u64,
    /// Databases of the process, those that were asked for, and the part of them that is here.
    pub all: usize,
    pub found: usize,
    pub page: usize,
    pub pages: usize,
    pub databases: Vec<DatabaseEntry>,
    pub stores: Vec<StoreEntry>,
    /// It changes whenever more than texts and plots have changed.
    pub structure: String,
    /// Texts by the name of their place in the page.
    #[serde(default)]
    pub shown: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatabaseEntry {
    /// A number that is never used again while the process lives.
    pub id: u64,
    pub path: String,
    pub level: Level,
    /// In one word.
    pub state: String,
    pub sentence: String,
    pub problems: Vec<Problem>,
    /// Age of the oldest commit that is in no replica; 0: there is none; `None`: the database is
    /// not replicated, so it is not known.
    pub lag_seconds: Option<f64>,
    /// The longest of the last hour.
    pub longest_lag_seconds: f64,
    pub txid: Option<String>,
    pub size: Option<u64>,
    pub wal_size: Option<u64>,
    pub spilled_bytes: u64,
    pub replicas: Vec<ReplicaEntry>,
    /// The longest lag of each 30 s in milliseconds, the newest last; where one database is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lag_ms: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<PointsEntry>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shown: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub what: String,
    pub what_to_do: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplicaEntry {
    pub name: String,
    pub address: String,
    pub sentence: String,
    /// The newest that it is known to have.
    pub txid: Option<String>,
    pub uploaded_at: Option<String>,
    pub lag_seconds: f64,
    pub outage_seconds: Option<f64>,
    /// `None`: it is not proved in the background.
    pub proof: Option<ProofEntry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofEntry {
    pub txid: Option<String>,
    pub at: Option<String>,
    pub failed: Option<String>,
}

/// What a listing of the first replica has shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PointsEntry {
    pub replica: String,
    pub listed_at: String,
    pub listed_at_ms: i64,
    /// The listing has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub ranges: Vec<RangeEntry>,
    /// Ranges that are not here, because there are so many.
    pub more_ranges: usize,
    pub holes: Vec<String>,
    pub objects: usize,
    pub stored_bytes: u64,
    /// US dollars, at the rate at which it is written; `None`: it is too new to say.
    pub month_dollars: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeEntry {
    pub from: String,
    pub to: String,
    pub from_ms: i64,
    pub to_ms: i64,
    pub points: usize,
    pub density: String,
    /// Every upload of this range can be brought back.
    pub is_every_commit: bool,
}

/// The requests to one store since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreEntry {
    pub store: String,
    pub requests: u64,
    pub month_dollars: f64,
}
