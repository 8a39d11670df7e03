//! One request, until it is answered: passed, forwarded or held, again and again, as the core says.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};

use super::answers;
use super::core::{Asked, Course, Need, Refusal, Standing, Step};
use super::flights::Flight;
use super::fly;
use super::front::Front;
use super::headers::{to_server, upgrade, weight};
use super::outgoing::Outgoing;
use super::pool::{Exchanged, Failed};
use super::position;
use super::replay;
use super::reply::Reply;
use super::{secret, wake};
use crate::primary::{Peer, Primary};
use crate::status::ProxyOutcome;

/// To find out in which TXID a write is. It waits for no upload.
const POSITION_TIME: Duration = Duration::from_secs(1);

/// The response to a request that came from `from`. `arriving` is kept until it is decided for the
/// first time what becomes of it.
pub async fn answer(
    front: &Front,
    mut request: Request<Incoming>,
    from: SocketAddr,
    arriving: Option<Flight>,
) -> Response<Reply> {
    let wants_upgrade = upgrade(request.version(), request.headers()).is_some();
    let client = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let (mut head, body) = request.into_parts();
    head.extensions.clear();
    if let Err(why) = to_server(&mut head, from) {
        return answers::malformed(why);
    }
    let is_forwarded = secret::take(&mut head.headers, front.settings.secret.as_ref());
    if wake::take(&mut head.headers) && is_forwarded {
        front.woken.send_replace(());
        return answers::no_content();
    }
    let is_forwarded = is_forwarded || front.settings.is_on_fly() && fly::was_replayed(&head.headers);
    let need = front.settings.routes.need(&head.method, head.uri.path(), wants_upgrade);
    let after = (need == Need::Read).then(|| position::brought(&head.headers)).flatten();
    let asked = Asked { need, after, is_forwarded };
    let request = Request::from_parts(head, Outgoing::Streamed(body));
    Exchange::new(front, request, asked, client).run(arriving).await
}

fn outcome(refusal: Refusal) -> ProxyOutcome {
    match refusal {
        Refusal::TooLate => ProxyOutcome::TooLate,
        Refusal::Behind => ProxyOutcome::Behind,
        Refusal::Full => ProxyOutcome::Full,
        Refusal::Ending => ProxyOutcome::Ending,
    }
}

struct Exchange<'a> {
    front: &'a Front,
    request: Request<Outgoing>,
    asked: Asked,
    course: Course,
    client: Option<OnUpgrade>,
    /// The response waits until the bucket has what was committed.
    must_be_uploaded: bool,
    /// The client is told what it has written, on a way that is secure or not.
    tells_position: Option<bool>,
}

/// The application gets it; what is held until it has answered.
struct Passing {
    flight: Flight,
    write: Option<Flight>,
    /// The application may say that another node has to answer.
    may_be_replayed: bool,
}

impl<'a> Exchange<'a> {
    fn new(front: &'a Front, request: Request<Outgoing>, asked: Asked, client: Option<OnUpgrade>) -> Exchange<'a> {
        let settings = &front.settings;
        let must_be_uploaded = settings.routes.acks.include(request.method(), request.uri().path());
        // Where there are copies, or another node has sent it here. It may bring a position that
        // was lost with a primary.
        let has_copies = settings.tells_position || asked.is_forwarded;
        let tells_position = has_copies && (asked.need == Need::Write || asked.is_forwarded && asked.after.is_some());
        let tells_position = tells_position.then(|| position::is_secure(request.headers()));
        let course = Course::new(asked.clone(), settings.hold.wait, settings.position_wait);
        Exchange { front, request, asked, course, client, must_be_uploaded, tells_position }
    }

    async fn run(mut self, mut arriving: Option<Flight>) -> Response<Reply> {
        let (mut known, mut place, mut waiter) = (self.front.watch(), None, None);
        loop {
            let (step, passing) = {
                let standing = known.borrow_and_update();
                let has_room = || {
                    place = self.front.room.enter(weight(&self.request));
                    place.is_some()
                };
                let step = self.course.next(&standing, self.front.clock.instant(), has_room);
                // While nothing changes: who waits for those under way must not miss one.
                let passing = (step == Step::Pass).then(|| self.begin_to_pass(&standing));
                (step, passing)
            };
            drop(arriving.take());
            waiter = match &step {
                Step::WaitUntil(_) => waiter.or_else(|| Some(self.front.counts.hold(self.front.clock))),
                Step::Pass | Step::Forward(_) | Step::Refuse(_) => None,
            };
            let answer = match (step, passing) {
                (Step::Pass, Some(passing)) => self.pass(passing).await,
                (Step::Forward(peer), _) => self.forward(&peer).await,
                (Step::WaitUntil(until), _) => {
                    tokio::select! {
                        // The sender is ours.
                        _ = known.changed() => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                    None
                }
                (Step::Refuse(why), _) => {
                    self.front.counts.count(outcome(why));
                    return answers::refused(why);
                }
                (Step::Pass, None) => None,
            };
            if let Some(answer) = answer {
                return answer;
            }
        }
    }

    fn begin_to_pass(&self, standing: &Standing) -> Passing {
        Passing {
            flight: self.front.flights.begin(),
            write: (self.asked.need == Need::Write).then(|| self.front.writes.begin()),
            may_be_replayed: self.client.is_none() && standing.primary != Primary::Here,
        }
    }

    /// `None`: it has to go elsewhere, or later.
    async fn pass(&mut self, passing: Passing) -> Option<Response<Reply>> {
        if passing.may_be_replayed
            && let Err(error) = self.keep_body().await
        {
            return Some(self.broken("the client", &error));
        }
        let copy = passing.may_be_replayed.then(|| replay::copy(&self.request)).flatten();
        match self.front.local.exchange(std::mem::take(&mut self.request)).await {
            Ok(exchanged) => {
                drop(passing.write);
                match copy.filter(|_| replay::is_wanted(exchanged.response.headers())) {
                    Some(copy) => {
                        self.request = copy;
                        self.course.must_be_written();
                        None
                    }
                    None => Some(self.answered(exchanged, passing.flight).await),
                }
            }
            Err(Failed::Unsent(unsent, error)) => {
                tracing::debug!("the application does not accept a connection: {error}");
                self.is_unsent(*unsent);
                self.front.learn(Standing::is_not_accepting);
                None
            }
            Err(Failed::Broken(error)) => Some(self.broken("the application", &error)),
        }
    }

    /// A short body is kept, so that it can be sent a second time.
    async fn keep_body(&mut self) -> Result<(), hyper::Error> {
        if !self.request.body().is_short() {
            return Ok(());
        }
        let body = std::mem::replace(self.request.body_mut(), Outgoing::Empty);
        *self.request.body_mut() = Outgoing::Kept(body.collect().await?.to_bytes());
        Ok(())
    }

    async fn answered(&mut self, mut exchanged: Exchanged, flight: Flight) -> Response<Reply> {
        if self.must_be_uploaded && exchanged.response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let waiter = self.front.counts.wait_for_upload(self.front.clock);
            let uploaded = self.front.acks.uploaded().await;
            drop(waiter);
            match uploaded {
                Ok(()) => answers::is_uploaded(exchanged.response.headers_mut()),
                Err(why) => {
                    self.front.counts.count(ProxyOutcome::NotUploaded);
                    return answers::not_uploaded(&why);
                }
            }
        }
        if let Some(is_secure) = self.tells_position {
            // Without it the client may not see at once what it has written, on other nodes.
            match self.front.positioned.position(self.front.clock.instant() + POSITION_TIME).await {
                Ok(position) => position::tell(exchanged.response.headers_mut(), &position, is_secure),
                Err(why) => tracing::debug!("a client is not told its position: {why}"),
            }
        }
        self.front.counts.count(ProxyOutcome::Passed);
        self.front.respond(exchanged, self.client.take(), Some(flight))
    }

    /// `None`: it could not be sent.
    async fn forward(&mut self, peer: &Peer) -> Option<Response<Reply>> {
        let by_edge = self.front.settings.is_on_fly().then(|| fly::replayed(&self.request, peer)).flatten();
        if let Some(answer) = by_edge {
            self.front.counts.count(ProxyOutcome::Forwarded);
            return Some(answer);
        }
        match self.front.forward(std::mem::take(&mut self.request), peer).await {
            Ok(exchanged) => {
                self.front.counts.count(ProxyOutcome::Forwarded);
                Some(self.front.respond(exchanged, self.client.take(), None))
            }
            Err(Failed::Unsent(unsent, error)) => {
                tracing::debug!("{} does not accept a connection: {error}", peer.name);
                self.is_unsent(*unsent);
                None
            }
            Err(Failed::Broken(error)) => Some(self.broken("the primary", &error)),
        }
    }

    fn broken(&self, who: &str, error: &hyper::Error) -> Response<Reply> {
        self.front.counts.count(ProxyOutcome::Failed);
        answers::broken(who, error)
    }

    fn is_unsent(&mut self, request: Request<Outgoing>) {
        self.request = request;
        self.course.unsent(self.front.clock.instant());
    }
}
