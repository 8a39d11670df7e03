//! What every black-box test stands on: a place of its own, the binary under test as a process, real remotes, the real
//! Litestream, and the oracle that says which rows must be there.
//!
//! The binary is `millstream` unless `MILLSTREAM_TEST_BINARY` names another. Together with `MILLSTREAM_TEST_FACE=replicate`
//! (start through `replicate -exec` instead of `run`) that shows that the tests can fail: most of `supervision` and
//! `exit_codes` does on Litestream.
//!
//! ```text
//!   rig ── place (directory, database, acks)          oracle ── reads acks and restored databases
//!    ├──── remote (file or S3 prefix) ── proxy, gateway   litestream ── the real one, reader and writer
//!    └──── process (spawn, signal, wait, kill all)
//! ```

pub mod gateway;
pub mod litestream;
pub mod oracle;
pub mod process;
pub mod proxy;
pub mod remote;
pub mod rig;

pub use process::{Finished, Invocation, Running};
pub use proxy::Proxy;
pub use remote::Remote;
pub use rig::{Rig, eventually};
