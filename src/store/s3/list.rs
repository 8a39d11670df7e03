//! Listings: ListObjectsV2, to the last page.
//!
//! Some servers keep keys in a form of their own: they trim a slash in front, join `//`, resolve `./` (MinIO, SeaweedFS and
//! whatever stands on a file system). What such a server lists is understood where it means our keys, and is an error where
//! nothing of ours can be recognised. A backup that is there never counts as an empty listing.

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::Object;

use super::super::{Key, Listed, Result, Store, StoreError};
use super::error::{self, Asked};
use super::{S3Store, client, settings, size, unix_ms};

pub(super) async fn list(store: &S3Store, prefix: &str) -> Result<Vec<Listed>> {
    let what = store.what("list", prefix);
    let mut found = Vec::new();
    let mut pages = Pages::of(store, store.object(prefix), what.clone());
    while let Some(page) = pages.next().await? {
        for object in page.contents() {
            found.extend(understood(object, &store.root, prefix, &what)?);
        }
    }
    if found.is_empty() && settings::kept_form(&store.root) != store.root {
        found = match list_as_kept(store, prefix, &what).await {
            // AWS keeps keys as they are; a policy may allow this path and no other.
            Err(StoreError::Denied { .. }) if client::seems_aws(&store.settings) => Vec::new(),
            looked => looked?,
        };
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    found.dedup_by(|a, b| a.name == b.name);
    Ok(found)
}

/// Objects that are asked for before their place is taken for another's.
const SAMPLES: usize = 3;

/// Second look at an empty listing, where the path is one that servers rewrite: some of them do so with the key of a PUT and
/// a GET, but not with the prefix of a LIST. Whether what lies under the rewritten path is ours, one HEAD tells.
async fn list_as_kept(store: &S3Store, prefix: &str, what: &str) -> Result<Vec<Listed>> {
    let kept = settings::kept_form(&store.root);
    let mut found: Vec<Listed> = Vec::new();
    let mut is_ours = false;
    let mut pages = Pages::of(store, format!("{kept}{prefix}"), what.to_owned());
    while let Some(page) = pages.next().await? {
        for object in page.contents() {
            found.extend(understood(object, &kept, prefix, what)?);
        }
        if is_ours {
            continue;
        }
        // Retention deletes the oldest first, so the newest is asked for first.
        let mut samples: Vec<&Listed> = found.iter().collect();
        samples.sort_by_key(|listed| std::cmp::Reverse(listed.modified_ms));
        for listed in samples.into_iter().take(SAMPLES) {
            let Some(sample) = Key::new(listed.name.clone()) else { continue };
            match store.head(&sample).await {
                Ok(_) => {
                    is_ours = true;
                    break;
                }
                Err(StoreError::NotFound { .. }) => {}
                // A server that refuses keys with such parts has none.
                Err(StoreError::Permanent { .. }) if store.root.split('/').any(|part| matches!(part, "." | "..")) => {
                    return Ok(Vec::new());
                }
                Err(error) => return Err(error),
            }
        }
        if !is_ours && !found.is_empty() {
            // The server tells the two places apart, and in ours there is nothing.
            return Ok(Vec::new());
        }
    }
    Ok(if is_ours { found } else { Vec::new() })
}

/// An entry of the listing; `None` for what is no object below the path.
fn understood(object: &Object, root: &str, prefix: &str, what: &str) -> Result<Option<Listed>> {
    let refuse = |why: String| StoreError::Permanent { detail: format!("{what}: {why}") };
    let key = object.key().ok_or_else(|| refuse("the listing has an entry without a key".into()))?;
    let named = name_below(root, key).ok_or_else(|| {
        refuse(format!("the listing names the key {key:?}, which is not under this path, so it cannot be trusted"))
    })?;
    // The name "" is the marker that consoles create for a folder. What does not begin with the prefix was not asked for.
    let name = Some(named).filter(|name| !name.is_empty() && name.starts_with(prefix));
    let (size, modified_ms) = (size(object.size()), unix_ms(object.last_modified()));
    Ok(name.map(|name| Listed { name, size, modified_ms }))
}

/// What stands behind the root in a key, as the server spells it: verbatim, rewritten, or percent-encoded. `""` is no object
/// below the root, `None` a key from elsewhere.
pub(super) fn name_below(root: &str, key: &str) -> Option<String> {
    if let Some(name) = key.strip_prefix(root) {
        return Some(name.to_owned());
    }
    let kept_root = settings::kept_form(root);
    let spellings = [Some(key.to_owned()), percent_encoding(key)];
    let spellings: Vec<String> = spellings.into_iter().flatten().map(|key| settings::kept_form(&key)).collect();
    if let Some(name) = spellings.iter().find_map(|key| key.strip_prefix(&kept_root)) {
        return Some(name.to_owned());
    }
    // An object of the path's own name, or a neighbour whose name begins alike: the server leaves out the last slash.
    let path = kept_root.strip_suffix('/')?;
    let goes_on = |rest: &str| rest.chars().next().is_none_or(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
    spellings.iter().any(|key| key.strip_prefix(path).is_some_and(goes_on)).then(String::new)
}

/// The key without its percent-encoding, if it has one.
fn percent_encoding(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok().filter(|decoded| decoded != key)
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
            return refuse("the listing sums keys up by folder, which was not asked for");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_understood_however_the_server_spells_them() {
        for (root, key, name) in [
            ("app/", "app/0000/x.ltx", Some("0000/x.ltx")),
            ("app/", "app/", Some("")),
            ("app/", "app", Some("")),
            ("app/", "/app/0000/x.ltx", Some("0000/x.ltx")),
            ("app/", "application/0000/x.ltx", Some("")),
            ("app/", "elsewhere/x", None),
            ("app/", "App/0000/x.ltx", None),
            ("/data/app.db/", "data/app.db/0000/x.ltx", Some("0000/x.ltx")),
            ("/data/app.db/", "/data/app.db/0000/x.ltx", Some("0000/x.ltx")),
            ("/", "0000/x.ltx", Some("0000/x.ltx")),
            ("./", "0000/x.ltx", Some("0000/x.ltx")),
            ("//", "/0000/x.ltx", Some("0000/x.ltx")),
            ("a//b/", "a/b/0000/x.ltx", Some("0000/x.ltx")),
            ("a//", "a/0000/x.ltx", Some("0000/x.ltx")),
            ("./a/", "a/0000/x.ltx", Some("0000/x.ltx")),
            ("x/../a/", "a/0000/x.ltx", Some("0000/x.ltx")),
            ("sp ace/ü/", "sp%20ace/%C3%BC/0000/x.ltx", Some("0000/x.ltx")),
            ("pre/fix/", "pre%2Ffix%2F0000%2Fx.ltx", Some("0000/x.ltx")),
            ("pre/fix/", "pre/fix%2F0000%2Fx.ltx", Some("0000/x.ltx")),
            ("pre/fix/", "pre/fix\\\\0000", None),
            ("100%/", "100%/0000/x.ltx", Some("0000/x.ltx")),
            ("100%/", "100%25/0000/x.ltx", Some("0000/x.ltx")),
        ] {
            assert_eq!(name_below(root, key).as_deref(), name, "{root:?} {key:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_key_of_ours_is_always_understood(prefix in "[a/.%2é ]{0,8}", name in "[a-f0-9]{1,4}(/[a-f0-9]{1,4}){0,2}") {
            let root = format!("{prefix}/");
            let key = format!("{root}{name}");
            proptest::prop_assert_eq!(name_below(&root, &key), Some(name.clone()));
            proptest::prop_assert_eq!(name_below(&root, &settings::kept_form(&key)), Some(name));
        }
    }
}
