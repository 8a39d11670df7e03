//! The command line as Litestream's users type it (Go flags), rewritten into what clap reads.
//!
//! Go writes long flags with one dash, takes `-flag=false`, and takes a value that begins with a
//! dash. Go ends the flags at the first argument that is none; here they may also follow operands,
//! but not the application of `run`: in `millstream run app -config x` the `-config` is the
//! application's. So this file decides what is a flag, by the definitions in `args.rs`, and hands
//! clap one unambiguous spelling: `--name=value`, `--name`, and a `--` in front of everything that
//! is not ours.
//!
//! Pure. The errors are sentences for the user.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, Command};

use super::args::help;

/// Rewrites a whole command line, program name included.
pub fn normalize(argv: Vec<OsString>, cli: &Command) -> Result<Vec<OsString>, String> {
    let mut rest = argv.into_iter();
    let mut out: Vec<OsString> = rest.next().into_iter().collect();
    let Some(first) = rest.next() else { return Ok(out) };
    if let Some(flag) = flag_name(&first) {
        match flag.as_bytes() {
            b"h" => out.push("-h".into()),
            b"help" => out.push("--help".into()),
            b"V" | b"version" => out.push("--version".into()),
            _ => {
                let flag = first.to_string_lossy().into_owned();
                return Err(format!("{flag} stands before the command; write millstream COMMAND {flag} …"));
            }
        }
        return Ok(out);
    }
    let (first, asks_for_help) = match (first == "help", rest.next()) {
        (true, None) => {
            out.push("--help".into());
            return Ok(out);
        }
        (true, Some(command)) => (command, true),
        (false, second) => {
            rest = second.into_iter().chain(rest).collect::<Vec<_>>().into_iter();
            (first, false)
        }
    };
    let command = first.to_str().and_then(|name| cli.find_subcommand(name)).cloned();
    let command = command.ok_or_else(|| unknown_command(&first))?;
    out.push(first);
    match asks_for_help {
        true => out.push("--help".into()),
        false => normalize_flags(rest, &command, &mut out)?,
    }
    Ok(out)
}

fn normalize_flags(
    mut rest: impl Iterator<Item = OsString>,
    command: &Command,
    out: &mut Vec<OsString>,
) -> Result<(), String> {
    let has_application = command.get_arguments().any(Arg::is_trailing_var_arg_set);
    let mut operands = Vec::new();
    while let Some(word) = rest.next() {
        if word == "--" {
            operands.extend(rest.by_ref());
            break;
        }
        let Some(flag) = flag_name(&word) else {
            operands.push(word);
            if has_application {
                operands.extend(rest.by_ref());
            }
            continue;
        };
        let (name, value) = split_at_equals(flag);
        if name == "h" || name == "help" {
            out.push(if name == "h" { "-h".into() } else { "--help".into() });
            continue;
        }
        let arg = find(command, name).ok_or_else(|| unknown_flag(name, command))?;
        let spelled = spelling(arg);
        if arg.get_action().takes_values() {
            let value = match value {
                Some(value) => value.to_owned(),
                None => rest.next().ok_or_else(|| format!("{} needs a value", word.to_string_lossy()))?,
            };
            let mut joined = spelled;
            joined.push("=");
            joined.push(value);
            out.push(joined);
        } else {
            // The last one counts, as in Go.
            out.retain(|earlier| *earlier != spelled);
            if value.is_none_or_true().map_err(|why| format!("{}: {why}", dashed(name)))? {
                out.push(spelled);
            }
        }
    }
    if !operands.is_empty() {
        out.push("--".into());
        out.extend(operands);
    }
    Ok(())
}

/// The text behind one or two dashes; `None` for what is no flag (`-` alone, `--`, a plain word).
fn flag_name(word: &OsStr) -> Option<&OsStr> {
    let bytes = word.as_bytes();
    let name = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))?;
    (!name.is_empty()).then(|| OsStr::from_bytes(name))
}

fn split_at_equals(flag: &OsStr) -> (&OsStr, Option<&OsStr>) {
    match flag.as_bytes().iter().position(|b| *b == b'=') {
        Some(at) => {
            let (name, value) = flag.as_bytes().split_at(at);
            (OsStr::from_bytes(name), Some(OsStr::from_bytes(&value[1..])))
        }
        None => (flag, None),
    }
}

fn find<'a>(command: &'a Command, name: &OsStr) -> Option<&'a Arg> {
    let name = name.to_str()?;
    let mut letters = name.chars();
    let letter = letters.next().filter(|_| letters.next().is_none());
    command
        .get_arguments()
        .filter(|arg| !arg.is_positional())
        .find(|arg| arg.get_long() == Some(name) || (letter.is_some() && arg.get_short() == letter))
}

fn spelling(arg: &Arg) -> OsString {
    match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("--{long}").into(),
        (None, Some(short)) => format!("-{short}").into(),
        (None, None) => OsString::new(),
    }
}

fn unknown_flag(name: &OsStr, command: &Command) -> String {
    let shown = name.to_string_lossy();
    let known = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(Arg::get_long);
    let hint = nearest(&shown, known).map_or_else(String::new, |long| format!("; did you mean -{long}?"));
    format!("{} is not a flag of `millstream {}`{hint}", dashed(name), command.get_name())
}

fn unknown_command(word: &OsStr) -> String {
    let shown = word.to_string_lossy();
    match nearest(&shown, help::commands()) {
        Some(command) => format!("`{shown}` is not a command of millstream; did you mean `{command}`?"),
        None => format!("`{shown}` is not a command of millstream"),
    }
}

/// The known word that was probably meant.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::jaro_winkler(word, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

fn dashed(name: &OsStr) -> String {
    let mut dashed = OsString::from_vec(vec![b'-']);
    dashed.push(name);
    dashed.to_string_lossy().into_owned()
}

/// The value behind the `=` of a flag that is on or off.
trait Switch {
    fn is_none_or_true(&self) -> Result<bool, String>;
}

impl Switch for Option<&OsStr> {
    fn is_none_or_true(&self) -> Result<bool, String> {
        match self.map(OsStr::as_bytes) {
            None => Ok(true),
            Some(b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True") => Ok(true),
            Some(b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False") => Ok(false),
            Some(_) => Err("the value must be true or false".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::args;
    use super::*;

    fn run(words: &[&str]) -> Result<Vec<String>, String> {
        let argv = std::iter::once("millstream").chain(words.iter().copied()).map(OsString::from).collect();
        let out = normalize(argv, &args::definition())?;
        Ok(out.into_iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect())
    }

    fn ok(words: &[&str]) -> Vec<String> {
        run(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    fn error(words: &[&str]) -> String {
        run(words).err().unwrap_or_else(|| panic!("{words:?} was accepted"))
    }

    #[test]
    fn one_dash_two_dashes_and_equals_mean_the_same() {
        for words in [
            ["replicate", "-config", "c.yml"].as_slice(),
            &["replicate", "--config", "c.yml"],
            &["replicate", "-config=c.yml"],
            &["replicate", "--config=c.yml"],
        ] {
            assert_eq!(ok(words), ["replicate", "--config=c.yml"], "{words:?}");
        }
        let restore = ["restore", "-v", "-if-replica-exists", "-o", "/d.db", "s3://b"];
        assert_eq!(ok(&restore), ["restore", "--verbose", "--if-replica-exists", "--output=/d.db", "--", "s3://b"]);
    }

    #[test]
    fn values_are_taken_whole() {
        assert_eq!(ok(&["replicate", "-exec", "app -config foo"]), ["replicate", "--exec=app -config foo"]);
        assert_eq!(ok(&["replicate", "-exec=a=b"]), ["replicate", "--exec=a=b"]);
        assert_eq!(ok(&["restore", "-o", "-x", "db"]), ["restore", "--output=-x", "--", "db"], "as Go: the next word");
        assert_eq!(ok(&["restore", "-o=", "db"]), ["restore", "--output=", "--", "db"]);
        assert!(error(&["replicate", "-exec"]).contains("-exec needs a value"));
    }

    #[test]
    fn switches_can_be_switched_off_and_the_last_counts() {
        assert_eq!(ok(&["databases", "-no-expand-env=false"]), ["databases"]);
        assert_eq!(ok(&["databases", "-json", "-json=0"]), ["databases"]);
        assert_eq!(ok(&["databases", "-json=f", "--json", "-json=true"]), ["databases", "--json"]);
        assert!(error(&["databases", "-json=maybe"]).contains("-json: the value must be true or false"));
    }

    #[test]
    fn the_apps_words_are_left_alone() {
        let ours = ok(&["run", "-config", "c.yml", "app", "-config", "zzz", "--", "-exec", "-h"]);
        assert_eq!(ours, ["run", "--config=c.yml", "--", "app", "-config", "zzz", "--", "-exec", "-h"]);
        let dashes = ok(&["run", "-config=c.yml", "--", "-config", "zzz"]);
        assert_eq!(dashes, ["run", "--config=c.yml", "--", "-config", "zzz"]);
        assert_eq!(ok(&["run", "-"]), ["run", "--", "-"]);
    }

    #[test]
    fn flags_stand_before_and_after_operands() {
        let wanted = ["restore", "--output=/d.db", "--force", "--", "s3://b"];
        for words in [["restore", "-o", "/d.db", "-force", "s3://b"], ["restore", "s3://b", "-o", "/d.db", "-force"]] {
            assert_eq!(ok(&words), wanted, "{words:?}");
        }
        let between = ["replicate", "/a.db", "-exec", "app -x", "s3://b"];
        assert_eq!(ok(&between), ["replicate", "--exec=app -x", "--", "/a.db", "s3://b"]);
        assert_eq!(
            ok(&["points", "-json", "--", "-db"]),
            ["points", "--json", "--", "-db"],
            "after -- all are operands"
        );
        assert!(error(&["restore", "/a.db", "--unknown"]).contains("-unknown is not a flag"));
    }

    #[test]
    fn unknown_flags_are_named() {
        let typo = error(&["restore", "-if-replica-exist", "db"]);
        assert_eq!(typo, "-if-replica-exist is not a flag of `millstream restore`; did you mean -if-replica-exists?");
        assert!(error(&["run", "-zzz", "app"]).contains("-zzz is not a flag of `millstream run`"));
        assert!(error(&["restore", "-vv", "db"]).contains("-vv is not a flag"));
        assert!(error(&["databases", "-=x"]).contains("is not a flag"));
        assert!(error(&["-config", "x", "run"]).contains("stands before the command"));
    }

    #[test]
    fn help_and_version_in_every_spelling() {
        for (word, clap_word) in [("-h", "-h"), ("-help", "--help"), ("--help", "--help")] {
            assert_eq!(ok(&[word]), [clap_word]);
            assert_eq!(ok(&["restore", word]), ["restore", clap_word]);
        }
        assert_eq!(ok(&["-version"]), ["--version"]);
        assert!(ok(&[]).is_empty());
        assert_eq!(ok(&["help"]), ["--help"]);
        assert_eq!(ok(&["help", "restore", "-x"]), ["restore", "--help"]);
        assert_eq!(ok(&["restore", "/a.db", "-h"]), ["restore", "-h", "--", "/a.db"]);
    }

    #[test]
    fn an_unknown_command_gets_a_suggestion() {
        let typo = error(&["restor", "-o", "x"]);
        assert_eq!(typo, "`restor` is not a command of millstream; did you mean `restore`?");
        assert_eq!(
            error(&["help", "replciate"]),
            "`replciate` is not a command of millstream; did you mean `replicate`?"
        );
        assert_eq!(error(&["frobnicate"]), "`frobnicate` is not a command of millstream");
    }

    #[test]
    fn words_that_are_not_utf8_pass() {
        let bad = OsString::from_vec(b"/data/\xff.db".to_vec());
        let argv = ["millstream", "restore", "-o"].map(OsString::from).into_iter().chain([bad.clone(), bad.clone()]);
        let out = normalize(argv.collect(), &args::definition()).expect("bytes are bytes");
        assert_eq!(out.last(), Some(&bad));
        assert!(out[2].as_bytes().ends_with(b"/data/\xff.db"));
    }
}
