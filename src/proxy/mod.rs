//! The HTTP proxy in front of the application: it listens before the application is up, holds what
//! comes while the application is not there, and passes on everything else as it is.
//!
//! It must never know how the application is run, when a node becomes the primary, or what SQLite
//! is: it is told whether the application is there and where the primary is, and asks the fleet to
//! upload what was committed.
//!
//! ```text
//!   listener.rs   connections ─▶ front.rs, exchange.rs   one request ─▶ core.rs   pure: pass, forward, hold or refuse?
//!   pace.rs       limits of a head    │     headers.rs  pure: what changes in a head · routes.rs  pure: what is a write
//!                                     ├──▶ pool.rs, link.rs    connections to a server, used again
//!                                     ├──▶ peers.rs            the proxies of other nodes; wake.rs  something is to be seen
//!                                     ├──▶ fly.rs              pure: Fly's edge sends it to the primary
//!                                     ├──▶ room.rs             how much is held
//!                                     ├──▶ ack.rs              responses that wait for the bucket
//!                                     ├──▶ position.rs         what a client has written already · replay.rs  pure: the application asks for the primary
//!                                     ├──▶ tunnel.rs           WebSockets
//!                                     └──▶ outgoing.rs, reply.rs   bodies, never held as a whole
//!   probe.rs      does the application accept connections?   flights.rs  what it is at work on, who has just connected
//!   handle.rs     the whole: started, told, drained, closed
//! ```

mod ack;
mod answers;
mod core;
mod exchange;
mod flights;
mod fly;
mod front;
mod handle;
mod headers;
mod link;
mod listener;
mod outgoing;
mod pace;
mod peers;
mod pool;
mod position;
mod probe;
mod replay;
mod reply;
mod room;
mod routes;
mod settings;
mod tunnel;
mod wake;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use crate::{endpoint, secret};

pub use core::App;
pub use endpoint::Endpoint;
pub use handle::Proxy;
pub use routes::{AckRoutes, Glob, Routes};
pub use secret::Secret;
pub use settings::{Forwarding, HoldBounds, Settings};
pub use wake::wake;
