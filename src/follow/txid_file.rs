//! Litestream's note beside a copy that it keeps up to date: `copy.db-txid`, 16 hex digits and a
//! line break.
//!
//! It is written after every install, for whoever reads it there, and so that Litestream could go
//! on from here. What is in it is never believed: it is older than the copy after a crash.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::fsx::{self, Context};
use crate::ltx::Txid;

pub fn path(copy: &Path) -> PathBuf {
    fsx::with_suffix(copy, "-txid")
}

/// Whether Litestream, or this program, has kept this copy.
pub fn is_there(copy: &Path) -> bool {
    std::fs::read_to_string(path(copy)).is_ok_and(|text| Txid::parse_hex(text.trim_end()).is_some())
}

pub fn write(copy: &Path, txid: Txid) -> fsx::Result<()> {
    let path = path(copy);
    let temporary = fsx::with_suffix(&path, ".tmp");
    fsx::remove_file_if_exists(&temporary)?;
    let mut file = fsx::create_new(&temporary, 0o644)?;
    writeln!(file, "{txid}").on("write", &temporary)?;
    fsx::rename(&temporary, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_litestream_writes_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let copy = dir.path().join("copy.db");
        assert!(!is_there(&copy));
        for number in [1, 0xabc] {
            write(&copy, Txid::new(number).expect("not zero")).expect("write");
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("copy.db-txid")).expect("read"), "0000000000000abc\n");
        assert!(is_there(&copy) && std::fs::read_dir(dir.path()).expect("dir").count() == 1);
        std::fs::write(path(&copy), "nonsense").expect("write");
        assert!(!is_there(&copy));
    }
}
