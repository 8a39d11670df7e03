//! What is run, in which role: the commands before the application, and the application.
//!
//! ```text
//!   options (exec, migrate) ─▶ Commands ── of_role ─▶ Plan: first, one after the other; then the application
//! ```

use anyhow::Context;

use crate::config::{Configured, Options, RunsOn};
use crate::supervise::CommandLine;

/// Split, so that a mistake in one is found before anything is touched.
#[derive(Debug, Default)]
pub struct Commands {
    first: Vec<Step>,
    app: Option<Step>,
}

#[derive(Debug)]
struct Step {
    line: CommandLine,
    on: RunsOn,
}

/// Of a node in a cluster; a process without one is the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    pub is_primary: bool,
    pub is_candidate: bool,
}

/// What one role is to run.
#[derive(Debug)]
pub struct Plan<'a> {
    pub first: Vec<&'a CommandLine>,
    pub app: Option<&'a CommandLine>,
}

impl Role {
    pub const ALONE: Role = Role { is_primary: true, is_candidate: true };
}

impl Commands {
    /// Those of `exec` and, if it `migrates`, of `migrate`. `given` takes the place of `exec`.
    pub fn new(options: &Options, migrates: bool, given: Option<CommandLine>) -> anyhow::Result<Commands> {
        let mut first = match migrates {
            true => steps("migrate", &options.migrate)?,
            false => Vec::new(),
        };
        let app = match given {
            Some(line) => Some(Step { line, on: RunsOn::Every }),
            None => {
                let mut exec = steps("exec", &options.exec)?;
                let app = exec.pop();
                first.append(&mut exec);
                app
            }
        };
        Ok(Commands { first, app })
    }

    pub fn has_app(&self) -> bool {
        self.app.is_some()
    }

    /// Whether anything runs before the application, in any role.
    pub fn has_first(&self) -> bool {
        !self.first.is_empty()
    }

    pub fn starts_something(&self) -> bool {
        self.has_app() || self.has_first()
    }

    pub fn of_role(&self, role: Role) -> Plan<'_> {
        let is_its = |step: &&Step| step.on.includes(role.is_primary, role.is_candidate);
        Plan {
            first: self.first.iter().filter(is_its).map(|step| &step.line).collect(),
            app: self.app.as_ref().filter(is_its).map(|step| &step.line),
        }
    }

    /// Whether a node that has done what one role is to run has to begin again in another: a
    /// command comes first that was not run, or the application is for one of them only.
    pub fn begins_again(&self, was: Role, is: Role) -> bool {
        let has = |role: Role, step: &Step| step.on.includes(role.is_primary, role.is_candidate);
        self.first.iter().any(|step| has(is, step) && !has(was, step))
            || self.app.iter().any(|step| has(is, step) != has(was, step))
    }
}

fn steps(key: &str, configured: &[Configured]) -> anyhow::Result<Vec<Step>> {
    let each = configured.iter().map(|Configured { line, on }| Ok(Step { line: split_command(line, key)?, on: *on }));
    each.collect()
}

/// Splits the command line of this key.
pub fn split_command(line: &str, key: &str) -> anyhow::Result<CommandLine> {
    let command = CommandLine::split(line).with_context(|| format!("{key} {line:?}"))?;
    if let Some(word) = command.unexpanded() {
        tracing::warn!("{key}: {word} is passed on as it is; for a shell's expansion use: sh -c '…'");
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(first: &[RunsOn], app: RunsOn) -> Commands {
        let step = |on: &RunsOn| Step { line: split_command("true", "exec").expect("a command"), on: *on };
        Commands { first: first.iter().map(step).collect(), app: Some(step(&app)) }
    }

    #[test]
    fn a_change_of_role_begins_again_where_there_is_something_to_run_for_it() {
        use RunsOn::{Candidate, Every, Follower, Primary};
        let role = |is_primary| Role { is_primary, is_candidate: true };
        for (first, app, to_primary, to_follower) in [
            (&[][..], Every, false, false),
            (&[Every, Candidate], Every, false, false),
            (&[Primary], Every, true, false),
            (&[Follower], Every, false, true),
            (&[Primary, Follower], Candidate, true, true),
            (&[], Primary, true, true),
        ] {
            let commands = commands(first, app);
            let begins = [(false, true), (true, false)].map(|(was, is)| commands.begins_again(role(was), role(is)));
            assert_eq!(begins, [to_primary, to_follower], "{first:?} {app:?}");
            assert!(!commands.begins_again(role(true), role(true)));
        }
    }

    #[test]
    fn each_role_has_its_plan() {
        let commands = commands(&[RunsOn::Primary, RunsOn::Every], RunsOn::Primary);
        let [primary, follower] = [true, false].map(|is_primary| {
            let plan = commands.of_role(Role { is_primary, is_candidate: false });
            (plan.first.len(), plan.app.is_some())
        });
        assert_eq!((primary, follower), ((2, true), (1, false)));
        assert!(commands.starts_something() && commands.has_first() && commands.has_app());
    }
}
