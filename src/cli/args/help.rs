//! The help of each command: what follows the flags, and how the whole page is spelled.
//!
//! Every page has the same parts in the same order: one sentence, the usage, the flags in groups,
//! what else is to be known, examples, environment variables, exit codes. clap writes long flags
//! with two dashes; Litestream's users, the README and these pages write one, so [`one_dash`]
//! rewrites what clap has made.

use std::fmt::Write;

use clap::Command;

/// Headings of the groups of flags.
pub const CONFIGURATION: &str = "Configuration";
pub const LOG: &str = "Log";
pub const OUTPUT: &str = "Output";
pub const PROCESS: &str = "Running process";

/// Columns of a page at most; a narrower terminal wraps it.
pub const WIDTH: usize = 100;

/// An exit code, or several, and what it means.
pub type Code = (&'static str, &'static str);

pub const DONE: Code = ("0", "done");
pub const REFUSED: Code = ("1", "the running process refused or failed, and says why");
pub const USAGE: Code = ("64", "the command line is wrong");
pub const UNREACHABLE: Code = ("69", "the storage cannot be reached");
pub const NO_PROCESS: Code = ("69", "no process answers on the control socket");
pub const DEFECT: Code = ("70", "an internal error of millstream");
pub const CANNOT_WRITE: Code = ("73", "the database cannot be created, opened or written");
pub const BACKUP: Code = ("76", "the backup is damaged or incomplete, or there is none");
pub const DENIED: Code = ("77", "the storage denies access");
pub const CONFIG: Code = ("78", "the configuration is wrong");

/// An environment variable and what it is for.
pub type Variable = (&'static str, &'static str);

/// Variables of the commands that read a configuration file and log.
pub const FILE_VARIABLES: &[Variable] = &[
    ("LITESTREAM_CONFIG", "configuration file, if there is no -config"),
    ("LOG_LEVEL", "log level, if there is none of -log-level, -v and -q"),
    ("NO_COLOR", "no colours, if it is not empty"),
];

/// The same with the variables of the storage.
pub const STORE_VARIABLES: &[Variable] = &[
    ("LITESTREAM_CONFIG", "configuration file, if there is no -config"),
    ("LITESTREAM_ACCESS_KEY_ID", "key for S3, if neither the file nor the URL has one"),
    ("LITESTREAM_SECRET_ACCESS_KEY", "its secret; the variables of the AWS SDKs are read too"),
    ("LOG_LEVEL", "log level, if there is none of -log-level, -v and -q"),
    ("TZ", "time zone of the times that are read and shown"),
    ("NO_COLOR", "no colours, if it is not empty"),
];

/// Variables of the commands that ask a running process.
pub const LOG_VARIABLES: &[Variable] = &[
    ("LOG_LEVEL", "log level, if there is none of -log-level, -v and -q"),
    ("NO_COLOR", "no colours, if it is not empty"),
];

/// What follows the flags of one command.
pub struct Page {
    /// Paragraphs, wrapped by clap.
    pub more: &'static str,
    pub examples: &'static [&'static str],
    pub variables: &'static [Variable],
    pub codes: &'static [Code],
}

impl Page {
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.more.is_empty() {
            text += self.more;
            text += "\n\n";
        }
        section(&mut text, "Examples", self.examples.iter().map(|example| ("", *example)));
        section(&mut text, "Environment", self.variables.iter().copied());
        section(&mut text, "Exit codes", self.codes.iter().copied());
        text.trim_end().to_owned()
    }
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = (&'static str, &'static str)> + Clone) {
    let width = lines.clone().map(|(left, _)| left.chars().count()).max().unwrap_or(0);
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return;
    }
    text.push_str(title);
    text.push_str(":\n");
    for (left, right) in lines {
        // Writing to a String cannot fail.
        let _ = match left {
            "" => writeln!(text, "  {right}"),
            left => writeln!(text, "  {left:width$}  {right}"),
        };
    }
    text.push('\n');
}

/// The commands in groups, for the overview and for checking names.
pub const GROUPS: &[(&str, &[&str])] = &[
    ("Run an application", &["run", "replicate", "health"]),
    ("Look at replicas and restore", &["restore", "points", "follow", "mark", "copy", "ltx", "verify"]),
    (
        "Look at the configuration and at this machine",
        &["databases", "status", "doctor", "explain", "translate", "reset"],
    ),
    (
        "Ask a running process through its control socket",
        &["list", "info", "sync", "snapshot", "checkpoint", "start", "stop", "register", "unregister"],
    ),
    ("Look at the nodes of a cluster and change the primary", &["nodes", "promote", "demote"]),
    ("About millstream", &["version", "completions", "man"]),
];

/// Every command by name.
pub fn commands() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|(_, names)| names.iter().copied())
}

/// The help of the program as a whole.
pub fn overview(program: &Command) -> String {
    let about =
        |name: &str| program.find_subcommand(name).and_then(|command| command.get_about()).map(ToString::to_string);
    let mut text = program.get_about().map(|about| format!("{about}\n\n")).unwrap_or_default();
    text += "Usage: millstream COMMAND [FLAGS] [OPERANDS]\n\n";
    let width = commands().map(str::len).max().unwrap_or(0);
    for (title, names) in GROUPS {
        text += &format!("{title}:\n");
        for name in *names {
            text += &format!("  {name:width$}  {}\n", about(name).unwrap_or_default());
        }
        text.push('\n');
    }
    text += "Examples:\n  \
             millstream run                                  everything that /etc/litestream.yml says\n  \
             millstream run -db app.db -replica s3://bucket/app -- /app/server -port 8080\n  \
             millstream restore -timestamp \"10m ago\" -o then.db s3://bucket/app\n\n\
             Flags go before or after operands, with one dash or two; a value follows a space or `=`.\n\
             `millstream COMMAND -help` shows the flags, examples and exit codes of a command.\n";
    text
}

/// Long flags with one dash; in a table of flags a space takes the place of the other dash, so that
/// its columns stay aligned. Skips the escape sequences of a terminal's colours.
pub fn one_dash(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut before, mut in_escape) = (' ', false);
    // The first sign of the line, and whether its columns have moved to the left.
    let (mut first, mut has_moved) = (None::<char>, false);
    for (at, c) in text.char_indices() {
        let flag = text[at..].strip_prefix("--").filter(|name| name.starts_with(char::is_alphabetic));
        if flag.is_some() && !in_escape && !before.is_alphanumeric() && before != '-' {
            // The second dash is written in the next round.
            before = '-';
            has_moved = first.is_none_or(|first| first == '-');
            continue;
        }
        if has_moved && !in_escape && text[at..].starts_with("  ") {
            out.push(' ');
            // Once in a line: what follows is text.
            (first, has_moved) = (Some(' '), false);
        }
        out.push(c);
        match (in_escape, c) {
            (false, '\x1b') => in_escape = true,
            (false, '\n') => (before, first, has_moved) = (c, None, false),
            (false, c) => {
                before = c;
                first = first.or((c != ' ').then_some(c));
            }
            // A letter ends the sequence.
            (true, c) => in_escape = !c.is_alphabetic(),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_flags_have_one_dash_and_nothing_else_changes() {
        for (text, wanted) in [
            ("  -o, --output <PATH>", "  -o, -output <PATH>"),
            (
                "  -o, --output <PATH>  File\n      --x  A flag --y  of\n",
                "  -o, -output <PATH>   File\n      -x   A flag -y  of\n",
            ),
            ("'--exec <CMD>' cannot", "'-exec <CMD>' cannot"),
            ("[-- CMD…] a--b ---x --", "[-- CMD…] a--b ---x --"),
            ("\x1b[1m--config\x1b[0m=--x", "\x1b[1m-config\x1b[0m=-x"),
        ] {
            assert_eq!(one_dash(text), wanted);
        }
    }

    #[test]
    fn a_page_has_its_parts_in_order() {
        let page = Page {
            more: "",
            examples: &["millstream x"],
            variables: &[("A", "b")],
            codes: &[("0", "done"), ("126, 127", "not")],
        };
        assert_eq!(
            page.text(),
            "Examples:\n  millstream x\n\nEnvironment:\n  A  b\n\nExit codes:\n  0         done\n  126, 127  not"
        );
    }
}
