//! `completions` and `man`: what is made of the definitions in `args.rs` for shells and for `man`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

use super::args::{definition, help};
use super::printed;
use crate::fsx::{self, Context, FsError};
use crate::run::Failure;
use crate::run::exit::CANNOT_WRITE;

const PROGRAM: &str = "millstream";

/// Writes the script that a shell reads.
pub fn completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    // Made in memory first: the generator does not expect that a write can fail.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), PROGRAM, &mut script);
    out.write_all(&script)
}

/// Writes a page for the program and for each command into a directory, or the first of them to
/// stdout.
pub fn man(dir: Option<&Path>) -> Result<u8, Failure> {
    let program = definition();
    let Some(dir) = dir else { return printed(page(program).and_then(|page| io::stdout().write_all(&page))) };
    let failed = |error: FsError| Failure::new(CANNOT_WRITE, error);
    fsx::create_dir_all(dir).map_err(failed)?;
    let mut pages = vec![(PROGRAM.to_owned(), program.clone())];
    for command in program.get_subcommands() {
        let name = format!("{PROGRAM}-{}", command.get_name());
        pages.push((name.clone(), command.clone().display_name(name)));
    }
    for (name, command) in pages {
        let path = dir.join(format!("{name}.1"));
        page(command).and_then(|page| fs::write(&path, page)).on("write", &path).map_err(failed)?;
    }
    Ok(0)
}

/// One page in roff, with our spelling of flags.
fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    // roff writes a dash as `\-`.
    let text = String::from_utf8_lossy(&page).replace("\\-", "-").replace("\\fB--", "\\fB-");
    Ok(help::one_dash(&text).replace('-', "\\-").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_shell_a_script() {
        let dir = tempfile::tempdir().expect("tempdir");
        man(Some(&dir.path().join("man1"))).unwrap_or_else(|failure| panic!("{}", failure.sentence()));
        let read = |name: &str| fs::read_to_string(dir.path().join("man1").join(name)).expect("a page");
        assert!(read("millstream.1").contains("restore"));
        for command in help::commands() {
            let page = read(&format!("millstream-{command}.1"));
            assert!(page.contains("SYNOPSIS") && !page.contains("\\-\\-config"), "{command}: {page}");
        }
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            completions(shell, &mut script).expect("memory");
            let script = String::from_utf8(script).expect("text");
            assert!(script.contains("integrity-check") && script.contains("unregister"), "{shell}");
        }
    }
}
