//! The lines that wait to be written, and the number of dropped ones. Pure.

use std::collections::VecDeque;

#[derive(Debug)]
pub struct Backlog {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    capacity: usize,
    dropped: u64,
    /// A line was taken and is not written yet.
    underway: bool,
    /// The thread that writes could not be started.
    pub has_no_writer: bool,
}

/// What to write next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// This many lines were dropped here.
    Dropped(u64),
    Line(Vec<u8>),
}

impl Backlog {
    pub fn new(capacity: usize) -> Backlog {
        let lines = VecDeque::new();
        Backlog { lines, bytes: 0, capacity, dropped: 0, underway: false, has_no_writer: false }
    }

    /// Adds a line, and drops the oldest ones if there is no room. The newest is always kept.
    pub fn push(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > self.capacity && self.lines.len() > 1 {
            let oldest = self.lines.pop_front();
            self.bytes -= oldest.map_or(0, |line| line.len());
            self.dropped += 1;
        }
    }

    /// What to write next. Call [`Backlog::written`] when it is written.
    pub fn next(&mut self) -> Option<Next> {
        let next = match std::mem::take(&mut self.dropped) {
            0 => Next::Line(self.lines.pop_front()?),
            dropped => Next::Dropped(dropped),
        };
        if let Next::Line(line) = &next {
            self.bytes -= line.len();
        }
        self.underway = true;
        Some(next)
    }

    pub fn written(&mut self) {
        self.underway = false;
    }

    /// Whether nothing is left to write.
    pub fn is_written(&self) -> bool {
        self.has_no_writer || (!self.underway && self.lines.is_empty() && self.dropped == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Next {
        Next::Line(text.into())
    }

    #[test]
    fn the_oldest_go_and_are_counted_where_they_stood() {
        let mut backlog = Backlog::new(6);
        assert!(backlog.is_written());
        ["aa", "bb", "cc", "dd", "ee"].iter().for_each(|text| backlog.push((*text).into()));
        assert_eq!(backlog.next(), Some(Next::Dropped(2)));
        assert!(!backlog.is_written());
        assert_eq!(backlog.next(), Some(line("cc")));
        ["ff", "gg"].iter().for_each(|text| backlog.push((*text).into()));
        assert_eq!(backlog.next(), Some(Next::Dropped(1)));
        let rest: Vec<Next> = std::iter::from_fn(|| backlog.next()).collect();
        assert_eq!(rest, ["ee", "ff", "gg"].map(line));
        assert!(!backlog.is_written(), "the last one is under way");
        backlog.written();
        assert!(backlog.is_written());
    }

    #[test]
    fn a_line_longer_than_everything_is_kept_when_it_is_the_newest() {
        let mut backlog = Backlog::new(4);
        backlog.push("short".into());
        backlog.push("a very long line".into());
        assert_eq!(backlog.next(), Some(Next::Dropped(1)));
        assert_eq!(backlog.next(), Some(line("a very long line")));
        assert_eq!(backlog.next(), None);
    }
}
