//! From the appearance of the database to the end of its replication.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::mpsc;
use tokio::sync::watch;

use super::core::opening::Armed;
use super::core::{self, AtArming, Core, Lane};
use super::disk::{Disk, Outbox};
use super::doubt::DoubtState;
use super::driver::{Driver, Parts};
use super::governor::Governor;
use super::lifecycle::{OnceWork, Policy, do_once};
use super::local::{LocalSide, Noted, describe};
use super::mailbox::Request;
use super::mirror::{Mirror, Mirrors};
use super::on_thread::{OnThread, blocking};
use super::open::{Opener, WithSpill};
use super::{Ended, Event, Events, Settings, Stop, halt};
use crate::clock::Clock;
use crate::db::Watch;
use crate::fsx;
use crate::remote::Remote;
use crate::state::{LocalState, Lock, ResetOrder};
use crate::status::{Counts, Status, StatusWriter};

/// The connections are closed after so many polls' time without a change, and not before the WAL
/// has been reset.
const CLOSE_AFTER_INTERVALS: u32 = 60;
/// The same where all databases together could need more files than may be open.
const CLOSE_SOON_AFTER_INTERVALS: u32 = 2;
/// About so many files a database has open while it is in use.
pub const FILES_EACH: u64 = 9;

/// Everything that a replication's task has from the start.
pub(super) struct Life {
    pub settings: Arc<Settings>,
    pub remote: Remote,
    pub mirrors: Vec<Mirror>,
    /// In the same order.
    pub mirror_writers: Vec<StatusWriter>,
    pub events: Events,
    pub governor: Governor,
    pub writer: StatusWriter,
    pub status: watch::Receiver<Status>,
    pub stop: watch::Receiver<Stop>,
    pub requests: mpsc::UnboundedReceiver<Request>,
    pub watch: Watch,
}

impl Life {
    pub async fn run(self: Box<Self>) -> Ended {
        let (settings, events) = (self.settings.clone(), self.events.clone());
        let (status, stopped, files) = (self.status.clone(), self.stop.clone(), self.watch.clone());
        // Kept to the end, whatever it is: no second process must begin where this one has given
        // up.
        let mut lock = None;
        let mut ended = replicate(self, &mut lock).await;
        if settings.may_vanish {
            ended = Box::pin(deleted(&settings.path, ended, &status)).await;
        }
        if let Ended::Failed { why } = &ended {
            let name = settings.path.display().to_string();
            tracing::error!(db = %name, "replication has ended: {why}");
            events.send(Event::Failed { why: why.clone() });
            if lock.is_some() && settings.once.is_none() {
                // `files` tells what becomes of the database.
                Box::pin(halt::keep_saying(&name, why, &status, files, stopped, settings.clock)).await;
            }
        }
        ended
    }
}

/// Whoever deletes a database that may vanish ends its replication. That is an end in order if
/// nothing of it waits, and nothing lies in its place.
async fn deleted(path: &Path, ended: Ended, status: &watch::Receiver<Status>) -> Ended {
    let Ended::Failed { .. } = ended else { return ended };
    let Status { captured, confirmed, .. } = *status.borrow();
    let looked = path.to_owned();
    let is_gone = blocking(move || matches!(fsx::metadata_if_exists(&looked), Ok(None))).await;
    if !is_gone || captured > confirmed {
        return ended;
    }
    let newest = confirmed.map_or_else(|| "nothing".to_owned(), |txid| format!("everything up to TXID {txid}"));
    tracing::info!(db = %path.display(), "the database was deleted; the replica holds {newest}, and keeps it");
    Ended::Synced(confirmed)
}

/// From the appearance of the database to the end. There may be thousands of databases in which
/// nothing happens: what is only needed at the beginning or at the end has memory of its own then.
async fn replicate(life: Box<Life>, lock: &mut Option<Arc<Lock>>) -> Ended {
    let (driver, once) = match Box::pin(open(life, lock)).await {
        Ok(opened) => opened,
        Err(ended) => return ended,
    };
    let ended = driver.run().await;
    match once {
        Some(once) => Box::pin(once.finish(ended)).await,
        None => ended,
    }
}

/// Opens the database, once it is there and may be.
async fn open(life: Box<Life>, lock: &mut Option<Arc<Lock>>) -> Result<(Box<Driver>, Option<Box<Finishing>>), Ended> {
    let Life {
        settings, remote, mirrors, mirror_writers, events, governor, writer, mut stop, requests, mut watch, ..
    } = *life;
    let opener = Opener {
        settings: settings.clone(),
        remote: &remote,
        mirrors: &mirrors,
        governor: &governor,
        events: &events,
        stop: &mut stop,
        watch: &mut watch,
        lock: &mut *lock,
    };
    let (Armed { database, is_new, is_started }, look) = opener.open().await?;
    let shared = (governor.clone(), writer.counts().clone());
    let opened = Box::pin(open_notes(&settings, &remote, database, is_new, shared, !mirrors.is_empty())).await;
    let (mut disk, lane, outbox, noted) = opened;
    disk.keep_lock(lock.clone());
    let (was_cut_off, is_known) = (noted.last_synced.was_cut_off(), noted.is_known);
    let known = AtArming { is_started, was_cut_off, is_known };
    let (config, seed) = (core_config(&settings, &mirrors), settings.clock.random_u64());
    let core = Core::new(config, seed, lane, known, settings.clock.now());
    let local = Box::new(LocalSide {
        settings: settings.clone(),
        remote: remote.clone(),
        stop: stop.clone(),
        disk: OnThread::new(disk),
        seen: None,
        accepted: noted.is_reset,
        confirmed: None,
        doubt: DoubtState::default(),
    });
    let once = settings.once.zip(settings.lifecycle.clone()).map(|(once, policy)| {
        let (remote, stop, governor, clock) = (remote.clone(), stop.clone(), governor.clone(), settings.clock);
        Box::new(Finishing { once, policy, remote, stop, governor, clock })
    });
    let running = Mirrors::start(mirrors.clone(), mirror_writers, &remote, &settings, &stop);
    let mirrors = (mirrors, running);
    let parts = Parts { settings, remote, mirrors, writer, stop, events, watch, requests, governor };
    Ok((Box::new(Driver::new(parts, core, local, look, noted, outbox)), once))
}

/// Reads what earlier runs left beside the database.
async fn open_notes(
    settings: &Arc<Settings>,
    remote: &Remote,
    WithSpill { db, spill }: WithSpill,
    is_new: bool,
    (governor, counts): (Governor, Arc<Counts>),
    has_mirrors: bool,
) -> (Disk, Lane, Outbox, Noted) {
    let (settings, address) = (settings.clone(), remote.address().to_owned());
    blocking(move || {
        let (state, replica) = settings.notes(&address);
        let mut last_synced = replica.last_synced();
        let (is_reset, is_known) = (is_reset(&state), replica.is_known_file());
        let noted = Noted { last_synced: last_synced.clone(), is_reset, is_known, is_new };
        if let Err(error) = last_synced.reopen() {
            tracing::debug!(db = %settings.path.display(), "{error}");
        }
        let mut disk = Disk::new(db, spill, last_synced, governor, settings.clock);
        disk.count_in(counts);
        if has_mirrors {
            disk.keep_for_mirrors();
        }
        let (lane, outbox) = describe(&mut disk);
        (disk, lane, outbox, noted)
    })
    .await
}

/// Whether `millstream reset` was called for the file that lies here.
fn is_reset(state: &LocalState) -> bool {
    match state.reset_order() {
        ResetOrder::ThisFile => true,
        ResetOrder::None => false,
        ResetOrder::AnotherFile => {
            let name = state.database().display();
            tracing::warn!(
                db = %name,
                "`millstream reset` was called for another file than this: it is compared with the replica"
            );
            if let Err(error) = state.forget_reset_order() {
                tracing::warn!(db = %name, "{error}");
            }
            false
        }
    }
}

/// What was asked for once everything is in the bucket.
struct Finishing {
    once: OnceWork,
    policy: Arc<Policy>,
    remote: Remote,
    stop: watch::Receiver<Stop>,
    governor: Governor,
    clock: Clock,
}

impl Finishing {
    /// The lock is still ours.
    async fn finish(self, ended: Ended) -> Ended {
        let Ended::Synced(Some(newest)) = &ended else { return ended };
        let work = async {
            let _turn = self.governor.merge().await;
            do_once(self.once, &self.policy, &self.remote, *newest).await
        };
        tokio::select! {
            done = work => match done {
                Ok(()) => ended,
                Err(error) => Ended::Failed { why: format!("every commit is in the replica, but {error}") },
            },
            () = deadline_passes(self.stop, self.clock) => {
                let why = "every commit is in the replica, but there was no time for the snapshot or retention".into();
                Ended::Failed { why }
            }
        }
    }
}

/// Returns when the deadline is set and has passed; it may be moved meanwhile.
async fn deadline_passes(mut stop: watch::Receiver<Stop>, clock: Clock) {
    loop {
        let deadline = *stop.borrow_and_update();
        let passed = tokio::time::sleep_until(deadline.unwrap_or_else(|| clock.instant()));
        let changed = tokio::select! {
            () = passed, if deadline.is_some() => return,
            changed = stop.changed() => changed,
        };
        if changed.is_err() {
            // It cannot be moved any more.
            return tokio::time::sleep_until(deadline.unwrap_or_else(|| clock.instant())).await;
        }
    }
}

/// When connections that are not used are closed.
fn close_after(settings: &Settings) -> Duration {
    let databases = settings.all.borrow().len() as u64;
    match databases.saturating_mul(FILES_EACH) > settings.open_files / 2 {
        true => settings.monitor_interval * CLOSE_SOON_AFTER_INTERVALS,
        false => settings.checkpoint_interval.max(settings.monitor_interval * CLOSE_AFTER_INTERVALS),
    }
}

fn core_config(settings: &Settings, mirrors: &[Mirror]) -> core::Config {
    core::Config {
        monitor_interval: settings.monitor_interval,
        checkpoint_interval: settings.checkpoint_interval,
        min_checkpoint_page_count: settings.tuning.min_checkpoint_page_count,
        truncate_page_n: settings.tuning.truncate_page_n,
        sync_interval: settings.sync_interval,
        max_sync_wal_bytes: settings.tuning.max_sync_wal_bytes,
        final_retry_interval: settings.final_retry_interval,
        proof_lasts: settings.proof_lasts,
        once: settings.once.is_some(),
        mirror_interval: mirrors.iter().map(|mirror| mirror.settings.sync_interval).min(),
        close_after: settings.once.is_none().then(|| close_after(settings)),
        may_vanish: settings.may_vanish,
        seal: settings.seal.as_ref().map(|permit| *permit.borrow()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, F>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    /// Thousands of databases in which nothing happens are kept by one process.
    #[test]
    fn what_a_database_at_rest_keeps_is_small() {
        let (task, driver) = (size_of_future(Life::run), size_of::<Driver>());
        assert!(task <= 2500 && driver <= 3000, "{task} bytes for the task, {driver} for the driver");
    }
}
