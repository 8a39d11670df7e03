//! The nodes of a cluster: who is what, how far, and how far behind. In JSON, for other nodes and
//! for people.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The primary first.
    pub nodes: Vec<Member>,
    /// Why this is not all that could be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub name: String,
    /// `primary`, `follower`, or `unknown`.
    pub role: String,
    /// It may become the primary.
    pub candidate: bool,
    /// How long ago it said where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_ms_ago: Option<u64>,
    pub databases: Vec<MemberDatabase>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberDatabase {
    /// The address of its replica.
    pub replica: String,
    /// What it shows to readers; of the primary: what the bucket has. `None`: nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txid: Option<u64>,
    /// How much newer the newest state in the bucket is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_txids: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_ms: Option<u64>,
}
