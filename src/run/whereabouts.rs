//! Where the primary is, as the claims of this process say.

use tokio::sync::watch;

use crate::claim::Node;
use crate::primary::{Peer, Primary};

/// Until the turn is dropped. A process that waits for an earlier one names no other: what comes to
/// it is for its own application, which is about to be there, and a deploy is judged by that. One
/// that was superseded names who came later.
pub async fn tell_primary(
    mut is_here: watch::Receiver<bool>,
    mut stands_by: watch::Receiver<bool>,
    mut newest: watch::Receiver<Option<Node>>,
    primary: watch::Sender<Primary>,
) {
    loop {
        let now = {
            let newest = newest.borrow_and_update();
            let (is_here, stands_by) = (*is_here.borrow_and_update(), *stands_by.borrow_and_update());
            where_it_is(is_here, stands_by, newest.as_ref())
        };
        primary.send_if_modified(|before| {
            let is_new = *before != now;
            *before = now;
            is_new
        });
        tokio::select! {
            changed = is_here.changed() => if changed.is_err() { return },
            // The driver has ended, when they do not change any more.
            Ok(()) = stands_by.changed() => {}
            Ok(()) = newest.changed() => {}
        }
    }
}

fn where_it_is(is_here: bool, stands_by: bool, newest: Option<&Node>) -> Primary {
    match newest {
        _ if is_here => Primary::Here,
        Some(node) if stands_by => Primary::At(Peer { name: node.hostname.clone(), url: node.url.clone() }),
        _ => Primary::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_superseded_names_another() {
        let node = Node { name: "b".into(), hostname: "b".into(), url: Some("http://b".into()), cluster_url: None };
        let at_b = || Primary::At(Peer { name: "b".into(), url: Some("http://b".into()) });
        for (is_here, stands_by, newest, primary) in [
            (true, false, None, Primary::Here),
            (true, true, Some(&node), Primary::Here),
            (false, false, Some(&node), Primary::Unknown),
            (false, true, Some(&node), at_b()),
            (false, true, None, Primary::Unknown),
        ] {
            assert_eq!(where_it_is(is_here, stands_by, newest), primary, "{is_here} {stands_by} {newest:?}");
        }
    }
}
