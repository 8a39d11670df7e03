//! The messages of the socket: Litestream's JSON, field for field. Its clients ignore the fields
//! that we add.

use serde::{Deserialize, Serialize};

pub const INFO: &str = "/info";
pub const LIST: &str = "/list";
pub const TXID: &str = "/txid";
pub const SYNC_STATUS: &str = "/debug/sync-status";
pub const SYNC: &str = "/sync";
pub const START: &str = "/start";
pub const STOP: &str = "/stop";
pub const REGISTER: &str = "/register";
pub const UNREGISTER: &str = "/unregister";
/// Ours.
pub const SNAPSHOT: &str = "/snapshot";
pub const CHECKPOINT: &str = "/checkpoint";
pub const PROMOTE: &str = "/promote";
pub const DEMOTE: &str = "/demote";
pub const NODES: &str = "/nodes";

/// The body of a request about one database.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DatabaseRequest {
    #[serde(default)]
    pub path: String,
    /// In seconds. Without it, or with an invalid number, the default counts.
    #[serde(default)]
    pub timeout: i64,
}

/// The body of a request about the role of this node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RoleRequest {
    /// In seconds.
    #[serde(default)]
    pub timeout: i64,
    /// Another node is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoleChanged {
    /// `primary` or `follower`.
    pub role: String,
    /// The node that is the primary now, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SyncRequest {
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub wait: bool,
    #[serde(default)]
    pub timeout: i64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RegisterRequest {
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub replica_url: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Info {
    pub version: String,
    pub pid: u32,
    pub uptime_seconds: i64,
    /// RFC 3339.
    pub started_at: String,
    pub database_count: usize,
    /// Ours: Litestream does not say what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Databases {
    pub databases: Vec<Summary>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    pub path: String,
    /// Litestream's `replicating`, `open` and `stopped`; ours are `fenced` and `failed`.
    pub status: String,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_at: Option<String>,
    // Ours.
    /// The problem, or what the replication waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<Replica>,
}

/// How far one replica of a database is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Replica {
    pub name: String,
    pub address: String,
    pub txid: u64,
    pub replicated_txid: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_at: Option<String>,
    /// Age of the oldest commit that it does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
}

/// The answer to start and stop.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Changed {
    pub status: String,
    pub path: String,
    pub txid: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Synced {
    /// `no_change`, `synced` or `synced_local`.
    pub status: String,
    pub path: String,
    pub txid: u64,
    pub replicated_txid: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registered {
    pub status: String,
    pub path: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unregistered {
    pub status: String,
    pub path: String,
    pub txid: u64,
}

/// Ours.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    pub path: String,
    /// The newest transaction in it.
    pub txid: u64,
}

/// Ours.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkpointed {
    pub path: String,
    /// The newest transaction in the first replica, which holds what is in the file now.
    pub txid: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Position {
    pub txid: u64,
}

/// The answer to `/debug/sync-status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Diagnostics {
    pub databases: Vec<Diagnostic>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Diagnostic {
    pub path: String,
    /// Ours: where the notes and the spilled files are.
    #[serde(default)]
    pub meta_path: String,
    /// Something is being shipped.
    pub active: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_seconds: Option<f64>,
    pub txid: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Problem {
    pub error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
}

/// Whether there is such a route, whatever the method.
pub fn is_known(route: &str) -> bool {
    [
        INFO,
        LIST,
        TXID,
        SYNC_STATUS,
        SYNC,
        START,
        STOP,
        REGISTER,
        UNREGISTER,
        SNAPSHOT,
        CHECKPOINT,
        PROMOTE,
        DEMOTE,
        NODES,
    ]
    .contains(&route)
}
