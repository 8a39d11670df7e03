//! What the core tells, in words.

use super::core::Notice;
use super::seen::Why;

/// `address` is that of the replica beside which the claims lie.
pub fn say(notice: &Notice, address: &str) {
    match notice {
        Notice::Outage(why) => {
            tracing::warn!(
                "cannot read or write the claims of {address} (claims/*): {why}; retrying, and nothing is handed over until then"
            );
        }
        Notice::Back => tracing::info!("the claims of {address} can be read and written again"),
        Notice::WaitsFor(host) => tracing::info!(
            "{host} holds the claim of {address}: waiting until it has stopped its application, uploaded the last commits and released"
        ),
        Notice::TakenForDead(host) => tracing::warn!(
            "{host} has not released the claim of {address} in time and is taken for dead: going on without it; if it runs, nothing \
             that it uploads from now on is taken, and it keeps its last commits aside"
        ),
        Notice::SupersededBy(host) => tracing::info!(
            "{host} has made a later claim of {address}: stopping the application, uploading the last commits and releasing"
        ),
        Notice::StandsBy => tracing::warn!(
            "another instance has made a later claim of {address}: standing by, and no application is started until that one ends; to \
             have this one take over, stop it and start it again"
        ),
        Notice::Alone => tracing::warn!(
            "{address} does not answer, and whether another instance writes there is not known: the application is started with \
             what is here, and nothing is uploaded until the bucket answers"
        ),
        Notice::Retreats(host) => tracing::error!(
            "{address} answers, and {host} writes there: the application, which was started while the bucket was away, is stopped, \
             and what it has committed since then is in no history"
        ),
        Notice::ComesBack(why) => tracing::warn!("claiming {address} again: {}", reason(*why)),
    }
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::SuccessorEnded => "all instances that came later have ended",
        Why::SuccessorSilent => "the instances that came later show no life",
        Why::Fenced => "an instance that was taken for dead has written once more",
        Why::First | Why::Free | Why::Deploy | Why::Restart => "no other instance is in the way",
        Why::HandedOver | Why::PrimarySilent | Why::Promoted => "this node is to be the primary",
    }
}
