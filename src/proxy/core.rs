//! What becomes of a request: passed to the application, forwarded to the primary, held, or
//! refused. Pure: what is known now and the time go in, the next step comes out.
//!
//! It never sends what may write to the application of a node that is not known to be the primary,
//! and never holds a request for longer than its bound.

use std::time::Duration;

use tokio::time::Instant;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub need: Need,
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
pub fn decide<'a>(standing: &'a Standing, asked: Asked) -> Verdict<'a> {
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
        (Need::Read, _) if standing.app == App::Accepting => Verdict::Pass,
        (Need::Read | Need::Write, _) => match there {
            Some(peer) => Verdict::Forward(peer),
            None if standing.app == App::Gone => Verdict::Refuse,
            None => Verdict::Hold,
        },
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
    /// As many as may be are held already.
    Full,
    Ending,
}

/// One request on its way.
#[derive(Debug)]
pub struct Course {
    asked: Asked,
    wait: Duration,
    since: Option<Instant>,
    /// It could not be sent; not before this time again, unless it goes elsewhere then.
    again_at: Option<Instant>,
}

impl Course {
    /// It is held for `wait` at most, in total.
    pub fn new(asked: Asked, wait: Duration) -> Course {
        Course { asked, wait, since: None, again_at: None }
    }

    /// It was not sent, because the server did not accept a connection.
    pub fn unsent(&mut self, now: Instant) {
        self.again_at = Some(now + AGAIN);
    }

    /// `has_room`: one more request may be held. It is asked once.
    pub fn next(&mut self, standing: &Standing, now: Instant, has_room: impl FnOnce() -> bool) -> Step {
        let until = self.since.map_or(now, |since| since) + self.wait;
        match decide(standing, self.asked) {
            Verdict::Pass => return Step::Pass,
            Verdict::Refuse => return Step::Refuse(Refusal::Ending),
            Verdict::Forward(peer) if self.again_at.is_none_or(|at| at <= now) => return Step::Forward(peer.clone()),
            Verdict::Forward(_) | Verdict::Hold => {}
        }
        if now >= until {
            return Step::Refuse(Refusal::TooLate);
        }
        if self.since.is_none() {
            if !has_room() {
                return Step::Refuse(Refusal::Full);
            }
            self.since = Some(now);
        }
        Step::WaitUntil(self.again_at.filter(|at| *at > now).map_or(until, |at| at.min(until)))
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
            let standing = Standing { app, primary };
            let verdict = match decide(&standing, Asked { need, is_forwarded }) {
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
        let standing = Standing { app: App::Absent, primary: peer(Some("http://b")) };
        let mut course = Course::new(Asked { need: Need::Write, is_forwarded: false }, wait);
        assert!(matches!(course.next(&standing, start, || false), Step::Forward(_)));
        course.unsent(start);
        assert_eq!(course.next(&standing, start, || true), Step::WaitUntil(start + AGAIN));
        assert!(matches!(course.next(&standing, start + AGAIN, || false), Step::Forward(_)));
        course.unsent(start + AGAIN);
        assert_eq!(course.next(&standing, start + AGAIN, || false), Step::WaitUntil(start + wait));
        assert_eq!(course.next(&standing, start + wait, || false), Step::Refuse(Refusal::TooLate));
        let here = Standing { app: App::Accepting, primary: Primary::Here };
        assert_eq!(course.next(&here, start + wait, || false), Step::Pass, "it is here now");
    }
}
