//! `millstream translate`: the litestream.yml that does what a litefs.yml did.

use std::io::{self, Write};
use std::path::Path;

use anyhow::anyhow;

use super::printed;
use crate::config::translate_litefs_yml;
use crate::fsx;
use crate::run::Failure;
use crate::run::exit::CONFIG;

pub fn translate(file: &Path) -> Result<u8, Failure> {
    let shown = file.display();
    let read = fsx::read(file).map_err(|error| Failure::new(CONFIG, error))?;
    let text = String::from_utf8(read).map_err(|_| Failure::new(CONFIG, anyhow!("{shown}: it is not UTF-8")))?;
    let made = translate_litefs_yml(&text).map_err(|why| Failure::new(CONFIG, anyhow!("{shown}: {why}")))?;
    printed(io::stdout().write_all(made.as_bytes()))
}
