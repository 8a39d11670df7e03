//! From where replication goes on: what is asked of the database and of the bucket, in which order,
//! and what follows from the answers.
//!
//! ```text
//! `millstream reset` was called          what waits goes aside ─▶ image
//! the database was created just now,
//!   and there is a history               halt
//! files wait for their upload:
//!   the bucket has that TXID             is it ours? ─ yes ─▶ it need not wait any more, next file
//!                                                    └ no ──▶ all that wait go aside, and we are that far behind
//!   they do not continue the history     they go aside
//!   they do                              does the WAL continue the last of them? ─ yes ─▶ continue
//!                                                                                └ no ──▶ image, in doubt
//! there is no history                    image
//! there is one                           does the WAL, or a note, continue its end? ─ yes ─▶ continue
//!   no; this disk was in step with less  was that end made here? ─ yes ─▶ image, in doubt
//!                                                                └ no ──▶ image, in doubt, and suspected
//!   no                                   image, in doubt
//! ```
//!
//! An image that is in doubt is compared with the bucket before anything is uploaded
//! (`difference/judge.rs`). *Suspected* means that another node may have gone on with the history;
//! *foreign*, that the file may be another database's. Until either is found out, the application
//! is not started and the replica not maintained.

use std::time::Duration;

use crate::db::ImageReason;
use crate::ltx::Txid;
use crate::state::SyncedTo;

/// What a look at the bucket shows, and the notes beside the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The newest TXID of the history.
    pub end: Option<Txid>,
    /// How far this disk was in step with it, if that is known.
    pub synced_to: Option<SyncedTo>,
    /// The file was replicated from here before.
    pub is_known: bool,
    /// `millstream reset` was called for this very file.
    pub is_reset: bool,
    /// The database did not exist when we started.
    pub is_new: bool,
    /// Boot-clock time of the look.
    pub at: Duration,
}

impl Seen {
    /// The history ends beyond what this disk was in step with.
    pub fn is_ahead(&self) -> bool {
        !self.is_reset && self.synced_to.is_some_and(|synced_to| self.end.is_some_and(|end| synced_to.is_before(end)))
    }

    /// There is a history, and the file was not replicated from here before.
    pub fn is_foreign(&self) -> bool {
        !self.is_reset && !self.is_known && self.end.is_some()
    }
}

/// Facts that cost a read, of the WAL or of the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Is the object with this TXID the local file that waits for its upload?
    IsOurs(Txid),
    /// Does the WAL, or a note of ours, prove that the database continues this TXID? If so,
    /// captures go on from there.
    Continues(Txid),
    /// Does anything show that this database made the end of the history, or came after it? With
    /// what is in doubt.
    MadeHere(ImageReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    IsOurs(bool),
    /// `Err` says what is in doubt.
    Continues(Result<(), ImageReason>),
    MadeHere(bool),
}

/// Why local files are in no history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// The image that was ordered holds what is in them.
    Reset,
    /// Another writer has this TXID; the disk is in step up to there.
    Taken(Txid, SyncedTo),
    /// They do not follow the end of the history.
    Apart,
}

/// How replication begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// After what was proved; nothing waits, so the disk is in step with the end of the history.
    InStep(Txid),
    /// After the last of the files that wait.
    AfterFiles,
    /// With an image after this TXID.
    Image { after: Option<Txid>, reason: ImageReason, suspected: Option<SyncedTo>, is_foreign: bool },
}

impl Begin {
    /// It may still turn out that another node has gone on, or that the history is another
    /// database's.
    pub fn is_suspected(self) -> bool {
        matches!(self, Begin::Image { suspected, is_foreign, .. } if suspected.is_some() || is_foreign)
    }
}

/// An order for the database's lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOrder {
    Ask(Question),
    /// The bucket has the oldest local file.
    Uploaded(Txid),
    SetAside(Aside),
    Begin(Begin),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartDone {
    Told(Answer),
    Done,
}

/// TXIDs of the first and the last file that waits.
pub type Files = Option<(Txid, Txid)>;

/// The search for the place from which to go on.
#[derive(Debug)]
pub struct Search {
    seen: Seen,
    /// What waited when the order was made.
    files: Files,
    order: StartOrder,
}

/// The search cannot go on: a new database lies where a history is.
#[derive(Debug, PartialEq, Eq)]
pub struct NewDatabase(pub Txid);

impl Search {
    pub fn begin(seen: Seen, files: Files) -> Result<Search, NewDatabase> {
        let order = match (seen.is_reset, seen.end) {
            (true, _) if files.is_some() => StartOrder::SetAside(Aside::Reset),
            (true, _) => as_ordered(seen.end),
            (false, Some(end)) if seen.is_new => return Err(NewDatabase(end)),
            (false, _) => sort(&seen, files),
        };
        Ok(Search { seen, files, order })
    }

    /// The WAL was made shorter meanwhile, and files that wait have other numbers: what was found
    /// out of them does not count.
    pub fn is_outdated(&self, files: Files) -> bool {
        let is_proved = matches!(self.order, StartOrder::Begin(Begin::InStep(_) | Begin::AfterFiles));
        self.files != files && !is_proved
    }

    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// What is to be done next.
    pub fn order(&self) -> StartOrder {
        self.order
    }

    /// The order is carried out; `Some` ends the search.
    pub fn on_done(&mut self, done: StartDone, files: Files) -> Option<Begin> {
        self.files = files;
        self.order = match (self.order, done) {
            (StartOrder::Begin(begin), _) => return Some(begin),
            (StartOrder::Ask(Question::IsOurs(txid)), StartDone::Told(Answer::IsOurs(true))) => {
                StartOrder::Uploaded(txid)
            }
            (StartOrder::Ask(Question::IsOurs(txid)), StartDone::Told(Answer::IsOurs(false))) => {
                let before = SyncedTo::up_to(Txid::new(txid.get() - 1));
                let synced_to = self.seen.synced_to.map_or(before, |synced_to| synced_to.min(before));
                StartOrder::SetAside(Aside::Taken(txid, synced_to))
            }
            (StartOrder::Uploaded(txid), _) => {
                self.seen.synced_to = Some(SyncedTo::up_to(Some(txid)));
                sort(&self.seen, files)
            }
            (StartOrder::SetAside(Aside::Reset), _) => as_ordered(self.seen.end),
            (StartOrder::SetAside(aside), _) => {
                if let Aside::Taken(_, synced_to) = aside {
                    self.seen.synced_to = Some(synced_to);
                }
                sort(&self.seen, None)
            }
            (StartOrder::Ask(Question::Continues(txid)), StartDone::Told(Answer::Continues(Ok(())))) => {
                StartOrder::Begin(if files.is_some() { Begin::AfterFiles } else { Begin::InStep(txid) })
            }
            (StartOrder::Ask(Question::Continues(txid)), StartDone::Told(Answer::Continues(Err(doubt)))) => {
                match files.is_none() && self.seen.is_ahead() {
                    true => StartOrder::Ask(Question::MadeHere(doubt)),
                    false => self.in_doubt(Some(txid), doubt, None),
                }
            }
            (StartOrder::Ask(Question::MadeHere(doubt)), StartDone::Told(Answer::MadeHere(was_made_here))) => {
                self.in_doubt(self.seen.end, doubt, self.seen.synced_to.filter(|_| !was_made_here))
            }
            // An answer to another question: the same is asked again.
            (order @ StartOrder::Ask(_), _) => order,
        };
        None
    }

    fn in_doubt(&self, after: Option<Txid>, reason: ImageReason, suspected: Option<SyncedTo>) -> StartOrder {
        StartOrder::Begin(Begin::Image { after, reason, suspected, is_foreign: self.seen.is_foreign() })
    }
}

/// The image that a human has ordered is the newest state, whatever else there is.
fn as_ordered(end: Option<Txid>) -> StartOrder {
    let reason = end.map_or(ImageReason::FirstBackup, |_| ImageReason::Accepted);
    StartOrder::Begin(Begin::Image { after: end, reason, suspected: None, is_foreign: false })
}

/// Files that wait come first: the newest of them is the newest history there is.
fn sort(seen: &Seen, files: Files) -> StartOrder {
    match (files, seen.end) {
        (Some((first, _)), end) if end >= Some(first) => StartOrder::Ask(Question::IsOurs(first)),
        (Some((first, last)), end) if end.map_or(Some(Txid::FIRST), Txid::next) == Some(first) => {
            StartOrder::Ask(Question::Continues(last))
        }
        (Some(_), _) => StartOrder::SetAside(Aside::Apart),
        (None, Some(end)) => StartOrder::Ask(Question::Continues(end)),
        (None, None) => {
            let (after, reason) = (None, ImageReason::FirstBackup);
            StartOrder::Begin(Begin::Image { after, reason, suspected: None, is_foreign: false })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: ImageReason = ImageReason::WalRewritten;

    fn txid(number: u64) -> Txid {
        Txid::new(number).expect("not zero")
    }

    fn synced_to(number: u64) -> SyncedTo {
        SyncedTo::up_to(Txid::new(number))
    }

    fn seen(end: u64, step: u64) -> Seen {
        let (end, synced) = (Txid::new(end), Some(synced_to(step)));
        Seen { end, synced_to: synced, is_known: true, is_reset: false, is_new: false, at: Duration::ZERO }
    }

    /// What is ordered until replication begins, with these answers, and these numbers of files
    /// that wait.
    fn orders(seen: Seen, mut files: Vec<u64>, answers: &[Answer]) -> Vec<StartOrder> {
        let ends = |files: &[u64]| files.first().map(|first| (txid(*first), txid(files[files.len() - 1])));
        let mut search = Search::begin(seen, ends(&files)).expect("no new database");
        let (mut orders, mut answers) = (vec![search.order()], answers.iter());
        loop {
            let done = match search.order() {
                StartOrder::Ask(_) => StartDone::Told(*answers.next().expect("an answer")),
                StartOrder::Uploaded(_) => {
                    files.remove(0);
                    StartDone::Done
                }
                StartOrder::SetAside(_) => {
                    files.clear();
                    StartDone::Done
                }
                StartOrder::Begin(_) => StartDone::Done,
            };
            if search.on_done(done, ends(&files)).is_some() {
                return orders;
            }
            orders.push(search.order());
        }
    }

    fn image(after: u64, reason: ImageReason, suspected: Option<SyncedTo>, is_foreign: bool) -> StartOrder {
        StartOrder::Begin(Begin::Image { after: Txid::new(after), reason, suspected, is_foreign })
    }

    #[test]
    fn a_proof_ends_it() {
        let asked = StartOrder::Ask(Question::Continues(txid(5)));
        let proved = [Answer::Continues(Ok(()))];
        assert_eq!(orders(seen(5, 5), vec![], &proved), [asked, StartOrder::Begin(Begin::InStep(txid(5)))]);
        let lost = [Answer::Continues(Err(LOST))];
        assert_eq!(orders(seen(5, 5), vec![], &lost), [asked, image(5, LOST, None, false)]);
        assert_eq!(orders(seen(0, 0), vec![], &[]), [image(0, ImageReason::FirstBackup, None, false)]);
    }

    #[test]
    fn a_history_that_went_on_is_suspected_unless_it_was_made_here() {
        let asked = [StartOrder::Ask(Question::Continues(txid(7))), StartOrder::Ask(Question::MadeHere(LOST))];
        for (made_here, suspected) in [(false, Some(synced_to(5))), (true, None)] {
            let answers = [Answer::Continues(Err(LOST)), Answer::MadeHere(made_here)];
            let begun = image(7, LOST, suspected, false);
            assert_eq!(orders(seen(7, 5), vec![], &answers), [asked[0], asked[1], begun]);
        }
    }

    #[test]
    fn a_file_that_is_not_known_is_foreign_until_it_is_compared() {
        let stranger = Seen { is_known: false, ..seen(5, 5) };
        assert!(stranger.is_foreign());
        assert_eq!(orders(stranger, vec![], &[Answer::Continues(Err(LOST))])[1], image(5, LOST, None, true));
        assert!(!Seen { is_known: false, ..seen(0, 0) }.is_foreign(), "there is nothing it could be foreign to");
    }

    #[test]
    fn files_that_the_bucket_has_need_not_wait() {
        let answers = [Answer::IsOurs(true), Answer::IsOurs(true), Answer::Continues(Ok(()))];
        let expected = [
            StartOrder::Ask(Question::IsOurs(txid(4))),
            StartOrder::Uploaded(txid(4)),
            StartOrder::Ask(Question::IsOurs(txid(5))),
            StartOrder::Uploaded(txid(5)),
            StartOrder::Ask(Question::Continues(txid(6))),
            StartOrder::Begin(Begin::AfterFiles),
        ];
        assert_eq!(orders(seen(5, 3), vec![4, 5, 6], &answers), expected);
    }

    #[test]
    fn what_somebody_else_has_taken_goes_aside_and_tells() {
        let answers = [Answer::IsOurs(false), Answer::Continues(Err(LOST)), Answer::MadeHere(false)];
        let expected = [
            StartOrder::Ask(Question::IsOurs(txid(4))),
            StartOrder::SetAside(Aside::Taken(txid(4), synced_to(3))),
            StartOrder::Ask(Question::Continues(txid(9))),
            StartOrder::Ask(Question::MadeHere(LOST)),
            image(9, LOST, Some(synced_to(3)), false),
        ];
        assert_eq!(orders(seen(9, 3), vec![4, 5], &answers), expected);
        let apart = orders(seen(3, 3), vec![9], &[Answer::Continues(Ok(()))]);
        assert_eq!(apart[0], StartOrder::SetAside(Aside::Apart));
    }

    #[test]
    fn a_reset_asks_nothing() {
        let reset = Seen { is_reset: true, is_known: false, ..seen(7, 5) };
        let begun = image(7, ImageReason::Accepted, None, false);
        assert_eq!(orders(reset, vec![], &[]), [begun]);
        assert_eq!(orders(reset, vec![6, 7], &[]), [StartOrder::SetAside(Aside::Reset), begun]);
        assert!(!reset.is_ahead() && !reset.is_foreign(), "the application need not wait");
    }

    #[test]
    fn a_new_database_never_goes_over_a_history() {
        let new = Seen { is_new: true, ..seen(7, 0) };
        assert_eq!(Search::begin(new, None).err(), Some(NewDatabase(txid(7))));
        assert!(Search::begin(Seen { is_new: true, ..seen(0, 0) }, None).is_ok());
    }
}
