//! The HTTP face: metrics and health, and the two that tell without being asked, the heartbeat and
//! the service manager's line. It asks the fleet and the statuses, and changes nothing.
//!
//! ```text
//!   gather.rs      asks the fleet ─▶ facts.rs  plain data ─┬▶ metrics.rs  pure: /metrics (exposition.rs: its format)
//!   process.rs     … and the kernel                        └▶ health.rs   pure: /readyz, safe or not
//!   server.rs      the listener: who may ask, for how long
//!   heartbeat.rs   a GET as long as everything is safe
//!   ask.rs         `millstream health`: asks another process
//! ```

mod ask;
mod exposition;
mod facts;
mod gather;
mod health;
mod heartbeat;
mod metrics;
mod process;
mod server;

pub use ask::ask;
pub use facts::Phase;
pub use gather::{Gather, ProvedReplica};
pub use health::in_a_line;
pub use heartbeat::{Heartbeat, beat};
pub use server::{Source, listen, serve};
