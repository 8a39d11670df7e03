//! The databases that are replicated now.
//!
//! ```text
//!   run, control, http ── FleetHandle: add · remove · start · stop · sync · checkpoint · snapshot · databases
//!                            │ commands
//!              ┌─────────────▼─────────────┐
//!              │ Fleet: id → registration, │      stores.rs: one probe and one share of the
//!              │     replication, event    │                 governor for each store
//!              └──┬─────────┬─────────┬──▲─┘
//!    mailboxes    ▼         ▼         ▼  │ events
//!            Replication Replication Replication
//!           one inotify, one governor for all
//! ```
//!
//! Databases come and go while others are replicated. One that is stopped keeps its id and what is
//! known of it, and can be started again; one that is removed is gone for good, and may come back
//! under another id. One task owns all of them and never waits: what takes time is a future for the
//! caller. Events are recorded first and then sent to [`FleetEvents`], so that later answers
//! contain every event that was received.
//!
//! ```text
//!   handle.rs   the task, and how it is asked
//!   members.rs  its state
//!   view.rs     what it tells of its databases: plain data
//!   stores.rs   what the databases of one store share
//! ```

mod handle;
mod members;
mod stores;
mod view;

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use crate::remote::Remote;
use crate::replicate::{MirrorSettings, Settings};

pub use handle::{FleetEvents, FleetHandle};
pub use stores::StoreKey;
pub use view::{DatabaseView, ReplicaView, State};

/// What is known of one database: where it lies, how it is replicated, and to where.
#[derive(Clone)]
pub struct Registration {
    pub settings: Arc<Settings>,
    /// The name of the first replica in the configuration.
    pub name: String,
    /// The replica that fences.
    pub remote: Remote,
    /// Databases with the same key share a probe, and take turns.
    pub store: StoreKey,
    /// The other replicas.
    pub mirrors: Vec<MirrorRegistration>,
}

/// One more replica of a database, which gets what the first has.
#[derive(Clone)]
pub struct MirrorRegistration {
    pub settings: MirrorSettings,
    pub remote: Remote,
    pub store: StoreKey,
}

/// Why a fleet does not do what it was asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    #[error("{} is registered already", .0.display())]
    Known(PathBuf),
    #[error("no database is registered under this id")]
    Unknown,
    #[error("{} is being replicated: stop it first", .0.display())]
    Running(PathBuf),
    #[error("{} is not being replicated: start it first", .0.display())]
    Stopped(PathBuf),
    #[error("{} was left out when this program started: mend what was said then, and start it again", .0.display())]
    LeftOut(PathBuf),
    #[error("the program is ending: no replication is started any more")]
    Ending,
    #[error("internal error: the task that owns the replications is gone")]
    Gone,
}
