//! Where replicas begin below a place, by the names that a listing shows: pure.
//!
//! A replica is known by an LTX file, or by a file of Litestream 0.3, under exactly the name that
//! it has there. What resembles one is none here: nothing is restored because of it.

use std::collections::BTreeSet;

use super::names::{self, Name};
use super::v03::OldName;
use crate::store::Key;

/// The paths, relative to the place of the listing, at which replicas begin; empty for the place
/// itself. None of them leads out of it.
pub fn roots<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut roots = BTreeSet::new();
    for root in names.filter_map(root) {
        if !roots.contains(root) {
            roots.insert(root.to_owned());
        }
    }
    roots
}

/// The part of a name in front of the shortest end that is a name of a replica's file.
fn root(name: &str) -> Option<&str> {
    Key::new(name)?;
    let starts = name.rmatch_indices('/').map(|(at, _)| at + 1).chain([0]);
    let start = starts.skip(1).find(|start| match names::parse(&name[*start..]) {
        Name::Ltx { .. } => true,
        Name::Old(old) => !matches!(old, OldName::Known | OldName::Foreign),
        Name::Known | Name::Misplaced(_) | Name::Foreign(_) => false,
    })?;
    let root = name[..start].trim_end_matches('/');
    (!root.split('/').any(has_notes)).then_some(root)
}

/// What replicators keep beside a database: a copy of a directory may hold it.
fn has_notes(segment: &str) -> bool {
    segment.starts_with('.') && (segment.ends_with("-litestream") || segment.ends_with("-millstream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LTX: &str = "0000000000000001-0000000000000002.ltx";

    fn found(names: &[&str]) -> Vec<String> {
        roots(names.iter().copied()).into_iter().collect()
    }

    #[test]
    fn replicas_of_every_layout_are_found_at_their_roots() {
        let old = "generations/0123456789abcdef";
        assert_eq!(
            found(&[
                &format!("a.db/0000/{LTX}"),
                &format!("a.db/0009/{LTX}"),
                &format!("sub/deep/b.db/ltx/9/{LTX}"),
                &format!("0000/0000/{LTX}"),
                &format!("ltx/ltx/0/{LTX}"),
                &format!("c.db/{old}/snapshots/00000000.snapshot.lz4"),
                &format!("d.db/{old}/wal/00000000_00000000.wal.lz4"),
            ]),
            ["0000", "a.db", "c.db", "d.db", "ltx", "sub/deep/b.db"]
        );
        assert_eq!(found(&[&format!("0000/{LTX}"), &format!("ltx/0/{LTX}")]), [""], "the place itself");
    }

    #[test]
    fn nothing_else_is_a_replica_and_no_name_leads_out() {
        for name in [
            LTX.to_owned(),
            format!("a.db/{LTX}"),
            format!("a.db/0000/{LTX}.tmp"),
            format!("a.db/000a/{LTX}"),
            format!("a.db/claims/{LTX}"),
            format!("../a.db/0000/{LTX}"),
            format!("/a.db/0000/{LTX}"),
            format!("a//b/0000/{LTX}"),
            format!("a/./b/0000/{LTX}"),
            format!(".a.db-litestream/ltx/0/{LTX}"),
            "a.db/generations/0123456789abcdef/x".into(),
            "a.db/generations/x/snapshots/00000000.snapshot.lz4".into(),
            "a.db".into(),
        ] {
            assert!(found(&[&name]).is_empty(), "{name}");
        }
    }
}
