//! What Litestream leaves beside a database that it replicates: its newest level-0 files, as it has
//! uploaded them.
//!
//! They show that its turn was with this very disk, also when the WAL that they were made from is
//! gone and `VACUUM` has left no page where it was.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::fsx;
use crate::ltx::{HEADER_LEN, Header};

/// Whether Litestream has worked here up to the level-0 object with this header: on the database at
/// `path`, with its own state beside it or, as `meta-path` says, in `meta_path`.
pub fn litestream_was_here(path: &Path, meta_path: &Path, newest: &Header) -> bool {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push("-litestream");
    let beside = fsx::parent(path).join(name);
    let file = format!("ltx/0/{}-{}.ltx", newest.min_txid, newest.max_txid);
    [beside.as_path(), meta_path].iter().any(|directory| has_header(&directory.join(&file), newest))
}

fn has_header(file: &Path, header: &Header) -> bool {
    let mut raw = [0; HEADER_LEN];
    File::open(file).and_then(|mut file| file.read_exact(&mut raw)).is_ok() && raw == header.encode()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ltx::{Txid, WalPosition};
    use crate::page::PageSize;

    #[test]
    fn its_files_are_known_by_their_headers() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, meta) = (dir.path().join("app.db"), dir.path().join("meta"));
        let wal = WalPosition { offset: 32, size: 4120, salt1: 1, salt2: 2 };
        let txid = Txid::new(0x16b).expect("not zero");
        let header =
            Header { page_size: PageSize::MAX, commit: 3, min_txid: txid, max_txid: txid, timestamp_ms: 5, wal };
        let was_here = |header: &Header| litestream_was_here(&path, &meta, header);
        assert!(!was_here(&header));
        for state in [dir.path().join(".app.db-litestream"), meta.clone()] {
            let file = state.join("ltx/0/000000000000016b-000000000000016b.ltx");
            std::fs::create_dir_all(fsx::parent(&file)).expect("create");
            std::fs::write(&file, &header.encode()[..99]).expect("write");
            assert!(!was_here(&header), "it is cut");
            std::fs::write(&file, [header.encode().as_slice(), b"pages"].concat()).expect("write");
            assert!(was_here(&header));
            assert!(!was_here(&Header { timestamp_ms: 6, ..header }), "somebody else's object of that TXID");
            std::fs::remove_file(file).expect("remove");
        }
    }
}
