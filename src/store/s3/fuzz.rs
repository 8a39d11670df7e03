//! Whatever a server answers to a LIST: an error, or a listing that is whole and in which nothing
//! is made up.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};

use aws_sdk_s3::config::retry::RetryConfig;
use xmlparser::{ElementEnd, Token, Tokenizer};

use super::super::{Listed, Store, StoreError};
use super::S3Store;
use super::stub::{Reply, Stub};
use crate::fuzz;

/// The stub keeps what it was asked for, so it is replaced from time to time.
const REQUESTS_MAX: u32 = 5000;

type Read = fn(Result<Vec<Listed>, StoreError>) -> Result<Vec<Listed>, StoreError>;

/// A server that answers with the body that was put in.
struct Server {
    runtime: tokio::runtime::Runtime,
    body: Arc<Mutex<String>>,
    asked: Cell<u32>,
    store: RefCell<Option<(Stub, S3Store)>>,
}

impl Server {
    fn new() -> Server {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        Server { runtime, body: Arc::default(), asked: Cell::new(0), store: RefCell::new(None) }
    }

    fn list(&self, body: &str) -> Result<Vec<Listed>, StoreError> {
        body.clone_into(&mut self.body.lock().expect("no panic while it is held"));
        let mut store = self.store.borrow_mut();
        if self.asked.replace(self.asked.get() + 1).is_multiple_of(REQUESTS_MAX) {
            *store = None;
        }
        self.runtime.block_on(async {
            if store.is_none() {
                let body = self.body.clone();
                let stub = Stub::start(move |request, _| match request.method.as_str() {
                    "HEAD" => Reply::object(""),
                    _ => Reply::status(200, &body.lock().expect("no panic while it is held")),
                });
                let stub = stub.await;
                let mut connected = stub.store().await;
                // What is refused once is refused again, only later.
                let once = connected.client.config().to_builder().retry_config(RetryConfig::disabled());
                connected.client = aws_sdk_s3::Client::from_conf(once.build());
                *store = Some((stub, connected));
            }
            let (_, connected) = store.as_ref().expect("just made");
            connected.list("").await
        })
    }
}

fn check(bytes: &[u8], server: &Server, read: Read) {
    let body = String::from_utf8_lossy(bytes);
    let Ok(listed) = read(server.list(&body)) else { return };
    assert!(body.contains("<ListBucketResult"), "no listing was taken for one");
    assert!(listed.is_sorted_by(|a, b| a.name < b.name), "not sorted, or one twice");
    // Half a listing would look like a backup with holes.
    let keys = keys(&body).expect("a listing with a fault in it was taken for a whole one");
    for key in &keys {
        let name = key.strip_prefix("pre/fix/").filter(|name| !name.is_empty());
        assert!(name.is_none_or(|name| listed.iter().any(|found| found.name == name)), "{key} is left out");
    }
    assert!(listed.len() <= body.matches("<Key").count(), "more names than entries");
}

/// The plain keys of entries that have one; nothing if this is no sound XML.
fn keys(body: &str) -> Option<Vec<String>> {
    let (mut path, mut keys) = (Vec::new(), Vec::new());
    for token in Tokenizer::from(body) {
        match token.ok()? {
            Token::ElementStart { prefix, local, .. } => {
                path.push(if prefix.is_empty() { local.as_str() } else { "" });
                if path == ["ListBucketResult", "Contents"] {
                    keys.push(Vec::new());
                }
            }
            Token::ElementEnd { end: ElementEnd::Open, .. } => {}
            Token::ElementEnd { .. } => drop(path.pop()?),
            Token::Text { text } if path == ["ListBucketResult", "Contents", "Key"] => {
                keys.last_mut()?.push(text.as_str())
            }
            _ => {}
        }
    }
    let is_plain = |key: &str| key.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-.".contains(&b));
    let only = keys.iter().filter_map(|keys| if let [key] = keys[..] { Some(key) } else { None });
    path.is_empty().then(|| only.filter(|key| is_plain(key)).map(str::to_owned).collect())
}

#[test]
fn fuzz() {
    let server = Server::new();
    fuzz::fuzz("list", |bytes| check(bytes, &server, |listed| listed));
}

#[test]
fn an_error_that_is_taken_for_an_empty_listing_is_caught() {
    let server = Server::new();
    fuzz::must_catch("list", |bytes| check(bytes, &server, |listed| Ok(listed.unwrap_or_default())));
}

#[test]
fn a_listing_that_is_half_read_is_caught() {
    let server = Server::new();
    fuzz::must_catch("list", |bytes| {
        check(bytes, &server, |listed| listed.map(|all| all.into_iter().take(1).collect()))
    });
}
