//! A live copy of a database for those who read it on this machine: restored once, and kept at the
//! newest state of a replica from then on.
//!
//! It must never know who writes to the database, nor of the replication: what it installs is what
//! lies in the bucket (I9), so that a copy is never ahead of a restore.
//!
//! ```text
//!   core/         pure: what is done next
//!   driver.rs     waits for events, carries out what the core asks: pieces of work.rs
//!   feed.rs       what a primary pushes
//!   files.rs      files of the replica as one stream of pages, verified
//!   install.rs    that stream into the copy, in one transaction
//!   checksum.rs   how a state of the copy is known again
//!   place.rs      what is at the copy's path; restored, or replaced
//!   txid_file.rs  Litestream's note beside a copy
//!   say.rs        the core's notices in words
//!   sim/          thousands of histories
//! ```
//!
//! # What readers see
//!
//! An install is an ordinary write transaction of SQLite (`sqlite::LiveCopy`), so a reader has the
//! state before it or the state after it, however long its own transaction lasts, and its cached
//! pages and its schema are renewed as after every commit. What is behind is merged and installed
//! at once. The file is never replaced by another one while programs have it open: those would keep
//! the old one for ever.
//!
//! # What a crash leaves
//!
//! Before a commit, the states before and after it are noted with their checksums, durably
//! (`state::CopyNote`). A commit is durable when it returns. Whatever a kill or a power loss leaves
//! is looked at as a whole: it is one of the two states, or it is in doubt. In doubt it is compared
//! with a whole image from the replica, page by page, and the difference is written in one
//! transaction. The same heals what another program has written.

mod checksum;
mod core;
mod driver;
mod feed;
mod files;
mod install;
mod place;
mod say;
mod txid_file;
mod work;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

pub use core::{End, Position, Reason};
pub use driver::{CopyProgress, Follower, Order, Told};
pub use feed::Feed;
pub use place::{note_state, take_place};
