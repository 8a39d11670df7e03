//! Which node of a cluster is the primary: the roles, over the same claims.
//!
//! It must never know of databases, of SQLite or of the application: it says that copies are to be
//! followed, a history to be sealed, an application to be kept from writing, and others do it.
//!
//! With `cluster:` the newest claim is that of the primary, or of the node that is about to be it.
//! Unlike where one container follows the other (`claim/core/`), a node does not claim because it
//! was started, but when there is no primary, or a person wants it to be one. The others are
//! followers, whose databases are live copies.
//!
//! ```text
//!   core/      pure: follow, claim, wait, seal, serve, close, drain
//!   driver.rs  carries out what the core asks of the bucket
//!   say.rs     the core's notices in words
//!   sim/       thousands of histories of several nodes
//! ```

mod core;
mod driver;
mod say;

pub use core::{Config as RoleConfig, Reach};
pub use driver::{Leader, RoleDriver, RoleOrder, RoleReport};

#[cfg(test)]
mod sim;
