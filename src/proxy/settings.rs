//! What a proxy is told at its start. Plain data, with the defaults.

use std::time::Duration;

use super::endpoint::Endpoint;
use super::routes::Routes;
use super::secret::Secret;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The application.
    pub target: Endpoint,
    pub routes: Routes,
    /// Shared by all nodes.
    pub secret: Option<Secret>,
    pub forwarding: Forwarding,
    pub hold: HoldBounds,
    /// For a response that waits for the bucket.
    pub ack_timeout: Duration,
    /// Responses to writes tell the client its position; else only where another node asks.
    pub tells_position: bool,
    /// A read that this node is behind for waits so long before it goes to the primary.
    pub position_wait: Duration,
    /// For a connection to the application, or to another node.
    pub connect_timeout: Duration,
    /// For the head of a request, from its first byte on.
    pub head_timeout: Duration,
    /// A connection on which no request is made is closed after this time.
    pub idle_timeout: Duration,
    /// Of the head of a request.
    pub head_bytes: usize,
    /// At a time; more of them wait to be accepted.
    pub connections: usize,
    /// How long requests are taken as ever after the stop was asked for: load balancers that learn
    /// of it at the same time still send some.
    pub shutdown_delay: Duration,
}

impl Settings {
    /// Fly's edge sends to the primary what must be answered there.
    pub fn is_on_fly(&self) -> bool {
        self.forwarding == Forwarding::FlyReplay
    }

    /// With the default for everything else.
    pub fn of_target(target: Endpoint) -> Settings {
        Settings {
            target,
            routes: Routes::default(),
            secret: None,
            forwarding: Forwarding::default(),
            hold: HoldBounds::default(),
            ack_timeout: Duration::from_secs(30),
            tells_position: false,
            position_wait: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(10),
            // Longer than load balancers keep a connection: if it is us who close it first, a
            // request that is on its way is lost.
            idle_timeout: Duration::from_secs(120),
            head_bytes: 64 << 10,
            connections: 4096,
            shutdown_delay: Duration::ZERO,
        }
    }
}

/// How a request gets to the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// From proxy to proxy.
    #[default]
    Streamed,
    /// By Fly.io's edge, if that has kept it as a whole.
    FlyReplay,
}

/// How much is held while the application is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldBounds {
    pub requests: usize,
    /// Of the heads, and of bodies that were read already.
    pub bytes: usize,
    /// Of one request.
    pub wait: Duration,
}

impl Default for HoldBounds {
    fn default() -> HoldBounds {
        HoldBounds { requests: 1000, bytes: 16 << 20, wait: Duration::from_secs(30) }
    }
}
