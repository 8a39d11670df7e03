//! Listings: ListObjectsV2, to the last page.
//!
//! Which prefix was sent is known, so every key of the answer begins with it, in one of the forms
//! that servers give to keys (`spelling.rs`), or the answer is not one to that question. A backup
//! that is there never counts as an empty listing.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;

use super::super::{Key, Listed, Result, Store, StoreError};
use super::answer::{size, unix_ms};
use super::error::{self, Asked};
use super::spelling::{self, Meaning, meaning};
use super::{S3Store, settings};

pub(super) async fn list(store: &S3Store, prefix: &str) -> Result<Vec<Listed>> {
    let directory = prefix.rfind('/').map_or("", |slash| &prefix[..slash]);
    if !directory.is_empty() && Key::new(directory).is_none() {
        return Ok(Vec::new()); // No key can begin like this.
    }
    let what = store.what("list", prefix);
    let mut looked = Looked::default();
    let mut pages = Pages::of(store, store.object(prefix), what.clone());
    while let Some(page) = pages.next().await? {
        looked.add(&page, Path { root: &store.root, is_rewritten: false }, prefix, &what)?;
    }
    let is_respelled = looked.is_respelled;
    let mut found = looked.end(&pages)?;
    for elsewhere in spelling::rewritten(&store.root) {
        // AWS keeps keys as they are. A server that rewrites the prefix like the keys has listed
        // everything.
        let is_all = is_respelled || store.habits.keeps_keys.load(Relaxed);
        if store.is_aws || is_all && !found.is_empty() {
            break;
        }
        match list_rewritten(store, &elsewhere, prefix, &what, &found).await {
            // A policy may allow this path and no other. With nothing found, it is not known
            // whether that is all.
            Err(StoreError::Denied { .. }) if !found.is_empty() => {}
            more => found.extend(more?),
        }
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    found.dedup_by(|a, b| a.name == b.name);
    Ok(found)
}

/// Objects that are asked for before their place is taken for another's.
const SAMPLES: usize = 3;

/// Another look, where the path is one that servers rewrite: some of them do so with the key of a
/// PUT and a GET, but not with the prefix of a LIST. Whether what is under the rewritten path is
/// ours, one HEAD tells. What was found before says nothing about that: another's objects may have
/// the same names.
async fn list_rewritten(
    store: &S3Store,
    elsewhere: &str,
    prefix: &str,
    what: &str,
    found: &[Listed],
) -> Result<Vec<Listed>> {
    let known: HashSet<&str> = found.iter().map(|listed| listed.name.as_str()).collect();
    let mut looked = Looked::default();
    let mut is_ours = false;
    let mut pages = Pages::of(store, format!("{elsewhere}{prefix}"), what.to_owned());
    while let Some(page) = pages.next().await? {
        looked.add(&page, Path { root: elsewhere, is_rewritten: true }, prefix, what)?;
        looked.found.retain(|listed| !known.contains(listed.name.as_str()));
        if is_ours || looked.found.is_empty() {
            continue;
        }
        match is_one_ours(store, &looked.found).await? {
            Some(true) => is_ours = true,
            Some(false) => {
                // The server tells the two places apart.
                store.habits.keeps_keys.store(true, Relaxed);
                return Ok(Vec::new());
            }
            None => return Ok(Vec::new()),
        }
    }
    looked.end(&pages)
}

/// Whether what the listing of the rewritten path names is there under this path too. `None`: no
/// key of ours can be there.
async fn is_one_ours(store: &S3Store, found: &[Listed]) -> Result<Option<bool>> {
    // Retention deletes the oldest first, so the newest is asked for first.
    let mut samples: Vec<&Listed> = found.iter().collect();
    samples.sort_by_key(|listed| std::cmp::Reverse(listed.modified_ms));
    let mut asked = false;
    for sample in samples.into_iter().filter_map(|listed| Key::new(listed.name.clone())).take(SAMPLES) {
        asked = true;
        match store.head(&sample).await {
            Ok(_) => return Ok(Some(true)),
            Err(StoreError::NotFound { .. }) => {}
            // A server that refuses keys with such parts has none.
            Err(StoreError::Permanent { .. }) if store.root.split('/').any(|part| matches!(part, "." | "..")) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(asked.then_some(false))
}

/// What stands in front of the names of a listing.
#[derive(Clone, Copy)]
struct Path<'a> {
    root: &'a str,
    /// It is not the store's own.
    is_rewritten: bool,
}

/// What the pages of one listing hold.
#[derive(Default)]
struct Looked {
    found: Vec<Listed>,
    /// Some keys were listed otherwise than they were sent.
    is_respelled: bool,
    /// Keys that do not begin with the prefix that was sent, though with a part of it; and one of
    /// them.
    unasked: usize,
    example: Option<String>,
}

impl Looked {
    fn add(&mut self, page: &ListObjectsV2Output, path: Path<'_>, prefix: &str, what: &str) -> Result<()> {
        let Path { root, is_rewritten } = path;
        let refuse = |why: String| Err(StoreError::Permanent { detail: format!("{what}: {why}") });
        for object in page.contents() {
            let Some(key) = object.key() else { return refuse("the listing has an entry without a key".into()) };
            // Of what follows the path a server makes the same as of the path.
            let meant = match meaning(root, key) {
                Meaning::Below(name) if is_rewritten => Meaning::Below(settings::kept_form(&name)),
                meant => meant,
            };
            match meant {
                Meaning::Below(name) if name.starts_with(prefix) => {
                    let (size, modified_ms) = (size(object.size()), unix_ms(object.last_modified()));
                    self.is_respelled |= !key.starts_with(root);
                    self.found.push(Listed { name, size, modified_ms });
                }
                Meaning::Folder => {}
                Meaning::Below(_) | Meaning::Beside => {
                    self.unasked += 1;
                    self.example.get_or_insert_with(|| key.to_owned());
                }
                Meaning::Elsewhere => {
                    let of_it = "which is not under this path, so it cannot be trusted";
                    return refuse(format!("the listing names the key {key:?}, {of_it}"));
                }
            }
        }
        Ok(())
    }

    /// What was found, unless it cannot be told whether that is all.
    fn end(self, pages: &Pages<'_>) -> Result<Vec<Listed>> {
        let Some(example) = self.example else { return Ok(self.found) };
        let (what, sent) = (&pages.what, &pages.prefix);
        let unasked = match self.unasked {
            1 => format!("the key {example:?}"),
            count => format!("{count} keys such as {example:?}"),
        };
        if self.found.is_empty() {
            let detail = format!(
                "{what}: the server lists {unasked}, but nothing that begins with {sent:?}, which was asked for: it is unknown \
                 what is there"
            );
            return Err(StoreError::Permanent { detail });
        }
        if !pages.store.habits.lists_unasked.swap(true, Relaxed) {
            tracing::warn!("{what}: ignoring {unasked}: the server lists more than what begins with {sent:?}");
        }
        Ok(self.found)
    }
}

/// The pages of one listing.
struct Pages<'a> {
    store: &'a S3Store,
    prefix: String,
    what: String,
    token: Option<String>,
    ended: bool,
}

impl Pages<'_> {
    fn of(store: &S3Store, prefix: String, what: String) -> Pages<'_> {
        Pages { store, prefix, what, token: None, ended: false }
    }

    async fn next(&mut self) -> Result<Option<ListObjectsV2Output>> {
        if self.ended {
            return Ok(None);
        }
        let refuse = |why: &str| Err(StoreError::Permanent { detail: format!("{}: {why}", self.what) });
        let request = self.store.client.list_objects_v2().bucket(&self.store.settings.bucket).prefix(&self.prefix);
        let page = request.set_continuation_token(self.token.clone()).send().await;
        let page = page.map_err(|e| error::map(Asked::Other, &self.what, e))?;
        if !page.common_prefixes().is_empty() {
            return refuse("the listing groups keys by folder, which was not asked for");
        }
        if page.contents().is_empty() {
            if let Some(count) = page.key_count().filter(|count| *count > 0) {
                return refuse(&format!("the listing counts {count} keys and shows none"));
            }
            let echo = page.prefix().filter(|echo| !echo.is_empty() && !spelling::is_echo(&self.prefix, echo));
            if let Some(echo) = echo {
                return refuse(&format!("the answer is about {echo:?} and not about {:?}, as was asked", self.prefix));
            }
        }
        let next = page.next_continuation_token().map(str::to_owned);
        self.ended = !page.is_truncated().unwrap_or(next.is_some());
        if !self.ended && (next.is_none() || next == self.token) {
            // Half a listing would look like a backup with holes.
            return refuse("the listing says that it goes on, but not where");
        }
        self.token = next;
        Ok(Some(page))
    }
}
