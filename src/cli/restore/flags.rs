//! What the flags of `restore` mean, for one database and for many.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::cli::args::{IntegrityCheck, Restore};
use crate::cli::target::target;
use crate::cli::{logger, variable};
use crate::config::Options;
use crate::restore::{self as restoring, Backup, Found, Integrity, Request, RestoreError, Target};
use crate::run::exit::Failure;

/// What would be restored, and from the replica of which name.
pub(super) async fn plan(
    backups: &[Backup],
    target: Target,
    cancel: &CancellationToken,
) -> Result<(String, Found), RestoreError> {
    let ((name, remote), _) = restoring::newest(backups, target, cancel).await?;
    Ok((name.to_owned(), restoring::plan(remote, target, cancel).await?))
}

/// Logs as flags, environment and, where there is one, the configuration file say.
pub fn start_logging(command: &Restore, options: Option<&Options>) {
    match options {
        Some(options) => logger::start(&options.logging),
        None => logger::start_as_told(&command.sources(&variable, PathBuf::new())),
    }
}

/// What the flags say.
pub fn request(command: &Restore, output: &Path) -> Result<Request, Failure> {
    let mut request = Request::new(output);
    request.target = target(command.txid, command.timestamp.as_ref())?;
    request.force = command.force;
    request.overwrite_empty = true;
    request.parallelism = command.parallelism;
    request.integrity = match command.integrity_check {
        IntegrityCheck::None => Integrity::None,
        IntegrityCheck::Quick => Integrity::Quick,
        IntegrityCheck::Full => Integrity::Full,
    };
    Ok(request)
}
