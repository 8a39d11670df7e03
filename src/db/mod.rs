//! The local side: one SQLite database, from which every commit is captured and to which nothing is
//! ever written.
//!
//! This room knows SQLite and LTX. It must never know the bucket, nor which replicas there are, nor
//! what is noted about them beside the database (`state/`): what a capture becomes is decided in
//! `replicate/`.
//!
//! ```text
//!   watch.rs     wakes when the -wal changes
//!   open.rs      [`Db`]: two connections, one of them always in a read transaction
//!   position.rs  pure: how far we are, and what a read mark means for it
//!   capture.rs   the WAL (or the whole image) up to a mark → a batch → LTX bytes
//!   seal.rs      one more TXID without a change
//!   follow.rs    between captures: keep close to a busy writer, spare it its own checkpoints
//!   reset.rs     let the WAL start over, a few milliseconds under the write lock
//!   idle.rs      nothing happens: close the connections, and open them again at the next change
//!   closed.rs    pure: what is noted then, and what it proves
//!   resume.rs    prove that a WAL still continues what the bucket has
//!   compare.rs   where that cannot be proved: which pages are not what another copy has
//!   lineage.rs   pure: pages that tell of one lineage
//!   rows.rs      pure: rows that do, wherever they are
//!   came_after.rs   pure: a page that shows that it came after another copy
//!   litestream.rs  what Litestream leaves beside a database
//!   nearby.rs    there is no database: what is at and around its path
//!   identity.rs  is this still the file we opened?
//!   replaced.rs  it is not: what the old one left
//!   overwritten.rs  it is, but a program wrote to it past SQLite; writes.rs, samples.rs,
//!                settled.rs: pure, what tells
//! ```
//!
//! # Why no commit can be missed
//!
//! A read transaction is held from arming until exit, hand over hand: the new one is begun before
//! the old one ends, and the old one ends only after everything up to the new one's mark is
//! captured.
//!
//! - *Pinned* (`sqlite3_snapshot_get`): on a read slot of its own, so no process can restart or
//!   truncate the WAL.
//! - *Resting*, only after a reset: on slot 0. The next writer may restart the WAL once, and its
//!   new frames cannot be copied to the database file while slot 0 is held, so they cannot be
//!   overwritten before they are read.
//!
//! A reset is done under the write lock with everything captured before it, so what a restart
//! overwrites was captured. [`Position::sealed`] is that fact; a new WAL generation continues the
//! old one only when it is set. In every other case of a new generation the next capture is a full
//! image: never a guess.

mod came_after;
mod capture;
mod closed;
mod compare;
mod error;
mod follow;
mod identity;
mod idle;
mod lineage;
mod litestream;
mod nearby;
mod open;
mod overwritten;
mod page_set;
mod position;
mod replaced;
mod reset;
mod resume;
mod rows;
mod samples;
mod seal;
mod settled;
mod watch;
mod writes;

#[cfg(test)]
mod tests;

pub use capture::Batch;
pub use compare::{Comparison, Limits, OtherPages};
pub use error::DbError;
pub use litestream::litestream_was_here;
pub use nearby::{AtPath, Neighbour, Surroundings};
pub use open::{Db, Tuning};
pub use position::{ImageReason, Position};
pub use replaced::Remains;
pub use reset::{Obstacle, Reset};
pub use resume::{Candidate, Side, WalRelation};
pub use rows::{RowSample, Rows};
pub use watch::{Watch, Watches};
