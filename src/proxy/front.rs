//! One request from its head to the head of its response, and what all requests share.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use tokio::sync::watch;

use super::ack::Acks;
use super::answers;
use super::core::{App, Asked, Course, Standing, Step};
use super::flights::{Flight, Flights};
use super::headers::{to_client, to_server, upgrade, weight};
use super::outgoing::Outgoing;
use super::peers::Peers;
use super::pool::{Exchanged, Failed, Pool};
use super::reply::Reply;
use super::room::Room;
use super::secret;
use super::settings::Settings;
use super::tunnel::Tunnels;
use crate::clock::Clock;
use crate::primary::Peer;

/// Shared by all connections.
pub struct Front {
    pub settings: Settings,
    clock: Clock,
    standing: watch::Sender<Standing>,
    pub local: Pool,
    pub flights: Flights,
    pub tunnels: Tunnels,
    peers: Peers,
    acks: Acks,
    room: Room,
}

impl Front {
    pub fn new(settings: Settings, acks: Acks, clock: Clock) -> Front {
        Front {
            clock,
            standing: watch::Sender::default(),
            local: Pool::new(settings.target.clone(), settings.connect_timeout, clock),
            flights: Flights::default(),
            tunnels: Tunnels::default(),
            peers: Peers::new(settings.connect_timeout, clock),
            acks,
            room: Room::new(&settings.hold),
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
        let need = self.settings.routes.need(&head.method, head.uri.path(), wants_upgrade);
        let asked = Asked { need, is_forwarded };
        self.pursue(Request::from_parts(head, Outgoing::Streamed(body)), asked, client).await
    }

    /// Until it is answered.
    async fn pursue(&self, mut request: Request<Outgoing>, asked: Asked, client: Option<OnUpgrade>) -> Response<Reply> {
        let must_be_uploaded = self.settings.routes.acks.include(request.method(), request.uri().path());
        let mut course = Course::new(asked, self.settings.hold.wait);
        let (mut known, mut place) = (self.standing.subscribe(), None);
        loop {
            let (step, flight) = {
                let standing = known.borrow_and_update();
                let has_room = || {
                    place = self.room.enter(weight(&request));
                    place.is_some()
                };
                let step = course.next(&standing, self.clock.instant(), has_room);
                // While nothing changes: who waits for those under way must not miss one.
                let flight = (step == Step::Pass).then(|| self.flights.begin());
                (step, flight)
            };
            match step {
                Step::Pass => match self.local.exchange(request).await {
                    Ok(mut exchanged) => {
                        if must_be_uploaded && exchanged.response.status() != StatusCode::SWITCHING_PROTOCOLS {
                            match self.acks.uploaded().await {
                                Ok(()) => answers::is_uploaded(exchanged.response.headers_mut()),
                                Err(why) => return answers::not_uploaded(&why),
                            }
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
