//! What is known of the marks of a replica, and when they are looked at again.
//!
//! Nothing is deleted but right after a look at the marks, so a mark counts from the moment at
//! which it is created, whoever creates it. A mark of what is the newest state then is always in
//! time: what holds that state, and so lets its objects go, was there for the grace time, and a
//! look is good for a shorter time. A mark of an older state may come too late, which who makes it
//! finds out by waiting for as long as a look is good for (`run/mark.rs`).
//!
//! A replica of which nothing is to be deleted is not asked. Between two looks there is a pause:
//! what is due meanwhile waits for the next one.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Policy;
use super::retain::Marked;
use crate::remote::{Mark, ReadError, Remote};
use crate::store::Listed;

/// So long after a look began, what it has shown is good for a deletion.
const LOOK_LASTS: Duration = Duration::from_secs(3);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// A name that was dropped and given again within the precision of the store's times looks the same
/// in a LIST, so a mark is read in the first looks that show it.
const READS: u8 = 2;

/// How an object looks in a LIST.
type Seen = (u64, i64);

/// What one look has found of an object: it is as it was, or what is in it.
pub(super) type Read = (Listed, Option<Result<Mark, String>>);

#[derive(Default)]
pub(super) struct KnownMarks {
    objects: HashMap<String, Known>,
    marked: Vec<Marked>,
    /// Objects that are no marks; said once.
    said: HashSet<String>,
    /// Boot-clock time at which the last look began.
    began_at: Option<Duration>,
    since: Since,
}

/// What has happened since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Since {
    /// A rest. Another look costs a request that must be worth it.
    #[default]
    Rest,
    Nothing,
    Deletion,
}

struct Known {
    seen: Seen,
    reads: u8,
    mark: Option<Marked>,
}

/// Whether something may be deleted now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    Deletes,
    /// The marks must be looked at first.
    First,
    /// And not before so much time has passed.
    In(Duration),
}

impl KnownMarks {
    pub fn marked(&self) -> &[Marked] {
        &self.marked
    }

    pub fn before_a_deletion(&self, policy: &Policy, boot: Duration) -> Look {
        let Some(began_at) = self.began_at else { return Look::First };
        let pause = match policy.l0_retention {
            Duration::ZERO => PAUSE_MAX,
            kept => (kept / 2).min(PAUSE_MAX),
        };
        let since = boot.saturating_sub(began_at);
        if self.since != Since::Rest && since <= LOOK_LASTS.min(policy.grace) {
            Look::Deletes
        } else if self.since == Since::Deletion || since >= pause {
            Look::First
        } else {
            Look::In(pause - since)
        }
    }

    /// A look begins.
    pub fn begins(&mut self, boot: Duration) {
        (self.began_at, self.since) = (Some(boot), Since::Rest);
    }

    /// A deletion follows the look.
    pub fn deletes(&mut self) {
        self.since = Since::Deletion;
    }

    /// What need not be read again as long as it looks the same.
    pub fn unchanged(&self) -> HashMap<String, Seen> {
        let known = self.objects.iter().filter(|(_, known)| known.reads >= READS);
        known.map(|(name, known)| (name.clone(), known.seen)).collect()
    }

    /// Takes a look over. Returns what is no mark and was not so before: name and reason.
    pub fn looked(&mut self, found: Vec<Read>) -> Vec<(String, String)> {
        let (mut objects, mut news) = (HashMap::new(), Vec::new());
        for (listed, read) in found {
            let seen = (listed.size, listed.modified_ms);
            let before = self.objects.remove(&listed.name);
            let known = match (read, before) {
                (None, Some(before)) => before,
                // It is told as unchanged only if it is known.
                (None, None) => continue,
                (Some(read), before) => {
                    let reads = before.filter(|before| before.seen == seen).map_or(1, |b| b.reads.saturating_add(1));
                    let mark = match read {
                        Ok(mark) => Some(Marked { txid: mark.txid, expires_ms: mark.expires_ms }),
                        Err(why) => {
                            if self.said.insert(listed.name.clone()) {
                                news.push((listed.name.clone(), why));
                            }
                            None
                        }
                    };
                    Known { seen, reads, mark }
                }
            };
            objects.insert(listed.name, known);
        }
        self.said.retain(|name| objects.contains_key(name));
        self.marked = objects.values().filter_map(|known| known.mark).collect();
        self.marked.sort_unstable_by_key(|mark| (mark.txid, mark.expires_ms));
        self.marked.dedup();
        (self.objects, self.since) = (objects, Since::Nothing);
        news
    }

    /// What happens from now on has not been seen.
    pub fn rest(&mut self) {
        self.since = Since::Rest;
    }
}

/// Looks at the marks, and reads those that are not known.
pub(super) async fn look(remote: &Remote, unchanged: &HashMap<String, Seen>) -> Result<Vec<Read>, ReadError> {
    let mut found = Vec::new();
    for listed in remote.list_marks().await.map_err(ReadError::Store)? {
        if unchanged.get(&listed.name) == Some(&(listed.size, listed.modified_ms)) {
            found.push((listed, None));
        } else if let Some(read) = remote.read_mark(&listed).await? {
            found.push((listed, Some(read)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::{policy, txid};
    use super::*;
    use crate::remote::Layout;
    use crate::store::memory::{MemoryStore, Op};

    fn mark(name: &str, number: u64) -> Mark {
        let by = String::new();
        let name = name.into();
        Mark { name, txid: txid(number), timestamp_ms: 5, created_ms: 6, expires_ms: None, note: None, by }
    }

    async fn look_again(known: &mut KnownMarks, remote: &Remote) -> Vec<(String, String)> {
        let found = look(remote, &known.unchanged()).await.expect("read");
        known.looked(found)
    }

    #[tokio::test]
    async fn a_mark_is_read_until_it_is_known_and_a_drop_is_seen() {
        let store = MemoryStore::new();
        let remote = Remote::new(Arc::new(store.clone()), Layout::S3);
        let mut known = KnownMarks::default();
        remote.create_mark(&mark("a", 7)).await.expect("created");
        store.insert("marks/b.json", "nothing", 1);
        let news = look_again(&mut known, &remote).await;
        assert_eq!(news.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["marks/b.json"]);
        for _ in 0..3 {
            assert_eq!(look_again(&mut known, &remote).await, [], "said once");
        }
        assert_eq!(store.calls(Op::Get), 4, "two objects, each twice");
        assert_eq!(known.marked(), [Marked { txid: txid(7), expires_ms: None }]);
        remote.drop_mark("a").await.expect("dropped");
        look_again(&mut known, &remote).await;
        assert_eq!(known.marked(), []);
    }

    fn looked(known: &mut KnownMarks, boot: Duration) {
        known.begins(boot);
        known.looked(Vec::new());
    }

    #[test]
    fn a_deletion_follows_a_look_and_looks_are_rare() {
        let half = policy().l0_retention / 2;
        let mut known = KnownMarks::default();
        let at = Duration::from_secs(1000);
        assert_eq!(known.before_a_deletion(&policy(), at), Look::First);
        looked(&mut known, at);
        assert_eq!(known.before_a_deletion(&policy(), at), Look::Deletes);
        known.rest();
        assert_eq!(known.before_a_deletion(&policy(), at), Look::In(half));
        assert_eq!(known.before_a_deletion(&policy(), at + half), Look::First);
        let long = Policy { l0_retention: Duration::from_secs(86_400), ..policy() };
        assert_eq!(known.before_a_deletion(&long, at + Duration::from_secs(11)), Look::In(Duration::from_secs(289)));
        assert_eq!(known.before_a_deletion(&long, at + Duration::from_secs(300)), Look::First);
    }

    /// What replaces an object was there for the grace time before the object goes.
    #[test]
    fn a_look_is_good_for_less_than_the_grace_time_counted_from_its_begin() {
        let ms = Duration::from_millis;
        for (grace, lasts) in [(ms(2000), ms(2000)), (ms(60_000), LOOK_LASTS)] {
            let policy = Policy { l0_retention: ms(3_600_000), grace, ..policy() };
            let mut known = KnownMarks::default();
            looked(&mut known, ms(1000));
            assert_eq!(known.before_a_deletion(&policy, ms(1000) + lasts), Look::Deletes);
            let pause = PAUSE_MAX - lasts - ms(1);
            assert_eq!(known.before_a_deletion(&policy, ms(1000) + lasts + ms(1)), Look::In(pause), "it took too long");
        }
    }

    #[test]
    fn a_long_deletion_looks_again_at_once() {
        let policy = Policy { l0_retention: Duration::from_secs(3600), grace: Duration::from_secs(60), ..policy() };
        let mut known = KnownMarks::default();
        let at = Duration::from_secs(1000);
        looked(&mut known, at);
        known.deletes();
        assert_eq!(known.before_a_deletion(&policy, at + LOOK_LASTS), Look::Deletes);
        assert_eq!(known.before_a_deletion(&policy, at + LOOK_LASTS * 2), Look::First);
    }
}
