//! Who writes: how the holder of the history changes from one process to the next, when a container
//! is redeployed, or dies.
//!
//! It must never know of databases, of SQLite or of the application: it says that a database is to
//! be sealed, an application to be started or stopped, and others do it.
//!
//! The bucket that holds the backup is the only other party. A claim is an object that is created
//! once and never changed; the one with the highest number is that of the holder, or of the process
//! that is about to be. Beside it lies a beat, which only its holder writes: it shows life, and
//! says what the holder is about.
//!
//! ```text
//!   claims/<epoch>.json   {node, instance, process, hostname, url?, ttl_ms, parent, why}
//!   claims/<epoch>.beat   {count, state: waiting | held | draining | released, to?, told_to_end?,
//!                          sealed, every_ms}
//! ```
//!
//! This makes a handover orderly. It is not what keeps two writers apart: that is the log, whose
//! next TXID only one of them can create (`store::Put::create`). So a mistake here (a holder taken
//! for dead, a lost reply, a clock that jumps) can cost the commits that were not uploaded, and can
//! never mix two histories. The rule that ties both: before a new holder's application is started,
//! it has *sealed*: it created the next TXID of every database, so that nothing of an earlier
//! holder fits any more.
//!
//! ```text
//!   wire.rs    what is in the two objects
//!   seen.rs    pure: what the claims mean
//!   mine.rs    pure: the own claim, and what its beat is to say
//!   watch.rs   pure: for how long something has not changed
//!   requests.rs  the requests that change claims, each with a time-out
//!   core/      pure: claim, wait, seal, serve, drain, stand by
//!   roles/     the same objects where nodes form a cluster: which of them is the primary
//!   driver.rs  carries out what the core asks of the bucket
//!   look.rs    reads the claims, with few requests
//!   say.rs     the core's notices in words
//!   sim/       thousands of histories, and every history with a few faults
//! ```

mod core;
mod driver;
mod look;
mod mine;
mod requests;
mod roles;
mod say;
mod seen;
mod watch;
mod wire;

pub use core::{Access, Config, Outcome, Stop};
pub use driver::{Driver, Node, Order, Report};
pub use roles::{Leader, Reach, RoleConfig, RoleDriver, RoleOrder, RoleReport};
pub use seen::Identity;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
