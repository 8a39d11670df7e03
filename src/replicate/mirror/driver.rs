//! Waits for a mirror's events and carries out what its core makes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Mirror;
use super::core::{Config, Core, Effect, Event, Found, Notice, Outcome, Trouble};
use super::relation::relation;
use super::transfer::{Source, begin_anew, copy};
use crate::ltx::{Header, Txid};
use crate::page::PageSize;
use crate::remote::Remote;
use crate::replicate::lifecycle::{Lifecycle, Shipped};
use crate::replicate::look::look;
use crate::replicate::on_thread::{blocking, joined};
use crate::replicate::{Settings, Stop};
use crate::state::{LastSynced, SpilledFile};
use crate::status::StatusWriter;

/// Objects that wait in memory for one mirror, at most. What does not fit is read from the first
/// replica.
const AT_HAND_BYTES: usize = 4 << 20;

/// What a mirror is told by the replication.
#[derive(Clone, Debug)]
pub enum Offer {
    /// Everything up to there may be copied.
    Final(Txid),
    /// The first replica has this object.
    Shipped(Shipped),
    /// This is on the local disk, and has its number for good.
    Kept(Vec<SpilledFile>),
    /// The first replica takes nothing, or does again.
    FirstIsAway(bool),
    /// It must be done by then, and nothing more comes.
    Finish(Instant),
}

/// What a driver has from the start.
pub struct Parts {
    pub mirror: Mirror,
    pub first: Remote,
    pub settings: Arc<Settings>,
    pub offers: mpsc::UnboundedReceiver<Offer>,
    pub stop: watch::Receiver<Stop>,
    pub writer: StatusWriter,
}

enum Arrived {
    /// With the header of the object that it ends with.
    Looked(Result<(Found, Option<Header>), Trouble>, Box<LastSynced>),
    Copied(Result<Shipped, Trouble>),
    BegunAnew(Result<Header, Trouble>),
}

pub struct Driver {
    parts: Parts,
    core: Core,
    work: JoinSet<Arrived>,
    at_hand: BTreeMap<Txid, Source>,
    bytes_at_hand: usize,
    noted: LastSynced,
    /// The newest TXID that is final.
    newest: Option<Txid>,
    /// The history goes on in local files to there: a mirror may have been given it before.
    kept_to: Option<Txid>,
    /// Of the newest TXID in the mirror.
    page_size: Option<PageSize>,
    lifecycle: Option<Lifecycle>,
}

impl Driver {
    pub async fn begin(parts: Parts) -> Driver {
        let noted = load_note(&parts).await;
        let config = Config {
            sync_interval: parts.mirror.settings.sync_interval,
            final_retry_interval: parts.settings.final_retry_interval,
            proof_lasts: parts.settings.proof_lasts,
        };
        Driver {
            core: Core::new(config, parts.settings.clock.random_u64()),
            parts,
            work: JoinSet::new(),
            at_hand: BTreeMap::new(),
            bytes_at_hand: 0,
            noted,
            newest: None,
            kept_to: None,
            page_size: None,
            lifecycle: None,
        }
    }

    /// Follows the first replica until it is told to finish.
    pub async fn run(mut self) -> Outcome {
        loop {
            let Some(event) = self.next_event().await else {
                // The replication is gone.
                return Outcome { newest: None, why: None };
            };
            for effect in self.core.on_event(event, self.parts.settings.clock.now()) {
                self.carry_out(effect);
            }
            if let Some(outcome) = self.core.outcome() {
                let outcome = outcome.clone();
                self.work.shutdown().await;
                self.close(&outcome).await;
                return outcome;
            }
        }
    }

    async fn next_event(&mut self) -> Option<Event> {
        let (wake_at, clock) = (self.core.wake_at(), self.parts.settings.clock);
        Some(tokio::select! {
            biased;
            Some(arrived) = self.work.join_next() => {
                let arrived = joined(arrived).await;
                self.arrived(arrived).await
            }
            offer = self.parts.offers.recv() => self.offered(offer?),
            () = tokio::time::sleep_until(wake_at.unwrap_or_else(|| clock.instant())), if wake_at.is_some() => Event::Timer,
        })
    }

    fn offered(&mut self, offer: Offer) -> Event {
        let now = self.parts.settings.clock.instant();
        let last = match offer {
            Offer::Finish(deadline) => return Event::Finish(deadline),
            Offer::FirstIsAway(is_away) => return Event::FirstIsAway(is_away),
            Offer::Final(txid) => Some(txid),
            Offer::Shipped(shipped) => {
                let txid = shipped.header.max_txid;
                if let Some(bytes) = shipped.bytes {
                    self.bytes_at_hand += bytes.len();
                    self.at_hand.insert(txid, Source::Memory(shipped.header, bytes));
                    self.make_room();
                }
                Some(txid)
            }
            Offer::Kept(files) => {
                self.kept_to = self.kept_to.max(files.last().map(|file| file.header.max_txid));
                for file in files {
                    self.at_hand.entry(file.header.min_txid).or_insert(Source::File(file));
                }
                None
            }
        };
        let Some(last) = last else { return Event::Timer };
        if Some(last) > self.newest {
            self.newest = Some(last);
            self.parts.writer.noticed(now);
            self.parts.writer.captured(last, now);
        }
        Event::Final(last)
    }

    /// A mirror that is far behind keeps nothing in memory.
    fn make_room(&mut self) {
        if self.bytes_at_hand > AT_HAND_BYTES || !self.parts.mirror.governor.has_room() {
            self.at_hand.retain(|_, source| matches!(source, Source::File(_)));
            self.bytes_at_hand = 0;
        }
    }

    async fn arrived(&mut self, arrived: Arrived) -> Event {
        match arrived {
            Arrived::Looked(looked, noted) => {
                self.noted = *noted;
                if let Ok((found, newest)) = &looked {
                    self.page_size = newest.map(|header| header.page_size);
                    if let (Found::Same(_), Some(header)) = (found, newest) {
                        self.in_step(*header).await;
                    }
                }
                Event::Looked(looked.map(|(found, _)| found))
            }
            Arrived::Copied(Ok(shipped)) => {
                let header = shipped.header;
                if let Some(lifecycle) = &mut self.lifecycle {
                    lifecycle.shipped(shipped);
                }
                self.in_step(header).await;
                Event::Copied(Ok(header.max_txid))
            }
            Arrived::Copied(Err(trouble)) => Event::Copied(Err(trouble)),
            Arrived::BegunAnew(Ok(header)) => {
                self.in_step(header).await;
                Event::BegunAnew(Ok(header.max_txid))
            }
            Arrived::BegunAnew(Err(trouble)) => Event::BegunAnew(Err(trouble)),
        }
    }

    /// The mirror has everything up to the object with this header.
    async fn in_step(&mut self, newest: Header) {
        self.page_size = Some(newest.page_size);
        while let Some(oldest) = self.at_hand.first_entry().filter(|oldest| *oldest.key() <= newest.max_txid) {
            if let Source::Memory(_, bytes) = oldest.remove() {
                self.bytes_at_hand = self.bytes_at_hand.saturating_sub(bytes.len());
            }
        }
        let (mut noted, first) = (self.noted.clone(), self.parts.first.address().to_owned());
        let (noted, written) = blocking(move || {
            let written = noted.in_step_as_mirror(&newest, &first);
            (noted, written)
        })
        .await;
        self.noted = noted;
        if let Err(error) = written {
            tracing::debug!("{error}");
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Look => self.look(),
            Effect::Copy(txid) => {
                let (at_hand, page_size) = (self.at_hand.get(&txid).cloned(), self.page_size);
                let (first, mirror) = (self.parts.first.clone(), self.parts.mirror.clone());
                self.work.spawn(async move {
                    let _turn = mirror.governor.upload().await;
                    Arrived::Copied(copy(at_hand, &first, &mirror.remote, txid, page_size).await)
                });
            }
            Effect::BeginAnew(after) => {
                let (first, mirror) = (self.parts.first.clone(), self.parts.mirror.clone());
                let limit = self.newest.unwrap_or(Txid::FIRST);
                self.work.spawn(async move {
                    let _turn = mirror.governor.merge().await;
                    Arrived::BegunAnew(begin_anew(&first, &mirror.remote, after, limit).await)
                });
            }
            Effect::Confirmed(txid) => {
                self.parts.writer.confirmed(txid, self.parts.settings.clock.unix_ms());
                if Some(txid) >= self.newest {
                    self.parts.writer.idle();
                }
            }
            Effect::Maintain(false) => self.lifecycle = None,
            Effect::Maintain(true) => self.maintain(),
            Effect::Say(notice) => self.say(&notice),
        }
    }

    fn look(&mut self) {
        let (first, Mirror { remote: mirror, governor, .. }) = (self.parts.first.clone(), self.parts.mirror.clone());
        let (at_hand, noted) = (self.at_hand.clone(), self.noted.clone());
        let newest = self.newest.max(self.kept_to).unwrap_or(Txid::FIRST);
        self.work.spawn(async move {
            let looked = async {
                let seen = {
                    let _turn = governor.look().await;
                    Box::pin(look(&mirror)).await?
                };
                mirror.announce(&seen.listing);
                let at_hand = |txid: Txid| at_hand.get(&txid).cloned();
                let found = relation(&first, (&mirror, &seen), &noted, newest, at_hand).await?;
                Ok((found, seen.end.map(|end| end.newest)))
            };
            let looked = looked.await;
            Arrived::Looked(looked, Box::new(noted))
        });
    }

    fn maintain(&mut self) {
        let policy = self.parts.mirror.settings.lifecycle.clone().filter(|_| self.parts.settings.once.is_none());
        if let (None, Some(policy)) = (&self.lifecycle, policy) {
            let Mirror { remote, governor, .. } = self.parts.mirror.clone();
            let (writer, stop) = (self.parts.writer.refusals(), self.parts.stop.clone());
            self.lifecycle = Some(Lifecycle::start(policy, remote, writer, stop, governor));
        }
    }

    /// Notes that the mirror is in order, for the next start.
    async fn close(&mut self, outcome: &Outcome) {
        let db = self.parts.settings.path.display().to_string();
        let (name, address) = (&self.parts.mirror.settings.name, self.parts.mirror.remote.address());
        if let Some(why) = &outcome.why {
            let newest = outcome.newest.map_or_else(|| "none".to_owned(), |txid| txid.to_string());
            tracing::warn!(
                db = %db,
                "the replica {name} ({address}) does not have the last commits: its newest TXID is {newest}: {why}"
            );
        }
        let (Some(txid), None) = (outcome.newest, &outcome.why) else { return };
        let mut noted = self.noted.clone();
        if let Err(error) = blocking(move || noted.close(txid, None)).await {
            tracing::debug!("{error}");
        }
    }

    fn say(&self, notice: &Notice) {
        let now = self.parts.settings.clock.instant();
        let db = self.parts.settings.path.display();
        let (name, address) = (&self.parts.mirror.settings.name, self.parts.mirror.remote.address());
        match notice {
            Notice::Outage { lasting, .. } => {
                self.parts.writer.outage_began(now.checked_sub(*lasting).unwrap_or(now));
            }
            Notice::Refused(_) => self.parts.writer.outage_began(now),
            Notice::Back { .. } | Notice::BegunAnew(_) => self.parts.writer.outage_ended(),
        }
        match notice {
            Notice::Outage { why, lasting } => tracing::error!(
                db = %db,
                "cannot replicate to the replica {name} ({address}), for {:.1} s now: {why}; still retrying, the first replica goes on",
                lasting.as_secs_f64()
            ),
            Notice::Back { after } => {
                tracing::info!(db = %db, "the replica {name} ({address}) is back after {after:.1?}")
            }
            Notice::Refused(why) => tracing::error!(
                db = %db,
                "the replica {name} ({address}) is not written to: {why}; the first replica goes on: give the replica an empty path, or \
                 move away what is there"
            ),
            Notice::BegunAnew(txid) => tracing::warn!(
                db = %db,
                "the replica {name} ({address}) was too far behind, or empty: it begins with a snapshot of TXID {txid}"
            ),
        }
    }
}

async fn load_note(parts: &Parts) -> LastSynced {
    let (_, state) = parts.settings.notes(parts.mirror.remote.address());
    blocking(move || state.last_synced()).await
}
