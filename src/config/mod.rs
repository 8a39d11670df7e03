//! litestream.yml + env + flags → typed Options; nothing below reads YAML or env.
//!
//! ```text
//!   flags ─┐
//!   env ───┼─→ load ─→ expand (raw text), unset ─→ yaml (by keys, the table) ─→ resolve ─→ Options
//!   file ──┘                                                    replicas ─→ replica ─→ url ──┘
//! ```

mod cluster;
mod collisions;
mod commands;
mod database_file;
mod directory;
mod expand;
#[cfg(test)]
mod fuzz;
mod handover;
mod keys;
mod lifecycle;
mod litefs;
mod litefs_yml;
mod load;
mod monitoring;
mod options;
mod owner;
mod paths;
mod placement;
mod places;
mod presets;
mod proof;
mod proxy;
mod registrations;
mod replica;
mod replicas;
mod resolve;
mod scalar;
mod section;
mod sources;
mod suggestion;
mod target;
mod unset;
mod url;
mod yaml;

pub use cluster::{Cluster, Failover};
pub use commands::{Configured, RunsOn};
pub use database_file::database_file;
pub use handover::Handover;
pub use litefs::Litefs;
pub use litefs_yml::translate as translate_litefs_yml;
pub use load::{Loaded, logging_without_file, replica_from_url};
pub use monitoring::{Addr, Monitoring, OnDatabaseFailure, OnReplicationEnd};
pub use options::{Database, Directory, LogFormat, LogLevel, Logging, Options, Replica, Shutdown, Socket, Verify};
pub use paths::default_meta_path;
pub use places::Places;
pub use presets::Added;
pub use registrations::RegistrationsFile;
pub use scalar::{parse_duration, parse_variable};
pub use sources::Sources;
pub use target::Target;
pub use url::{is_url, redact as redact_url};
