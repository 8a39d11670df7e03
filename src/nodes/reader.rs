//! A follower's connection to the primary: made again whenever it ends, and given up when another
//! node is the primary.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{broadcast, watch};

use super::ask::Asked;
use super::frame::{ALIVE_EVERY, Frame, send};
use super::introduction::{Introduction, PROTOCOL};
use crate::claim::Leader;
use crate::clock::{Backoff, Clock};
use crate::remote::{Epoch, Position, Pushed};
use crate::secret::Secret;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The primary says something once a second.
const SILENCE: Duration = Duration::from_secs(5);
/// Positions change more often than others need to know.
const REPORT_EVERY: Duration = Duration::from_millis(100);

pub struct Reader {
    pub me: Introduction,
    pub secret: Option<Secret>,
    /// The addresses of their replicas.
    pub databases: Vec<String>,
    pub leader: watch::Receiver<Leader>,
    /// Where the copies are.
    pub positions: watch::Receiver<Vec<Option<Position>>>,
    /// The claim of the primary that pushes now.
    pub lead: watch::Sender<Option<Epoch>>,
    /// For the copy of each database.
    pub pushed: Vec<broadcast::Sender<Pushed>>,
    pub clock: Clock,
}

impl Reader {
    /// Until who the primary is does not change any more.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut dice = self.clock.dice();
        let mut said = None;
        loop {
            let leader = self.leader.borrow_and_update().clone();
            if let Leader::At { epoch, name, url: Some(url) } = &leader {
                let asked = Asked { url: url.clone(), secret: self.secret.clone() };
                let mut changed = self.leader.clone();
                let ended = tokio::select! {
                    ended = self.follow(*epoch, &asked, &mut backoff) => ended,
                    _ = changed.wait_for(|now| *now != leader) => Ok(()),
                };
                self.lead.send_if_modified(|lead| lead.take().is_some());
                if let Err(why) = ended {
                    // Once for each reason: the bucket is read meanwhile.
                    match said.replace(why.clone()) == Some(why.clone()) {
                        true => tracing::debug!("node {name} does not push: {why}"),
                        false => tracing::warn!("node {name} does not push, and its bucket is read: {why}"),
                    }
                    let pause = backoff.next_pause(&mut dice);
                    let _ = tokio::time::timeout(pause, changed.wait_for(|now| *now != leader)).await;
                }
                if changed.has_changed().is_err() {
                    return;
                }
            } else if self.leader.changed().await.is_err() {
                return;
            }
        }
    }

    /// One connection, from its beginning to its end.
    async fn follow(&mut self, epoch: Epoch, asked: &Asked, backoff: &mut Backoff) -> Result<(), String> {
        let mut request = asked.request(Method::GET, "/stream")?;
        self.me.put(request.headers_mut())?;
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
        let mut connection = asked.connect().await?;
        let answer = asked.send(&mut connection, request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return asked.body(answer, StatusCode::SWITCHING_PROTOCOLS).await.map(drop);
        }
        let stream = hyper::upgrade::on(answer).await.map_err(|error| format!("{}: {error}", asked.url))?;
        let read = self.read(epoch, TokioIo::new(stream), backoff).await;
        read.map_err(|error| format!("the connection to {} ended: {error}", asked.url))
    }

    async fn read(
        &self,
        epoch: Epoch,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        backoff: &mut Backoff,
    ) -> io::Result<()> {
        let (mut from, mut to) = tokio::io::split(stream);
        let Frame::Databases { epoch: theirs, addresses } = next(&mut from).await? else {
            return Err(io::Error::other("it does not say which databases there are"));
        };
        if theirs != epoch {
            return Err(io::Error::other(format!("its claim is {theirs} and not {epoch}")));
        }
        let numbers = numbers(&self.databases, &addresses);
        let listen = async {
            loop {
                if let Frame::Pushed { db, onto, position, bytes } = next(&mut from).await?
                    && let Some(at) = numbers.get(&db)
                {
                    // Without a copy there is no receiver.
                    let _ = self.pushed[*at].send(Pushed { epoch, onto, position, bytes });
                }
            }
        };
        self.lead.send_replace(Some(epoch));
        backoff.reset();
        tokio::select! {
            ended = listen => ended,
            ended = self.report(&numbers, &mut to) => ended,
        }
    }

    async fn report(&self, numbers: &BTreeMap<u16, usize>, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut positions = self.positions.clone();
        loop {
            let now = positions.borrow_and_update().clone();
            let reported = numbers.iter().filter_map(|(db, at)| Some((*db, (*now.get(*at)?)?)));
            send(to, &Frame::Report(reported.collect())).await?;
            tokio::time::sleep(REPORT_EVERY).await;
            if let Ok(Err(_)) = tokio::time::timeout(ALIVE_EVERY - REPORT_EVERY, positions.changed()).await {
                return Ok(());
            }
        }
    }
}

async fn next(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let silent = || io::Error::other(format!("it has said nothing for {SILENCE:?}"));
    tokio::time::timeout(SILENCE, Frame::read(from)).await.unwrap_or_else(|_| Err(silent()))
}

/// Our place of each of their numbers.
fn numbers(ours: &[String], theirs: &[String]) -> BTreeMap<u16, usize> {
    let place = |address: &String| ours.iter().position(|own| own == address);
    (0u16..).zip(theirs).filter_map(|(number, address)| Some((number, place(address)?))).collect()
}
