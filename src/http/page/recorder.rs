//! The task that keeps what the page shows and nothing else needs: the lag of the last hour, and
//! what the replicas held when they were last listed.
//!
//! Looking at the lag asks the fleet alone. A replica is listed only when a person opens the page,
//! and no more often than once in a minute: a page that stays open costs no request.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::document::PointsEntry;
use super::lags::Lags;
use super::listed::{of_failure, of_listing};
use crate::clock::Clock;
use crate::fleet::FleetHandle;
use crate::remote::Layout;
use crate::replicate::DatabaseId;

/// How often the lag is looked at. What is behind for a shorter time may be missed.
const EVERY: Duration = Duration::from_secs(2);
/// A listing is not made again within this time.
const LASTS: Duration = Duration::from_secs(60);
/// The same for a listing that has failed: the store may be back.
const FAILURE_LASTS: Duration = Duration::from_secs(5);
/// Replicas that are listed when a page is opened, and those that are listed at a time.
const LISTED_MAX: usize = 20;
const AT_A_TIME: usize = 4;
/// Replicas whose listing is remembered.
const REMEMBERED_MAX: usize = 200;
/// Time for one listing.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a page that was opened waits for its listings, so that it has them also without a
/// script.
const PAGE_WAITS: Duration = Duration::from_millis(800);

/// What is kept of one database.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The longest lag of each interval of the last hour in milliseconds, the newest last.
    pub lag_ms: Vec<u32>,
    /// `None`: it was not listed yet.
    pub points: Option<PointsEntry>,
    /// It is being listed.
    pub is_listing: bool,
}

struct Question {
    ids: Vec<u64>,
    opened: bool,
    reply: oneshot::Sender<Vec<Recorded>>,
}

/// Asks the task.
#[derive(Clone)]
pub struct Recorder {
    questions: mpsc::Sender<Question>,
    /// Listings that are not complete.
    open: watch::Receiver<usize>,
}

impl Recorder {
    /// The task ends when its future is dropped.
    pub fn new(fleet: FleetHandle, clock: Clock) -> (Recorder, impl Future<Output = Infallible> + Send) {
        let (sender, questions) = mpsc::channel(16);
        let (open, receiver) = watch::channel(0);
        let task = Task {
            fleet,
            clock,
            began: clock.instant(),
            lags: Lags::default(),
            listed: BTreeMap::new(),
            waiting: VecDeque::new(),
            under_way: BTreeSet::new(),
            listings: JoinSet::new(),
            open,
        };
        (Recorder { questions: sender, open: receiver }, task.run(questions))
    }

    /// What is kept of these databases, in their order. If a person has opened the page, they are
    /// listed anew first.
    pub async fn recorded(&self, ids: Vec<u64>, opened: bool) -> Vec<Recorded> {
        let first = self.ask(ids.clone(), opened).await;
        if !opened || !first.iter().any(|recorded| recorded.is_listing) {
            return first;
        }
        let mut open = self.open.clone();
        // It is as well if they are not complete in time: the page says so.
        let _ = tokio::time::timeout(PAGE_WAITS, open.wait_for(|open| *open == 0)).await;
        self.ask(ids, false).await
    }

    async fn ask(&self, ids: Vec<u64>, opened: bool) -> Vec<Recorded> {
        let (reply, answer) = oneshot::channel();
        // The task is gone only while the program ends.
        let _ = self.questions.send(Question { ids, opened, reply }).await;
        answer.await.unwrap_or_default()
    }
}

struct Listed {
    at: Instant,
    points: PointsEntry,
}

struct Task {
    fleet: FleetHandle,
    clock: Clock,
    began: Instant,
    lags: Lags,
    listed: BTreeMap<u64, Listed>,
    /// To be listed.
    waiting: VecDeque<u64>,
    /// Being listed.
    under_way: BTreeSet<u64>,
    listings: JoinSet<(u64, Option<PointsEntry>)>,
    open: watch::Sender<usize>,
}

impl Task {
    async fn run(mut self, mut questions: mpsc::Receiver<Question>) -> Infallible {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.look().await,
                Some(question) = questions.recv() => {
                    if question.opened {
                        self.want(&question.ids);
                    }
                    self.list();
                    // Whoever asked may have stopped waiting.
                    let _ = question.reply.send(question.ids.iter().map(|id| self.recorded(*id)).collect());
                }
                Some(done) = self.listings.join_next() => {
                    if let Ok((id, points)) = done {
                        self.under_way.remove(&id);
                        self.remember(id, points);
                    }
                    self.list();
                }
            }
            self.open
                .send_if_modified(|open| std::mem::replace(open, self.waiting.len() + self.under_way.len()) != *open);
        }
    }

    fn age(&self) -> Duration {
        self.clock.instant().saturating_duration_since(self.began)
    }

    async fn look(&mut self) {
        // If the fleet is gone, the program is ending.
        let lags = self.fleet.lags(self.clock.instant()).await.unwrap_or_default();
        let age = self.age();
        lags.into_iter().for_each(|(id, lag)| self.lags.note(id.0, lag, age));
        self.lags.forget(age);
    }

    fn recorded(&self, id: u64) -> Recorded {
        Recorded {
            lag_ms: self.lags.last_hour(id, self.age()),
            points: self.listed.get(&id).map(|listed| listed.points.clone()),
            is_listing: self.under_way.contains(&id) || self.waiting.contains(&id),
        }
    }

    /// These are to be listed, if they were not just now.
    fn want(&mut self, ids: &[u64]) {
        let now = self.clock.instant();
        for id in ids.iter().take(LISTED_MAX) {
            let is_recent = self.listed.get(id).is_some_and(|listed| {
                let lasts = if listed.points.error.is_some() { FAILURE_LASTS } else { LASTS };
                now.saturating_duration_since(listed.at) < lasts
            });
            let is_known = is_recent || self.under_way.contains(id) || self.waiting.contains(id);
            if !is_known && self.waiting.len() < REMEMBERED_MAX {
                self.waiting.push_back(*id);
            }
        }
    }

    fn list(&mut self) {
        while self.under_way.len() < AT_A_TIME {
            let Some(id) = self.waiting.pop_front() else { return };
            self.under_way.insert(id);
            let (fleet, clock) = (self.fleet.clone(), self.clock);
            self.listings.spawn(async move { (id, list(&fleet, id, clock).await) });
        }
    }

    fn remember(&mut self, id: u64, points: Option<PointsEntry>) {
        let Some(points) = points else { return };
        self.listed.insert(id, Listed { at: self.clock.instant(), points });
        while self.listed.len() > REMEMBERED_MAX {
            let oldest = self.listed.iter().min_by_key(|(_, listed)| listed.at).map(|(id, _)| *id);
            oldest.and_then(|id| self.listed.remove(&id));
        }
    }
}

/// One LIST of the replica that fences; `None` if the database is gone.
async fn list(fleet: &FleetHandle, id: u64, clock: Clock) -> Option<PointsEntry> {
    let (name, remote) = fleet.first_replica(DatabaseId(id)).await.ok()?;
    let listed = tokio::time::timeout(PATIENCE, remote.listing()).await;
    let now_ms = clock.unix_ms();
    Some(match listed {
        Ok(Ok(listing)) => {
            let mut points = of_listing(&name, &listing, now_ms);
            // A directory has no price.
            points.month_dollars = points.month_dollars.filter(|_| remote.layout() == Layout::S3);
            points
        }
        Ok(Err(error)) => of_failure(&name, error.to_string(), now_ms),
        Err(_) => of_failure(&name, format!("no answer within {PATIENCE:?}"), now_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MACHINE;
    use crate::fleet::testing::App;
    use crate::replicate::Limits;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn a_replica_is_listed_when_the_page_is_opened_and_not_again_at_once() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = MemoryStore::new();
        let app = App::new(&dir, "app.db", store);
        app.write(100);
        let (fleet, _events) = FleetHandle::new(Limits::default());
        let id = fleet.add(app.registration()).await.expect("added");
        fleet.sync(id, MACHINE.instant() + PATIENCE).await.expect("asked").await.expect("synced");
        let (recorder, recording) = Recorder::new(fleet.clone(), MACHINE);
        let task = tokio::spawn(recording);
        assert!(recorder.recorded(vec![id.0], false).await[0].points.is_none(), "nothing is listed unasked");
        let mut shown = recorder.recorded(vec![id.0, 99], true).await;
        while shown[0].is_listing {
            tokio::task::yield_now().await;
            shown = recorder.recorded(vec![id.0, 99], false).await;
        }
        let points = shown[0].points.clone().expect("listed");
        assert_eq!((points.replica.as_str(), points.error.as_deref()), ("first", None));
        assert!(points.objects > 0 && !points.ranges.is_empty());
        assert!(shown[1].points.is_none(), "there is no such database");
        let again = recorder.recorded(vec![id.0], true).await;
        assert_eq!(again[0].points.as_ref().map(|points| &points.listed_at), Some(&points.listed_at));
        assert!(!again[0].is_listing, "it was listed just now");
        task.abort();
    }
}
