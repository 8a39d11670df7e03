//! A restore up to the moment before the rename: the database is whole and durable in a temporary
//! file, which is gone when it is dropped.

use std::path::Path;
use std::sync::Arc;

use super::checked_plan::{self, CheckedPlan, Found};
use super::target::Temporary;
use super::v03::{self, OldPlan};
use super::{MAX_ATTEMPTS, Progress, Reached, Request, RestoreError, Restored, engine};
use crate::ltx::Txid;
use crate::remote::Remote;
use crate::store::Key;

/// How many damaged files are replaced by others before the first of them is reported.
const MAX_DAMAGED: usize = 8;

/// A database that waits for its name.
pub struct Fetched {
    pub temporary: Temporary,
    pub restored: Restored,
    /// What was read for it, every byte verified.
    pub objects: Vec<Key>,
}

impl Fetched {
    fn ltx(temporary: Temporary, checked_plan: &CheckedPlan) -> Fetched {
        let restored = Restored {
            reached: Reached::Ltx { txid: checked_plan.plan.txid(), header: checked_plan.newest },
            database_bytes: checked_plan.newest.page_size.database_len(checked_plan.newest.commit),
            files: checked_plan.plan.files.len(),
            bytes: checked_plan.plan.bytes(),
            orphaned: Vec::new(),
        };
        let objects = checked_plan.plan.files.iter().map(|object| object.name.clone()).collect();
        Fetched { temporary, restored, objects }
    }

    fn old(temporary: Temporary, plan: &OldPlan, database_bytes: u64) -> Fetched {
        let restored = Restored {
            reached: Reached::Old { generation: plan.generation, place: plan.place(), time_ms: plan.time_ms() },
            database_bytes,
            files: plan.objects().count(),
            bytes: plan.bytes(),
            orphaned: Vec::new(),
        };
        Fetched { temporary, restored, objects: plan.objects().map(|object| object.name.clone()).collect() }
    }
}

/// Plans and carries out, again when the bucket changed meanwhile, and around damaged files where
/// others hold the same. `output` is where the database would get its name: the temporary file is
/// beside it.
pub async fn fetch(
    remote: &Remote,
    request: &Request,
    output: &Path,
    progress: &Arc<Progress>,
) -> Result<Fetched, RestoreError> {
    let mut avoid: Vec<(Key, String)> = Vec::new();
    let mut first_damage: Option<(Txid, RestoreError)> = None;
    let mut moved = 0;
    loop {
        let checked_plan = match checked_plan::checked_plan(remote, request.target, &avoid).await {
            Ok(Found::Ltx(checked_plan)) => checked_plan,
            Ok(Found::Old(plan)) => match v03::carry_out(remote, request, &plan, output, progress).await {
                Ok((temporary, len)) => return Ok(Fetched::old(temporary, &plan, len)),
                Err(engine::Failure::Changed(_)) if moved + 1 < MAX_ATTEMPTS => {
                    moved += 1;
                    continue;
                }
                Err(failure) => return Err(failure.into_error()),
            },
            Err(checked_plan::Failure::Moved(_)) if moved + 1 < MAX_ATTEMPTS => {
                moved += 1;
                continue;
            }
            // Without the damaged file there is no way to get there: the damage is the answer.
            Err(failure) => return Err(first_damage.map_or_else(|| failure.into_error(), |(_, damage)| damage)),
        };
        if let Some((wanted, damage)) = first_damage.take_if(|(wanted, _)| checked_plan.plan.txid() < *wanted) {
            tracing::error!(
                "without the damaged file the backup ends at {}, before {wanted}",
                checked_plan.plan.txid()
            );
            return Err(damage);
        }
        match engine::carry_out(remote, request, &checked_plan, output, progress).await {
            Ok(temporary) => return Ok(Fetched::ltx(temporary, &checked_plan)),
            Err(engine::Failure::Changed(name)) if moved + 1 < MAX_ATTEMPTS => {
                tracing::info!("{name} has changed since it was listed: planning the restore again");
                moved += 1;
            }
            Err(engine::Failure::Damaged { name, why }) if avoid.len() < MAX_DAMAGED => {
                tracing::warn!("{name} is damaged, looking for other files that hold the same: {why}");
                let damage = RestoreError::Corrupt { name: name.to_string(), why: why.clone() };
                first_damage.get_or_insert((checked_plan.plan.txid(), damage));
                avoid.push((name, why));
            }
            Err(failure) => return Err(failure.into_error()),
        }
    }
}
