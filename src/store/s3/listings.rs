//! Tests: whatever habit a server has with keys and prefixes, a backup that is there is found whole
//! or is an error. Never is it an empty listing, never a part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::super::{Listed, Put, Result, Store, StoreError};
use super::settings::kept_form;
use super::stub::{Reply, Request, Stub};
use super::tests::{create, key};
use super::*;

/// What a server makes of the keys and prefixes that it is sent, and how it lists the keys that it
/// has.
#[derive(Clone, Copy)]
struct Habit {
    name: &'static str,
    keeps: fn(&str) -> String,
    looks_for: fn(&str) -> String,
    lists: fn(&str, &str) -> String,
}

fn as_it_is(text: &str) -> String {
    text.to_owned()
}

fn whole(key: &str, _prefix: &str) -> String {
    key.to_owned()
}

fn without_slash(prefix: &str) -> String {
    prefix.trim_end_matches('/').to_owned()
}

fn without_first_slash(text: &str) -> String {
    text.trim_start_matches('/').to_owned()
}

fn encoded(key: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    key.bytes().map(encode).collect()
}

fn relative(key: &str, prefix: &str) -> String {
    key.strip_prefix(prefix).unwrap_or(key).to_owned()
}

const PLAIN: Habit = Habit { name: "as S3 does", keeps: as_it_is, looks_for: as_it_is, lists: whole };

const HABITS: &[Habit] = &[
    PLAIN,
    Habit { name: "the first slash goes", keeps: without_first_slash, looks_for: without_first_slash, ..PLAIN },
    Habit { name: "the first slash of keys goes", keeps: without_first_slash, ..PLAIN },
    Habit { name: "keys and prefixes are cleaned", keeps: kept_form, looks_for: kept_form, ..PLAIN },
    Habit { name: "keys are cleaned", keeps: kept_form, ..PLAIN },
    Habit { name: "the last slash of a prefix goes", looks_for: without_slash, ..PLAIN },
    Habit { name: "prefixes are ignored", looks_for: |_| String::new(), ..PLAIN },
    Habit { name: "keys are listed encoded", lists: |key, _| encoded(key), ..PLAIN },
    Habit { name: "keys are listed with a slash in front", lists: |key, _| format!("/{key}"), ..PLAIN },
    Habit { name: "keys are listed with the bucket in front", lists: |key, _| format!("bucket/{key}"), ..PLAIN },
    Habit { name: "keys are listed without the prefix", lists: relative, ..PLAIN },
    Habit { name: "keys are listed in capitals", lists: |key, _| key.to_uppercase(), ..PLAIN },
];

const ROOTS: &[&str] = &[
    "app",
    "a/b",
    "/data/app.db",
    "",
    "/",
    "a//l",
    "./a",
    "a/",
    "a/../b",
    "//a//",
    "/a//b",
    "sp ace",
    "p+l%us=ü",
    "data",
];

/// Another's, beginning like ours or lying where a rewritten path of ours would.
const OTHERS: &[&str] =
    &["application/0000/o.ltx", "a/bc/0000/o.ltx", "data", "data/app.db-old/0000/o.ltx", "z/0000/o.ltx"];

fn decoded(text: &str) -> String {
    let query = format!("q={}", text.replace('+', "%2B"));
    ::url::form_urlencoded::parse(query.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn answer(habit: Habit, shelf: &mut BTreeMap<String, Vec<u8>>, request: &Request) -> Reply {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let key = (habit.keeps)(&decoded(path.strip_prefix("/bucket/").unwrap_or_default()));
    let entry = |k: &String| {
        format!("<Contents><Key>{k}</Key><Size>5</Size><LastModified>2026-11-21T19:20:37.5Z</LastModified></Contents>")
    };
    match request.method.as_str() {
        "GET" if query.contains("list-type") => {
            let sent = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
            let prefix = (habit.looks_for)(&decoded(sent));
            let listed = shelf.keys().filter(|key| key.starts_with(&prefix)).map(|key| (habit.lists)(key, &prefix));
            let entries: String = listed.map(|key| entry(&key)).collect();
            Reply::status(200, &format!("<ListBucketResult><Prefix>{prefix}</Prefix>{entries}</ListBucketResult>"))
        }
        "PUT" => {
            shelf.insert(key, request.body.clone());
            Reply::ok()
        }
        "HEAD" if shelf.contains_key(&key) => Reply::ok(),
        "HEAD" => Reply::status(404, ""),
        other => panic!("nobody asked for {other}"),
    }
}

/// A server with this habit, which holds these objects of others, and a store at `root` in it.
async fn server(habit: Habit, root: &str, others: &[&str]) -> (Stub, S3Store) {
    let shelf: BTreeMap<String, Vec<u8>> = others.iter().map(|key| (key.to_string(), Vec::new())).collect();
    let shelf = Arc::new(Mutex::new(shelf));
    let stub = Stub::start(move |request, _| answer(habit, &mut shelf.lock().expect("no panic"), request)).await;
    let settings = Settings { prefix: root.into(), ..stub.settings() };
    let store = S3Store::connect(settings, &mut Clients::default()).await.expect("connect");
    (stub, store)
}

/// Where the path vanishes, or is a directory above, others' are below it.
fn is_others(name: &str) -> bool {
    OTHERS.iter().any(|other| other.ends_with(&format!("/{name}")) || other == &name) && name.contains("o.ltx")
        || name == "data"
}

fn names(listed: Result<Vec<Listed>>) -> Result<Vec<String>> {
    Ok(listed?.into_iter().map(|listed| listed.name).collect())
}

#[tokio::test]
async fn a_backup_is_listed_whole_or_not_at_all() {
    let own = ["0000/x.ltx", "0001/y.ltx"];
    for (habit, root) in HABITS.iter().flat_map(|habit| ROOTS.iter().map(move |root| (*habit, *root))) {
        for others in [&[][..], OTHERS] {
            let (_stub, store) = server(habit, root, others).await;
            for name in own {
                store.put(&key(name), Put { create: false, ..create() }).await.expect("put");
            }
            let case = format!("{}, at {root:?}, others: {}", habit.name, !others.is_empty());
            match names(store.list("").await) {
                Ok(names) => {
                    let ours: Vec<_> = names.iter().filter(|name| !is_others(name)).collect();
                    // Below an empty path is everything, however it is spelled; `remote/` refuses
                    // what resembles a backup.
                    let is_shown = |own: &str| names.iter().any(|name| name.to_lowercase().ends_with(own));
                    let are_shown = kept_form(root).is_empty() && own.into_iter().all(is_shown);
                    assert!(ours == own || are_shown, "{case}: {names:?}");
                }
                Err(error) => assert!(matches!(error, StoreError::Permanent { .. }), "{case}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn the_habits_of_real_servers_are_understood_and_not_only_refused() {
    for habit in &HABITS[..5] {
        for root in ROOTS {
            let (_stub, store) = server(*habit, root, &["z/0000/o.ltx"]).await;
            store.put(&key("0000/x.ltx"), create()).await.expect("put");
            let mut names = names(store.list("").await).unwrap_or_else(|e| panic!("{}, {root:?}: {e}", habit.name));
            names.retain(|name| !is_others(name));
            assert_eq!(names, ["0000/x.ltx"], "{}, {root:?}", habit.name);
        }
    }
}

#[tokio::test]
async fn where_nothing_of_ours_lies_a_neighbours_is_never_taken_for_it() {
    for (habit, root) in HABITS.iter().flat_map(|habit| ROOTS.iter().map(move |root| (*habit, *root))) {
        let (_stub, store) = server(habit, root, OTHERS).await;
        let case = format!("{}, at {root:?}", habit.name);
        match names(store.list("").await) {
            Ok(names) => assert!(names.iter().all(|name| is_others(name)), "{case}: {names:?}"),
            Err(error) => assert!(matches!(error, StoreError::Permanent { .. }), "{case}: {error}"),
        }
    }
    let plain = |root: &'static str| async move {
        let (_stub, store) = server(PLAIN, root, OTHERS).await;
        names(store.list("").await)
    };
    for root in ROOTS.iter().filter(|root| !["", "/", "data"].contains(root)) {
        assert_eq!(plain(root).await.expect(root), Vec::<String>::new(), "{root:?}: a first start must be possible");
    }
}

#[tokio::test]
async fn keys_of_neighbours_alone_are_an_error_that_names_them() {
    for (listed, expected) in [
        (&["application/0000/x.ltx", "app.db/0000/x.ltx"][..], "2 keys such as \"application/0000/x.ltx\""),
        (&["app"], "lists the key \"app\", but nothing that begins with \"app/\""),
        (&["app0000/x.ltx"], "lists the key \"app0000/x.ltx\""),
        (&["else/where"], "the key \"else/where\", which is not under this path"),
        (&[""], "the key \"\", which is not under this path"),
    ] {
        let entries: String = listed.iter().map(|key| format!("<Contents><Key>{key}</Key></Contents>")).collect();
        let answer = format!("<ListBucketResult>{entries}</ListBucketResult>");
        let stub = Stub::start(move |_, _| Reply::status(200, &answer)).await;
        let settings = Settings { prefix: "app".into(), ..stub.settings() };
        let store = S3Store::connect(settings, &mut Clients::default()).await.expect("connect");
        let error = store.list("").await.expect_err(expected);
        assert!(matches!(error, StoreError::Permanent { .. }) && error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn an_empty_answer_to_another_question_is_an_error() {
    for (answer, expected) in [
        ("<Prefix>other/</Prefix>", Some("the answer is about \"other/\" and not about \"pre/fix/\"")),
        ("<Prefix>pre%252Ffix%252F</Prefix>", Some("the answer is about")),
        ("<KeyCount>7</KeyCount>", Some("counts 7 keys and shows none")),
        ("<KeyCount>0</KeyCount><Prefix>pre/fix/</Prefix>", None),
        ("<Prefix>pre%2Ffix%2F</Prefix>", None),
        ("<Prefix>/pre/fix</Prefix>", None),
        ("<Prefix></Prefix>", None),
    ] {
        let stub =
            Stub::start(move |_, _| Reply::status(200, &format!("<ListBucketResult>{answer}</ListBucketResult>")))
                .await;
        let told = stub.store().await.list("").await.err().map(|error| error.to_string());
        match expected {
            Some(expected) => assert!(told.as_ref().is_some_and(|told| told.contains(expected)), "{answer}: {told:?}"),
            None => assert_eq!(told, None, "{answer}"),
        }
    }
}

/// `s3://bucket` has the path `.`, which some servers rewrite to nothing. Where they do not, what
/// is there is another replica, with names like ours.
#[tokio::test]
async fn a_replica_without_a_path_is_not_mixed_with_one_at_the_top_of_its_bucket() {
    let others = ["0000/x.ltx", "0000/z.ltx", "app/0000/x.ltx"];
    for root in [".", "", "/"] {
        let (_stub, store) = server(PLAIN, root, &others).await;
        assert_eq!(names(store.list("").await).expect("list"), Vec::<String>::new(), "{root:?}");
        store.put(&key("0000/x.ltx"), create()).await.expect("put");
        assert_eq!(names(store.list("").await).expect("list"), ["0000/x.ltx"], "{root:?}");
    }
}

/// A server that rewrites the keys of some writes (parts, copies) and not of others.
#[tokio::test]
async fn what_lies_under_two_spellings_of_the_path_is_listed_together() {
    let keys = ["/data/app.db/0009/a.ltx", "data/app.db/0000/b.ltx"];
    let stub = Stub::start(move |request, _| match request.target.contains("list-type") {
        true => {
            let sent = request.target.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
            let entry = |key: &&str| format!("<Contents><Key>{key}</Key><Size>5</Size></Contents>");
            let of_it: String = keys.iter().filter(|key| key.starts_with(&decoded(sent))).map(entry).collect();
            Reply::status(200, &format!("<ListBucketResult>{of_it}</ListBucketResult>"))
        }
        false => Reply::ok(),
    })
    .await;
    let settings = Settings { prefix: "/data/app.db".into(), ..stub.settings() };
    let store = S3Store::connect(settings, &mut Clients::default()).await.expect("connect");
    assert_eq!(names(store.list("").await).expect("list"), ["0000/b.ltx", "0009/a.ltx"]);
}

/// The second look costs a LIST and a HEAD, and only until it is known that this server keeps keys.
#[tokio::test]
async fn a_server_that_keeps_keys_is_found_out_once() {
    let (stub, store) = server(PLAIN, "/data/app.db", &["data/app.db/0000/o.ltx"]).await;
    store.put(&key("0000/x.ltx"), create()).await.expect("put");
    let mut asked = Vec::new();
    for _ in 0..3 {
        let before = stub.requests().len();
        assert_eq!(names(store.list("").await).expect("list"), ["0000/x.ltx"]);
        asked.push(stub.requests().len() - before);
    }
    assert_eq!(asked, [3, 1, 1]);
    let aws = S3Store { is_aws: true, habits: Arc::default(), ..store };
    let before = stub.requests().len();
    aws.list("").await.expect("list");
    assert_eq!(stub.requests().len() - before, 1, "AWS rewrites nothing");
}
