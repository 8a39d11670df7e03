//! What the nodes of a cluster say to each other, beside the bucket: the primary pushes what was
//! confirmed to those who follow it, they say how far they are, and any node may ask it who is
//! there, or to hand over.
//!
//! It must never decide who is the primary, nor what is installed: the claims say the one
//! (`claim/roles/`), the follower the other (`follow/core/lead.rs`). Without all this a cluster
//! works as well, only slower: the bucket has everything.
//!
//! ```text
//!   primary                                    follower
//!   ring.rs   confirmed lately, bounded
//!   hub.rs    who follows, and how far    ◀──▶ reader.rs  keeps a connection to the primary
//!   feed.rs   one follower's connection        ask.rs     one request
//!   serve.rs  the listener and its routes
//!       introduction.rs  how a follower begins · frame.rs  what goes over its connection
//! ```
//!
//! # On the wire
//!
//! HTTP/1.1. A request shows the secret that all nodes share (`millstream-secret`), compared in a
//! time that says nothing; what does not show it is answered with 403. What is asked of a node that
//! is not the primary is answered with 409.
//!
//! | | |
//! |---|---|
//! | `GET /stream` | `Upgrade: millstream-stream`; `millstream-node`, `millstream-instance` and `millstream-candidate` say who follows. After 101 both sides send frames |
//! | `GET /nodes` | who is what, how far, and how far behind ([`crate::members::Members`]) |
//! | `POST /hand-over?to=NODE` | the primary drains, and releases its claim to this follower; 202 |
//!
//! A frame is a kind (1 byte), the length of what follows (4 bytes), and that. Numbers are
//! big-endian; a position is a TXID (8 bytes, 0: none) and its moment (8 bytes, Unix milliseconds).
//!
//! | kind | | from | holds |
//! |--:|---|---|---|
//! | 1 | databases | primary, first | the epoch of its claim (16 digits), and for each database the address of its replica, each with its length (2 bytes) before it |
//! | 2 | report | follower, first, and whenever it is further, at least once a second | for each database that it has: its number in that list (2 bytes), position |
//! | 3 | pushed | primary | the number of the database (2 bytes), the position before, the position after, and the LTX file; without a file it is to be read from the bucket |
//! | 4 | alive | primary, after a second without another | nothing |
//!
//! A primary never waits for a follower: one that reads too slowly finds that the ring has gone on,
//! is told of the newest position, and reads the bucket.

mod ask;
mod feed;
mod frame;
mod hub;
mod introduction;
mod reader;
mod ring;
mod serve;

#[cfg(test)]
mod tests;

pub use ask::{Asked, ask_members, ask_to_hand_over};
pub use hub::Hub;
pub use introduction::Introduction;
pub use reader::Reader;
pub use serve::{HandOver, Server};
