//! The proxy on the page of metrics: what became of requests, and what waits. Pure.

use crate::exposition::{Exposition, Kind};
use crate::status::{Proxied, ProxyOutcome, Waited};
use Kind::{Counter, Gauge};

pub fn proxied(page: &mut Exposition, proxied: &Proxied) {
    let help = "Requests to the proxy, by how they were answered: by the application here (passed), by the primary \
                (forwarded), or not, and why.";
    let mut requests = page.family("millstream_proxy_requests_total", Counter, help);
    for (outcome, count) in ProxyOutcome::ALL.iter().zip(proxied.outcomes) {
        requests.number(&[("outcome", outcome.name())], count);
    }
    let held = (
        ("millstream_proxy_held_requests", "Requests that are held now, until an application is there for them."),
        ("millstream_proxy_held_total", "Requests that were held, and are not any more."),
        ("millstream_proxy_held_seconds_total", "Time for which they were held."),
    );
    waits(page, held, &proxied.held);
    let uploads = (
        ("millstream_proxy_upload_waiting", "Responses that wait now until the replica has what was committed."),
        ("millstream_proxy_upload_waits_total", "Responses that have waited for that."),
        ("millstream_proxy_upload_wait_seconds_total", "Time for which they waited."),
    );
    waits(page, uploads, &proxied.uploads);
}

/// Name and help of a family.
type Named = (&'static str, &'static str);

fn waits(page: &mut Exposition, (now, ended, took): (Named, Named, Named), waited: &Waited) {
    page.family(now.0, Gauge, now.1).number(&[], waited.now);
    page.family(ended.0, Counter, ended.1).number(&[], waited.ended);
    page.family(took.0, Counter, took.1).sample(&[], waited.took.as_secs_f64());
}
