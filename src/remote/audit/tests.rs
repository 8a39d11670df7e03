use proptest::prelude::*;

use super::remarks::MAX_ALIKE;
use super::*;
use crate::ltx::WalPosition;
use crate::remote::Layout;
use crate::store::Listed;

fn txid(number: u64) -> Txid {
    Txid::new(number).expect("not zero")
}

fn number(text: &str) -> u64 {
    if text == "MAX" { u64::MAX } else { text.parse().expect("a number") }
}

/// A replica in words: `level:min-max`, then what is wrong with it: `!` damaged, `?` something else
/// under this name, `o` no bytes, `#` other pages; `@` its age in hours. What has no colon is a
/// name as it stands.
fn replica(text: &str) -> (Listing, Vec<Seen>) {
    let mut entries = Vec::new();
    let mut marks = std::collections::HashMap::new();
    for word in text.split_whitespace() {
        let Some((level, rest)) = word.split_once(':') else {
            entries.push(Listed { name: word.into(), size: 500, modified_ms: 0 });
            continue;
        };
        let (rest, age) = rest.split_once('@').unwrap_or((rest, "0"));
        let bare = rest.trim_end_matches(['!', '?', 'o', '#']);
        let (min, max) = bare.split_once('-').unwrap_or((bare, bare));
        let name = format!("{:04x}/{:016x}-{:016x}.ltx", number(level), number(min), number(max));
        marks.insert(name.clone(), rest[bare.len()..].to_owned());
        let size = if rest.ends_with('o') { 0 } else { 1000 };
        entries.push(Listed { name, size, modified_ms: -3_600_000 * age.parse::<i64>().expect("hours") });
    }
    let listing = Listing::parse(Layout::S3, entries);
    let seen = listing.objects().map(|object| {
        let page_size = if marks[object.name.as_str()] == "#" { 1024 } else { 512 };
        let header = Header {
            page_size: PageSize::new(page_size).expect("valid"),
            commit: 1,
            min_txid: object.min_txid,
            max_txid: object.max_txid,
            timestamp_ms: 7,
            wal: WalPosition::default(),
        };
        let found = match marks[object.name.as_str()].as_str() {
            "!" => Err(Unsound::damaged("it is broken")),
            "?" => Err(Unsound::foreign("no LTX")),
            _ => Ok(header),
        };
        (object.clone(), found)
    });
    let seen = seen.collect();
    (listing, seen)
}

fn audited(text: &str, window_from_ms: Option<i64>) -> Audit {
    let (listing, seen) = replica(text);
    audit(&Evidence { listing: &listing, seen: &seen, window_from_ms })
}

/// What was found, in short: severity, kind, the object's short name, what is affected.
fn found(audit: &Audit) -> String {
    let txid = |t: Txid| if t.get() == u64::MAX { "MAX".into() } else { t.get().to_string() };
    let short = |name: &str| match name.split_once('/') {
        Some((level, file)) if name.ends_with(".ltx") => {
            let (min, max) = file.trim_end_matches(".ltx").split_once('-').expect("two");
            let hex = |s| txid(Txid::new(u64::from_str_radix(s, 16).expect("hex")).expect("not zero"));
            let (level, min, max) = (level.trim_start_matches("000"), hex(min), hex(max));
            if min == max { format!("{level}:{min}") } else { format!("{level}:{min}-{max}") }
        }
        _ => name.to_owned(),
    };
    let words = audit.findings.iter().map(|finding| {
        let mut word = match finding.severity {
            Severity::Damage => "DAMAGE ".to_owned(),
            Severity::Remark => String::new(),
        };
        word += finding.what.kind();
        if let Some(object) = &finding.object {
            word += &format!(" {}", short(object));
        }
        if let What::Gap { missing, beyond, is_the_end, .. } = &finding.what {
            let end = if *is_the_end { "" } else { ", not the end" };
            word += &format!(" {}-{} before {}{end}", txid(missing.first), txid(missing.last), short(beyond.as_str()));
        }
        if let What::Hole { level, missing, .. } = &finding.what {
            word += &format!(" L{level} {}-{}", txid(missing.first), txid(missing.last));
        }
        let spans = finding.affected.iter().map(|s| format!("{}-{}", txid(s.first), txid(s.last)));
        let spans: Vec<_> = spans.collect();
        if spans.is_empty() { word } else { format!("{word} loses {}", spans.join(",")) }
    });
    words.collect::<Vec<_>>().join("; ")
}

#[test]
fn faults_are_named_and_what_they_cost() {
    let cases = [
        ("", ""),
        ("0:1 0:2 0:3", ""),
        ("9:1-4 1:2-4 0:4 0:5", ""),
        // A missing object in the middle, and at the beginning.
        ("0:1 0:2 0:4 0:5", "DAMAGE gap 3-3 before 0:4 loses 3-5"),
        ("0:2 0:3", "DAMAGE no-beginning 0:2"),
        ("9:1-1 1:2-5 0:7 0:8", "DAMAGE gap 6-6 before 0:7 loses 6-8"),
        // A snapshot goes on behind the hole: the moments inside are lost, the newest is not.
        ("0:1 0:2 0:4 0:5 9:1-5 0:6", "DAMAGE gap 3-3 before 0:4, not the end loses 3-4"),
        ("0:1 0:2 0:4 9:1-4 0:5", "DAMAGE hole L0 3-3 loses 3-3"),
        // Damage that costs moments, and damage that other files make up for.
        ("0:1 0:2! 0:3", "DAMAGE damaged 0:2 loses 2-3; DAMAGE gap 2-2 before 0:3 loses 2-3"),
        ("0:1 0:2 0:3!", "DAMAGE damaged 0:3 loses 3-3"),
        ("9:1-1 1:2-3 0:2! 0:3 0:4", "DAMAGE damaged 0:2 loses 2-2"),
        ("9:1-1 1:2-3! 0:2 0:3 0:4", "damaged-redundant 1:2-3"),
        ("9:1-3! 0:1 0:2 0:3 0:4", "damaged-redundant 9:1-3"),
        ("9:1-3! 0:3 0:4", "DAMAGE damaged 9:1-3 loses 3-4; DAMAGE no-beginning 0:3"),
        ("9:1-3? 0:3 0:4", "DAMAGE damaged 9:1-3 loses 3-4; DAMAGE no-beginning 0:3"),
        // No bytes, and two files with each other's content.
        ("0:1 0:2 0:3o", "DAMAGE damaged 0:3 loses 3-3"),
        (
            "0:1 0:2? 0:3? 0:4",
            "DAMAGE damaged 0:2 loses 2-2; DAMAGE damaged 0:3 loses 3-3; DAMAGE gap 2-3 before 0:4 loses 2-4",
        ),
        ("9:1-1! 0:1!", "DAMAGE damaged 0:1 loses 1-1; DAMAGE damaged 9:1 loses 1-1"),
        // Strays with impressive names.
        ("0:1 0:2 0:MAX?", "stray 0:MAX"),
        ("0:1 0:2 9:1-MAX?", "stray 9:1-MAX"),
        ("0:1 0:2 2:1-77?", "stray 2:1-77"),
        ("0:1 0:2 0:70-90?", "stray 0:70-90"),
        ("0:1 0:2 0:3?", "DAMAGE damaged 0:3 loses 3-3"),
        ("0:1 0:2 0:9", "DAMAGE gap 3-8 before 0:9 loses 3-9"),
        // Other page sizes.
        ("0:1 0:2# 0:3", "DAMAGE damaged 0:2 loses 2-3; DAMAGE gap 2-2 before 0:3 loses 2-3"),
        ("0:1 0:2 0:3#", "DAMAGE page-size 0:2 loses 3-3"),
        ("9:1-3# 0:1 0:2 0:3# 0:4#", ""),
        // Overlaps, leftovers, strangers.
        ("9:1-1 1:2-5 1:4-7 0:8", "overlap 1:4-7"),
        ("9:1-1 1:2-5 1:2-7 0:8", "overlap 1:2-7"),
        ("0:1 0:2 0:2-3", "overlap 0:2-3"),
        ("9:1-9 1:3-5 0:10", "not-needed 1:3-5"),
        ("0:1 notes.txt 0000/x.ltx.tmp", "foreign notes.txt; foreign 0000/x.ltx.tmp"),
        ("0:1 generations/x/y", "foreign generations/x/y"),
    ];
    for (text, wanted) in cases {
        assert_eq!(found(&audited(text, None)), wanted, "{text}");
    }
}

#[test]
fn what_compaction_and_retention_leave_is_no_finding() {
    for text in [
        // Level 0 keeps the first image until a snapshot holds it; compacted files hold the rest.
        "0:1 1:2-5 1:6-9 0:9 0:10",
        // An image in the middle is in no level, but in a snapshot.
        "9:1-1 1:2-5 9:1-6 1:7-9 0:9",
        "0:1 1:2-5 9:1-6 0:7 0:8",
        "9:1-4 3:5-20 2:21-28 1:29-30 0:31 0:32",
    ] {
        assert_eq!(found(&audited(text, None)), "", "{text}");
    }
    // Older than the window things may go one by one.
    let half_deleted = "9:1-4@90 1:5-6@80 1:9-10@70 9:1-12@60 1:13-14@10 0:15";
    let day = Some(-24 * 3_600_000);
    assert_eq!(found(&audited(half_deleted, day)), "gap 7-8 before 1:9-10, not the end loses 7-10");
    assert_eq!(audited(half_deleted, None).damage().count(), 2);
    let damaged = "9:1-4!@90 1:5-6@80 9:1-12@60 0:13";
    assert_eq!(audited(damaged, day).damage().count(), 0, "{}", found(&audited(damaged, day)));
    assert_eq!(found(&audited("9:1-4@90 9:1-12!@60 0:13", day)).matches("DAMAGE").count(), 2);
}

#[test]
fn the_window_and_the_newest_time_are_told() {
    let audit = audited("9:1-4 1:5-6 0:6 0:7 0:8!", None);
    let (oldest, newest) = audit.ends.clone().expect("two");
    assert_eq!((oldest.max_txid, newest.max_txid, audit.newest_ms), (txid(4), txid(7), Some(7)));
    assert_eq!((audit.files, audit.bytes, audit.may_have_moved()), (4, 4000, false));
    assert!(audited("0:1 0:3", None).may_have_moved());
}

#[test]
fn sentences_name_object_cause_and_effect() {
    let say = |text: &str| audited(text, None).findings.iter().map(Finding::to_string).collect::<Vec<_>>();
    assert_eq!(
        say("0:1 0:2 0:3!"),
        ["0000/0000000000000003-0000000000000003.ltx: it is broken (cannot be restored: 0000000000000003)"]
    );
    assert_eq!(
        say("0:1 0:4"),
        [
            "no file holds 0000000000000002 to 0000000000000003, but 0000/0000000000000004-0000000000000004.ltx is there; \
          a restore of the newest state is refused, 0000000000000001 is as far as it gets \
          (cannot be restored: 0000000000000002 to 0000000000000004)"
        ]
    );
    assert_eq!(say("0:1 x"), ["x: not a name that Litestream or millstream writes; ignored"]);
}

#[test]
fn many_alike_are_counted() {
    let names: Vec<String> = (0..25).map(|n| format!("note-{n}")).collect();
    let audit = audited(&format!("0:1 {}", names.join(" ")), None);
    assert_eq!(audit.findings.len(), MAX_ALIKE + 1);
    assert!(audit.findings[MAX_ALIKE].to_string().starts_with("5 more"));
}

#[test]
fn coverage_is_joint() {
    let span = |(first, last)| Span { first: txid(first), last: txid(last) };
    let covered = |spans: &[(u64, u64)], wanted| reach::cover(spans.iter().copied().map(span), span(wanted));
    assert!(covered(&[(1, 3), (4, 9)], (2, 8)));
    assert!(covered(&[(1, 9), (2, 3)], (4, 8)));
    assert!(!covered(&[(1, 3), (5, 9)], (2, 8)));
    assert!(!covered(&[(3, 9)], (2, 8)));
    assert!(covered(&[(1, u64::MAX)], (2, u64::MAX)));
}

fn any_files() -> impl Strategy<Value = Vec<(u8, u64, u64)>> {
    let file = prop_oneof![
        4 => (1u64..12).prop_map(|n| (0, n, n)),
        3 => (1u8..4, 1u64..12, 0u64..5).prop_map(|(level, min, len)| (level, min, min + len)),
        1 => (1u64..12).prop_map(|max| (9, 1, max)),
    ];
    prop::collection::vec(file, 0..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The planner and the audit agree about every sound replica.
    #[test]
    fn a_gap_is_what_the_planner_stops_at(files in any_files()) {
        let words: Vec<String> = files.iter().map(|(level, min, max)| format!("{level}:{min}-{max}")).collect();
        let (listing, _) = replica(&words.join(" "));
        let audit = audited(&words.join(" "), None);
        let refused = |finding: &Finding| match finding.what {
            What::Gap { is_the_end, .. } => is_the_end,
            What::NoBeginning => true,
            _ => false,
        };
        match plan::latest(&listing) {
            Ok(plan) => {
                prop_assert_eq!(audit.ends.map(|(_, newest)| newest.max_txid), Some(plan.txid()));
                prop_assert!(!audit.findings.iter().any(refused), "{:?}", words);
            }
            Err(plan::NoPlan::Nothing) => prop_assert!(audit.findings.is_empty()),
            Err(_) => prop_assert!(audit.findings.iter().any(refused), "{:?}", words),
        }
    }
}
