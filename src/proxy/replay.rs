//! An application that finds out only while it answers that it would have to write: it asks for the
//! primary by a header, and the request is sent on as if it had not been here. Pure.
//!
//! ```text
//!   millstream-replay: primary
//!   fly-replay: region=fra          as on Fly.io; another application (app=…) is Fly's business
//! ```

use hyper::Request;
use hyper::header::{HeaderMap, HeaderName};

use super::outgoing::Outgoing;

const OURS: HeaderName = HeaderName::from_static("millstream-replay");
const FLYS: HeaderName = HeaderName::from_static("fly-replay");

/// Whether a response asks for the primary.
pub fn is_wanted(response: &HeaderMap) -> bool {
    let value = |name| response.get(name).and_then(|value| value.to_str().ok());
    let is_ours = value(OURS).is_some_and(|value| value.trim().eq_ignore_ascii_case("primary"));
    let of_this_application = |value: &str| !value.split(';').any(|part| part.trim_start().starts_with("app="));
    is_ours || value(FLYS).is_some_and(of_this_application)
}

/// The same request, if its body is there as a whole.
pub fn copy(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    let mut copy = Request::new(request.body().copy()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_the_primary() {
        for (name, value, is) in [
            (OURS, "primary", true),
            (OURS, " Primary ", true),
            (OURS, "follower", false),
            (FLYS, "region=fra", true),
            (FLYS, "instance=1; state=x", true),
            (FLYS, "region=fra;app=other", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("valid"));
            assert_eq!(is_wanted(&headers), is, "{value}");
        }
        assert!(!is_wanted(&HeaderMap::new()));
    }
}
