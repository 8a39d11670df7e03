//! Child processes: started, signalled, ended and reaped, whatever they run.
//!
//! # Theory of operation
//!
//! ```text
//!   kernel ──signals──▶ Signals ──┐                      ┌──▶ Escalation (pure: what, when)
//!                                 ├──▶ supervise() ──────┤
//!   Child::event() ◀──changes─┐   │                      └──▶ Child::signal()
//!                             │   │                                │
//!                     ┌───────┴───┴────── one thread ──────────────▼─────┐
//!                     │  Reaper: fork · waitid · kill                   │◀── SIGCHLD
//!                     └──────────────────────────────────────────────────┘
//! ```
//!
//! The program installs this room before it does anything else. From then on every signal that can
//! be passed on is caught and kept ([`Signals`]), and every orphan below this process is adopted
//! and reaped ([`Reaper`]). A stage of the start without a child takes a signal from the stream and
//! gives up; a stage with one lets [`supervise`] forward it.
//!
//! A command runs as if it had been executed directly: same descriptors, directory, limits,
//! environment, signal mask and ignored signals (`inherited.rs` reads those before `main`,
//! `limits.rs` before it raises one, `spawn.rs` restores them). A signal that is ignored at the
//! start (`nohup`, or a shell's background job) asks us for nothing either, but it is passed on:
//! the command may have a handler of its own. Only TERM always asks. It gets a process group of its
//! own, so that it can be signalled as a whole, and with it the foreground of the terminal if we
//! had it (`tty.rs`).
//!
//! This process stays in the directory that it was started in. To leave it would pin one mount less
//! only after the command has ended, which is in the same directory; and relative paths that are
//! none of ours would break: those in `AWS_CONFIG_FILE`, `AWS_WEB_IDENTITY_TOKEN_FILE` or
//! `SSL_CERT_FILE`, which the SDK reads again whenever credentials have expired.
//!
//! The end of a command is told in two steps. [`supervise`] returns when the command itself has
//! ended: of its own accord, asked, or killed at the deadline. [`Child::end_group`] then ends
//! whatever it has started and left behind, so that after it nothing can write to the files that
//! the command wrote. Only then is it time for a last look at them.
//!
//! If the supervisor itself is killed, the kernel sends the command [`SpawnOptions::death_signal`].
//!
//! This room must never know what the commands are for, nor about databases, configuration or exit
//! codes of stages.

mod child;
mod command;
pub mod defect;
mod drive;
mod escalate;
mod exit;
mod files;
mod group;
mod image;
mod inherited;
mod limits;
pub mod notify;
mod reaper;
mod signal;
mod signals;
mod spawn;
mod sys;
mod tty;

#[cfg(test)]
mod tests;

pub use command::CommandLine;
pub use drive::{Ended, Lead, supervise};
pub use escalate::{SYNC_RESERVE, SYNC_SHARE, Scope, StopPolicy, split};
pub use files::files_of_descendants;
pub use image::SpawnOptions;
pub use limits::open_files;
pub use reaper::Reaper;
pub use signal::Signal;
pub use signals::{InstallError, Signals};

/// Makes this process a supervisor. To be called within a runtime, before anything else that takes
/// time.
pub fn install() -> Result<(Signals, Reaper), InstallError> {
    let signals = Signals::install()?;
    defect::hears();
    if let Err(error) = limits::raise() {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
    let reaper = Reaper::start()?;
    Ok((signals, reaper))
}

/// How many files this process may have open, where that is less than it needs.
pub fn open_files_too_low_for(needed: u64) -> Option<u64> {
    limits::too_low_for(needed)
}

/// Sees to it that this process can open enough files to work, before anything is begun that needs
/// them.
pub fn make_room() -> Result<(), limits::TooFew> {
    limits::make_room()
}

/// What must not end this process. A child gets back what this process was started with
/// (`spawn.rs`).
pub fn ignore_fatal_signals() {
    sys::ignore_file_size_signal();
}
