//! `millstream reset`: the operator declares this database the newest state.
//!
//! It works locally and asks no replica. The next start carries the order out
//! (`replicate/start.rs`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::args::Reset as Command;
use super::{Environment, all_is_text, printed, variable};
use crate::clock::MACHINE;
use crate::config::{Options, default_meta_path};
use crate::fsx::{self, FsError};
use crate::run::Failure;
use crate::run::exit::{CANNOT_WRITE, CONFIG};
use crate::sqlite::{Presence, look_at_file};
use crate::state::{LocalState, Lock, ResetStep};

pub fn reset(command: &Command) -> Result<u8, Failure> {
    let (path, meta_path) = paths(command)?;
    let refused = |why: String| Failure::new(CANNOT_WRITE, anyhow!(why));
    let shown = path.display();
    let failed = |error: FsError| Failure::new(CANNOT_WRITE, error);
    // Checked first, because a dry run must not create a directory for the lock.
    let is_new = fsx::metadata_if_exists(&meta_path).map_err(failed)?.is_none();
    let _lock = match is_new && command.dry_run {
        true => None,
        false => match Lock::try_take(&path, &meta_path).map_err(failed)? {
            None => return Err(refused(format!("{shown} is being replicated by a running millstream: stop it first"))),
            lock => lock,
        },
    };
    match look_at_file(&path).map_err(failed)? {
        Presence::Database(_) => {}
        Presence::Missing | Presence::Empty => {
            return Err(refused(format!("there is no database at {shown}: the next start restores it")));
        }
        Presence::NoDatabase(content) => {
            return Err(refused(format!("{shown} is not a SQLite database ({content})")));
        }
    }
    let branch = format!("reset-{}", MACHINE.unix_ms());
    let state = LocalState::open(&path, &meta_path);
    let steps = state.plan_reset(&branch).map_err(failed)?;
    if !command.dry_run {
        state.order_reset(&steps).map_err(failed)?;
    }
    printed(tell(&path, &steps, command.dry_run, &mut io::stdout()))
}

/// The path of the database, and the directory of our state.
fn paths(command: &Command) -> Result<(PathBuf, PathBuf), Failure> {
    let environment = Environment::of_process()?;
    let sources = command.sources(&variable, environment.cwd.clone());
    let path = sources.absolute(command.database()).map_err(|error| Failure::new(CONFIG, error))?;
    if !command.names_a_file() && !sources.has_file() {
        return Ok((path.clone(), default_meta_path(&path)));
    }
    let loaded = Options::load(&sources);
    all_is_text()?;
    let loaded = loaded.map_err(|error| Failure::new(CONFIG, error))?;
    match loaded.database(&path) {
        Ok(database) => Ok((path, database.meta_path)),
        Err(error) if command.names_a_file() => Err(Failure::new(CONFIG, error)),
        Err(_) => Ok((path.clone(), default_meta_path(&path))),
    }
}

fn tell(path: &Path, steps: &[ResetStep], dry_run: bool, out: &mut dyn Write) -> io::Result<()> {
    let (would, becomes) = if dry_run { ("would ", "would become") } else { ("", "becomes") };
    for step in steps {
        writeln!(out, "{would}{step}")?;
    }
    writeln!(out, "{} {becomes} the newest state of its replica at the next start", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_told() {
        let said = |dry_run| {
            let mut out = Vec::new();
            let steps = [ResetStep::Remove("/m/known-file.json".into())];
            tell(Path::new("/data/app.db"), &steps, dry_run, &mut out).expect("memory");
            String::from_utf8(out).expect("text")
        };
        let end = "the newest state of its replica at the next start\n";
        assert_eq!(said(false), format!("remove /m/known-file.json\n/data/app.db becomes {end}"));
        assert_eq!(said(true), format!("would remove /m/known-file.json\n/data/app.db would become {end}"));
    }
}
