//! Which permission the replications have to create objects before the history is sealed.

use std::time::Duration;

use tokio::sync::watch;

use crate::replicate::SealPermit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    No,
    /// As long as others cannot have gone on without us.
    WhileSafe,
    Free,
}

/// Until whoever gives the permission has ended.
pub async fn permit_by(
    mut permission: watch::Receiver<Permission>,
    mut safe_until: watch::Receiver<Option<Duration>>,
    permit: watch::Sender<SealPermit>,
) {
    loop {
        let until = *safe_until.borrow_and_update();
        let now = match *permission.borrow_and_update() {
            Permission::No => SealPermit::No,
            Permission::WhileSafe => until.map_or(SealPermit::No, SealPermit::Until),
            Permission::Free => SealPermit::Free,
        };
        permit.send_if_modified(|before| std::mem::replace(before, now) != now);
        tokio::select! {
            changed = permission.changed() => if changed.is_err() { return },
            // The driver has ended, when it does not change any more.
            Ok(()) = safe_until.changed() => {}
        }
    }
}
