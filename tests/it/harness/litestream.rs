//! The real Litestream, as the reader of what we wrote and the writer of what we read.

use std::path::Path;

use super::process::{Finished, Invocation, setting};

/// Litestream 0.5.17. `AWS_CA_BUNDLE` is not passed on by any invocation: 0.5.17 does not start with it.
pub fn litestream(home: &Path) -> Invocation {
    with_keys(Invocation::new(setting("MILLSTREAM_TEST_LITESTREAM"), home))
}

/// Litestream 0.3.13, whose replicas are generations, snapshots and WAL segments.
pub fn litestream_03(home: &Path) -> Invocation {
    with_keys(Invocation::new(setting("MILLSTREAM_TEST_LITESTREAM_03"), home))
}

/// The keys of the test's S3 server, as the environment of a container would hold them.
pub fn with_keys(invocation: Invocation) -> Invocation {
    match std::env::var_os("MILLSTREAM_TEST_S3_ENDPOINT") {
        Some(_) => invocation
            .env("AWS_ACCESS_KEY_ID", setting("MILLSTREAM_TEST_S3_ACCESS_KEY"))
            .env("AWS_SECRET_ACCESS_KEY", setting("MILLSTREAM_TEST_S3_SECRET_KEY")),
        None => invocation,
    }
}

/// `litestream restore` of a replica's URL into `output`.
pub fn restore_with_litestream(home: &Path, url: &str, output: &Path) -> Finished {
    litestream(home).args(["restore", "-o"]).args([output.as_os_str().to_owned(), url.into()]).finish()
}
