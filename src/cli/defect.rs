//! A panic is a defect of ours or of a library. It ends the process, with one sentence that says so.

use std::io::Write;
use std::panic::PanicHookInfo;

use crate::run::exit::INTERNAL;

/// The longest part of a panic's own words that is shown.
const LONGEST: usize = 300;

pub fn announce() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // A failure to write must not become a second panic.
        let _ = writeln!(std::io::stderr(), "Error: {}", sentence(panic));
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            before(panic);
        }
        if cfg!(panic = "abort") {
            // SAFETY: it takes a number and does not return. Abort would end the process too, as if somebody had killed it.
            unsafe { libc::_exit(i32::from(INTERNAL)) }
        }
    }));
}

fn sentence(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let words = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
    told(words.unwrap_or("no words"), &place)
}

fn told(words: &str, place: &str) -> String {
    let words: String = words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST).collect();
    format!(
        "a defect in millstream ended it{place}: {words}; please report it, with RUST_BACKTRACE=1 if it can be repeated"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_sentence_on_one_line() {
        let said = told("called `unwrap()`\n on a value", " at src/x.rs:7");
        assert!(said.contains(" at src/x.rs:7: called `unwrap()` on a value; please report it"), "{said}");
        assert!(!said.contains('\n') && told(&"x".repeat(5000), "").len() < 500);
    }
}
