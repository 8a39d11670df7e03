//! What is wrong with a place, before something is lost by it: a verdict on each thing that
//! millstream needs, what was measured, and what to do.
//!
//! Facts are gathered in one half of each theme and judged in the other, which is pure. Nothing of
//! the user's is changed: no database is opened, and what is written to try a right or a disk is
//! removed again, whatever comes of it.
//!
//! ```text
//!   check.rs        a verdict, and the worst of all
//!   bucket.rs       tries each right beside the replica ─▶ rights.rs  judges them
//!   clock.rs        the store's time against ours
//!   credentials.rs  where the keys come from
//!   disk.rs         tries the file system ─▶ volume.rs  judges it (mounts.rs: which one it is)
//!   application.rs  who has the database open, with which SQLite, and how
//!   limits.rs       open files
//!   platform.rs     the grace time against what kills at its end
//! ```

pub mod application;
mod bucket;
mod check;
mod clock;
mod credentials;
mod disk;
mod limits;
mod mounts;
mod platform;
mod rights;
mod volume;

pub use bucket::{PART_SIZE, try_out};
pub use check::{Blame, Check, Verdict, worst};
pub use clock::judge as judge_clock;
pub use credentials::{Signs, source as credentials};
pub use disk::try_directory;
pub use limits::judge as judge_limits;
pub use platform::{Surroundings, judge as judge_grace};
pub use rights::{Step, Tried, judge as judge_rights};
pub use volume::{human, judge as judge_volume};
