//! What can be found in a replica, and how it is said.

use std::fmt;

use super::span::Span;
use crate::figures;
use crate::ltx::Txid;
use crate::page::PageSize;
use crate::remote::Level;
use crate::store::Key;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something that should be restorable is not.
    Damage,
    /// Worth knowing; nothing is lost.
    Remark,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// Name of the object that it is about.
    pub object: Option<String>,
    pub what: What,
    /// Transactions that cannot be restored because of it.
    pub affected: Vec<Span>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Not what was written, and nothing holds the same.
    Damaged {
        why: String,
    },
    /// Not what was written; other files hold the same.
    Redundant {
        why: String,
    },
    /// Something under the name of an LTX file that belongs to no history.
    Stray {
        why: String,
    },
    /// Transactions that no file holds, and files behind them.
    Gap {
        missing: Span,
        reached: Option<Txid>,
        beyond: Key,
        /// Nothing behind the gap can be reached.
        is_the_end: bool,
        /// By objects that are there and damaged.
        explained: bool,
    },
    /// Transactions that one level does not hold between two of its files.
    Hole {
        level: Level,
        missing: Span,
        held: bool,
    },
    /// No file begins at the first transaction.
    NoBeginning,
    PageSizes {
        newer: Key,
        newer_size: PageSize,
        size: PageSize,
    },
    Overlap {
        with: Key,
    },
    Foreign {
        why: String,
    },
    NotNeeded {
        files: usize,
        bytes: u64,
    },
    More {
        count: usize,
        of: &'static str,
    },
    /// The restored database is not sound.
    Unsound {
        txid: Option<Txid>,
        why: String,
    },
    /// The restored database is not the live one.
    Differs {
        txid: Txid,
        pages: Vec<u32>,
        count: u64,
    },
    /// A restore of the newest state is refused.
    NotRestored {
        why: String,
    },
    /// A replica of Litestream 0.3 is broken.
    Old {
        why: String,
    },
}

impl What {
    /// One word for machines.
    pub fn kind(&self) -> &'static str {
        match self {
            What::Damaged { .. } => "damaged",
            What::Redundant { .. } => "damaged-redundant",
            What::Stray { .. } => "stray",
            What::Gap { .. } => "gap",
            What::Hole { .. } => "hole",
            What::NoBeginning => "no-beginning",
            What::PageSizes { .. } => "page-size",
            What::Overlap { .. } => "overlap",
            What::Foreign { .. } => "foreign",
            What::NotNeeded { .. } => "not-needed",
            What::More { .. } => "more",
            What::Unsound { .. } => "unsound",
            What::Differs { .. } => "differs",
            What::NotRestored { .. } => "not-restored",
            What::Old { .. } => "litestream-0.3",
        }
    }
}

/// One sentence, without the object's name.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Damaged { why } | What::NotRestored { why } | What::Old { why } => f.write_str(why),
            What::Redundant { why } => write!(f, "{why}; not needed, other files hold the same"),
            What::Stray { why } => write!(f, "{why}; ignored, no history connects to it"),
            What::Gap { missing, reached, beyond, is_the_end, explained } => {
                let held = if *explained { "no sound file holds" } else { "no file holds" };
                write!(f, "{held} {missing}, but {beyond} is there; ")?;
                match (reached, is_the_end) {
                    (Some(txid), true) => {
                        write!(f, "a restore of the newest state is refused, {txid} is as far as it gets")
                    }
                    (Some(_), false) => f.write_str("the newest state is not affected"),
                    (None, _) => f.write_str("nothing before it can be restored"),
                }
            }
            What::Hole { level, missing, held: true } => {
                write!(f, "level {level} lacks {missing}; other levels hold it, in larger steps")
            }
            What::Hole { level, missing, held: false } => {
                write!(f, "level {level} lacks {missing}, and only a later snapshot goes on behind it")
            }
            What::NoBeginning => f.write_str("no file begins at the first transaction: nothing can be restored"),
            What::PageSizes { newer, newer_size, size } => {
                write!(
                    f,
                    "its pages have {size} bytes, those of {newer} {newer_size}: a restore of the newest state is refused"
                )
            }
            What::Overlap { with } => write!(f, "holds transactions that {with} on the same level holds, too"),
            What::Foreign { why } => write!(f, "{why}; ignored"),
            What::NotNeeded { files: 1, bytes } => write!(f, "not needed for any restore ({bytes} bytes)"),
            What::NotNeeded { files, bytes } => {
                write!(f, "and {} others: not needed for any restore ({bytes} bytes)", files - 1)
            }
            What::More { count, of } => write!(f, "{count} more {of}"),
            What::Unsound { txid, why } => {
                let at = txid.map_or_else(String::new, |txid| format!(" at TXID {txid}"));
                write!(f, "the database restored{at} fails its integrity check: {why}")
            }
            What::Differs { txid, pages, count } => {
                let shown: Vec<String> = pages.iter().map(u32::to_string).collect();
                let more = if *count > pages.len() as u64 { ", …" } else { "" };
                let shown = shown.join(", ");
                write!(
                    f,
                    "the database restored at TXID {txid} is not the live one: it differs in {} ({shown}{more})",
                    figures::count(*count, "page")
                )
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        write!(f, "{}", self.what)?;
        if !self.affected.is_empty() {
            let spans: Vec<String> = self.affected.iter().map(Span::to_string).collect();
            write!(f, " (cannot be restored: {})", spans.join(", "))?;
        }
        Ok(())
    }
}
