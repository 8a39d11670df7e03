//! litestream.yml + env + flags → typed Options; nothing below reads YAML or env.
//!
//! ```text
//!   flags ─┐
//!   env ───┼─→ load ─→ expand (raw text) ─→ yaml (led by keys, the table) ─→ resolve ─→ replica ─→ url
//!   file ──┘                                                                   └─→ Options
//! ```

mod expand;
mod keys;
mod load;
mod options;
mod paths;
mod replica;
mod resolve;
mod scalar;
mod section;
mod target;
mod url;
mod yaml;

pub use load::{Loaded, Sources, replica_from_url};
pub use options::{Database, LogFormat, LogLevel, Logging, Options, Replica, Shutdown, Verify};
pub use paths::default_meta_path;
pub use scalar::{parse_duration, parse_variable};
pub use target::Target;
pub use url::is_url;
