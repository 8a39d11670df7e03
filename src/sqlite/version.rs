//! The gate against SQLite's WAL-reset bug (<https://www.sqlite.org/wal.html>).
//!
//! From 3.7.0 to 3.51.2 a checkpointer could mark frames as copied that it never copied, when a
//! writer restarted the WAL at the wrong moment; committed pages were lost later. We checkpoint
//! another program's database for a living, so we refuse to be built with, or to run on, a library
//! that has it. Fixed in 3.51.3, and in the back-ports 3.44.6 and 3.50.7.

use rusqlite::ffi;

/// Whether this library version (`X*1000000 + Y*1000 + Z`) has the fix.
const fn is_fixed(version: i32) -> bool {
    let is_backport = (version >= 3_044_006 && version < 3_045_000) || (version >= 3_050_007 && version < 3_051_000);
    // 3.52.0 carried the fix but was withdrawn for other defects.
    (version >= 3_051_003 && version != 3_052_000) || is_backport
}

const _: () = assert!(is_fixed(ffi::SQLITE_VERSION_NUMBER), "millstream needs SQLite 3.51.3 or later (WAL-reset bug)");

/// Checks the library that is really linked; an error names its version.
pub fn check_version() -> Result<(), String> {
    // SAFETY: takes nothing, returns a constant of the library.
    let linked = unsafe { ffi::sqlite3_libversion_number() };
    if is_fixed(linked) {
        return Ok(());
    }
    Err(format!("SQLite {} has the WAL-reset bug: millstream needs 3.51.3 or later", rusqlite::version()))
}

/// Whether a library of another program, of this version (`X.Y.Z`), has the bug: its checkpoints
/// can lose pages.
pub fn has_wal_reset_bug(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<i32>());
    let mut part = || parts.next().and_then(Result::ok).unwrap_or(0);
    let number = part() * 1_000_000 + part() * 1_000 + part();
    number >= 3_007_000 && !is_fixed(number)
}

/// The linked library's version, for people.
pub fn library_version() -> &'static str {
    rusqlite::version()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_affected_range_is_refused() {
        for bad in [3_007_000, 3_040_001, 3_044_005, 3_045_003, 3_050_006, 3_051_000, 3_051_002, 3_052_000] {
            assert!(!is_fixed(bad), "{bad}");
        }
        for good in [3_044_006, 3_050_007, 3_051_003, 3_053_000, 3_054_001] {
            assert!(is_fixed(good), "{good}");
        }
    }

    #[test]
    fn other_programs_are_judged_by_the_text_of_their_version() {
        for (version, expected) in
            [("3.40.1", true), ("3.51.2", true), ("3.44.6", false), ("3.51.3", false), ("3.6.23", false)]
        {
            assert_eq!(has_wal_reset_bug(version), expected, "{version}");
        }
    }

    #[test]
    fn the_linked_library_is_fixed() {
        assert_eq!(check_version(), Ok(()));
    }
}
