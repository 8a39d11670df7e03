//! SQLite's own files and connections: what they say on disk, and the few things we ask of the
//! library.
//!
//! The rooms above never see rusqlite: a [`Connection`] offers exactly the calls that replication
//! needs. It knows nothing of LTX, buckets or policies.
//!
//! ```text
//!   header.rs            the first 100 bytes of a database file
//!   presence.rs          what is at a database's path
//!   access.rs            may we open it, without getting in the way of its owner?
//!   clients.rs           who has it open; keeping processes out while its file is replaced
//!   exclusive.rs         a program that keeps the database to itself
//!   wal.rs               the -wal file: header, frames, salts, cumulative checksum
//!   mark.rs              on which frame a read transaction stands
//!   connection.rs        open, pin, rest, write lock, checkpoint
//!   final_checkpoint.rs  the WAL goes when nothing has the database open any more
//!   byte_lock.rs         locks on bytes of a file, as SQLite takes them
//!   checkpoint_lock.rs   one party checkpoints
//!   backfill.rs          how far the checkpoints have come, whoever runs them
//!   soundness.rs         whether a database is malformed
//!   descriptor.rs        files through the descriptors that SQLite has open
//!   sync.rs              dirty pages to the disk ahead of a checkpoint
//!   varint.rs            the integers in records and cells
//!   pages.rs             page images through `sqlite_dbpage`, always of one snapshot
//!   live_copy.rs         pages written to a copy that others read
//!   replace.rs           the content of a live database replaced, when a person imports one
//!   kept_lock.rs         its write lock is kept from one transaction to the next
//!   heap.rs              where SQLite allocates
//!   version.rs           the WAL-reset bug gate
//!   library.rs           which SQLite another program runs on
//! ```
//!
//! # The trap that shapes this room
//!
//! POSIX locks belong to the process: closing *any* descriptor of the database file or of its
//! `-shm` silently drops the locks of every connection in this process, and another process may
//! then truncate a WAL that we still read. So nothing may open those two files with `std::fs` while
//! a connection lives. The `-wal` carries no locks and is read freely.
//!
//! # Invariant
//!
//! I6: nothing here changes a byte of the user's database but SQLite's own checkpoint. No statement
//! writes to it, and the write lock is held only while the WAL is let start over, for a time that
//! does not depend on the size of the database. (`live_copy.rs` writes: its database is a copy, and
//! never one that is replicated. `replace.rs` does what a person orders.)

mod access;
mod backfill;
mod byte_lock;
mod checkpoint_lock;
mod clients;
mod connection;
mod descriptor;
mod error;
mod exclusive;
mod final_checkpoint;
mod header;
mod heap;
mod kept_lock;
mod library;
mod live_copy;
mod mark;
mod pages;
mod presence;
mod replace;
mod soundness;
mod sync;
mod varint;
mod version;
mod wal;

pub use access::check_access;
pub use backfill::Backfill;
pub use byte_lock::{Bytes as LockBytes, is_locked_by_another_process};
pub use checkpoint_lock::CheckpointLock;
pub use clients::{InUse, Program, keep_clients_out, lock_holders, programs};
pub use connection::{Checkpoint, CheckpointMode, Connection, uri};
pub use error::SqliteError;
pub use exclusive::{Holder, Journal, Locked, look_at_locks};
pub use final_checkpoint::checkpoint_and_close;
pub use header::DbHeader;
pub use heap::{trim_heap, use_own_heap};
pub use library::version_in_process;
pub use live_copy::{LiveCopy, WriteLock};
pub use mark::{Mark, WalMark};
pub use presence::{Content, Presence, look_at_file};
pub use replace::{ReplaceError, replace_content};
pub use varint::varint;
pub use version::{check_version, has_wal_reset_bug, library_version};
#[cfg(test)]
pub use wal::recovery::in_byte_order;
pub use wal::{FrameChecksum, FrameStream, Salts, StreamError, WAL_HEADER_LEN, Wal, WalError, frame_len, frame_offset};
