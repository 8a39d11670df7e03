//! A command line: the program and its arguments, nothing more.
//!
//! It comes as an argv (`-- app arg…`) or as one string (`-exec "app arg…"`), which is split into
//! words as a shell would. There is no shell behind it, so what only a shell could do is refused
//! rather than passed to the program as an argument: `app && cleanup` would otherwise run `app`
//! with two strange arguments.
//!
//! Arguments may hold secrets: neither `Debug` nor any error prints them.

use std::ffi::{CString, OsString};
use std::fmt;
use std::os::unix::ffi::OsStringExt;

/// A program and its arguments; never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandLine {
    argv: Vec<CString>,
    unexpanded: Option<String>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    #[error("the command is empty")]
    Empty,
    #[error("the command contains a NUL byte in word {0}")]
    Nul(usize),
    #[error("the command has an unclosed quote")]
    UnclosedQuote,
    #[error(
        "the command uses the shell operator `{operator}`, but no shell runs it; use: sh -c '…' \
         (or quote `{operator}` if it is meant literally)"
    )]
    Operator { operator: &'static str },
    #[error(
        "the command starts with the assignment `{name}=…`, which only a shell understands; use: env {name}=… command"
    )]
    Assignment { name: String },
}

impl CommandLine {
    pub fn new(argv: Vec<OsString>) -> Result<CommandLine, CommandLineError> {
        if argv.first().is_none_or(|program| program.is_empty()) {
            return Err(CommandLineError::Empty);
        }
        let word =
            |(at, word): (usize, OsString)| CString::new(word.into_vec()).map_err(|_| CommandLineError::Nul(at + 1));
        let argv = argv.into_iter().enumerate().map(word).collect::<Result<_, _>>()?;
        Ok(CommandLine { argv, unexpanded: None })
    }

    /// Splits as a shell splits words: quotes, escapes and line continuations, no expansion of any
    /// kind.
    pub fn split(line: &str) -> Result<CommandLine, CommandLineError> {
        let scan = scan(line)?;
        let words = shell_words::split(&scan.line).map_err(|_| CommandLineError::UnclosedQuote)?;
        if let Some(name) = words.first().and_then(|word| assigned_name(word)) {
            return Err(CommandLineError::Assignment { name: name.to_owned() });
        }
        let mut command = CommandLine::new(words.into_iter().map(OsString::from).collect())?;
        command.unexpanded = scan.unexpanded;
        Ok(command)
    }

    /// The first `$NAME` that a shell would have replaced and that the program now gets as it
    /// stands: worth a warning.
    pub fn unexpanded(&self) -> Option<&str> {
        self.unexpanded.as_deref()
    }

    /// The program as it was written, for messages.
    pub fn program(&self) -> String {
        self.argv[0].to_string_lossy().into_owned()
    }

    pub(super) fn argv(&self) -> &[CString] {
        &self.argv
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} with {} arguments", self.program(), self.argv.len() - 1)
    }
}

/// Longest first, so that `&&` is named as such.
const OPERATORS: [&str; 13] = ["&&", "||", ">>", "<<", "$(", "|", ";", "&", ">", "<", "`", "(", ")"];

struct Scan {
    /// The line with every comment sign escaped: a `#fff` among the arguments is a colour, and
    /// dropping the rest of the line would be the silent loss that this module exists to prevent.
    line: String,
    unexpanded: Option<String>,
}

/// One pass over the line with the shell's quoting rules; everything active outside of quotes is
/// looked at.
fn scan(line: &str) -> Result<Scan, CommandLineError> {
    let mut out = String::with_capacity(line.len());
    let mut unexpanded = None;
    let (mut single, mut double, mut escaped) = (false, false, false);
    for (at, c) in line.char_indices() {
        let active = !escaped && !single;
        if active && !double {
            if let Some(operator) = OPERATORS.into_iter().find(|operator| line[at..].starts_with(operator)) {
                return Err(CommandLineError::Operator { operator });
            }
            if c == '#' {
                out.push('\\');
            }
        }
        if active && c == '$' && unexpanded.is_none() {
            unexpanded = variable(&line[at + 1..]);
        }
        match c {
            '\'' if active && !double => single = true,
            '\'' if single => single = false,
            '"' if active => double = !double,
            _ => {}
        }
        escaped = active && c == '\\';
        out.push(c);
    }
    Ok(Scan { line: out, unexpanded })
}

/// `$NAME` or `${NAME`, given what follows the dollar sign.
fn variable(rest: &str) -> Option<String> {
    let braced = rest.strip_prefix('{');
    let name: String = braced.unwrap_or(rest).chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    is_name.then(|| if braced.is_some() { format!("${{{name}}}") } else { format!("${name}") })
}

/// The name in `NAME=value`, where a shell would see an assignment.
fn assigned_name(word: &str) -> Option<&str> {
    let (name, _) = word.split_once('=')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let command = CommandLine::split(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        command.argv().iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        assert_eq!(words("app"), ["app"]);
        assert_eq!(words("  app  -v\t'a b' \"c d\" e\\ f ''  \n"), ["app", "-v", "a b", "c d", "e f", ""]);
        assert_eq!(words("app --listen=:80 \\\n  --db x"), ["app", "--listen=:80", "--db", "x"]);
        assert_eq!(words("app it\\'s \"it's\""), ["app", "it's", "it's"]);
        assert_eq!(words("./my\\ app '\\n'"), ["./my app", "\\n"]);
        assert_eq!(words("app --color #fff a#b"), ["app", "--color", "#fff", "a#b"]);
        assert_eq!(words("app 'x' '#y'"), ["app", "x", "#y"]);
    }

    #[test]
    fn quoted_operators_are_text() {
        assert_eq!(words("sh -c 'a && b | c; d > e & `f` $(g)'"), ["sh", "-c", "a && b | c; d > e & `f` $(g)"]);
        assert_eq!(words("sh -c \"a && $(b)\""), ["sh", "-c", "a && $(b)"]);
        assert_eq!(words("app a\\&b 'x'\\;'y'"), ["app", "a&b", "x;y"]);
        assert_eq!(words("app \"it's\" 'say \"hi; there\"'"), ["app", "it's", "say \"hi; there\""]);
    }

    #[test]
    fn operators_are_refused_by_name() {
        for (line, operator) in [
            ("migrate && app", "&&"),
            ("app || true", "||"),
            ("app | tee log", "|"),
            ("app; cleanup", ";"),
            ("app &", "&"),
            ("app > /dev/null", ">"),
            ("app >> log", ">>"),
            ("app 2>&1", ">"),
            ("app < in", "<"),
            ("app <<EOF", "<<"),
            ("app `date`", "`"),
            ("app $(date)", "$("),
            ("(app)", "("),
            ("app 'a'|b", "|"),
            ("app \"a\\\"\";b", ";"),
            ("app http://x/?a=1&b=2", "&"),
        ] {
            assert_eq!(CommandLine::split(line), Err(CommandLineError::Operator { operator }), "{line}");
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let error = CommandLine::split("a && b").expect_err("an operator").to_string();
        assert!(error.contains("`&&`") && error.contains("sh -c '"), "{error}");
        let error = CommandLine::split("PASSWORD=hunter2 app").expect_err("an assignment").to_string();
        assert!(error.contains("env PASSWORD=") && !error.contains("hunter2"), "{error}");
        assert_eq!(words("env FOO=1 app"), ["env", "FOO=1", "app"]);
        assert_eq!(words("./x=y z"), ["./x=y", "z"]);
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for line in ["", "   ", "\n\t", "''"] {
            assert_eq!(CommandLine::split(line), Err(CommandLineError::Empty), "{line:?}");
        }
        for line in ["app 'x", "app \"x", "app \"x\\"] {
            assert_eq!(CommandLine::split(line), Err(CommandLineError::UnclosedQuote), "{line:?}");
        }
        assert_eq!(CommandLine::split("app a\0b"), Err(CommandLineError::Nul(2)));
        assert_eq!(CommandLine::new(Vec::new()), Err(CommandLineError::Empty));
    }

    #[test]
    fn variables_stay_as_they_are_and_are_reported() {
        let unexpanded = |line| CommandLine::split(line).expect("a command").unexpanded().map(str::to_owned);
        assert_eq!(words("app --port $PORT"), ["app", "--port", "$PORT"]);
        assert_eq!(unexpanded("app --port $PORT"), Some("$PORT".to_owned()));
        assert_eq!(unexpanded("app \"${HOME}/x\""), Some("${HOME}".to_owned()));
        assert_eq!(unexpanded("app '$PORT' \\$PORT costs 5$ $5"), None);
    }

    #[test]
    fn debug_keeps_arguments_to_itself() {
        let command = CommandLine::split("app --password hunter2").expect("a command");
        assert_eq!(format!("{command:?}"), "\"app\" with 2 arguments");
    }
}
