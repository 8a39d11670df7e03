//! The HTTP listener with the status page, metrics and health, and two reports that are sent
//! unasked: the heartbeat and the status line of the service manager. It reads from the fleet and
//! changes nothing.
//!
//! ```text
//!   gather.rs      asks the fleet ─▶ facts.rs  plain data ─┬▶ metrics.rs  pure
//!   process.rs     … and the kernel                        ├▶ proxied.rs  pure: what the proxy has counted
//!                                                          ├▶ health.rs  pure: /readyz
//!                                                          └▶ page/  the status page
//!   server.rs      the listener: who may ask, for how long
//!   heartbeat.rs   a GET as long as everything is safe
//!   ask.rs         `millstream health`: asks another process
//! ```

mod ask;
mod facts;
mod gather;
mod health;
mod heartbeat;
mod metrics;
mod page;
mod process;
mod proxied;
mod server;

pub use ask::{ask, ask_status};
pub use facts::Phase;
pub use gather::{Gather, ProvedReplica};
pub use health::in_a_line;
pub use heartbeat::{Heartbeat, beat};
pub use page::{DatabaseEntry, Document, Level, Recorder, ReplicaEntry, duration};
pub use server::{Source, listen, serve};
