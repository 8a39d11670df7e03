//! litestream.yml + env + flags → typed Options; nothing below reads YAML or env.
//!
//! ```text
//!   flags ─┐
//!   env ───┼─→ load ─→ expand (raw text) ─→ parse (keys: the table) ─→ resolve (url, inherited defaults) ─→ Options
//!   file ──┘
//! ```

mod expand;
mod keys;
mod options;
mod scalar;
mod target;
mod url;
mod yaml;

pub use options::{
    CaptureOptions, Database, Lifecycle, LogFormat, LogLevel, Logging, Options, Replica, Shutdown, SnapshotPolicy,
};
pub use target::{S3Target, Target};
