//! What is known about the terminal.

use std::io::{self, IsTerminal};
use std::os::fd::AsRawFd;

/// Columns of the terminal that stdout is; `None` where stdout is a file or a pipe.
pub fn width() -> Option<usize> {
    size().map(|(columns, _)| columns)
}

/// Columns and rows of it.
pub fn size() -> Option<(usize, usize)> {
    if !io::stdout().is_terminal() {
        return None;
    }
    // SAFETY: an all-zero winsize is a valid value of this struct of numbers.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and the pointer leads to a winsize that can be written to.
    let told = unsafe { libc::ioctl(io::stdout().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    // A terminal that was never told its size says 0.
    (told == 0 && size.ws_col > 0).then_some((usize::from(size.ws_col), usize::from(size.ws_row)))
}

/// Whether NO_COLOR is unset or empty (<https://no-color.org>).
pub fn colours_are_welcome() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
