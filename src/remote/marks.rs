//! Marks: names for moments of the history, each one a small JSON object below `marks/`.
//!
//! A mark is created like an LTX object, never replaced: a name that is in use is an error, and
//! dropping a mark frees its name. Retention keeps what a restore of a marked TXID reads
//! (`replicate/lifecycle/retain.rs`). What cannot be understood under `marks/` is named, and
//! protects nothing; while the marks cannot be listed or read, who deletes has to wait.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::names::{self, MARKS};
use super::{ReadError, Remote};
use crate::ltx::Txid;
use crate::store::{Key, Listed, Put, Result, StoreError};

/// No mark that we write is longer.
const MARK_BYTES_MAX: u64 = 16 * 1024;

/// A moment of the history, by a name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub name: String,
    pub txid: Txid,
    /// Of that commit, Unix milliseconds.
    pub timestamp_ms: i64,
    pub created_ms: i64,
    /// It protects nothing from then on. `None`: until it is dropped.
    pub expires_ms: Option<i64>,
    pub note: Option<String>,
    /// Who made it.
    pub by: String,
}

/// What lies below `marks/`.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// By the TXID that they mark.
    pub marks: Vec<Mark>,
    /// Names of objects that are no marks, and why.
    pub unreadable: Vec<(String, String)>,
}

/// The object.
#[derive(Serialize, Deserialize)]
struct Content {
    txid: String,
    /// Times are RFC 3339.
    timestamp: String,
    created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(default)]
    by: String,
}

/// What became of a mark that was to be created.
#[derive(Debug, PartialEq, Eq)]
pub enum Created {
    Done,
    /// The name is in use: by this mark, if it can be read.
    InUse(Option<Box<Mark>>),
}

impl Mark {
    /// Why a text is no name of a mark.
    pub fn check_name(name: &str) -> std::result::Result<(), String> {
        match names::mark_key(name) {
            Some(_) => Ok(()),
            None => Err(format!(
                "{name:?} is no name for a mark: use 1 to {} letters, digits, dots, underscores and dashes",
                names::MARK_NAME_MAX
            )),
        }
    }

    pub fn has_expired(&self, now_ms: i64) -> bool {
        self.expires_ms.is_some_and(|at| at <= now_ms)
    }

    fn encode(&self) -> std::result::Result<Vec<u8>, String> {
        let time = |ms: i64| match Timestamp::from_millisecond(ms) {
            Ok(time) => Ok(time.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let content = Content {
            txid: self.txid.to_string(),
            timestamp: time(self.timestamp_ms)?,
            created: time(self.created_ms)?,
            expires: self.expires_ms.map(time).transpose()?,
            note: self.note.clone(),
            by: self.by.clone(),
        };
        let mut bytes = serde_json::to_vec_pretty(&content).map_err(|error| error.to_string())?;
        bytes.push(b'\n');
        match bytes.len() as u64 {
            0..=MARK_BYTES_MAX => Ok(bytes),
            len => Err(format!("with {len} bytes it is too long: shorten the note")),
        }
    }

    fn decode(name: &str, bytes: &[u8]) -> std::result::Result<Mark, String> {
        let content: Content = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let txid = Txid::parse_hex(&content.txid).ok_or_else(|| format!("{:?} is no TXID", content.txid))?;
        let time = |text: &str| match text.parse::<Timestamp>() {
            Ok(time) => Ok(time.as_millisecond()),
            Err(_) => Err(format!("{text:?} is no time")),
        };
        Ok(Mark {
            name: name.to_owned(),
            txid,
            timestamp_ms: time(&content.timestamp)?,
            created_ms: time(&content.created)?,
            expires_ms: content.expires.as_deref().map(time).transpose()?,
            note: content.note,
            by: content.by,
        })
    }
}

impl Remote {
    /// The objects below `marks/`, by one LIST.
    pub async fn list_marks(&self) -> Result<Vec<Listed>> {
        self.policy.retry(self.clock, || self.store.list(MARKS)).await
    }

    /// Reads what a LIST has shown; `None`: it is gone. An inner `Err` says why it is no mark.
    pub async fn read_mark(
        &self,
        listed: &Listed,
    ) -> std::result::Result<Option<std::result::Result<Mark, String>>, ReadError> {
        let key = names::mark_name(&listed.name).and_then(|name| Some((name, names::mark_key(name)?)));
        let Some((name, key)) = key else { return Ok(Some(Err("not the name of a mark".into()))) };
        if listed.size > MARK_BYTES_MAX {
            return Ok(Some(Err(format!("with {} bytes it is too long", listed.size))));
        }
        if listed.size == 0 {
            return Ok(Some(Err("it is empty".into())));
        }
        match self.read_range(&key, 0, listed.size).await {
            Ok(bytes) => Ok(Some(Mark::decode(name, &bytes))),
            Err(ReadError::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Everything below `marks/`, read.
    pub async fn marks(&self) -> std::result::Result<Marks, ReadError> {
        let mut found = Marks::default();
        for listed in self.list_marks().await.map_err(ReadError::Store)? {
            match self.read_mark(&listed).await? {
                Some(Ok(mark)) => found.marks.push(mark),
                Some(Err(why)) => found.unreadable.push((listed.name, why)),
                None => {}
            }
        }
        found.marks.sort_by(|a, b| (a.txid, a.created_ms, &a.name).cmp(&(b.txid, b.created_ms, &b.name)));
        Ok(found)
    }

    /// The mark of this name.
    pub async fn mark(&self, name: &str) -> std::result::Result<Option<Mark>, ReadError> {
        let Some(key) = names::mark_key(name) else { return Ok(None) };
        let head = match self.policy.retry(self.clock, || self.store.head(&key)).await {
            Ok(head) => head,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(ReadError::Store(error)),
        };
        let listed = Listed { name: key.to_string(), size: head.size, modified_ms: head.modified_ms };
        match self.read_mark(&listed).await? {
            None => Ok(None),
            Some(Ok(mark)) => Ok(Some(mark)),
            Some(Err(why)) => {
                let detail = format!("{key} in {} is no mark: {why}; drop it to use its name", self.address());
                Err(ReadError::Store(StoreError::Permanent { detail }))
            }
        }
    }

    /// Creates a mark, never replacing one.
    pub async fn create_mark(&self, mark: &Mark) -> Result<Created> {
        let unusable = |why: String| StoreError::Permanent { detail: format!("the mark {:?}: {why}", mark.name) };
        let key = Mark::check_name(&mark.name).map(|()| names::mark_key(&mark.name)).map_err(unusable)?;
        let key = key.ok_or_else(|| unusable("it has no valid name".into()))?;
        let bytes = mark.encode().map_err(unusable)?;
        match self.policy.retry(self.clock, || self.store.put(&key, Put::create(bytes.clone()))).await {
            Ok(()) => Ok(Created::Done),
            // An earlier attempt of ours may have succeeded, and only its answer was lost.
            Err(StoreError::AlreadyExists { .. }) => match self.mark(&mark.name).await {
                Ok(Some(there)) if there == *mark => Ok(Created::Done),
                Ok(there) => Ok(Created::InUse(there.map(Box::new))),
                Err(_) => Ok(Created::InUse(None)),
            },
            Err(error) => Err(error),
        }
    }

    /// Drops a mark; one that is not there counts as dropped.
    pub async fn drop_mark(&self, name: &str) -> Result<()> {
        let Some(key) = names::mark_key(name) else { return Ok(()) };
        let keys: [Key; 1] = [key];
        let deleted = self.policy.retry(self.clock, || self.store.delete(&keys)).await?;
        deleted.refused.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::remote::Layout;
    use crate::store::memory::{Fault, MemoryStore, Op};

    fn mark(name: &str, txid: u64) -> Mark {
        Mark {
            name: name.into(),
            txid: Txid::new(txid).expect("not zero"),
            timestamp_ms: 1_795_288_837_575,
            created_ms: 1_795_288_838_000,
            expires_ms: Some(1_797_880_838_000),
            note: Some("before the import".into()),
            by: "millstream 0".into(),
        }
    }

    fn remote() -> (MemoryStore, Remote) {
        let store = MemoryStore::new();
        (store.clone(), Remote::new(Arc::new(store), Layout::S3))
    }

    #[tokio::test]
    async fn a_name_is_given_once_and_is_free_again_when_it_was_dropped() {
        let (store, remote) = remote();
        let first = mark("before-import", 7);
        assert_eq!(remote.create_mark(&first).await.expect("created"), Created::Done);
        assert_eq!(store.names(), ["marks/before-import.json"]);
        let other = mark("before-import", 8);
        let in_use = Created::InUse(Some(Box::new(first.clone())));
        assert_eq!(remote.create_mark(&other).await.expect("asked"), in_use);
        assert_eq!(remote.mark("before-import").await.expect("read"), Some(first));
        remote.drop_mark("before-import").await.expect("dropped");
        remote.drop_mark("before-import").await.expect("again");
        assert_eq!(remote.mark("before-import").await.expect("read"), None);
        assert_eq!(remote.create_mark(&other).await.expect("created"), Created::Done);
        assert_eq!(remote.marks().await.expect("read").marks, [other]);
    }

    #[tokio::test]
    async fn a_lost_reply_is_not_taken_for_somebody_elses_mark() {
        let (store, remote) = remote();
        store.inject(Op::Put, Fault::LostReply, 1);
        assert_eq!(remote.create_mark(&mark("a", 7)).await.expect("created"), Created::Done);
    }

    #[tokio::test]
    async fn what_is_no_mark_is_named_and_nothing_else_is_hidden_by_it() {
        let (store, remote) = remote();
        remote.create_mark(&mark("b", 9)).await.expect("created");
        remote.create_mark(&Mark { expires_ms: None, note: None, ..mark("a", 3) }).await.expect("created");
        for (name, content) in [
            ("marks/broken.json", "{"),
            (
                "marks/zero.json",
                r#"{"txid":"0000000000000000","timestamp":"2026-11-21T19:20:37Z","created":"2026-11-21T19:20:37Z"}"#,
            ),
            ("marks/empty.json", ""),
            ("marks/no name.json", "{}"),
            ("marks/deeper/a.json", "{}"),
            ("marks/readme.txt", "hello"),
        ] {
            store.insert(name, content.as_bytes().to_vec(), 1);
        }
        store.insert("marks/long.json", vec![b' '; 20_000], 1);
        let found = remote.marks().await.expect("read");
        assert_eq!(
            found.marks.iter().map(|m| (m.name.as_str(), m.txid.get())).collect::<Vec<_>>(),
            [("a", 3), ("b", 9)]
        );
        assert_eq!(found.unreadable.len(), 7, "{:?}", found.unreadable);
        assert!(remote.mark("broken").await.is_err());
        let listing = remote.listing().await.expect("list");
        assert!(listing.ignored.is_empty(), "they are nothing to wonder about: {:?}", listing.ignored);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_error_and_not_a_mark_less() {
        let (store, remote) = remote();
        let remote = remote.with_policy(crate::remote::ReadPolicy::impatient());
        remote.create_mark(&mark("a", 7)).await.expect("created");
        for op in [Op::List, Op::Get] {
            store.inject(op, Fault::Fail(|detail| StoreError::Denied { detail }), 1);
            assert!(remote.marks().await.is_err(), "{op:?}");
        }
        assert_eq!(remote.marks().await.expect("read").marks.len(), 1);
    }

    #[test]
    fn names_are_plain() {
        for good in ["a", "before-migration-20261128T183700Z", "v1.2_3", "..", "-x", &"x".repeat(100)] {
            Mark::check_name(good).expect(good);
        }
        for bad in ["", "a b", "a/b", "ä", "a\n", &"x".repeat(101)] {
            Mark::check_name(bad).expect_err(bad);
        }
        assert!(!mark("a", 1).has_expired(1_797_880_837_999) && mark("a", 1).has_expired(1_797_880_838_000));
    }

    #[test]
    fn later_fields_are_no_obstacle() {
        let text = br#"{"txid":"000000000000002a","timestamp":"2026-11-21T19:20:37.5Z","created":"2026-11-21T19:20:37Z","color":1}"#;
        let mark = Mark::decode("x", text).expect("a mark");
        assert_eq!((mark.txid.get(), mark.timestamp_ms, mark.expires_ms), (42, 1_795_288_837_500, None));
    }
}
