//! How a follower begins.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// What both sides speak from then on.
pub(super) const PROTOCOL: &str = "millstream-stream";

const NODE: HeaderName = HeaderName::from_static("millstream-node");
const INSTANCE: HeaderName = HeaderName::from_static("millstream-instance");
const CANDIDATE: HeaderName = HeaderName::from_static("millstream-candidate");

/// Who a node is, for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    pub name: String,
    pub instance: String,
    pub is_candidate: bool,
}

impl Introduction {
    pub(super) fn of_headers(headers: &HeaderMap) -> Option<Introduction> {
        let text = |name| headers.get(name)?.to_str().ok().map(str::to_owned);
        let is_candidate = text(CANDIDATE)? == "yes";
        Some(Introduction { name: text(NODE)?, instance: text(INSTANCE)?, is_candidate })
    }

    pub(super) fn put(&self, headers: &mut HeaderMap) -> Result<(), String> {
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| format!("{text:?} cannot be said in HTTP"));
        headers.insert(NODE, value(&self.name)?);
        headers.insert(INSTANCE, value(&self.instance)?);
        headers.insert(CANDIDATE, HeaderValue::from_static(if self.is_candidate { "yes" } else { "no" }));
        Ok(())
    }
}
