//! Databases that are found in a directory, as Litestream's `dir` entries mean them.
//!
//! ```text
//!   pattern.rs  which names are meant: Go's `filepath.Match`
//!   scan.rs     what lies there now: one walk
//!   held.rs     the files that this process may have open
//!   changes.rs  pure: what is new, and what is gone
//!   watch.rs    when to look again: one inotify for a tree
//! ```
//!
//! Nothing here knows how a database is replicated or where to; who asks decides what becomes of
//! what was found.
//!
//! # Invariant
//!
//! A file that this process has open as a database is never opened here, whatever it is called by
//! now: closing the descriptor would drop that connection's locks (see `sqlite/`). So a scan is
//! told which files are held, by name and by inode.

mod changes;
mod held;
mod pattern;
mod scan;
mod watch;

pub use changes::{Changes, Known, Refusal, changes};
pub use held::Held;
pub use pattern::Pattern;
pub use scan::{Found, Scan, Selection, scan};
pub use watch::{Noticed, TreeWatch};
