//! One request from its head to the head of its response, and what all requests share.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use tokio::sync::watch;

use super::ack::Acks;
use super::answers;
use super::core::{App, Asked, Course, Need, Standing, Step};
use super::flights::{Flight, Flights};
use super::headers::{to_client, to_server, upgrade, weight};
use super::outgoing::Outgoing;
use super::peers::Peers;
use super::pool::{Exchanged, Failed, Pool};
use super::position::{self, Positioned};
use super::reply::Reply;
use super::room::Room;
use super::secret;
use super::settings::Settings;
use super::tunnel::Tunnels;
use super::wake;
use crate::clock::Clock;
use crate::primary::Peer;

/// To find out in which TXID a write is. It waits for no upload.
const POSITION_TIME: Duration = Duration::from_secs(1);

/// Shared by all connections.
pub struct Front {
    pub settings: Settings,
    clock: Clock,
    standing: watch::Sender<Standing>,
    pub local: Pool,
    pub flights: Flights,
    /// Those that may write, until the application has answered.
    pub writes: Flights,
    pub tunnels: Tunnels,
    peers: Peers,
    acks: Acks,
    positioned: Box<dyn Positioned>,
    room: Room,
    /// Another node has told that there is something to see.
    pub woken: watch::Sender<()>,
}

impl Front {
    pub fn new(settings: Settings, acks: Acks, positioned: Box<dyn Positioned>, clock: Clock) -> Front {
        Front {
            clock,
            standing: watch::Sender::default(),
            local: Pool::new(settings.target.clone(), settings.connect_timeout, clock),
            flights: Flights::default(),
            writes: Flights::default(),
            tunnels: Tunnels::default(),
            peers: Peers::new(settings.connect_timeout, clock),
            acks,
            positioned,
            room: Room::new(&settings.hold),
            woken: watch::Sender::new(()),
            settings,
        }
    }

    /// Something is known now that was not before.
    pub fn learn(&self, change: impl FnOnce(&mut Standing)) {
        self.standing.send_if_modified(|standing| {
            let before = standing.clone();
            change(standing);
            *standing != before
        });
    }

    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// The response to a request that came from `from`.
    pub async fn answer(&self, mut request: Request<Incoming>, from: SocketAddr) -> Response<Reply> {
        let wants_upgrade = upgrade(request.version(), request.headers()).is_some();
        let client = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
        let (mut head, body) = request.into_parts();
        head.extensions.clear();
        if let Err(why) = to_server(&mut head, from) {
            return answers::malformed(why);
        }
        let is_forwarded = secret::take(&mut head.headers, self.settings.secret.as_ref());
        if wake::take(&mut head.headers) && is_forwarded {
            self.woken.send_replace(());
            return answers::no_content();
        }
        let need = self.settings.routes.need(&head.method, head.uri.path(), wants_upgrade);
        let after = (need == Need::Read).then(|| position::brought(&head.headers)).flatten();
        let asked = Asked { need, after, is_forwarded };
        self.pursue(Request::from_parts(head, Outgoing::Streamed(body)), asked, client).await
    }

    /// Until it is answered.
    async fn pursue(&self, mut request: Request<Outgoing>, asked: Asked, client: Option<OnUpgrade>) -> Response<Reply> {
        let must_be_uploaded = self.settings.routes.acks.include(request.method(), request.uri().path());
        let tells_position = self.tells_position(&asked).then(|| position::is_secure(request.headers()));
        let may_write = asked.need == Need::Write;
        let mut course = Course::new(asked, self.settings.hold.wait, self.settings.position_wait);
        let (mut known, mut place) = (self.standing.subscribe(), None);
        loop {
            let (step, (flight, write)) = {
                let standing = known.borrow_and_update();
                let has_room = || {
                    place = self.room.enter(weight(&request));
                    place.is_some()
                };
                let step = course.next(&standing, self.clock.instant(), has_room);
                // While nothing changes: who waits for those under way must not miss one.
                let flight = (step == Step::Pass).then(|| self.flights.begin());
                let write = (step == Step::Pass && may_write).then(|| self.writes.begin());
                (step, (flight, write))
            };
            match step {
                Step::Pass => match self.local.exchange(request).await {
                    Ok(mut exchanged) => {
                        drop(write);
                        if must_be_uploaded && exchanged.response.status() != StatusCode::SWITCHING_PROTOCOLS {
                            match self.acks.uploaded().await {
                                Ok(()) => answers::is_uploaded(exchanged.response.headers_mut()),
                                Err(why) => return answers::not_uploaded(&why),
                            }
                        }
                        if let Some(is_secure) = tells_position {
                            self.tell_position(&mut exchanged, is_secure).await;
                        }
                        return self.respond(exchanged, client, flight);
                    }
                    Err(Failed::Unsent(unsent, error)) => {
                        tracing::debug!("the application does not accept a connection: {error}");
                        request = *unsent;
                        course.unsent(self.clock.instant());
                        self.learn(Standing::is_not_accepting);
                    }
                    Err(Failed::Broken(error)) => return answers::broken("the application", &error),
                },
                Step::Forward(peer) => match self.forward(request, &peer).await {
                    Ok(exchanged) => return self.respond(exchanged, client, None),
                    Err(Failed::Unsent(unsent, error)) => {
                        tracing::debug!("{} does not accept a connection: {error}", peer.name);
                        request = *unsent;
                        course.unsent(self.clock.instant());
                    }
                    Err(Failed::Broken(error)) => return answers::broken("the primary", &error),
                },
                Step::WaitUntil(until) => {
                    tokio::select! {
                        // The sender is ours.
                        _ = known.changed() => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
                Step::Refuse(why) => return answers::refused(why),
            }
        }
    }

    /// Whether the client is told what it has written: where there are copies, or another node has
    /// sent it here. It may bring what it has written before, which was lost with a primary.
    fn tells_position(&self, asked: &Asked) -> bool {
        let has_copies = self.settings.tells_position || asked.is_forwarded;
        has_copies && (asked.need == Need::Write || asked.is_forwarded && asked.after.is_some())
    }

    /// Without it the client may not see at once what it has written, on other nodes.
    async fn tell_position(&self, exchanged: &mut Exchanged, is_secure: bool) {
        match self.positioned.position(self.clock.instant() + POSITION_TIME).await {
            Ok(position) => position::tell(exchanged.response.headers_mut(), &position, is_secure),
            Err(why) => tracing::debug!("a client is not told its position: {why}"),
        }
    }

    /// Sends a request to the proxy of another node.
    async fn forward(&self, mut request: Request<Outgoing>, peer: &Peer) -> Result<Exchanged, Failed> {
        let (pool, secret) = match (self.peers.of(peer), &self.settings.secret) {
            (Ok(pool), Some(secret)) => (pool, secret),
            (Err(why), _) => return Err(Failed::Unsent(Box::new(request), std::io::Error::other(why))),
            (_, None) => {
                let error = std::io::Error::other("there is no `proxy.secret`");
                return Err(Failed::Unsent(Box::new(request), error));
            }
        };
        secret.put(request.headers_mut());
        let mut exchanged = pool.exchange(request).await;
        if let Err(Failed::Unsent(unsent, _)) = &mut exchanged {
            // It may go to an application next.
            secret::take(unsent.headers_mut(), None);
        }
        exchanged
    }

    fn respond(&self, exchanged: Exchanged, client: Option<OnUpgrade>, flight: Option<Flight>) -> Response<Reply> {
        let Exchanged { mut response, lease } = exchanged;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(client), Some(lease)) = (client, lease) else {
                return answers::text(StatusCode::BAD_GATEWAY, "the application has changed the protocol unasked");
            };
            let server = hyper::upgrade::on(&mut response);
            self.tunnels.open(lease.into_link(), client, server);
            let (mut head, _) = response.into_parts();
            head.extensions.clear();
            to_client(&mut head);
            return Response::from_parts(head, Reply::empty());
        }
        let (mut head, body) = response.into_parts();
        head.extensions.clear();
        // Such a response has no end that could be waited for.
        let flight = flight.filter(|_| !is_event_stream(&head.headers));
        to_client(&mut head);
        Response::from_parts(head, Reply::passed(body, lease).in_flight(flight))
    }
}

impl Standing {
    /// It did, and does not any more.
    fn is_not_accepting(&mut self) {
        if self.app == App::Accepting {
            self.app = App::Starting;
        }
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}
