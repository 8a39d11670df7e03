//! The status page: the state of every database in plain words, for a person with a browser.
//!
//! ```text
//!   facts ─▶ judge.rs   pure: how well a database is, and what to do
//!         ─▶ verdict.rs pure: the sentence at the top
//!         ─▶ select.rs  pure: which databases are shown, in which order
//!         ─▶ write.rs   pure: the document of /status.json, with the texts that the page shows
//!         ─▶ html.rs, detail.rs, list.rs   pure: the page
//!   text.rs      pure: texts in HTML
//!   document.rs  the words of /status.json
//!   figures.rs   pure: durations, times, sizes as people read them
//!   plot.rs      pure: the geometry of the two plots
//!   command.rs   pure: the command that restores a chosen moment
//!   query.rs     pure: what the address of the page asks for
//!   lags.rs      pure: the lag of the last hour
//!   listed.rs    pure: what a listing says about the moments that can be brought back
//!   recorder.rs  the task that keeps both
//!   policy.rs    what a browser may do with the page
//! ```
//!
//! All facts are in the HTML. The script asks for `/status.json` and replaces texts by those that
//! the same code has made here, so that nothing is worded twice.

mod command;
mod detail;
mod document;
mod figures;
mod html;
mod judge;
mod lags;
mod list;
mod listed;
mod plot;
mod policy;
mod query;
mod recorder;
mod select;
mod text;
mod verdict;
mod write;

#[cfg(test)]
mod tests;

pub use document::{DatabaseEntry, Document, Level, ReplicaEntry};
pub use figures::duration;
pub use html::render;
pub use policy::CONTENT_SECURITY_POLICY;
pub use query::Asked;
pub use recorder::{Recorded, Recorder};
pub use select::select;
pub use write::document;
