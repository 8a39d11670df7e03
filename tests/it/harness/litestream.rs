//! The real Litestream, as the reader of what we wrote and the writer of what we read.

use std::path::Path;

use super::process::{Invocation, setting};

/// The version that is meant where none is named.
pub const NEWEST: &str = "0.5.17";

/// Versions of the LTX format's time: the first three write LZ4 frames and read nothing else, the last one writes blocks.
pub const VERSIONS: [&str; 4] = ["0.5.9", "0.5.12", "0.5.15", NEWEST];

/// One of [`VERSIONS`]. `AWS_CA_BUNDLE` is not passed on by any invocation: 0.5.17 does not start with it.
pub fn litestream(version: &str, home: &Path) -> Invocation {
    let name = match version {
        NEWEST => "MILLSTREAM_TEST_LITESTREAM".into(),
        older => format!("MILLSTREAM_TEST_LITESTREAM_{}", older.replace('.', "_")),
    };
    with_keys(Invocation::new(setting(&name), home))
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
