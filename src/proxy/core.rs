//! What becomes of a request: passed to the application, forwarded to the primary, held, or
//! refused. Pure: what is known now and the time go in, the next step comes out.
//!
//! It never sends what may write to the application of a node that is not known to be the primary,
//! and never holds a request for longer than its bound.

use std::time::Duration;

use tokio::time::Instant;

use super::position::ClientPosition;
use crate::primary::{Peer, Primary};

/// After a node could not be reached, it is tried again after this time.
const AGAIN: Duration = Duration::from_millis(100);

/// The application of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum App {
    /// It does not run, and may come: databases are restored, the migration runs, another node is
    /// waited for.
    #[default]
    Absent,
    /// It runs, and has not accepted a connection yet.
    Starting,
    Accepting,
    /// It is about to be stopped: what it has begun it may finish.
    Leaving,
    /// It does not run, and this program ends.
    Gone,
}

/// What is known now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub app: App,
    pub primary: Primary,
    /// What the databases of this node show, where they are copies.
    pub shown: ClientPosition,
}

/// Where a request must be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// By this node's application, whatever its role.
    Local,
    /// By any application whose database is recent enough.
    Read,
    /// By that of the primary.
    Write,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub need: Need,
    /// What the client has written, and must see.
    pub after: Option<ClientPosition>,
    /// Another node has forwarded it, which took this one for the primary.
    pub is_forwarded: bool,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    Pass,
    Forward(&'a Peer),
    Hold,
    /// This program ends.
    Refuse,
}

/// Decides by what is known now, without regard to how long the request waits already.
/// `is_patient`: it may wait here until the databases show what it must see.
pub fn decide<'a>(standing: &'a Standing, asked: &Asked, is_patient: bool) -> Verdict<'a> {
    let here = || match standing.app {
        App::Accepting => Verdict::Pass,
        App::Absent | App::Starting | App::Leaving => Verdict::Hold,
        App::Gone => Verdict::Refuse,
    };
    let there = match &standing.primary {
        // Two nodes that take each other for the primary will learn soon which of them is.
        Primary::At(peer) if !asked.is_forwarded && peer.url.is_some() => Some(peer),
        _ => None,
    };
    match (asked.need, &standing.primary) {
        (Need::Local, _) | (_, Primary::Here) => here(),
        (Need::Read, _) if standing.app == App::Accepting && standing.has(asked) => Verdict::Pass,
        (Need::Read, _) if standing.app == App::Accepting && is_patient => Verdict::Hold,
        (Need::Read | Need::Write, _) => match there {
            Some(peer) => Verdict::Forward(peer),
            None if standing.app == App::Gone => Verdict::Refuse,
            None => Verdict::Hold,
        },
    }
}

impl Standing {
    /// Whether the databases show what the request must see.
    fn has(&self, asked: &Asked) -> bool {
        asked.after.as_ref().is_none_or(|after| self.shown.includes(after))
    }
}

/// What is to be done with a request next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Pass,
    Forward(Peer),
    /// Ask again when something changes, or at this time.
    WaitUntil(Instant),
    Refuse(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was held for as long as may be.
    TooLate,
    /// The same, and it was because the databases do not show what the client has written.
    Behind,
    /// As many as may be are held already.
    Full,
    Ending,
}

/// One request on its way.
#[derive(Debug)]
pub struct Course {
    asked: Asked,
    wait: Duration,
    /// The part of it in which the databases may show what it must see.
    patience: Duration,
    since: Option<Instant>,
    /// It could not be sent; not before this time again, unless it goes elsewhere then.
    again_at: Option<Instant>,
}

impl Course {
    /// It is held for `wait` at most, in total.
    pub fn new(asked: Asked, wait: Duration, patience: Duration) -> Course {
        Course { asked, wait, patience: patience.min(wait), since: None, again_at: None }
    }

    /// It was not sent, because the server did not accept a connection.
    pub fn unsent(&mut self, now: Instant) {
        self.again_at = Some(now + AGAIN);
    }

    /// Its answer was that only the primary can answer it.
    pub fn must_be_written(&mut self) {
        (self.asked.need, self.asked.after) = (Need::Write, None);
    }

    /// `has_room`: one more request may be held. It is asked once.
    pub fn next(&mut self, standing: &Standing, now: Instant, has_room: impl FnOnce() -> bool) -> Step {
        let since = self.since.unwrap_or(now);
        let (until, patient_until) = (since + self.wait, since + self.patience);
        let is_patient = now < patient_until;
        match decide(standing, &self.asked, is_patient) {
            Verdict::Pass => return Step::Pass,
            Verdict::Refuse => return Step::Refuse(Refusal::Ending),
            Verdict::Forward(peer) if self.again_at.is_none_or(|at| at <= now) => return Step::Forward(peer.clone()),
            Verdict::Forward(_) | Verdict::Hold => {}
        }
        if now >= until {
            let is_behind = standing.app == App::Accepting && !standing.has(&self.asked);
            return Step::Refuse(if is_behind { Refusal::Behind } else { Refusal::TooLate });
        }
        if self.since.is_none() {
            if !has_room() {
                return Step::Refuse(Refusal::Full);
            }
            self.since = Some(now);
        }
        let is_behind = is_patient && !standing.has(&self.asked);
        let again_at = self.again_at.filter(|at| *at > now).into_iter().chain(is_behind.then_some(patient_until));
        Step::WaitUntil(again_at.fold(until, Instant::min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(url: Option<&str>) -> Primary {
        Primary::At(Peer { name: "b".into(), url: url.map(Into::into) })
    }

    #[test]
    fn the_whole_table() {
        use App::{Absent, Accepting, Gone, Leaving, Starting};
        let at = || peer(Some("http://b"));
        for (app, primary, need, is_forwarded, expected) in [
            (Accepting, Primary::Here, Need::Write, false, "pass"),
            (Accepting, Primary::Here, Need::Write, true, "pass"),
            (Starting, Primary::Here, Need::Read, false, "hold"),
            (Absent, Primary::Here, Need::Write, false, "hold"),
            (Leaving, Primary::Here, Need::Read, false, "hold"),
            (Gone, Primary::Here, Need::Read, false, "refuse"),
            (Accepting, Primary::Unknown, Need::Read, false, "pass"),
            (Accepting, Primary::Unknown, Need::Write, false, "hold"),
            (Accepting, Primary::Unknown, Need::Local, false, "pass"),
            (Gone, Primary::Unknown, Need::Write, false, "refuse"),
            (Accepting, at(), Need::Read, false, "pass"),
            (Leaving, at(), Need::Read, false, "forward"),
            (Gone, at(), Need::Read, false, "forward"),
            (Accepting, at(), Need::Write, false, "forward"),
            (Accepting, at(), Need::Write, true, "hold"),
            (Accepting, at(), Need::Local, false, "pass"),
            (Absent, at(), Need::Local, false, "hold"),
            (Accepting, peer(None), Need::Write, false, "hold"),
        ] {
            let standing = Standing { app, primary, ..Standing::default() };
            let verdict = match decide(&standing, &Asked { need, after: None, is_forwarded }, true) {
                Verdict::Pass => "pass",
                Verdict::Forward(_) => "forward",
                Verdict::Hold => "hold",
                Verdict::Refuse => "refuse",
            };
            assert_eq!(verdict, expected, "{standing:?} {need:?} {is_forwarded}");
        }
    }

    #[test]
    fn who_cannot_be_reached_is_tried_again_until_the_time_is_over() {
        let (start, wait) = (Instant::now(), Duration::from_millis(150));
        let standing = Standing { app: App::Absent, primary: peer(Some("http://b")), ..Standing::default() };
        let asked = Asked { need: Need::Write, after: None, is_forwarded: false };
        let mut course = Course::new(asked, wait, wait);
        assert!(matches!(course.next(&standing, start, || false), Step::Forward(_)));
        course.unsent(start);
        assert_eq!(course.next(&standing, start, || true), Step::WaitUntil(start + AGAIN));
        assert!(matches!(course.next(&standing, start + AGAIN, || false), Step::Forward(_)));
        course.unsent(start + AGAIN);
        assert_eq!(course.next(&standing, start + AGAIN, || false), Step::WaitUntil(start + wait));
        assert_eq!(course.next(&standing, start + wait, || false), Step::Refuse(Refusal::TooLate));
        let here = Standing { app: App::Accepting, primary: Primary::Here, ..Standing::default() };
        assert_eq!(course.next(&here, start + wait, || false), Step::Pass, "it is here now");
    }

    #[test]
    fn a_read_waits_for_what_its_client_has_written_and_then_goes_to_the_primary() {
        let at = |text: &str| ClientPosition::parse(text).expect("valid");
        let (start, wait, patience) = (Instant::now(), Duration::from_secs(30), Duration::from_secs(1));
        let behind = |primary| Standing { app: App::Accepting, primary, shown: at("0000000000000001") };
        let asked = Asked { need: Need::Read, after: Some(at("0000000000000002")), is_forwarded: false };
        let begun = || {
            let mut course = Course::new(asked.clone(), wait, patience);
            let step = course.next(&behind(peer(Some("http://b"))), start, || true);
            assert_eq!(step, Step::WaitUntil(start + patience));
            course
        };
        let recent = Standing { shown: at("0000000000000002"), ..behind(Primary::Unknown) };
        assert_eq!(begun().next(&recent, start, || true), Step::Pass);
        assert_eq!(begun().next(&behind(Primary::Here), start, || true), Step::Pass, "it is where it was written");
        let late = start + patience;
        assert!(matches!(begun().next(&behind(peer(Some("http://b"))), late, || true), Step::Forward(_)));
        let mut course = begun();
        assert_eq!(course.next(&behind(Primary::Unknown), late, || true), Step::WaitUntil(start + wait));
        assert_eq!(course.next(&behind(Primary::Unknown), start + wait, || true), Step::Refuse(Refusal::Behind));
    }
}
