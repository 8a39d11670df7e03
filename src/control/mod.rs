//! The control socket: other processes ask what is replicated, and change it.
//!
//! HTTP with JSON bodies over a unix socket, with Litestream's routes, words and status codes, so
//! that its commands work here and ours work there:
//!
//! ```text
//!   GET  /info  /list  /txid?path=  /debug/sync-status[?path=]
//!   POST /sync  /start  /stop  /register  /unregister    and ours: /snapshot  /checkpoint
//!   GET  /nodes                   POST /promote  /demote     of a cluster
//! ```
//!
//! ```text
//!   client.rs  a command's side
//!   wire.rs    what both sides say
//!   socket.rs  the file: who may connect, what becomes of an old one
//!   server.rs  connections, their limits, and which route is meant
//!   routes.rs  what each route does with the fleet
//!   words.rs   pure: what is replicated, in Litestream's words
//! ```
//!
//! Nothing here knows the configuration: a [`Registrar`] finds the database for a path and the
//! settings for a new one. A user who may write to the socket can see and stop the replications of
//! this process, and nothing more.

mod client;
mod routes;
mod server;
mod socket;
mod wire;
mod words;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use crate::members::Members;
use crate::replicate::DatabaseId;

pub use client::{Client, ClientError};
pub use routes::Control;
pub use server::Serving;
pub use socket::Socket;
pub use wire::{Changed, Databases, Info, RoleChanged, Summary};

/// What the configuration says about databases that it does not name.
#[async_trait]
pub trait Registrar: Send + Sync {
    /// The absolute path of the file that a text names as a database.
    fn database(&self, name: &str) -> Result<PathBuf, String>;

    /// Adds a database with a replica at this URL to the fleet.
    async fn register(&self, database: PathBuf, replica_url: &str) -> Result<DatabaseId, Refused>;

    /// The database was registered, and is replicated: it shall be after the next start, too, if
    /// the configuration says so.
    async fn note_registered(&self, database: PathBuf, replica_url: String) -> Result<(), String>;

    /// The database was unregistered.
    async fn note_unregistered(&self, database: PathBuf) -> Result<(), String>;
}

/// The cluster that this process is a node of.
#[async_trait]
pub trait Roles: Send + Sync {
    /// Makes this node the primary, or the one of this name; its name, and whether it is this one.
    async fn promote(&self, node: Option<String>, limit: Duration) -> Result<(String, bool), String>;

    /// Lets another node be the primary; which one, if it is known already.
    async fn demote(&self, limit: Duration) -> Result<Option<String>, String>;

    /// Who is there.
    async fn nodes(&self) -> Members;
}

/// Why a database was not registered.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It must not be replicated like that.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be replicated now.
    #[error("{0}")]
    Failed(String),
}
