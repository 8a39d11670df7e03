//! Fuzz target: any litestream.yml and any URL gives options, or an error of one sentence without a
//! secret.

use std::path::PathBuf;

use super::url::{Location, clean_path, parse, redact};
use super::{Options, Sources, replica_from_url};
use crate::fuzz;

/// The secret of the whole corpus.
const SECRET: &str = "HUSHHUSHHUSH";

fn env(name: &str) -> Option<String> {
    name.starts_with('V').then(|| "from the environment".to_owned())
}

fn is_one_sentence(text: &str) {
    assert!(!text.is_empty() && !text.chars().any(char::is_control), "no sentence: {text:?}");
}

type Load = fn(&Sources<'_>) -> Result<String, String>;

fn load(sources: &Sources<'_>) -> Result<String, String> {
    Options::load(sources).map(|loaded| format!("{:?}", loaded.options)).map_err(|error| format!("{error:#}"))
}

fn check_file(bytes: &[u8], path: &PathBuf, load: Load) {
    std::fs::write(path, bytes).expect("write");
    let sources = Sources { config_path: Some(path.clone()), ..Sources::new(&env, PathBuf::from("/app")) };
    let loaded = load(&sources);
    assert!(loaded == load(&sources), "not the same twice");
    match loaded {
        // Options are printed for debugging only, but even there secrets are covered; all that a
        // URL hides is the URL's.
        Ok(_) => {}
        Err(error) => {
            is_one_sentence(&error);
            assert!(error.starts_with(&*path.to_string_lossy()), "whose fault is it? {error}");
            let text = String::from_utf8_lossy(bytes);
            // Where the value was made a key, or a path, it is one.
            let is_value = text.match_indices(SECRET).all(|(at, _)| {
                let line = &text[text[..at].rfind('\n').map_or(0, |end| end + 1)..at];
                let is_url = line.trim_start().starts_with("url: ") && line.ends_with("?sse-customer-key=");
                line.trim_start().starts_with("secret-access-key: ") || is_url
            });
            assert!(!is_value || !error.contains(SECRET), "a secret is quoted: {error}");
        }
    }
}

#[test]
fn fuzz_yaml() {
    let dir = tempfile::tempdir().expect("tempdir");
    fuzz::fuzz("yaml", |bytes| check_file(bytes, &dir.path().join("litestream.yml"), load));
}

#[test]
fn an_error_that_quotes_the_file_is_caught() {
    let dir = tempfile::tempdir().expect("tempdir");
    fuzz::must_catch("yaml", |bytes| {
        check_file(bytes, &dir.path().join("litestream.yml"), |sources| {
            let path = sources.config_path.clone().unwrap_or_default();
            load(sources).map_err(|error| {
                format!("{error}: {}", String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()))
            })
        });
    });
}

fn check_url(text: &str, redact: fn(&str) -> String) {
    let shown = redact(text);
    assert_eq!(redact(&shown), shown, "covering twice covers more");
    // Whatever signs it has, a password stands between the user's name and an at-sign.
    let is_password = text.strip_prefix("s3://AKID:").is_some_and(|rest| {
        let around = rest.split_once(SECRET).filter(|_| text.matches(SECRET).count() == 1);
        around.is_some_and(|(before, behind)| !before.contains('@') && behind.contains('@'))
    });
    assert!(!is_password || !shown.contains(SECRET), "shown as {shown}");
    match parse(text) {
        Ok(Location::File(path)) => assert_eq!(clean_path(&clean_path(&path)), clean_path(&path)),
        Ok(Location::S3(location)) => {
            let secrets = [&location.secret_access_key, &location.sse_customer_key];
            let is_secret = secrets.into_iter().flatten().any(|secret| secret == SECRET);
            // If it stands somewhere else as well, it is shown there.
            if is_secret && text.matches(SECRET).count() == 1 {
                assert!(!shown.contains(SECRET), "shown as {shown}");
            }
        }
        Err(error) => {
            is_one_sentence(&error);
            assert!(!error.contains(SECRET), "quoted: {error}");
        }
    }
    if let Err(error) = replica_from_url(text, &env) {
        is_one_sentence(&error.to_string());
        assert!(!error.to_string().contains(SECRET), "quoted: {error}");
    }
}

#[test]
fn fuzz_url() {
    fuzz::fuzz("url", |bytes| check_url(&String::from_utf8_lossy(bytes), redact));
}

#[test]
fn a_url_that_is_shown_as_it_is_is_caught() {
    fuzz::must_catch("url", |bytes| check_url(&String::from_utf8_lossy(bytes), str::to_owned));
}

#[test]
fn a_line_break_in_a_key_or_a_url_is_shown_and_not_written() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("litestream.yml");
    for (file, shown) in [("\"ac\\ncess\": 1\n", "`ac\\ncess`"), ("dbs: [{path: /a, \"\\e[2J\": 1}]\n", "\\u{1b}[2J")] {
        std::fs::write(&path, file).expect("write");
        let sources = Sources { config_path: Some(path.clone()), ..Sources::new(&env, PathBuf::from("/app")) };
        let error = load(&sources).expect_err("no such key");
        assert!(error.contains(shown), "{error}");
    }
    // The quote behind `30s` is missing.
    let text = format!("snapshot:\n  interval: \"30s\n  retention: 1h\nsecret-access-key: {SECRET}\nexec: \"app\"\n");
    std::fs::write(&path, text).expect("write");
    let sources = Sources { config_path: Some(path.clone()), ..Sources::new(&env, PathBuf::from("/app")) };
    let error = load(&sources).expect_err("no duration");
    assert!(!error.contains(SECRET), "{error}");
    let error = replica_from_url("s3://b/p?re%0Agion=x", &env).expect_err("no such parameter").to_string();
    assert!(error.ends_with("write %3F for ?"), "{error}");
}
