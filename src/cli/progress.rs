//! The progress of a restore on a terminal: a bar with bytes, rate and remaining time. Elsewhere
//! `run/` logs it every few seconds.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use crate::restore::Progress;
use crate::run::announce_progress;

const REDRAW: Duration = Duration::from_millis(100);
const LOOKS: &str =
    "{bar:32} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} to go";

/// Shows the progress until it is dropped. Never returns.
pub async fn show(progress: &Progress, json: bool) -> Infallible {
    if json || !std::io::stderr().is_terminal() {
        return announce_progress(progress, None).await;
    }
    // Dropped, the bar leaves the line to what is said next.
    let bar = ProgressBar::new(0).with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template(LOOKS) {
        bar.set_style(style);
    }
    loop {
        let done = progress.now();
        if done.bytes_total > 0 {
            bar.set_length(done.bytes_total);
            bar.set_position(done.bytes_done);
        }
        tokio::time::sleep(REDRAW).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_has_the_looks_it_is_given() {
        assert!(ProgressStyle::with_template(LOOKS).is_ok());
    }
}
