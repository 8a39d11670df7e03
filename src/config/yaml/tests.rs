//! What is read, and what is refused with which words.

use std::time::Duration;

use super::super::keys::LEVELS;
use super::*;

fn root(text: &str) -> Section {
    parse("f.yml", text).expect(text).root
}

fn problem(text: &str) -> String {
    parse("f.yml", text).expect_err(text)
}

#[test]
fn values_keep_the_text_that_was_written() {
    let section = root("access-key-id: 007\nsecret-access-key: 1e5\nregion: 'yes'\naddr: ~\nheartbeat-url:\n");
    assert_eq!(section.text("access-key-id"), Some("007"));
    assert_eq!(section.text("secret-access-key"), Some("1e5"));
    assert_eq!(section.text("region"), Some("yes"));
    assert_eq!((section.text("addr"), section.text("heartbeat-url")), (None, None), "null and nothing are empty");
    assert!(section.has("addr") && section.has("heartbeat-url") && !section.has("bucket"));
}

#[test]
fn kinds_are_checked_and_the_line_is_named() {
    assert_eq!(root("skip-verify: on\n").bool("skip-verify"), Some(true));
    assert_eq!(root("part-size: 5MiB\n").number("part-size"), Some(5 << 20));
    assert_eq!(root("grace: 1m\n").duration("grace"), Some(Duration::from_secs(60)));
    let text = "dbs:\n  - path: /a\n    replica:\n      sync-interval: 10\n";
    assert_eq!(problem(text), "f.yml:4: dbs[0].replica.sync-interval: \"10\" has no unit; write for example 10s");
    assert_eq!(problem("skip-verify: 2\n"), "f.yml:1: skip-verify: \"2\" is neither true nor false");
}

#[test]
fn unknown_keys_name_place_line_and_the_likely_key() {
    let text = "dbs:\n  - path: /a\n    replica:\n      urll: s3://b/x\n";
    assert_eq!(problem(text), "f.yml:4: unknown key `urll` in dbs[0].replica; did you mean `url`?");
    let text = "dbs:\n  - path: /a\n    url: s3://b/x\n";
    assert_eq!(problem(text), "f.yml:3: unknown key `url` in dbs[0]; `url` belongs under dbs[].replica");
    assert_eq!(problem("\n\nfoo: 1\n"), "f.yml:3: unknown key `foo`");
}

#[test]
fn duplicates_and_wrong_shapes_are_errors_that_quote_no_value() {
    let text = "dbs:\n  - path: /a\n    path: /b\n";
    assert_eq!(problem(text), "f.yml:3: `path` stands twice in dbs[0]");
    let shape = problem("dbs: hunter2\n");
    assert_eq!(shape, "f.yml:1: dbs must be a list (lines that begin with `- `)");
    let shape = problem("dbs:\n  - hunter2\n");
    assert_eq!(shape, "f.yml:2: dbs[0] must be a group of `key: value` lines");
    let shape = problem("secret-access-key: [hunter2]\n");
    assert_eq!(shape, "f.yml:1: secret-access-key must be a single value");
    assert_eq!(problem("- a\n"), "f.yml:1: the file must be a group of `key: value` lines");
    assert!(problem("region: b: c\n").starts_with("f.yml: not valid YAML: "));
    assert_eq!(problem("dbs:\n  -\n"), "f.yml:2: dbs[0] is empty");
}

#[test]
fn empty_files_are_empty_sections() {
    for text in ["", "\n", "# only this\n", "---\n", "\u{feff}"] {
        assert!(!root(text).has("dbs"), "{text:?}");
    }
    assert!(!root("dbs:\n").has("dbs"));
    assert_eq!(root("dbs: []\n").sections("dbs").map(<[_]>::len), Some(0));
}

#[test]
fn aliases_merge_below_what_is_written_out() {
    let text = "dbs:\n  - path: /a\n    replica: &r\n      region: one\n      bucket: b\n  - path: /c\n    replica:\n      <<: *r\n      region: two\n";
    let root = root(text);
    let second = root.sections("dbs").and_then(|dbs| dbs[1].section("replica")).expect("replica");
    assert_eq!((second.text("region"), second.text("bucket")), (Some("two"), Some("b")));
}

#[test]
fn names_of_the_users_own_hold_anchors() {
    let text = "replica_defaults: &r\n  region: one\n  bucket: b\nx-intervals: {sync-interval: 5s}\n.hidden:\n  - &keys {access-key-id: id}\n\
                dbs:\n  - path: /a\n    x-note: mine\n    replica:\n      <<: [*keys, *r]\n      region: two\n  \
                - path: /c\n    replica: *r\n";
    let root = root(text);
    assert_eq!(root.entries.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["dbs"]);
    let dbs = root.sections("dbs").expect("databases");
    let first = dbs[0].section("replica").expect("replica");
    assert_eq!(
        (first.text("region"), first.text("bucket"), first.text("access-key-id")),
        (Some("two"), Some("b"), Some("id"))
    );
    assert_eq!(dbs[1].section("replica").and_then(|replica| replica.text("region")), Some("one"));
    // What a holder holds counts where it is used.
    assert_eq!(
        problem("x-r: &r\n  urll: u\ndbs: [{path: /a, replica: *r}]\n"),
        "f.yml:2: unknown key `urll` in dbs[0].replica; did you mean `url`?"
    );
    assert_eq!(
        problem("replica_defaults:\n  region: one\n"),
        "f.yml:1: unknown key `replica_defaults`",
        "without an anchor"
    );
    assert!(problem("dbs:\n  - replica_defaults: &r {}\n").contains("unknown key"), "only at the top");
}

#[test]
fn merges_of_nothing_and_of_nested_defaults() {
    assert!(!root("exec: a\n<<:\n").has("grace"));
    let text = "x-a: &a {region: one, bucket: a}\nx-b: &b {<<: *a, bucket: b}\n<<: *b\n";
    assert_eq!((root(text).text("region"), root(text).text("bucket")), (Some("one"), Some("b")));
    let scalar = problem("x-a: &a hunter2\ndbs: [{replica: {<<: *a}}]\n");
    assert!(
        scalar.contains("dbs[0].replica.<< must be an alias of a group") && !scalar.contains("hunter2"),
        "{scalar}"
    );
}

#[test]
fn keys_that_litestream_ignores_are_told_where_they_belong() {
    for (text, part) in [
        (
            "snapshot-interval: 1h\n",
            "f.yml:1: unknown key `snapshot-interval`; `snapshot-interval` belongs under dbs[].replica",
        ),
        (
            "retention: 24h\n",
            "f.yml:1: retention must be a group of `key: value` lines; another `retention` belongs under",
        ),
        (
            "dbs:\n  - path: /a\n    levels: [{interval: 1m}]\n",
            "f.yml:3: unknown key `levels` in dbs[0]; `levels` belongs under the top",
        ),
        ("access_key_id: x\n", "did you mean `access-key-id`?"),
        ("dbs: [{replica: {secretAccessKey: x}}]\n", "did you mean `secret-access-key`?"),
    ] {
        let problem = problem(text);
        assert!(problem.contains(part), "{text}: {problem}");
    }
}

#[test]
fn a_second_document_is_named() {
    let second = problem("exec: a\n---\nexec: b\n");
    assert!(second.starts_with("f.yml:2: a second document begins here"), "{second}");
    assert_eq!(root("---\naddr: a\n---\n# nothing\n").text("addr"), Some("a"));
    assert!(problem("dbs:\n\t- path: /a\n").contains("not with tabs"));
}

#[test]
fn marks_are_refused_where_something_lies_and_found_elsewhere() {
    let refused = |text: &str| find_marks("f.yml", text, "why").expect_err(text);
    assert_eq!(refused(&format!("dbs:\n  - path: a{MARK}b\n")), "f.yml:2: dbs[0].path: why");
    let text = format!("{MARK}exec: x{MARK}\ngrace: {MARK}\nlogging: {{stderr: {MARK}}}\nage: {MARK}\n");
    let found = |place: &str, is_whole| Marked { place: place.into(), is_whole };
    let marked = find_marks("f.yml", &text, "why").expect("no place");
    assert_eq!(marked[..3], [found("exec", false), found("grace", true), found("logging.stderr", true)]);
}

#[test]
fn what_is_not_supported_is_named_unless_it_is_off() {
    assert_eq!(problem("mcp-addr: \":3001\"\n"), "f.yml:1: mcp-addr: the MCP server is not supported yet");
    assert_eq!(
        problem("age:\n  recipients: [age1x]\n"),
        "f.yml:2: age.recipients: age encryption is not supported yet"
    );
    root("addr: ''\nmcp-addr:\nsocket: {enabled: false, path: /x}\nage: {identities: []}\nheartbeat-url: ''\n");
}

#[test]
fn a_note_says_what_has_no_effect() {
    let notes = parse("f.yml", "logging: {stderr: true}\n").expect("valid").notes;
    assert_eq!(notes, ["logging.stderr has no effect: logs always go to stderr"]);
}

/// One value of each kind, as a person would write it, switched off where that is possible.
fn sample(kind: Kind, on: bool) -> &'static str {
    match (kind, on) {
        (Kind::Text | Kind::Place, true) => "word",
        (Kind::Text | Kind::Place, false) => "''",
        (Kind::Bool, true) => "yes",
        (Kind::Bool, false) => "no",
        (Kind::Count | Kind::Size, true) => "7",
        (Kind::Count | Kind::Size, false) => "0",
        (Kind::Duration, true) => "1h30m",
        (Kind::Duration, false) => "0s",
        (Kind::Texts, true) => "[a, b]",
        (Kind::Texts, false) => "[]",
        (Kind::Section(_), _) => "{}",
        (Kind::Switched(_), true) => "{}",
        (Kind::Switched(_), false) => "off",
        (Kind::Sections(_), _) => "[]",
        (Kind::Command(_) | Kind::Commands(_), true) => "a b",
        (Kind::Command(_) | Kind::Commands(_), false) => "''",
    }
}

/// The text of a file in which `line` stands where keys of this level stand.
fn wrap(level: Level, line: &str) -> String {
    match level {
        Level::Root => format!("{line}\n"),
        Level::Db => format!("dbs:\n  - {line}\n"),
        Level::Replica => format!("dbs:\n  - replicas:\n      - {line}\n"),
        Level::Logging => format!("logging:\n  {line}\n"),
        Level::Socket => format!("socket:\n  {line}\n"),
        Level::Compaction => format!("levels:\n  - {line}\n"),
        Level::Snapshot => format!("snapshot:\n  {line}\n"),
        Level::Validation => format!("validation:\n  {line}\n"),
        Level::Retention => format!("retention:\n  {line}\n"),
        Level::Verify => format!("verify:\n  {line}\n"),
        Level::Handover => format!("handover:\n  {line}\n"),
        Level::Proxy => format!("proxy:\n  {line}\n"),
        Level::Hold => format!("proxy:\n  hold:\n    {line}\n"),
        Level::Cluster => format!("cluster:\n  {line}\n"),
        Level::Command => format!("exec:\n  - {line}\n"),
        Level::Litefs => format!("litefs:\n  {line}\n"),
        Level::Age => format!("dbs:\n  - replica:\n      age:\n        {line}\n"),
    }
}

#[test]
fn every_key_of_the_table_does_what_its_class_says() {
    for level in LEVELS {
        for key in level.keys() {
            let line = |on| wrap(level, &format!("{}: {}", key.name, sample(key.kind, on)));
            let off = parse("f", &line(false));
            assert!(off.is_ok(), "{level:?} {}: {off:?}", key.name);
            match (parse("f", &line(true)), key.class) {
                (Err(error), Class::NotYet(feature)) => {
                    assert!(error.contains(key.name) && error.contains(feature), "{error}");
                }
                (Ok(parsed), Class::NoEffect(why)) => {
                    assert!(parsed.notes.iter().any(|n| n.contains(key.name) && n.contains(why)), "{}", key.name);
                }
                (Ok(parsed), Class::Supported) => assert!(parsed.notes.is_empty(), "{}", key.name),
                (result, class) => panic!("{level:?} {} is {class:?} but {result:?}", key.name),
            }
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_text_breaks_the_reader(text in "(dbs|path|replica|age|[a-z<&*!'\"]|: |- |\n|  |[{}\\[\\],#~|>é0-9]){0,30}") {
        let _ = parse("f", &text);
    }
}
