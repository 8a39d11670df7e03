//! What follows from a comparison.

use super::*;

#[test]
fn the_bucket_is_asked_only_where_it_pays() {
    let known = Local { pages: 100, is_small: false, is_known: true, is_blank: false, suspected: None };
    let unknown = Local { is_known: false, ..known };
    let reason = ImageReason::LocalChanges;
    assert!(skip(known, reason, 0).is_none());
    assert!(skip(known, reason, FAILURES_MAX).is_some());
    assert!(skip(known, ImageReason::PageSizeChanged, 0).is_some());
    assert!(skip(unknown, reason, FAILURES_MAX).is_none(), "whose it is must be found out");
    assert!(skip(Local { is_blank: true, ..known }, reason, FAILURES_MAX).is_none());

    let file = |size| LtxObject {
        level: Level::L0,
        min_txid: Txid::FIRST,
        max_txid: Txid::FIRST,
        size,
        modified_ms: 0,
        name: Key::new("x").expect("valid"),
    };
    let refused = |files: &[LtxObject], local, other_pages| refuse(files, other_pages, 1000, local).is_some();
    assert!(!refused(&[file(2000)], known, 100));
    assert!(refused(&[file(2001)], known, 100) && !refused(&[file(2001)], unknown, 100));
    assert!(refused(&vec![file(1); PLAN_FILES_MAX + 1], known, 100));
    let suspected = Local { suspected: Some(SyncedTo::up_to(Some(Txid::FIRST))), ..known };
    assert!(skip(suspected, reason, FAILURES_MAX).is_none(), "what went on elsewhere must be found out");
    assert!(!refused(&vec![file(2001); PLAN_FILES_MAX + 1], suspected, 100));
    assert!(!refused(&[file(2000)], Local { is_small: true, ..suspected }, 100));
    let small = Local { is_small: true, ..known };
    assert!(refused(&[file(2000)], small, 201) && !refused(&[file(9000)], small, 202), "where is the rest of it?");
}

#[test]
fn the_verdicts() {
    let known = Local { pages: 160, is_small: false, is_known: true, is_blank: false, suspected: None };
    let unknown = Local { is_known: false, ..known };
    let blank = Local { is_blank: true, ..known };
    let small = Local { pages: 10, is_small: true, ..known };
    // Pages that differ, that show the same lineage, and whether the schema is another's.
    let seen = |local: Local, differing, related, foreign_schema| {
        let comparison = Comparison::made_up(local.pages, differing, related, foreign_schema);
        judge(local, &Found::Compared(comparison, Scope { bytes: 0, other_pages: 160 }))
    };
    assert_eq!(seen(known, 0, 0, false), Verdict::Equal);
    assert_eq!(seen(unknown, 0, 0, false), Verdict::Equal, "a copy is as good as the original");
    assert_eq!(seen(known, 80, 0, false), Verdict::Difference);
    assert_eq!(seen(unknown, 80, 10, false), Verdict::Difference);
    assert!(matches!(seen(unknown, 80, 9, false), Verdict::Stranger(_)));
    assert!(matches!(seen(unknown, 81, 10, false), Verdict::Image(_)));
    assert!(matches!(seen(known, 160, 0, false), Verdict::Image(_)), "a VACUUM leaves no page where it was");
    assert!(matches!(seen(known, 160, 0, true), Verdict::Stranger(_)));
    assert!(matches!(seen(known, 81, 10, true), Verdict::Image(_)), "tables were renamed");
    assert!(matches!(seen(small, 9, 1, false), Verdict::Stranger(_)));
    let by_rows = |local: Local, theirs, shared| {
        let comparison = Comparison::made_up(local.pages, 160, 0, true).with_rows(theirs, shared);
        judge(local, &Found::Compared(comparison, Scope { bytes: 0, other_pages: 160 }))
    };
    assert!(
        matches!(by_rows(unknown, 1000, 501), Verdict::Image(_)),
        "built anew: no page is where it was, the rows are"
    );
    assert!(matches!(by_rows(unknown, 1000, 500), Verdict::Stranger(_)));
    assert!(matches!(by_rows(unknown, 0, 0), Verdict::Stranger(_)));
    let resized = |theirs, shared| judge(unknown, &Found::PageSize(Rows { theirs, shared }));
    assert!(matches!(resized(10, 9), Verdict::Beginning(..)));
    assert!(matches!(resized(10, 1), Verdict::Stranger(_)));
    assert!(matches!(seen(small, 1, 8, false), Verdict::Difference));
    for (local, skipped, resized, broken) in
        [(known, true, true, true), (unknown, false, false, false), (blank, false, false, false)]
    {
        let is_shipped = |found| !matches!(judge(local, &found), Verdict::Stranger(_));
        assert_eq!(is_shipped(Found::Skipped("x".into())), skipped, "{local:?}");
        assert_eq!(is_shipped(Found::PageSize(Rows::default())), resized, "{local:?}");
        assert_eq!(is_shipped(Found::Broken("x".into())), broken, "{local:?}");
    }
}

#[test]
fn a_comparison_with_what_was_written_since_avoids_files_from_before_and_after() {
    let txid = |number| Txid::new(number).expect("not zero");
    let mut listing = crate::remote::Listing::default();
    for (level, min, max) in
        [(Level::L0, 1, 1), (Level::L0, 2, 2), (Level::L0, 3, 3), (Level::L0, 4, 4), (Level::SNAPSHOT, 1, 3)]
    {
        listing.insert(LtxObject {
            level,
            min_txid: txid(min),
            max_txid: txid(max),
            size: 1000,
            modified_ms: 0,
            name: Key::new(format!("{level:?}/{min}-{max}")).expect("valid"),
        });
    }
    let ranges = |listing: &_, own, end| {
        let files = files_apart(listing, SyncedTo::up_to(own), txid(end))?;
        Some(files.iter().map(|file| (file.min_txid.get(), file.max_txid.get())).collect::<Vec<_>>())
    };
    assert_eq!(ranges(&listing, Some(txid(2)), 4), Some(vec![(1, 1), (2, 2), (3, 3), (4, 4)]));
    assert_eq!(ranges(&listing, Some(txid(3)), 4), Some(vec![(1, 3), (4, 4)]));
    assert_eq!(ranges(&listing, None, 4), Some(vec![(1, 3), (4, 4)]));
    listing.retain(|file| file.level != Level::L0 || file.min_txid != txid(2));
    assert_eq!(ranges(&listing, Some(txid(2)), 4), None, "the only way leads over a file from before and after");
}

#[test]
fn a_history_that_went_on_is_continued_only_by_what_came_after_it() {
    let own = SyncedTo::up_to(Some(Txid::FIRST));
    let local = Local { pages: 160, is_small: false, is_known: true, is_blank: false, suspected: Some(own) };
    let seen = |local: Local, differing, moved, kept| {
        let comparison = Comparison::made_up(160, differing, 100, false).since(moved, kept);
        judge(local, &Found::Compared(comparison, Scope { bytes: 0, other_pages: 160 }))
    };
    let moved_on = |verdict| matches!(verdict, Verdict::MovedOn(up_to, _) if up_to == own);
    // Pages that differ, that were written since, that show that this came after them.
    let table =
        [(7, 4, 2, true), (7, 5, 2, false), (7, 1, 1, true), (7, 0, 0, false), (7, 1, 0, false), (160, 9, 5, true)];
    for (differing, moved, kept, came_after) in table {
        assert_eq!(!moved_on(seen(local, differing, moved, kept)), came_after, "{kept} of {moved}");
    }
    assert_eq!(seen(local, 7, 4, 4), Verdict::Difference);
    assert!(matches!(seen(local, 160, 9, 9), Verdict::Image(_)));
    assert_eq!(seen(local, 0, 3, 0), Verdict::Equal, "equal is equal");
    // A file that is not known, or one without a table, is no better.
    for worse in [Local { is_known: false, ..local }, Local { is_blank: true, ..local }] {
        assert!(moved_on(seen(worse, 7, 5, 2)));
    }
    let text = || "x".to_owned();
    for found in [Found::Skipped(text()), Found::PageSize(Rows::default()), Found::Broken(text())] {
        assert!(moved_on(judge(local, &found)));
        assert!(!moved_on(judge(Local { suspected: None, ..local }, &found)));
    }
    let mut cut_short = Comparison::made_up(160, 7, 100, false).since(4, 4);
    cut_short.whole = false;
    assert!(moved_on(judge(local, &Found::Compared(cut_short, Scope { bytes: 0, other_pages: 160 }))));
}
