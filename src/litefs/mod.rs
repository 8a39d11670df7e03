//! What programs look for that were written for LiteFS: its files and its HTTP API, without FUSE.
//!
//! It must never know how roles are decided, or how pages are copied: it is told where the primary
//! is and which transaction each database shows, and passes it on in LiteFS's words.
//!
//! ```text
//!   view.rs       what is told at one moment
//!   files.rs      pure: what stands in the files      directory.rs  keeps them up to date
//!   halt.rs       NAME-lock
//!   events.rs     pure: what has changed, as /events says it
//!   server.rs     the listener      access.rs  who is answered
//!   api.rs        the routes        body.rs    what an answer consists of
//!   export.rs     a whole database out      import.rs  and in
//!   metrics.rs    pure: LiteFS's names of what we know
//! ```
//!
//! # One difference
//!
//! In LiteFS `.primary` is missing on the primary, and also where no primary is known. Every client
//! takes "it is missing" for "I am the primary". Here it is missing on the primary alone.

mod access;
mod api;
mod body;
mod directory;
mod events;
mod export;
mod files;
mod halt;
mod import;
mod metrics;
mod server;
mod view;

#[cfg(test)]
mod tests;

pub use access::Token;
pub use api::{Api, Moves};
pub use directory::keep;
pub use server::serve;
pub use view::{Shared, Watched};
