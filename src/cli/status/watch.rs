//! `status -watch`: in place on a terminal, one after the other elsewhere.

use std::io::{self, Write};

use super::super::{Style, terminal};
use super::show::{Shown, print};

/// Where it is shown.
pub enum Screen {
    /// It was not cleared yet, or was.
    Terminal { is_clear: bool },
    /// A file or a pipe.
    Lines,
    /// One line of JSON each time.
    Json,
}

impl Screen {
    pub fn of_stdout(json: bool) -> Screen {
        match (json, terminal::size()) {
            (true, _) => Screen::Json,
            (false, Some(_)) => Screen::Terminal { is_clear: false },
            (false, None) => Screen::Lines,
        }
    }

    pub fn show(&mut self, shown: &Shown, style: &Style, now_ms: i64, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Screen::Json => {
                serde_json::to_writer(&mut *out, &shown.rows)?;
                writeln!(out)?;
            }
            Screen::Lines => {
                writeln!(out, "{}", style.time(now_ms))?;
                print(shown, false, style, out)?;
                writeln!(out)?;
            }
            Screen::Terminal { is_clear } => {
                let mut text = Vec::new();
                writeln!(text, "{}  (Ctrl-C ends)", style.time(now_ms))?;
                print(shown, false, style, &mut text)?;
                let rows = terminal::size().map_or(usize::MAX, |(_, rows)| rows);
                let first = !std::mem::replace(is_clear, true);
                out.write_all(frame(&String::from_utf8_lossy(&text), style.width, rows, first).as_bytes())?;
            }
        }
        out.flush()
    }

    /// After Ctrl-C.
    pub fn leave(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            // Behind the `^C` that the terminal shows.
            Screen::Terminal { .. } => writeln!(out),
            Screen::Lines | Screen::Json => Ok(()),
        }
    }
}

/// The text over what was there before, line by line, so that nothing flickers. What does not fit
/// is left out: a terminal that scrolls cannot be written over.
fn frame(text: &str, width: Option<usize>, rows: usize, is_first: bool) -> String {
    let width = width.unwrap_or(usize::MAX).max(1);
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let chars: Vec<char> = line.chars().collect();
        match chars.is_empty() {
            true => lines.push(String::new()),
            false => lines.extend(chars.chunks(width).map(|part| part.iter().collect())),
        }
    }
    // The last row stays free for the cursor.
    let fit = rows.saturating_sub(1).max(1);
    if lines.len() > fit {
        lines.truncate(fit.saturating_sub(1));
        lines.push("…".into());
    }
    let mut frame = if is_first { "\x1b[2J\x1b[H".to_owned() } else { "\x1b[H".to_owned() };
    lines.iter().for_each(|line| {
        frame.push_str(line);
        frame.push_str("\x1b[K\r\n");
    });
    frame.push_str("\x1b[J");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_writes_over_the_one_before_and_never_scrolls() {
        assert_eq!(frame("ab\n\nc\n", Some(9), 9, true), "\x1b[2J\x1b[Hab\x1b[K\r\n\x1b[K\r\nc\x1b[K\r\n\x1b[J");
        assert!(frame("ab", None, 9, false).starts_with("\x1b[Hab"));
        let long = frame("abcdef\n1\n2\n3\n4\n", Some(4), 4, false);
        assert_eq!(long, "\x1b[Habcd\x1b[K\r\nef\x1b[K\r\n…\x1b[K\r\n\x1b[J");
        assert!(frame("a\nb\nc", Some(1), 0, false).contains('…'));
    }

    #[test]
    fn a_file_gets_the_time_and_the_table_each_time() {
        let mut out = Vec::new();
        let mut screen = Screen::Lines;
        for now_ms in [1_795_300_223_000, 1_795_300_225_000] {
            screen.show(&Shown::default(), &Style::default(), now_ms, &mut out).expect("memory");
        }
        screen.leave(&mut out).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert!(
            text.starts_with("2026-11-21T22:30:23Z\ndatabase ") && text.contains("\n\n2026-11-21T22:30:25Z\n"),
            "{text}"
        );
        assert!(!text.contains('\x1b'));
    }
}
