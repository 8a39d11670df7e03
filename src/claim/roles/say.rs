//! What the core tells, in words.

use super::core::Notice;
use crate::claim::seen::Why;

/// `address` is that of the replica beside which the claims lie.
pub fn say(notice: &Notice, address: &str) {
    match notice {
        Notice::Outage(why) => {
            tracing::warn!("cannot read or write the claims of {address} (claims/*): {why}; retrying");
        }
        Notice::Back => tracing::info!("the claims of {address} can be read and written again"),
        Notice::WaitsFor(host) => tracing::info!(
            "{host} is the primary of {address}: waiting until it has uploaded the last commits and released its claim"
        ),
        Notice::TakenForDead(host) => tracing::warn!(
            "{host} shows no life and is taken for dead: going on without it; if it runs, its application cannot write any more, and \
             what it did not upload it keeps aside"
        ),
        Notice::SupersededBy(host) => {
            tracing::warn!("{host} has made a later claim of {address}: uploading the last commits and releasing");
        }
        Notice::Claims(why) => tracing::info!("claiming {address}: {}", reason(*why)),
        Notice::Closed => tracing::error!(
            "the claim of {address} could not be renewed, and other nodes may go on soon: the application cannot write until it is"
        ),
        Notice::Reopened => {
            tracing::info!(
                "the claim of {address} is renewed, no other node has gone on: the application can write again"
            );
        }
        Notice::IsBehind => tracing::warn!(
            "this node would be the primary of {address}, and its databases are not at the newest state: trying until they are"
        ),
        Notice::CannotSeal => tracing::error!(
            "this node has the claim of {address}, and cannot create the next TXIDs: giving the claim back, other nodes may be able to"
        ),
    }
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::First => "there was no primary before",
        Why::Free => "the last primary has released its claim",
        Why::Restart => "this node was the primary, and no other one came after it",
        Why::HandedOver => "the primary has handed over to this node",
        Why::PrimarySilent => "the primary shows no life",
        Why::Promoted => "this node was told to be the primary",
        Why::Deploy | Why::SuccessorEnded | Why::SuccessorSilent | Why::Fenced => "no other node is in the way",
    }
}
