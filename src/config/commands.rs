//! What is run: `exec` and `migrate`, each one command line, or a list of `{cmd, if}`.
//!
//! The last entry of `exec` is the application; all others run to their end before it, those of
//! `migrate` first. `if` says on which nodes of a cluster; a process without one is the primary.

use super::section::Section;

/// On which nodes of a cluster a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunsOn {
    Every,
    Primary,
    Follower,
    /// Each that may become the primary, whatever it is now.
    Candidate,
}

/// A command line, split into words by whoever runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    pub line: String,
    pub on: RunsOn,
}

impl RunsOn {
    pub fn includes(self, is_primary: bool, is_candidate: bool) -> bool {
        match self {
            RunsOn::Every => true,
            RunsOn::Primary => is_primary,
            RunsOn::Follower => !is_primary,
            RunsOn::Candidate => is_candidate,
        }
    }

    fn parse(text: &str) -> Result<RunsOn, String> {
        match text {
            "primary" => Ok(RunsOn::Primary),
            "follower" => Ok(RunsOn::Follower),
            "candidate" => Ok(RunsOn::Candidate),
            other => Err(format!("{other:?} is neither primary nor follower nor candidate")),
        }
    }
}

/// A command that a flag names.
pub fn of_flag(line: &str, on: RunsOn) -> Vec<Configured> {
    vec![Configured { line: line.to_owned(), on }]
}

/// Those of `exec`: on every node, if it is not said.
pub fn exec(root: &Section) -> Result<Vec<Configured>, String> {
    of_key(root, "exec", RunsOn::Every)
}

/// Those of `migrate`: where they can write, if it is not said.
pub fn migrate(root: &Section) -> Result<Vec<Configured>, String> {
    of_key(root, "migrate", RunsOn::Primary)
}

fn of_key(root: &Section, key: &str, by_default: RunsOn) -> Result<Vec<Configured>, String> {
    let entries = root.sections(key).unwrap_or_default().iter().enumerate();
    let each = entries.map(|(at, entry)| {
        let place = format!("{key}[{at}]");
        let line = entry.text("cmd").filter(|line| !line.trim().is_empty());
        let line = line.ok_or_else(|| format!("{place}: it has no `cmd`, the command to run"))?;
        let said = entry.text("if").map(RunsOn::parse).transpose().map_err(|why| format!("{place}.if: {why}"))?;
        // In LiteFS a candidate makes itself the primary before it runs commands.
        let of_litefs = entry.bool("if-candidate").unwrap_or(false).then_some(RunsOn::Primary);
        let on = match (said, of_litefs) {
            (Some(_), Some(_)) => return Err(format!("{place}: it has both `if` and `if-candidate`; one is enough")),
            (said, of_litefs) => said.or(of_litefs).unwrap_or(by_default),
        };
        Ok(Configured { line: line.to_owned(), on })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, RunsOn)>, String> {
        let root = yaml::parse("f", text)?.root;
        let all = [migrate(&root)?, exec(&root)?].concat();
        Ok(all.into_iter().map(|command| (command.line, command.on)).collect())
    }

    #[test]
    fn one_command_or_several_with_their_nodes() {
        use RunsOn::{Candidate, Every, Follower, Primary};
        for (text, expected) in [
            ("", vec![]),
            ("exec: ''", vec![]),
            ("exec: app serve", vec![("app serve", Every)]),
            ("exec: [{cmd: app, if: primary}]", vec![("app", Primary)]),
            ("migrate: up\nexec: [warm up, app]", vec![("up", Primary), ("warm up", Every), ("app", Every)]),
            (
                "migrate:\n- up\n- {cmd: look, if: follower}\n- {cmd: c, if: candidate}\nexec:\n- {cmd: m, if-candidate: true}\n- cmd: app\n",
                vec![("up", Primary), ("look", Follower), ("c", Candidate), ("m", Primary), ("app", Every)],
            ),
            ("exec: [{cmd: app, if-candidate: false}]", vec![("app", Every)]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(line, on): (&str, _)| (line.to_owned(), on)).collect();
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_its_place() {
        for (text, part) in [
            ("exec: [{if: primary}]", "exec[0]: it has no `cmd`"),
            ("exec: [a, '']", "exec[1]"),
            ("migrate: [{cmd: a, if: leader}]", "migrate[0].if: \"leader\" is neither primary"),
            ("exec: [{cmd: a, if: primary, if-candidate: true}]", "exec[0]: it has both"),
            ("exec: [{cmd: a, when: primary}]", "when"),
            ("exec: [[a]]", "exec[0]"),
            ("exec: {cmd: a}", "exec: "),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn each_role_gets_its_own() {
        for (on, expected) in [
            (RunsOn::Every, [true; 4]),
            (RunsOn::Primary, [true, true, false, false]),
            (RunsOn::Follower, [false, false, true, true]),
            (RunsOn::Candidate, [true, false, true, false]),
        ] {
            let nodes = [(true, true), (true, false), (false, true), (false, false)];
            assert_eq!(
                nodes.map(|(is_primary, is_candidate)| on.includes(is_primary, is_candidate)),
                expected,
                "{on:?}"
            );
        }
    }
}
