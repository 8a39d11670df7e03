//! Some processes are to seal the history; whether they may changes as their claims do.

use std::time::Duration;

use super::super::broken::Broken;
use super::super::oracle::Violation;
use super::World;
use crate::replicate::core::{Effect, Event, LocalOrder, RemoteOrder, SealPermit};

/// Between two commits, in peace.
pub(super) const NO_COMMITS_MS: u64 = 1_000_000_000;
/// A permission is for such a time at most.
const PERMITTED_MS: u64 = 15_000;

impl World {
    pub(super) fn permit(&mut self) -> SealPermit {
        if self.is_in_peace() {
            return SealPermit::Until(Duration::MAX);
        }
        match self.dice.roll(8) {
            0 => SealPermit::Free,
            1..3 => SealPermit::No,
            _ => SealPermit::Until(self.now().boot + Duration::from_millis(self.dice.roll(PERMITTED_MS))),
        }
    }

    fn is_in_peace(&self) -> bool {
        self.commit_every_ms == NO_COMMITS_MS
    }

    pub(super) fn permission_changes(&mut self, node: usize) -> Result<(), Violation> {
        let permit = self.permit();
        self.permit_to_seal(node, permit)
    }

    pub(super) fn permit_all_to_seal(&mut self) -> Result<(), Violation> {
        (0..self.nodes.len()).try_for_each(|node| self.permit_to_seal(node, SealPermit::Until(Duration::MAX)))
    }

    /// Nothing is in the way any more.
    pub(super) fn must_have_sealed(&self, node: usize) -> Result<(), Violation> {
        let this = &self.nodes[node];
        match &this.process {
            Some(process)
                if matches!(process.permit, Some(SealPermit::Until(_)))
                    && !process.is_sealed
                    && !this.disk.content.is_empty() =>
            {
                Err(format!("node {node} may seal the history, and never did"))
            }
            _ => Ok(()),
        }
    }

    /// Nothing, if it is not to seal the history, or need not any more.
    fn permit_to_seal(&mut self, node: usize, permit: SealPermit) -> Result<(), Violation> {
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        if matches!(process.permit, None | Some(SealPermit::Free)) {
            return Ok(());
        }
        process.permit = Some(permit);
        let told = match self.broken {
            Some(Broken::CreatesWithoutPermission) => SealPermit::Until(Duration::MAX),
            _ => permit,
        };
        self.tell(node, Event::Permit(told))
    }

    /// A core says so.
    pub(super) fn is_sealed(&mut self, node: usize) -> Result<(), Violation> {
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        process.is_sealed = true;
        let first_serial = process.first_serial;
        match self.nodes[node].disk.content.is_empty() {
            // Nothing could be created, and its first commit finds out who came before.
            true => Ok(()),
            false => self.oracle.sealed(node, first_serial, &self.bucket),
        }
    }

    /// An object is about to be created, perhaps.
    pub(super) fn must_be_permitted(&self, node: usize, effect: &Effect) -> Result<(), Violation> {
        let creates = matches!(
            effect,
            Effect::Local(LocalOrder::Send) | Effect::Remote(RemoteOrder::SendBatch(_) | RemoteOrder::SendFile(_))
        );
        let Some(process) = self.nodes[node].process.as_ref().filter(|_| creates) else { return Ok(()) };
        match process.permit {
            Some(permit) if !process.is_sealed && !permit.allows(self.now()) => {
                Err(format!("node {node} creates an object without permission"))
            }
            _ => Ok(()),
        }
    }
}
