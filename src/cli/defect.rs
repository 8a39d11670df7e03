//! The message about a panic of this program.
//!
//! Of a panic in a dependency only the place is shown: its message may contain data, a key for
//! example. Messages of our own are shown unless they were formatted from values.

use std::any::Any;

use super::stderr;
use crate::run::exit::INTERNAL;
use crate::supervise::defect;

/// Makes a panic, ours or a dependency's, end the program in order, with a message on stderr and
/// exit code 70.
pub fn report() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let at = panic.location().map(|location| (location.file(), location.line()));
        let sentence = sentence(&thread, at, panic.payload());
        if tracing::dispatcher::has_been_set() {
            tracing::error!("{sentence}");
        } else {
            stderr::say(&format!("error: {sentence}"));
        }
        stderr::flush();
        defect::end_in_order(INTERNAL.into());
    }));
}

fn sentence(thread: &str, at: Option<(&str, u32)>, payload: &dyn Any) -> String {
    let (what, place) = match at {
        Some((file, line)) if is_ours(file) => {
            let words = payload.downcast_ref::<&'static str>().copied();
            (words.unwrap_or("a check failed"), format!("{file}:{line}"))
        }
        Some((file, line)) => ("a dependency panicked", format!("{}:{line}", within_its_crate(file))),
        None => ("something panicked", "an unknown place".to_owned()),
    };
    format!("a defect of millstream, please report it: {what} (thread {thread} at {place})")
}

/// The compiler was given the paths of our own files relative to the package.
fn is_ours(file: &str) -> bool {
    file.starts_with("src/")
}

/// The path of a dependency's file from its crate's name on, which says nothing about the machine
/// that it was built on.
fn within_its_crate(file: &str) -> &str {
    let Some(at) = file.rfind("/src/") else { return file.rsplit('/').next().unwrap_or(file) };
    let start = file[..at].rfind('/').map_or(0, |slash| slash + 1);
    &file[start..]
}

/// For the tests of the binary: panics in a task of the runtime as soon as the file appears that
/// `MILLSTREAM_TEST_PANIC` names.
#[cfg(debug_assertions)]
pub fn rehearse() {
    if let Some(file) = std::env::var_os("MILLSTREAM_TEST_PANIC") {
        tokio::spawn(rehearsal(file));
    }
}

#[cfg(not(debug_assertions))]
pub fn rehearse() {}

/// The same in the thread that does the work, where `MILLSTREAM_TEST_PANIC_HERE` names a file.
#[cfg(debug_assertions)]
pub async fn rehearsed<T>(work: impl Future<Output = T>) -> T {
    let Some(file) = std::env::var_os("MILLSTREAM_TEST_PANIC_HERE") else { return work.await };
    tokio::select! {
        done = work => done,
        never = rehearsal(file) => match never {},
    }
}

#[cfg(not(debug_assertions))]
pub async fn rehearsed<T>(work: impl Future<Output = T>) -> T {
    work.await
}

#[cfg(debug_assertions)]
async fn rehearsal(file: std::ffi::OsString) -> std::convert::Infallible {
    while !std::path::Path::new(&file).exists() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let secret = file.to_string_lossy().into_owned();
    panic!("the words hold {secret}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependencys_words_are_never_shown() {
        let said = |file: &str, payload: &dyn Any| sentence("main", Some((file, 7)), payload);
        let dependency =
            "/home/me/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/aws-smithy-http-1.2.3/src/header.rs";
        for payload in [&"hush" as &dyn Any, &"hush".to_owned(), &7_u8] {
            assert_eq!(
                said(dependency, payload),
                "a defect of millstream, please report it: a dependency panicked (thread main at \
                 aws-smithy-http-1.2.3/src/header.rs:7)"
            );
        }
        let std = said("/rustc/5980/library/core/src/cell.rs", &"hush");
        assert!(std.contains("core/src/cell.rs:7") && !std.contains("hush") && !std.contains("/rustc"), "{std}");
        let vendored = said("build.rs", &"hush");
        assert!(vendored.contains("build.rs:7") && !vendored.contains("hush"), "{vendored}");
    }

    #[test]
    fn our_own_words_are_shown_unless_they_were_made_from_values() {
        let said = |payload: &dyn Any| sentence("stderr", Some(("src/ltx/encode.rs", 9)), payload);
        assert!(
            said(&"a page twice").contains("please report it: a page twice (thread stderr at src/ltx/encode.rs:9)")
        );
        assert!(!said(&"key hush".to_owned()).contains("hush"));
        assert!(sentence("x", None, &"hush").contains("an unknown place"));
    }
}
