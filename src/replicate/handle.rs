//! One replication, as others see it: started, asked, told to end.

use std::sync::Arc;
use std::time::Duration;

use futures_channel::mpsc;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::core::SyncError;
use super::life::Life;
use super::mailbox::{Request, SnapshotError};
use super::mirror::{Mirror, MirrorStatus};
use super::{DatabaseId, Ended, Events, Resources, Settings, Stop};
use crate::ltx::Txid;
use crate::remote::Remote;
use crate::status::{Counts, Status, StatusWriter};

/// The replication looks at the clock itself, and says what was in the way; before the database is
/// open it does not.
const TO_ANSWER: Duration = Duration::from_millis(250);

/// One database's replication, as others see it. It ends when the last of its handles is dropped,
/// too.
#[derive(Clone)]
pub struct Replication {
    stop: watch::Sender<Stop>,
    /// To the driver; before there is one they wait, and after it there is no answer.
    requests: mpsc::UnboundedSender<Request>,
    status: watch::Receiver<Status>,
    counts: Arc<Counts>,
    mirrors: Vec<MirrorStatus>,
    end: Shared<BoxFuture<'static, Ended>>,
    pub(super) task: AbortHandle,
}

impl Replication {
    /// Starts replicating.
    pub fn start(
        id: DatabaseId,
        settings: Arc<Settings>,
        remote: Remote,
        mirrors: Vec<Mirror>,
        resources: &Resources,
    ) -> Replication {
        let (requests, asked) = mpsc::unbounded();
        let (stop, stopped) = watch::channel(None);
        let (writer, status) = StatusWriter::new();
        let counts = writer.counts().clone();
        let names = mirrors.iter().map(|mirror| mirror.settings.name.clone());
        let (mirror_writers, mirror_status) = names
            .map(|name| {
                let (writer, status) = StatusWriter::new();
                let counts = writer.counts().clone();
                (writer, MirrorStatus { name, status, counts })
            })
            .unzip();
        let life = Box::new(Life {
            watch: resources.watches.watch(&settings.path),
            events: Events { id, sender: resources.events.clone() },
            governor: resources.governor.clone(),
            remote: remote.with_clock(settings.clock),
            settings,
            mirrors,
            mirror_writers,
            writer,
            status: status.clone(),
            stop: stopped,
            requests: asked,
        });
        let running = tokio::spawn(life.run());
        let task = running.abort_handle();
        let end = async move {
            match running.await {
                Ok(ended) => ended,
                Err(error) => Ended::Failed { why: format!("replication ended unexpectedly: {error}") },
            }
        };
        Replication { stop, requests, status, counts, mirrors: mirror_status, end: end.boxed().shared(), task }
    }

    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// The same, to be looked at by others.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// What it has done for its first replica, and for all of them.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// How far its other replicas are.
    pub fn mirrors(&self) -> &[MirrorStatus] {
        &self.mirrors
    }

    /// Tells it to bring what is left into the bucket and to end, by the deadline at the latest. A
    /// later call moves the deadline.
    pub fn finish_by(&self, deadline: Instant) {
        self.stop.send_replace(Some(deadline));
    }

    /// Returns at the end: after [`Replication::finish_by`], with `once`, or after a failure.
    /// Anybody may wait for it, again and again.
    pub fn ended(&self) -> impl Future<Output = Ended> + Send + use<> {
        self.end.clone()
    }

    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until everything that is committed now is in the bucket; returns the newest TXID
    /// there.
    pub fn sync(&self, by: Instant) -> impl Future<Output = Result<Option<Txid>, SyncError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        self.answered(Request::Sync { by, reply }, answer, by)
    }

    /// Waits until it is in the database file as well, and the WAL starts over.
    pub fn checkpoint(&self, by: Instant) -> impl Future<Output = Result<Option<Txid>, SyncError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        self.answered(Request::Checkpoint { by, reply }, answer, by)
    }

    /// The TXID that holds, or will hold, everything that is committed now; `None`: there is none.
    pub fn position(&self, by: Instant) -> impl Future<Output = Result<Option<Txid>, SyncError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        self.answered(Request::Position { by, reply }, answer, by)
    }

    fn answered(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<Option<Txid>, SyncError>>,
        by: Instant,
    ) -> impl Future<Output = Result<Option<Txid>, SyncError>> + Send + use<> {
        let asked = self.requests.unbounded_send(request).is_ok();
        async move {
            let gone = || Err(SyncError::Ended("it does not run any more".into()));
            if !asked {
                return gone();
            }
            match tokio::time::timeout_at(by + TO_ANSWER, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => gone(),
                Err(_) => Err(SyncError::TimedOut { why: None }),
            }
        }
    }

    /// Makes a snapshot of what is in the bucket now; returns the TXID that it ends with.
    pub fn snapshot(&self) -> impl Future<Output = Result<Txid, SnapshotError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let asked = self.requests.unbounded_send(Request::Snapshot { reply }).is_ok();
        async move {
            match answer.await {
                Ok(answer) if asked => answer,
                _ => Err(SnapshotError::NotMaintained),
            }
        }
    }
}
