//! `completions` and `man`: what a shell, or a packager, asks for.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use super::LogFlags;
use super::help::{self, Page};

const COMPLETIONS: Page = Page {
    more: "",
    examples: &[
        "millstream completions bash > /usr/share/bash-completion/completions/millstream",
        "millstream completions zsh > /usr/local/share/zsh/site-functions/_millstream",
        "millstream completions fish > ~/.config/fish/completions/millstream.fish",
    ],
    variables: &[],
    codes: &[help::DONE, help::USAGE],
};

/// Writes a shell's completion script to stdout
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = COMPLETIONS.text(),
    override_usage = "millstream completions bash|zsh|fish"
)]
pub struct Completions {
    /// Shell that is to complete commands and flags
    #[arg(value_name = "SHELL", value_parser = shell)]
    pub shell: Shell,
    #[command(flatten)]
    pub log: LogFlags,
}

fn shell(text: &str) -> Result<Shell, String> {
    match text {
        "bash" => Ok(Shell::Bash),
        "zsh" => Ok(Shell::Zsh),
        "fish" => Ok(Shell::Fish),
        _ => Err("write bash, zsh or fish".into()),
    }
}

const MAN: Page = Page {
    more: "With DIR it writes millstream.1 and a page for each command, such as millstream-run.1, into that \
           directory. Without DIR it writes millstream.1 to stdout.",
    examples: &["millstream man | man -l -", "millstream man /usr/local/share/man/man1"],
    variables: &[],
    codes: &[help::DONE, help::USAGE, ("73", "the directory or a page cannot be written")],
};

/// Writes the manual pages
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = MAN.text(), override_usage = "millstream man [DIR]")]
pub struct Man {
    /// Directory for the pages; it is created if it is missing
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogFlags,
}
