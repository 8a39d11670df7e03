//! What all requests share, and what becomes of a request and of a response on their way.

use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use tokio::sync::watch;

use super::ack::Acks;
use super::answers;
use super::core::{App, Standing};
use super::flights::{Flight, Flights};
use super::headers::to_client;
use super::outgoing::Outgoing;
use super::peers::Peers;
use super::pool::{Exchanged, Failed, Pool};
use super::position::Positioned;
use super::reply::Reply;
use super::room::Room;
use super::secret;
use super::settings::Settings;
use super::tunnel::Tunnels;
use crate::clock::Clock;
use crate::primary::Peer;
use crate::status::ProxyCounts;

/// Shared by all connections.
pub struct Front {
    pub settings: Settings,
    pub clock: Clock,
    standing: watch::Sender<Standing>,
    pub local: Pool,
    pub flights: Flights,
    /// Connections without a request so far, and the listener itself.
    pub arriving: Flights,
    /// Those that may write, until the application has answered.
    pub writes: Flights,
    pub tunnels: Tunnels,
    peers: Peers,
    pub acks: Acks,
    pub positioned: Box<dyn Positioned>,
    pub room: Room,
    pub counts: ProxyCounts,
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
            arriving: Flights::default(),
            writes: Flights::default(),
            tunnels: Tunnels::default(),
            peers: Peers::new(settings.connect_timeout, clock),
            acks,
            positioned,
            room: Room::new(&settings.hold),
            counts: ProxyCounts::default(),
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

    /// Sends a request to the proxy of another node.
    pub async fn forward(&self, mut request: Request<Outgoing>, peer: &Peer) -> Result<Exchanged, Failed> {
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

    pub fn respond(&self, exchanged: Exchanged, client: Option<OnUpgrade>, flight: Option<Flight>) -> Response<Reply> {
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
    pub fn is_not_accepting(&mut self) {
        if self.app == App::Accepting {
            self.app = App::Starting;
        }
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}
