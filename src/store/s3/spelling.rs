//! What the keys of a listing mean, however the server spells them. Pure.
//!
//! Some servers keep keys in a form of their own: they trim a slash in front, join `//`, resolve
//! `./`, or list them percent-encoded (MinIO, SeaweedFS and whatever stands on a file system). What
//! is sent is known, so each key either begins with it in one of these forms, or the answer is not
//! one to the question.

use super::settings::kept_form;

/// A key of a listing, seen from the path that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// An object below the path, by its name there.
    Below(String),
    /// The marker that consoles create for a folder: the path itself.
    Folder,
    /// It begins like the path and then goes on otherwise: what a server lists that leaves out the
    /// last slash of a prefix. It is another's, but no proof that there is nothing of ours.
    Beside,
    /// Nothing that was asked for.
    Elsewhere,
}

/// `root` ends with a slash.
pub(super) fn meaning(root: &str, key: &str) -> Meaning {
    let below = |name: &str| match name {
        "" => Meaning::Folder,
        name => Meaning::Below(name.to_owned()),
    };
    if key.is_empty() {
        return Meaning::Elsewhere;
    }
    let decoded = without_encoding(key);
    if let Some(name) = [Some(key), decoded.as_deref()].into_iter().flatten().find_map(|key| key.strip_prefix(root)) {
        return below(name);
    }
    let kept_root = kept_form(root);
    let spellings = spellings(key);
    if let Some(name) = spellings.iter().find_map(|key| key.strip_prefix(&kept_root)) {
        return below(name);
    }
    let Some(path) = kept_root.strip_suffix('/') else { return Meaning::Elsewhere };
    let goes_on = |rest: &str| rest.chars().next().is_none_or(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
    match spellings.iter().any(|key| key.strip_prefix(path).is_some_and(goes_on)) {
        true => Meaning::Beside,
        false => Meaning::Elsewhere,
    }
}

/// The other paths under which servers keep what is sent to `root`, each ending with a slash or
/// empty.
pub(super) fn rewritten(root: &str) -> Vec<String> {
    let one_less = root.strip_prefix('/').unwrap_or(root).to_owned();
    let mut forms = vec![kept_form(root), root.trim_start_matches('/').to_owned(), one_less];
    forms.retain(|form| form != root);
    let mut distinct: Vec<String> = Vec::new();
    for form in forms {
        if !distinct.contains(&form) {
            distinct.push(form);
        }
    }
    distinct
}

/// Whether an answer that repeats the prefix of its question in this form is one to `sent`.
pub(super) fn is_echo(sent: &str, echo: &str) -> bool {
    let bare = |text: &str| kept_form(text).trim_end_matches('/').to_owned();
    let with_spaces = echo.replace('+', " ");
    let sent = bare(sent);
    spellings(echo).into_iter().chain(spellings(&with_spaces)).any(|echo| bare(&echo) == sent)
}

/// The key as it stands, and without its percent-encoding; both in the form that servers keep.
fn spellings(key: &str) -> Vec<String> {
    let spellings = [Some(key.to_owned()), without_encoding(key)];
    spellings.into_iter().flatten().map(|key| kept_form(&key)).collect()
}

/// The key without its percent-encoding, if it has one.
fn without_encoding(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok().filter(|decoded| decoded != key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_understood_however_the_server_spells_them() {
        let below = |name: &str| Meaning::Below(name.to_owned());
        for (root, key, expected) in [
            ("app/", "app/0000/x.ltx", below("0000/x.ltx")),
            ("app/", "app/", Meaning::Folder),
            ("app/", "/app/", Meaning::Folder),
            ("app/", "app", Meaning::Beside),
            ("app/", "/app/0000/x.ltx", below("0000/x.ltx")),
            ("app/", "application/0000/x.ltx", Meaning::Beside),
            ("app/", "/application/0000/x.ltx", Meaning::Beside),
            ("app/", "app%2Dlication/0000/x.ltx", Meaning::Beside),
            ("app/", "app0000/x.ltx", Meaning::Beside),
            ("app/", "app.db/0000/x.ltx", Meaning::Beside),
            ("app/", "", Meaning::Elsewhere),
            ("/", "", Meaning::Elsewhere),
            ("app/", "0000/x.ltx", Meaning::Elsewhere),
            ("app/", "elsewhere/x", Meaning::Elsewhere),
            ("app/", "App/0000/x.ltx", Meaning::Elsewhere),
            ("app/", "bucket/app/0000/x.ltx", Meaning::Elsewhere),
            ("app/", "http://host/bucket/app/0000/x.ltx", Meaning::Elsewhere),
            ("/data/app.db/", "data/app.db/0000/x.ltx", below("0000/x.ltx")),
            ("/data/app.db/", "/data/app.db/0000/x.ltx", below("0000/x.ltx")),
            ("/data/app.db/", "data/app.db-old/0000/x.ltx", Meaning::Beside),
            ("/", "0000/x.ltx", below("0000/x.ltx")),
            ("./", "0000/x.ltx", below("0000/x.ltx")),
            ("//", "/0000/x.ltx", below("0000/x.ltx")),
            ("a//b/", "a/b/0000/x.ltx", below("0000/x.ltx")),
            ("a//b/", "a/bc/0000/x.ltx", Meaning::Beside),
            ("a//", "a/0000/x.ltx", below("0000/x.ltx")),
            ("./a/", "a/0000/x.ltx", below("0000/x.ltx")),
            ("x/../a/", "a/0000/x.ltx", below("0000/x.ltx")),
            ("sp ace/ü/", "sp%20ace/%C3%BC/0000/x.ltx", below("0000/x.ltx")),
            ("pre/fix/", "pre%2Ffix%2F0000%2Fx.ltx", below("0000/x.ltx")),
            ("pre/fix/", "pre/fix%2F0000%2Fx.ltx", below("0000/x.ltx")),
            ("pre/fix/", "pre/fix/100%41", below("100%41")),
            ("/", "%2F0000%2Fx.ltx", below("0000/x.ltx")),
            ("./", ".%2F0000%2Fx.ltx", below("0000/x.ltx")),
            ("pre/fix/", "pre/fix\\\\0000", Meaning::Elsewhere),
            ("100%/", "100%/0000/x.ltx", below("0000/x.ltx")),
            ("100%/", "100%25/0000/x.ltx", below("0000/x.ltx")),
        ] {
            assert_eq!(meaning(root, key), expected, "{root:?} {key:?}");
        }
    }

    #[test]
    fn where_a_path_may_lie_instead() {
        for (root, forms) in [
            ("app/", &[][..]),
            ("a/b/", &[]),
            ("/", &[""]),
            ("//", &["", "/"]),
            ("/app/", &["app/"]),
            ("/a//b/", &["a/b/", "a//b/"]),
            ("//a/", &["a/", "/a/"]),
            ("./a/", &["a/"]),
        ] {
            assert_eq!(rewritten(root), forms, "{root:?}");
        }
    }

    #[test]
    fn an_answer_that_repeats_its_question_is_recognised() {
        for (sent, echo, same) in [
            ("app/", "app/", true),
            ("app/", "app", true),
            ("app/", "/app/", true),
            ("app/", "app%2F", true),
            ("/data//app.db/", "data/app.db/", true),
            ("sp ace/", "sp+ace/", true),
            ("sp ace/", "sp%20ace%2F", true),
            ("a+b/", "a+b/", true),
            ("app/", "app%252F", false),
            ("app/", "ap", false),
            ("app/", "application/", false),
        ] {
            assert_eq!(is_echo(sent, echo), same, "{sent:?} {echo:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_key_of_ours_is_always_understood(prefix in "[a/.%2é ]{0,8}", name in "[a-f0-9]{1,4}(/[a-f0-9]{1,4}){0,2}") {
            let root = format!("{prefix}/");
            let key = format!("{root}{name}");
            proptest::prop_assert_eq!(meaning(&root, &key), Meaning::Below(name.clone()));
            proptest::prop_assert_eq!(meaning(&root, &kept_form(&key)), Meaning::Below(name));
        }
    }
}
