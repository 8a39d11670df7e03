//! What the store makes of a file: its name, its time, and what an error with it means.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use super::super::StoreError;
use crate::fsx::FsError;

pub(super) const TEMP_PREFIX: &str = ".millstream-";
pub(super) const TEMP_SUFFIX: &str = ".tmp";

pub(super) fn is_temp(file_name: &str) -> bool {
    file_name.starts_with(TEMP_PREFIX) && file_name.ends_with(TEMP_SUFFIX)
}

pub(super) fn modified_ms(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000)
}

/// For calls that name one object: a name that leads nowhere is an answer.
pub(super) fn absent_or(error: FsError) -> StoreError {
    match error.source.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG) => StoreError::NotFound { detail: error.to_string() },
        _ => failure(error),
    }
}

pub(super) fn failure(error: FsError) -> StoreError {
    let detail = error.to_string();
    match error.source.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => StoreError::Denied { detail },
        Some(
            libc::ENOSPC
            | libc::EDQUOT
            | libc::EROFS
            | libc::EFBIG
            | libc::ENOTDIR
            | libc::EISDIR
            | libc::ELOOP
            | libc::ENAMETOOLONG
            | libc::EINVAL,
        ) => StoreError::Permanent { detail },
        _ => StoreError::Transient { detail },
    }
}
